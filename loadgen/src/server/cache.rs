//! The cache: what loadgen downloads once and every later run uses.
//!
//! Runs may race: one of them downloads under a file lock, what it made appears by
//! rename, and whoever finds it there uses it.
//!
//! Knows nothing about what is in it.

use std::env;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

pub(super) fn dir() -> Result<PathBuf> {
    let set = |name| {
        env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    set("SHARDLIFT_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|dir| dir.join("shardlift")))
        .or_else(|| set("HOME").map(|dir| dir.join(".cache/shardlift")))
        .ok_or_else(|| {
            Error::new("no place for a cache: HOME is not set").remedy("set SHARDLIFT_CACHE")
        })
}

/// The file or directory of that name in the cache. If it is not there, `make` makes it
/// within a directory of its own, which is removed afterwards.
pub(super) fn once(
    cache: &Path,
    name: &str,
    make: impl FnOnce(&Path) -> Result<PathBuf>,
) -> Result<PathBuf> {
    let place = cache.join(name);
    if place.exists() {
        return Ok(place);
    }
    let in_cache = |e: io::Error| {
        let remedy = "set SHARDLIFT_CACHE to a directory that can be written";
        Error::from(e)
            .context(format!("cache {}", cache.display()))
            .remedy(remedy)
    };
    fs::create_dir_all(cache).map_err(in_cache)?;
    let _lock = lock(&cache.join("download.lock")).map_err(in_cache)?;
    if place.exists() {
        return Ok(place);
    }
    let workshop = tempfile::Builder::new()
        .prefix("download-")
        .tempdir_in(cache)
        .map_err(in_cache)?;
    let made = make(workshop.path())?;
    // IMPORTANT: rename last: what is there is whole.
    fs::rename(made, &place).map_err(in_cache)?;
    Ok(place)
}

/// # Errors
/// If the file is not the one that was pinned.
pub(super) fn check(file: &Path, what: &str, sha256: &str) -> Result<()> {
    let found: String = Sha256::digest(fs::read(file)?)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    if found == sha256 {
        return Ok(());
    }
    Err(Error::new(format!(
        "{what} has sha256 {found}, expected {sha256}: nothing of it was run"
    )))
}

/// Waits for the lock; it goes with the returned file.
fn lock(path: &Path) -> io::Result<File> {
    let file = File::create(path)?;
    // SAFETY: the descriptor is open for as long as `file` lives.
    match unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX) } {
        0 => Ok(file),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::thread;
    use std::time::Duration;

    use super::*;

    #[test]
    fn of_several_at_once_one_makes_it_and_all_find_it_whole() {
        let cache = tempfile::tempdir().unwrap();
        let made = AtomicU32::new(0);
        let make = |workshop: &Path| {
            made.fetch_add(1, Ordering::Relaxed);
            let file = workshop.join("half");
            fs::write(&file, "a")?;
            thread::sleep(Duration::from_millis(20));
            fs::write(&file, "ab")?;
            Ok(file)
        };
        let use_it = || {
            let place = once(cache.path(), "thing", make).unwrap();
            assert_eq!(fs::read_to_string(place).unwrap(), "ab");
        };
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(use_it);
            }
        });
        assert_eq!(made.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn what_could_not_be_made_leaves_nothing_but_the_lock() {
        let cache = tempfile::tempdir().unwrap();
        let make = |workshop: &Path| {
            fs::write(workshop.join("half"), "a")?;
            Err(Error::new("no network"))
        };
        assert!(once(cache.path(), "thing", make).is_err());
        let left = fs::read_dir(cache.path()).unwrap().flatten();
        let left: Vec<_> = left.map(|entry| entry.file_name()).collect();
        assert_eq!(left, ["download.lock"]);
    }

    #[test]
    fn a_wrong_checksum_is_refused_with_both_sums() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("x.whl");
        fs::write(&file, "abc").unwrap();
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        check(&file, "x", abc).unwrap();
        let error = check(&file, "x", "1234").unwrap_err();
        assert!(
            error.message.contains(abc) && error.message.contains("1234"),
            "{error}"
        );
    }
}
