//! Every knob, declared once: name, unit, default, bounds, which commands take
//! it, one sentence. Flags, environment variables, the config file, `--help`
//! and the bounds check all read this table.
//!
//! Knows nothing about where values come from.

use Bounds::{Any, Between, OneOf};
use Preset::{Number, Text, Unset};

use crate::limits::WRITE_STATEMENTS_MAX;

/// The commands of `shardlift`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    Validate,
    Migrate,
    Status,
    Cutover,
    Cancel,
    Restart,
    Verify,
}

impl Verb {
    /// True for the commands that connect to both deployments.
    pub fn connects(self) -> bool {
        self != Verb::Cancel && DEPLOYMENTS.contains(&self)
    }

    /// True for those, and for the ones that do if they are told where.
    pub fn may_connect(self) -> bool {
        DEPLOYMENTS.contains(&self)
    }
}

/// One value an operator may set.
#[derive(Debug)]
pub struct Knob {
    /// As in the config file; `--` and dashes as a flag, `SHARDLIFT_` and
    /// capitals in the environment.
    pub name: &'static str,
    /// Empty for words and URIs.
    pub unit: &'static str,
    pub default: Preset,
    pub bounds: Bounds,
    /// The commands that take it as a flag.
    pub verbs: &'static [Verb],
    pub help: &'static str,
}

/// The value of a knob nobody set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preset {
    Unset,
    Number(u64),
    Text(&'static str),
}

/// What a value must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bounds {
    /// Any text.
    Any,
    /// A whole number, both ends included.
    Between(u64, u64),
    OneOf(&'static [&'static str]),
}

const DEPLOYMENTS: &[Verb] = &[
    Verb::Validate,
    Verb::Migrate,
    Verb::Verify,
    Verb::Cancel,
    Verb::Restart,
];
const MAPS: &[Verb] = &[Verb::Validate, Verb::Migrate, Verb::Verify];
const COMPARES: &[Verb] = &[Verb::Migrate, Verb::Verify];
const MIGRATE: &[Verb] = &[Verb::Migrate];
/// Cancelling reads there what a run found, if its target is gone.
const SPOOLS: &[Verb] = &[Verb::Migrate, Verb::Cancel];
const API: &[Verb] = &[Verb::Migrate, Verb::Status, Verb::Cutover, Verb::Cancel];

const fn knob(
    name: &'static str,
    unit: &'static str,
    default: Preset,
    bounds: Bounds,
    verbs: &'static [Verb],
    help: &'static str,
) -> Knob {
    Knob {
        name,
        unit,
        default,
        bounds,
        verbs,
        help,
    }
}

/// All knobs, in the order `--help` and the docs show them.
#[rustfmt::skip]
pub const KNOBS: &[Knob] = &[
    knob("source", "", Unset, Any, DEPLOYMENTS,
        "Connection string of the deployment to move, as mongodb:// or mongodb+srv://; keep passwords in the config file or SHARDLIFT_SOURCE."),
    knob("target", "", Unset, Any, DEPLOYMENTS,
        "Connection string of the deployment to move to; keep passwords in the config file or SHARDLIFT_TARGET."),
    knob("map", "", Text(""), Any, MAPS,
        "Which source shard goes to which target shard, as a=x,b=y; shards not named pair up by sorted id."),
    knob("cutover", "", Text("manual"), OneOf(&["manual", "auto"]), MIGRATE,
        "Whether the cutover waits for `shardlift cutover` or begins by itself once lag is under cutover_lag_ms."),
    knob("cutover_lag_ms", "ms", Number(1_000), Between(1, 600_000), MIGRATE,
        "With cutover auto: the lag under which the cutover begins."),
    knob("cutover_timeout_s", "s", Number(120), Between(1, 86_400), MIGRATE,
        "How long a cutover may take before it is given up and following goes on."),
    knob("grace_s", "s", Number(5), Between(0, 3_600), MIGRATE,
        "How long the source is watched for late writes after the cutover."),
    knob("memory_mb", "MiB", Number(256), Between(64, 65_536), MIGRATE,
        "Budget of the whole process for data in flight."),
    knob("range_mb", "MiB", Number(64), Between(1, 4_096), MIGRATE,
        "Size of one scan range; smaller ranges hold fewer ops back, larger ones cost fewer round trips."),
    knob("scans", "count", Number(2), Between(1, 64), MIGRATE,
        "Range scans at a time, per pair."),
    knob("lanes", "count", Number(4), Between(1, 64), MIGRATE,
        "Ordered writers at a time, per pair."),
    knob("bulk_ops_max", "count", Number(2_000), Between(1, WRITE_STATEMENTS_MAX as u64), MIGRATE,
        "Most statements in one write command."),
    knob("bulk_mb_max", "MiB", Number(8), Between(1, 15), MIGRATE,
        "Most data in one write command."),
    knob("verify", "", Text("digests"), OneOf(&["digests", "full", "counts", "none"]), COMPARES,
        "What is compared before the cutover is irreversible: every byte, ahead of the cutover and again where touched since (digests) or all of it inside the cutover (full: finds what somebody else wrote to the target, too), document counts, or nothing."),
    knob("verify_concurrency", "count", Number(2), Between(1, 64), COMPARES,
        "Ranges compared at a time."),
    knob("verify_touched_max", "count", Number(100_000), Between(10, 10_000_000), MIGRATE,
        "Most documents, per pair, remembered as touched since they were verified ahead; beyond it the collection with the most is compared whole in the cutover."),
    knob("server_timeout_s", "s", Number(10), Between(1, 600), DEPLOYMENTS,
        "How long to wait for a server to accept a connection or to be found."),
    knob("away_max_s", "s", Number(1_800), Between(1, 604_800), MIGRATE,
        "How long either side may be away, or give nothing new, before the run parks: it stops, and the same command goes on with it."),
    knob("command_timeout_s", "s", Number(60), Between(1, 3_600), MIGRATE,
        "How long a data command or a cursor read may go unanswered before it counts as lost."),
    knob("checkpoint_ms", "ms", Number(1_000), Between(50, 60_000), MIGRATE,
        "Time between two checkpoints of a pair; a run that was interrupted goes back to the last one."),
    knob("spool_dir", "", Text(""), Any, SPOOLS,
        "Folder for the oplog entries read ahead of the target; empty takes $XDG_STATE_HOME/shardlift or ~/.local/state/shardlift."),
    knob("spool_mb", "MiB", Number(16_384), Between(64, 16_777_216), MIGRATE,
        "Most disk the process takes for them."),
    knob("watchdog_s", "s", Number(60), Between(5, 3_600), MIGRATE,
        "How long a pair that has work may make no progress before that is reported."),
    knob("oplog_warn_s", "s", Number(3_600), Between(0, 604_800), MIGRATE,
        "Warn when the source's oplog reaches less far back beyond the oldest position a restart needs."),
    knob("api_port", "port", Number(27_183), Between(0, 65_535), API,
        "Port of the API on 127.0.0.1; 0 takes a free one."),
    knob("log_format", "", Text("text"), OneOf(&["text", "json"]), DEPLOYMENTS,
        "Form of log lines on stderr."),
    knob("log_level", "", Text("info"), OneOf(&["error", "warn", "info", "debug", "trace"]), DEPLOYMENTS,
        "Least severity that is logged."),
    knob("progress", "", Text("auto"), OneOf(&["auto", "display", "lines", "none"]), MIGRATE,
        "How progress is shown on stderr: live display, log lines, or nothing; auto picks by whether it is a terminal."),
    knob("status_interval_s", "s", Number(5), Between(1, 3_600), MIGRATE,
        "Time between two progress lines in the log."),
];

/// The knob of that name.
pub fn find(name: &str) -> Option<&'static Knob> {
    KNOBS.iter().find(|knob| knob.name == name)
}

impl Knob {
    /// `--memory-mb`, without the dashes in front.
    pub fn flag(&self) -> String {
        self.name.replace('_', "-")
    }

    /// `SHARDLIFT_MEMORY_MB`.
    pub fn variable(&self) -> String {
        format!("SHARDLIFT_{}", self.name.to_uppercase())
    }

    pub fn is_number(&self) -> bool {
        matches!(self.bounds, Between(..))
    }

    /// The bounds as an operator reads them: "64 to 65536 MiB", "text or json".
    pub fn bounds_text(&self) -> String {
        match self.bounds {
            Any => "any text".to_string(),
            Between(least, most) if matches!(self.unit, "count" | "port") => {
                format!("{least} to {most}")
            }
            Between(least, most) => format!("{least} to {most} {}", self.unit),
            OneOf(words) => words.join(", "),
        }
    }

    /// The default as an operator reads it; None if there is none.
    pub fn default_text(&self) -> Option<String> {
        match self.default {
            Unset | Text("") => None,
            Number(number) => Some(number.to_string()),
            Text(text) => Some(text.to_string()),
        }
    }
}
