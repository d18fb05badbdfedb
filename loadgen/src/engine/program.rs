//! Which program the engine is, and the words both of its callers read in its
//! log.
//!
//! Knows nothing about running it.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// What the log says when the API is there, before its address.
const API_MARK: &str = "API on ";
pub const REMEDY: &str =
    "give the path of a shardlift program to --engine, or leave it out to build one";

/// The program the user gave, looked for before anything is started.
pub fn given(path: &Path) -> Result<PathBuf> {
    // A bare name would be looked up on PATH.
    let found = path
        .canonicalize()
        .map_err(|e| Error::from(e).context(path.display()));
    found.map_err(|e| e.remedy(REMEDY))
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
        let log = "a\nINFO run 1: API on http://127.0.0.1:27183";
        assert_eq!(api_url(log), None);
        assert_eq!(
            api_url(&format!("{log}\nb")).as_deref(),
            Some("http://127.0.0.1:27183")
        );
    }
}
