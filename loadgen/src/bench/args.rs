//! The flags that all suites share.

use std::path::PathBuf;

use crate::server::version::{self, Release};

/// How a suite is run and told.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Common {
    /// Small sizes: under a minute
    #[arg(long)]
    pub(super) quick: bool,
    /// Repeat the measured part; figures are then medians, with their spread beside
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(super) runs: u32,
    /// Print nothing on stdout but one JSON line
    #[arg(long)]
    pub(super) json: bool,
    /// Write a page with tables and plots here
    #[arg(long, value_name = "FILE.html")]
    pub(super) report: Option<PathBuf>,
    /// Run this shardlift program instead of building one
    #[arg(long, value_name = "PATH")]
    pub(super) engine: Option<PathBuf>,
    /// Further argument of `shardlift migrate`, such as --engine-arg=--lanes=8; may
    /// be given more than once
    #[arg(long = "engine-arg", value_name = "ARG", allow_hyphen_values = true)]
    pub(super) engine_args: Vec<String>,
    /// Seed of documents and writes
    #[arg(long, default_value_t = 1)]
    pub(super) seed: u64,
    /// Release of all servers, such as 4.2 or 6.0.27; a native secondary is of it too
    #[arg(long, value_name = "RELEASE", default_value_t = version::DEFAULT)]
    pub(super) server_version: Release,
    /// Cache of each server, GB: what a suite writes fits
    #[arg(long, default_value_t = 3.0)]
    pub(super) cache_gb: f64,
    /// Keep the servers' data in this folder, which is there, on a disk; without it in memory
    #[arg(long, value_name = "DIR")]
    pub(super) dbpath: Option<PathBuf>,
}

impl Common {
    /// What the user gave, else the size of a quick or of a full suite.
    pub(super) fn size<T>(&self, given: Option<T>, quick: T, full: T) -> T {
        given.unwrap_or(if self.quick { quick } else { full })
    }
}
