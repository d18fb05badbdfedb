//! Wheels from PyPI, or from the index that this machine's pip is set up with.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::{Error, Result};

/// Downloads the one wheel of `requirement` into `dir`, which holds no other.
///
/// # Errors
/// If there is no Python 3 with pip, or with the last thing that pip complained of.
pub(super) fn download(requirement: &str, options: &[&str], dir: &Path) -> Result<PathBuf> {
    let always = [
        "-m",
        "pip",
        "download",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
        "--only-binary=:all:",
        "-d",
    ];
    let output = Command::new("python3")
        .args(always)
        .arg(dir)
        .args(options)
        .arg(requirement)
        .output()
        .map_err(|e| {
            Error::from(e)
                .context("python3")
                .remedy("install python3 with pip")
        })?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        return Err(failed(requirement, &complaint));
    }
    let mut wheels = fs::read_dir(dir)?.flatten().map(|entry| entry.path());
    wheels
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .ok_or_else(|| Error::new("pip said it downloaded a wheel, but there is none"))
}

fn failed(requirement: &str, stderr: &str) -> Error {
    let remedy = match stderr {
        text if text.contains("No module named pip") => {
            "install pip (on Debian: apt install python3-pip)"
        }
        text if text.contains("No matching distribution") => {
            "there is no wheel for this platform or index"
        }
        _ => "check the network and pip's configuration",
    };
    let last = stderr
        .lines()
        .rev()
        .find(|line| !line.trim().is_empty())
        .unwrap_or("no message");
    Error::new(format!("pip could not download {requirement}: {last}")).remedy(remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pips_complaints_get_their_remedy() {
        let error = failed("x==1", "/usr/bin/python3: No module named pip\n");
        assert!(error.remedy.unwrap().contains("python3-pip"));
    }
}
