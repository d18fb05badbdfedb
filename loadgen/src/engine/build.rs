//! Builds the engine with the cargo and the profile that built this program.
//!
//! Knows nothing about running it.

use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::engine::child::Child;
use crate::error::{Error, Result};

/// Variables that `cargo run` sets about loadgen. Build scripts that watch them
/// (ring's does) would run again, and all that depends on them be built again.
const OF_CARGO_RUN: [&str; 2] = ["CARGO_PKG_", "CARGO_MANIFEST_"];
const REMEDY: &str =
    "run it by `cargo run` inside the repository (`cargo demo` is one), or give --engine PATH";

/// Path of the freshly built program; cargo's messages go to a file in `work`.
/// The compiler's progress goes to stderr.
/// Naming both packages gives the dependencies the features they have in this
/// program, so that none is compiled a second time.
pub async fn engine(work: &Path) -> Result<PathBuf> {
    let arguments = [
        &[
            "build",
            "--package",
            "shardlift",
            "--package",
            "loadgen",
            "--bin",
            "shardlift",
        ][..],
        &profile()?,
    ]
    .concat();
    let messages = work.join("build.json");
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
    command
        .args(&arguments)
        .arg("--message-format=json-render-diagnostics");
    command
        .stdin(Stdio::null())
        .stdout(File::create(&messages)?);
    let set = env::vars_os().map(|(name, _)| name);
    for name in set.filter(|name| {
        OF_CARGO_RUN
            .iter()
            .any(|prefix| name.to_string_lossy().starts_with(prefix))
    }) {
        command.env_remove(name);
    }
    // Set by `cargo run`: the workspace, from wherever it was called.
    if let Some(package) = env::var_os("CARGO_MANIFEST_DIR") {
        command.current_dir(package);
    }
    let built = async { Child::start(command, "cargo build")?.success(None).await };
    built.await.map_err(|e| e.remedy(REMEDY))?;
    executable(&fs::read_to_string(&messages)?)
        .ok_or_else(|| Error::new("cargo built no shardlift program").remedy(REMEDY))
}

/// The flags of the profile whose directory this program sits in.
fn profile() -> Result<Vec<&'static str>> {
    let program = env::current_exe()?;
    let directory = program
        .parent()
        .and_then(|directory| directory.file_name())
        .unwrap_or_default();
    Ok(if directory == "release" {
        vec!["--release"]
    } else {
        Vec::new()
    })
}

/// The program named by cargo's messages, one JSON object a line.
fn executable(messages: &str) -> Option<PathBuf> {
    let messages = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let paths = messages.filter(|message| message["target"]["name"] == "shardlift");
    paths
        .filter_map(|message| message["executable"].as_str().map(PathBuf::from))
        .next_back()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_found_among_the_messages() {
        let messages = r#"{"reason":"compiler-artifact","target":{"name":"serde"},"executable":null}
{"reason":"compiler-artifact","target":{"name":"shardlift"},"executable":null}
no json
{"reason":"compiler-artifact","target":{"name":"shardlift"},"executable":"/t/release/shardlift"}
{"reason":"build-finished","success":true}"#;
        assert_eq!(
            executable(messages),
            Some(PathBuf::from("/t/release/shardlift"))
        );
        assert_eq!(executable(""), None);
    }
}
