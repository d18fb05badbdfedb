//! Which program the engine is, how it is started, and what its callers read in its log.
//!
//! Knows nothing about what it is started for.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::engine::child::Child;
use crate::error::{Error, Result};

/// What the log says when the API is there, before its address.
const API_MARK: &str = "API on ";
const REMEDY: &str =
    "give the path of a shardlift program to --engine, or leave it out to build one";

/// The program the user gave, looked for before anything is started.
pub fn given(path: &Path) -> Result<PathBuf> {
    // A bare name would be looked up on PATH.
    let found = path
        .canonicalize()
        .map_err(|e| Error::from(e).context(path.display()));
    found.map_err(|e| e.remedy(REMEDY))
}

/// Starts it. What it prints goes to `out`, its log to the file `log`.
pub fn start<A: AsRef<OsStr>>(
    program: &Path,
    arguments: impl IntoIterator<Item = A>,
    out: Stdio,
    log: &Path,
) -> Result<Child> {
    start_with(program, arguments, &[], out, log)
}

/// The same with settings by variables of the environment.
pub fn start_with<A: AsRef<OsStr>>(
    program: &Path,
    arguments: impl IntoIterator<Item = A>,
    variables: &[(&str, &str)],
    out: Stdio,
    log: &Path,
) -> Result<Child> {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(File::create(log)?);
    Child::start(command, &program.display().to_string()).map_err(|e| e.remedy(REMEDY))
}

/// Its log so far, read while it is written: the last character may be a part of one.
pub fn log_text(log: &Path) -> String {
    String::from_utf8_lossy(&fs::read(log).unwrap_or_default()).into_owned()
}

/// The API's address, only from a line that is complete.
pub fn api_url(log: &str) -> Option<String> {
    let complete = &log[..log.rfind('\n')?];
    let (_, rest) = complete.split_once(API_MARK)?;
    rest.split_whitespace().next().map(str::to_owned)
}

/// The last lines of a log, indented.
pub fn tail(log: &str, lines: usize) -> String {
    let all: Vec<&str> = log.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n  ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_counts_once_its_line_is_complete() {
        let log = "a\nINFO run 1: API on http://127.0.0.1:27182";
        assert_eq!(api_url(log), None);
        assert_eq!(
            api_url(&format!("{log}\nb")).as_deref(),
            Some("http://127.0.0.1:27182")
        );
    }
}
