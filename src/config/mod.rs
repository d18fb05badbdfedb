//! Configuration: raw → resolved, once. Defaults < TOML file < environment
//! (`SHARDLIFT_…`) < flags; what comes out holds plain values within bounds.
//!
//! Every knob is declared in `knobs`; a new one is a row there and a field of
//! [`Config`] here. Knows nothing about servers.

pub mod cli;
pub mod hide;
pub mod knobs;
pub mod listen;
pub mod mirror;
pub mod pages;
pub mod secret;
mod sources;

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use secret::{Secret, Token};
pub use sources::Sources;

use crate::error::{Error, Kind, Result};
use crate::scope::filters::{Filters, Pattern};
use crate::scope::renames;
use knobs::Verb;

/// Resolved values. The field is named after its knob; unit, default, bounds
/// and meaning are in [`knobs::KNOBS`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    #[serde(default)]
    pub source: Secret,
    #[serde(default)]
    pub target: Secret,
    /// (source shard id, target shard id); empty: by sorted id.
    #[serde(deserialize_with = "sources::shard_map")]
    pub map: Vec<(String, String)>,
    #[serde(default, deserialize_with = "sources::patterns")]
    pub include: Vec<Pattern>,
    #[serde(default, deserialize_with = "sources::patterns")]
    pub exclude: Vec<Pattern>,
    #[serde(default, deserialize_with = "sources::renames")]
    pub rename: renames::Renames,
    pub profile: Profile,
    pub cutover: CutoverMode,
    pub renames: Renames,
    pub cutover_lag_ms: u64,
    pub cutover_timeout_s: u64,
    pub window_h: u64,
    pub grace_s: u64,
    pub memory_mb: u64,
    pub range_mb: u64,
    pub scan_order: ScanOrderMode,
    pub scans: usize,
    pub lanes: usize,
    pub bulk_ops_max: usize,
    pub bulk_mb_max: u64,
    pub verify: VerifyMode,
    pub verify_concurrency: usize,
    pub verify_touched_max: usize,
    pub server_timeout_s: u64,
    pub away_max_s: u64,
    pub command_timeout_s: u64,
    pub checkpoint_ms: u64,
    /// Empty: see [`Config::spool_path`].
    pub spool_dir: String,
    pub spool_mb: u64,
    pub watchdog_s: u64,
    pub oplog_warn_s: u64,
    pub api_port: u16,
    /// Empty: `api_port` on 127.0.0.1. See [`listen::Listen`].
    pub listen: String,
    pub api_token: Token,
    pub api_cert: String,
    pub api_key: String,
    pub api_ca: String,
    pub http_status_port: u16,
    pub copy_mb_s: u64,
    pub ops_s: u64,
    pub source_lag_max_s: u64,
    pub target_lag_max_s: u64,
    pub target_dirty_max: u64,
    pub log_format: LogFormat,
    /// One of error, warn, info, debug, trace.
    pub log_level: String,
    pub progress: ProgressMode,
    /// Empty: no report.
    pub report: String,
    pub status_interval_s: u64,
    /// `migrate --restart`: wipe what the recorded run copied, then start over.
    #[serde(default, skip)]
    pub restart: bool,
    /// `migrate --reverse`: follow the target back to the source after the cutover.
    #[serde(default, skip)]
    pub reverse: bool,
    /// This is the way back: only a recorded reverse is taken up.
    #[serde(default, skip)]
    pub turned: bool,
    /// What the operator should know about where values came from.
    #[serde(default, skip)]
    pub warnings: Vec<String>,
}

/// What a migration must be fit for beside shardlift.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    None,
    /// The documented live migration of a sharded cluster into Atlas.
    Atlas,
}

/// Who begins the cutover.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CutoverMode {
    /// `shardlift cutover` or the API.
    Manual,
    /// shardlift itself, once lag is under `cutover_lag_ms`.
    Auto,
}

/// What a rename on the source does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Renames {
    /// It is followed where the target drops collections by UUID.
    Auto,
    /// It stops the run.
    Stop,
    /// It is made on the target, too.
    Follow,
}

/// In which order large collections are scanned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ScanOrderMode {
    /// Each by what a look at its disk says.
    Auto,
    Id,
    Natural,
}

/// What is compared before a cutover becomes irreversible.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VerifyMode {
    /// Every byte: ahead of the cutover, which looks again at what was touched since.
    Digests,
    /// Every byte, all of it inside the cutover.
    Full,
    Counts,
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProgressMode {
    /// `Display` on a terminal, else `Lines`.
    Auto,
    Display,
    Lines,
    None,
}

impl Config {
    /// Every default, with these two deployments.
    ///
    /// # Errors
    /// `Config` for a URI that cannot be one.
    pub fn new(source: &str, target: &str) -> Result<Config> {
        let flags = [("source", source), ("target", target)];
        let flags = flags
            .map(|(name, uri)| (name.to_string(), uri.to_string()))
            .into();
        resolve(
            Verb::Migrate,
            &Sources {
                flags,
                ..Sources::default()
            },
        )
    }

    /// The way back. It has no cutover window, and no cutover begins by itself.
    pub fn turned(&self) -> Config {
        Config {
            source: self.target.clone(),
            target: self.source.clone(),
            map: Vec::new(),
            cutover: CutoverMode::Manual,
            window_h: 0,
            restart: false,
            reverse: false,
            turned: true,
            ..self.clone()
        }
    }

    /// What the run is about.
    pub fn filters(&self) -> Filters {
        Filters {
            include: self.include.clone(),
            exclude: self.exclude.clone(),
        }
    }

    /// The budget for data in flight, bytes.
    pub fn memory_bytes(&self) -> usize {
        (self.memory_mb as usize) << 20
    }

    /// How long either side may be away.
    pub fn away_max(&self) -> Duration {
        Duration::from_secs(self.away_max_s)
    }

    /// Size of one scan range, bytes.
    pub fn range_bytes(&self) -> u64 {
        self.range_mb << 20
    }

    /// Most disk for spools, bytes.
    pub fn spool_bytes_max(&self) -> u64 {
        self.spool_mb << 20
    }

    /// Where spools are. May not exist yet.
    ///
    /// # Errors
    /// `Config` if neither the knob nor the environment names a place.
    pub fn spool_path(&self) -> Result<PathBuf> {
        let set = |name| {
            std::env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        if !self.spool_dir.is_empty() {
            return Ok(PathBuf::from(&self.spool_dir));
        }
        let state = set("XDG_STATE_HOME").or_else(|| Some(set("HOME")?.join(".local/state")));
        state.map(|state| state.join("shardlift")).ok_or_else(|| {
            Error::new(
                Kind::Config,
                "there is no place for the spool: neither XDG_STATE_HOME nor HOME is set",
            )
            .remedy("set spool_dir to a folder")
        })
    }

    /// Both deployments are given.
    pub fn has_deployments(&self) -> bool {
        !self.source.is_empty() && !self.target.is_empty()
    }

    /// Where a write command is closed, bytes.
    pub fn bulk_bytes_max(&self) -> usize {
        (self.bulk_mb_max as usize) << 20
    }

    /// Every value by its name, URIs redacted.
    pub fn settings(&self) -> serde_json::Value {
        serde_json::to_value(self).unwrap_or_default()
    }

    /// Every value as `name=value`, URIs redacted, for the first line of the log.
    pub fn describe(&self) -> String {
        let values = self.settings();
        let Some(values) = values.as_object() else {
            return String::new();
        };
        let pairs: Vec<String> = values
            .iter()
            .map(|(name, value)| format!("{name}={}", plain(value)))
            .collect();
        pairs.join(" ")
    }
}

fn plain(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Merges the sources, checks every value against its knob and returns what
/// `verb` runs with. `source` and `target` stay empty for verbs without them.
///
/// # Errors
/// `Config`, naming the knob, its value, where it came from and its bounds.
pub fn resolve(verb: Verb, sources: &Sources) -> Result<Config> {
    let mut config = sources::merge(sources)?;
    config.warnings = sources.warnings();
    if verb.connects() || verb.may_connect() && config.has_deployments() {
        check_deployments(&config)?;
    }
    if verb == Verb::Migrate {
        listen::Listen::of(&config)?;
    }
    Ok(config)
}

fn check_deployments(config: &Config) -> Result<()> {
    for (name, uri) in [("source", &config.source), ("target", &config.target)] {
        if uri.is_empty() {
            return Err(Error::new(Kind::Config, format!("{name} is not set")).remedy(format!(
                "give the {name}'s connection string as `{name}` in the config file, in SHARDLIFT_{} or with --{name}",
                name.to_uppercase()
            )));
        }
        secret::check_uri(name, uri.expose())?;
    }
    if config.source == config.target {
        return Err(
            Error::new(Kind::Config, "source and target are the same deployment")
                .remedy("give the connection string of another deployment as the target"),
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests;
