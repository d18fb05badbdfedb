//! OpenSSL 1.1, which most of the cached servers are linked against and newer systems
//! have no more: the two libraries from inside a wheel of a Python project that ships
//! them, unpacked into the cache and never installed.
//!
//! Name, release and checksum are pinned.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use zip::ZipArchive;

use crate::error::{Error, Result};
use crate::server::{cache, pip};

/// Its wheels are built for one Python each; any of them has the same libraries.
const REQUIREMENT: &str = "psycopg2-binary==2.9.3";
const BUILT_FOR: [&str; 6] = [
    "--platform",
    "manylinux2014_x86_64",
    "--python-version",
    "3.10",
    "--implementation",
    "cp",
];
const SHA256: &str = "57804fc02ca3ce0dbfbef35c4b3a4a774da66d66ea20f4bda601294ad2ea6092";
/// Each library as the wheel names it, by which the other one finds it, and as servers do.
const FILES: [(&str, &str); 2] = [
    (
        "psycopg2_binary.libs/libcrypto-2f2fcd35.so.1.1",
        "libcrypto.so.1.1",
    ),
    (
        "psycopg2_binary.libs/libssl-6b7b94d5.so.1.1",
        "libssl.so.1.1",
    ),
];
/// In the cache.
const NAME: &str = "libssl1.1";

/// The directory in the cache that holds the two libraries, downloaded first if it is
/// not there.
pub(super) fn cached(cache: &Path) -> Result<PathBuf> {
    cache::once(cache, NAME, fetch).map_err(|e| {
        let by_hand = format!(
            "check the network and pip's configuration; or put libcrypto.so.1.1 and \
             libssl.so.1.1 of any OpenSSL 1.1.1 into {}",
            cache.join(NAME).display()
        );
        let remedy = e.remedy.clone().unwrap_or(by_hand);
        e.context("OpenSSL 1.1 for this server").remedy(remedy)
    })
}

fn fetch(workshop: &Path) -> Result<PathBuf> {
    eprintln!("loadgen: downloading OpenSSL 1.1 from PyPI ({REQUIREMENT}, once) ...");
    let wheel = pip::download(REQUIREMENT, &BUILT_FOR, workshop)?;
    cache::check(&wheel, REQUIREMENT, SHA256)?;
    let libraries = workshop.join(NAME);
    fs::create_dir(&libraries)?;
    unpack(&wheel, &libraries)?;
    Ok(libraries)
}

fn unpack(wheel: &Path, libraries: &Path) -> Result<()> {
    let broken = |e: zip::result::ZipError| Error::new(format!("wheel {}: {e}", wheel.display()));
    let mut archive = ZipArchive::new(File::open(wheel)?).map_err(broken)?;
    for (member, as_servers_name_it) in FILES {
        let mut library = archive.by_name(member).map_err(broken)?;
        let (_, name) = member.rsplit_once('/').expect("it is in a folder");
        let mut out = File::create(libraries.join(name))?;
        io::copy(&mut library, &mut out)?;
        out.sync_all()?;
        symlink(name, libraries.join(as_servers_name_it))?;
    }
    Ok(())
}
