//! OpenSSL 1.1, which most of the cached servers are linked against and newer systems
//! have no more: Debian 11's package, unpacked into the cache and never installed.
//!
//! apt's own downloader fetches it from the mirror that this machine's apt is set up
//! with. Name, version and checksum are pinned.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::{Error, Result};
use crate::server::cache;

/// Below the root of a mirror. Of Debian 11's last point release, which stays as it is;
/// what its security updates bring is replaced by the next one.
const PACKAGE: &str = "pool/main/o/openssl/libssl1.1_1.1.1w-0+deb11u1_amd64.deb";
const SHA256: &str = "aadf8b4b197335645b230c2839b4517aa444fd2e8f434e5438c48a18857988f7";
/// Where the libraries are in the package.
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";
const FILES: [&str; 2] = ["libcrypto.so.1.1", "libssl.so.1.1"];
/// In the cache.
const NAME: &str = "libssl1.1";
/// Part of apt; downloads one file as apt does, with its proxies and mirrors.
const APT_HELPER: &str = "/usr/lib/apt/apt-helper";

/// The directory in the cache that holds the two libraries, downloaded first if it is
/// not there.
pub(super) fn cached(cache: &Path) -> Result<PathBuf> {
    cache::once(cache, NAME, fetch).map_err(|e| {
        let by_hand = format!(
            "apt of Debian 12 can fetch it; or put {} of any OpenSSL 1.1.1 into {}",
            FILES.join(" and "),
            cache.join(NAME).display()
        );
        let remedy = e.remedy.clone().unwrap_or(by_hand);
        e.context("OpenSSL 1.1 for this server").remedy(remedy)
    })
}

fn fetch(workshop: &Path) -> Result<PathBuf> {
    eprintln!("loadgen: downloading OpenSSL 1.1 (Debian 11's libssl1.1, once) ...");
    let package = workshop.join("libssl1.1.deb");
    download(&package)?;
    cache::check(&package, PACKAGE, SHA256)?;
    let unpacked = workshop.join("unpacked");
    let mut unpack = Command::new("dpkg-deb");
    run(unpack.arg("-x").arg(&package).arg(&unpacked))?;
    let libraries = workshop.join(NAME);
    fs::create_dir(&libraries)?;
    for file in FILES {
        let library = libraries.join(file);
        fs::rename(unpacked.join(LIBRARIES).join(file), &library)?;
        File::open(&library)?.sync_all()?;
    }
    Ok(libraries)
}

/// From the first mirror that has it.
fn download(package: &Path) -> Result<()> {
    let mut failed = Error::new("apt knows no mirror");
    for mirror in mirrors()? {
        let mut download = Command::new(APT_HELPER);
        download.arg("download-file");
        download.arg(format!("{mirror}/{PACKAGE}")).arg(package);
        match run(&mut download) {
            Ok(_) => return Ok(()),
            Err(e) => failed = e,
        }
    }
    Err(failed)
}

/// Where this machine's apt has its packages from, in its order.
fn mirrors() -> Result<Vec<String>> {
    let mut list = Command::new("apt-get");
    list.args([
        "indextargets",
        "--format",
        "$(SITE)",
        "Created-By: Packages",
    ]);
    let mut mirrors: Vec<String> = run(&mut list)?.lines().map(str::to_owned).collect();
    mirrors.dedup();
    Ok(mirrors)
}

/// Runs a program to its end and returns what it printed.
///
/// # Errors
/// If there is no such program, or with the last thing it complained of.
fn run(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .map_err(|e| Error::from(e).context(program.clone()))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    Err(Error::new(format!("{program}: {}", telling(&complaint))))
}

/// apt warns before its first error, and ends with one that says only that it failed.
fn telling(complaint: &str) -> &str {
    let mut lines = complaint.lines().filter(|line| !line.trim().is_empty());
    let first = lines.clone().next().unwrap_or("no message");
    lines.find(|line| line.starts_with("E:")).unwrap_or(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_fails_or_is_missing_is_named() {
        let script = "echo W: old >&2; echo E: gone >&2; echo E: failed >&2; exit 100";
        let error = run(Command::new("sh").args(["-c", script])).unwrap_err();
        assert_eq!(error.message, "sh: E: gone");
        let error = run(&mut Command::new("no-such-program")).unwrap_err();
        assert!(error.message.contains("no-such-program"), "{error}");
    }
}
