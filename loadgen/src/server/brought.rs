//! A server program that the user brought: whether it runs, of which version it is, and
//! what it needs to run.
//!
//! Knows nothing about where it was found.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::server::program::Program;
use crate::server::version::Version;

#[derive(Debug, Clone)]
pub struct Brought {
    pub program: Program,
    pub version: Version,
}

/// Asks it for its version. Where it misses OpenSSL 1.1, which newer systems have no more,
/// it is asked again beside the folder that `openssl` gives.
///
/// # Errors
/// If it does not run, with the reason.
pub(super) fn examine(path: &Path, openssl: impl FnOnce() -> Result<PathBuf>) -> Result<Brought> {
    let cannot = |why: String| Error::new(format!("{} does not run: {why}", path.display()));
    let mut program = Program::from(path.to_owned());
    match ask(&program) {
        Ok(version) => return Ok(Brought { program, version }),
        Err(why) if misses_openssl(&why) => {
            let libraries = openssl().map_err(|e| e.context(cannot(why).message))?;
            program.libraries = Some(libraries);
        }
        Err(why) => return Err(cannot(why)),
    }
    match ask(&program) {
        Ok(version) => Ok(Brought { program, version }),
        Err(why) => Err(cannot(why)),
    }
}

/// The version it says it has, or why there is none.
fn ask(program: &Program) -> std::result::Result<Version, String> {
    let output = program.command().arg("--version").output();
    let output = output.map_err(|e| e.to_string())?;
    parse_version(&String::from_utf8_lossy(&output.stdout)).ok_or_else(|| {
        let said = String::from_utf8_lossy(&output.stderr);
        format!(
            "asked for its version it ended ({}) and said {:?}",
            output.status,
            said.trim()
        )
    })
}

/// The words of the loader of programs, or of a library that is of another OpenSSL.
fn misses_openssl(why: &str) -> bool {
    ["libssl.so", "libcrypto.so", "OPENSSL_1_1"]
        .iter()
        .any(|name| why.contains(name))
}

/// Reads `db version v6.0.5` (mongod) or `mongos version v6.0.5`.
fn parse_version(text: &str) -> Option<Version> {
    text.split_whitespace()
        .find(|word| word.starts_with('v') && word.contains('.'))?
        .parse()
        .ok()
}

#[cfg(test)]
pub(super) mod tests {
    use std::fs;
    use std::process::Command;

    use super::*;

    /// A program of that text, which the shell runs. Another process writes it: what this
    /// one has open, a child that another test just forks has open too, and then it does
    /// not run.
    pub(in crate::server) fn script(path: &Path, text: &str) {
        let draft = path.with_extension("draft");
        fs::write(&draft, format!("#!/bin/sh\n{text}\n")).unwrap();
        let mut install = Command::new("install");
        install.args(["-m", "700"]).arg(&draft).arg(path);
        assert!(install.status().unwrap().success());
    }

    /// One that runs only where the loader is told of `libraries`.
    fn needs(libraries: &Path) -> String {
        format!(
            "case \"$LD_LIBRARY_PATH\" in {}*) echo mongos version v4.2.6; exit;; esac\n\
             echo 'error while loading shared libraries: libssl.so.1.1: no such file' >&2\n\
             exit 127",
            libraries.display()
        )
    }

    #[test]
    fn what_misses_openssl_is_started_beside_that_of_the_cache() {
        let dir = tempfile::tempdir().unwrap();
        let (path, libraries) = (dir.path().join("mongos"), dir.path().join("libssl1.1"));
        script(&path, &needs(&libraries));
        let brought = examine(&path, || Ok(libraries.clone())).unwrap();
        assert_eq!(brought.version.to_string(), "4.2.6");
        // So does whoever starts it.
        assert_eq!(brought.program.libraries, Some(libraries));
        let started = brought.program.command().output().unwrap();
        assert!(started.status.success(), "{started:?}");
    }

    #[test]
    fn what_does_not_run_says_why() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mongos");
        let none = || -> Result<PathBuf> { panic!("OpenSSL is not what it misses") };
        let missing = examine(&path, none).unwrap_err().message;
        assert!(missing.contains("does not run: No such file"), "{missing}");
        script(&path, "echo 'libcurl.so.4: cannot open' >&2; exit 127");
        let other = examine(&path, none).unwrap_err().message;
        assert!(other.contains("libcurl.so.4"), "{other}");
        script(&path, &needs(&dir.path().join("there")));
        let elsewhere = examine(&path, || Ok(dir.path().join("here"))).unwrap_err();
        assert!(elsewhere.message.contains("libssl.so.1.1"), "{elsewhere}");
        let no_network = || Err(Error::new("no network").remedy("look at it"));
        let alone = examine(&path, no_network).unwrap_err();
        assert!(alone.message.contains("libssl.so.1.1"), "{alone}");
        assert!(alone.message.ends_with("no network"), "{alone}");
        assert_eq!(alone.remedy.as_deref(), Some("look at it"));
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
