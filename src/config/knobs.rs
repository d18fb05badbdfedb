//! Every knob, declared once: name, unit, default, bounds, which commands take
//! it, one sentence. Flags, environment variables, the config file, `--help`
//! and the bounds check all read this table.
//!
//! Knows nothing about where values come from.

use Bounds::{Any, Between, Hidden, List, OneOf};
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
    Pause,
    Resume,
    Extend,
    Throttle,
    Prepare,
    Reverse,
    Mirror,
    Recopy,
    Verify,
    Completions,
    Man,
}

impl Verb {
    /// True for the commands that connect to both deployments.
    pub fn connects(self) -> bool {
        !matches!(self, Verb::Cancel | Verb::Reverse | Verb::Recopy) && DEPLOYMENTS.contains(&self)
    }

    /// True for those, and for commands that connect if they are given the deployments.
    pub fn may_connect(self) -> bool {
        DEPLOYMENTS.contains(&self)
    }
}

/// One value an operator may set.
#[derive(Debug)]
pub struct Knob {
    /// The name in the config file. As a flag it has `--` and dashes; in the environment
    /// it is `SHARDLIFT_` and capitals.
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

/// The allowed values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bounds {
    /// Any text.
    Any,
    /// A whole number, both ends included.
    Between(u64, u64),
    OneOf(&'static [&'static str]),
    /// Texts: a flag may be given several times; a variable has one on each line.
    List,
    /// A text that is never shown.
    Hidden,
}

const DEPLOYMENTS: &[Verb] = &[
    Verb::Validate,
    Verb::Migrate,
    Verb::Verify,
    Verb::Cancel,
    Verb::Recopy,
    Verb::Reverse,
];
const MAPS: &[Verb] = &[Verb::Validate, Verb::Migrate, Verb::Verify];
const VALIDATES: &[Verb] = &[Verb::Validate, Verb::Migrate];
const PLANS: &[Verb] = &[Verb::Validate, Verb::Migrate, Verb::Recopy];
const COMPARES: &[Verb] = &[Verb::Migrate, Verb::Verify];
const MIGRATE: &[Verb] = &[Verb::Migrate];
/// Cancelling reads there what a run found, if its target is gone.
const SPOOLS: &[Verb] = &[Verb::Validate, Verb::Migrate, Verb::Cancel];
const API: &[Verb] = &[
    Verb::Migrate,
    Verb::Status,
    Verb::Cutover,
    Verb::Cancel,
    Verb::Pause,
    Verb::Resume,
    Verb::Extend,
    Verb::Throttle,
    Verb::Prepare,
    Verb::Reverse,
    Verb::Recopy,
];
/// The commands that ask a running process.
pub const ASKS: &[Verb] = API.split_at(1).1;
/// In the config file and the environment only.
const NO_FLAG: &[Verb] = &[];
const THROTTLES: &[Verb] = &[Verb::Migrate, Verb::Throttle];

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
        "Connection string of the deployment to move (mongodb:// or mongodb+srv://). Keep passwords in the config file or in SHARDLIFT_SOURCE."),
    knob("target", "", Unset, Any, DEPLOYMENTS,
        "Connection string of the deployment to move to. Keep passwords in the config file or in SHARDLIFT_TARGET."),
    knob("map", "", Text(""), Any, MAPS,
        "Which source shard goes to which target shard: a=x,b=y. The others are paired in the order of their ids."),
    knob("include", "", Unset, List, MAPS,
        "Move only these collections and views: `db.collection`, `db.*`, or `/expression/`, a regular expression that is looked for in the full name. May be given several times. A run keeps its filters."),
    knob("exclude", "", Unset, List, MAPS,
        "Leave these out, also of what is included; as --include."),
    knob("rename", "", Unset, List, MAPS,
        "Give what comes from the source another name on the target: `database=other`, or `db.collection=db.other` for one collection or view. May be given several times; that of a collection goes before that of its database. Filters speak of names on the source, all else of those on the target. A run keeps its renames."),
    knob("profile", "", Text("none"), OneOf(&["none", "atlas"]), VALIDATES,
        "What must hold beside what shardlift needs. atlas: what the live migration of a sharded cluster into Atlas documents (4.2 to 5.0, the same release on both sides). none: nothing."),
    knob("cutover", "", Text("manual"), OneOf(&["manual", "auto"]), MIGRATE,
        "manual: wait for `shardlift cutover`. auto: cut over once the lag is below cutover_lag_ms."),
    knob("cutover_lag_ms", "ms", Number(1_000), Between(1, 600_000), MIGRATE,
        "Lag below which an automatic cutover begins."),
    knob("cutover_timeout_s", "s", Number(120), Between(1, 86_400), MIGRATE,
        "Call the cutover off after this long, and go on following."),
    knob("renames", "", Text("auto"), OneOf(&["auto", "stop", "follow"]), VALIDATES,
        "What `renameCollection` on the source does, and `$out`, `mapReduce` and `convertToCapped`, which end in one. follow: it is made on the target, too; on trial where the target is a cluster before 6.0. stop: the run stops. auto: stop there, else follow. Of a sharded collection it stops the run there in any case."),
    knob("window_h", "h", Number(120), Between(1, 8_760), MIGRATE,
        "Length of the cutover window, which begins when the run is ready for the first time. When it has passed, following stops. `shardlift extend` adds 24 h."),
    knob("grace_s", "s", Number(5), Between(0, 3_600), MIGRATE,
        "After the cutover, watch the source this long for late writes."),
    knob("memory_mb", "MiB", Number(384), Between(64, 65_536), MIGRATE,
        "Memory for data in flight, for the whole process."),
    knob("range_mb", "MiB", Number(64), Between(1, 4_096), PLANS,
        "Size of one range of `_id` that is copied at a time. Smaller ranges hold back fewer ops; larger ones need fewer round trips."),
    knob("scan_order", "", Text("auto"), OneOf(&["auto", "id", "natural"]), PLANS,
        "In which order collections are read. id: in ranges of `_id`. natural: as they lie on the disk, one reader each, which is much cheaper where `_id`s are random and data larger than the cache; one that is interrupted is read again from its beginning, a few times, and then by `_id`. auto: natural where a collection is larger than range_mb and its `_id`s are in no order on the disk. Natural needs a source of the feature compatibility version 5.0. A collection keeps the order it was planned with until it is copied again."),
    knob("scans", "count", Number(2), Between(1, 64), MIGRATE,
        "Ranges copied at a time, per pair."),
    knob("lanes", "count", Number(4), Between(1, 64), MIGRATE,
        "Lanes (workers that apply ops in order), per pair."),
    knob("bulk_ops_max", "count", Number(2_000), Between(1, WRITE_STATEMENTS_MAX as u64), MIGRATE,
        "Maximum number of statements in one write command."),
    knob("bulk_mb_max", "MiB", Number(8), Between(1, 15), MIGRATE,
        "Maximum size of one write command."),
    knob("verify", "", Text("digests"), OneOf(&["digests", "full", "counts", "none"]), COMPARES,
        "What to compare before a cutover becomes irreversible. digests: every byte, ahead of the cutover, and again in it what was written since. full: every byte, in the cutover; also finds documents that others wrote to the target. counts: numbers of documents. none: nothing."),
    knob("verify_concurrency", "count", Number(2), Between(1, 64), COMPARES,
        "Ranges compared at a time."),
    knob("verify_touched_max", "count", Number(100_000), Between(10, 10_000_000), MIGRATE,
        "How many documents written since they were verified are remembered, per pair. Beyond it, the collection with the most of them is compared whole in the cutover."),
    knob("server_timeout_s", "s", Number(10), Between(1, 600), DEPLOYMENTS,
        "How long to look for a server, and to wait for it to accept a connection."),
    knob("away_max_s", "s", Number(1_800), Between(1, 604_800), MIGRATE,
        "Park the run when a side has been unreachable, or the run has made no progress, for this long. It stops; the same command resumes it."),
    knob("command_timeout_s", "s", Number(60), Between(1, 3_600), MIGRATE,
        "Give up a data command or a read without an answer after this long."),
    knob("checkpoint_ms", "ms", Number(1_000), Between(50, 60_000), MIGRATE,
        "Time between checkpoints of a pair. An interrupted run resumes from the last one."),
    knob("spool_dir", "", Text(""), Any, SPOOLS,
        "Folder of the spool, where oplog entries wait for the target. Default: $XDG_STATE_HOME/shardlift or ~/.local/state/shardlift."),
    knob("spool_mb", "MiB", Number(16_384), Between(64, 16_777_216), VALIDATES,
        "Maximum size of the spool, for the whole process."),
    knob("watchdog_s", "s", Number(60), Between(5, 3_600), MIGRATE,
        "Warn when a pair that has work makes no progress for this long."),
    knob("oplog_warn_s", "s", Number(3_600), Between(0, 604_800), MIGRATE,
        "Warn when the oldest position that a restart needs is closer than this to the end of the source's oplog."),
    knob("api_port", "port", Number(27_182), Between(0, 65_535), API,
        "Port of the API on 127.0.0.1. 0: any free port."),
    knob("listen", "", Text(""), Any, MIGRATE,
        "Address and port of the API, such as 10.0.0.5:27182, instead of api_port on 127.0.0.1. Beyond this host it needs api_token, api_cert and api_key."),
    knob("api_token", "", Text(""), Hidden, NO_FLAG,
        "What a client of the API must show (`Authorization: Bearer TOKEN`), 16 characters or more: for every change, and for all data where the API listens beyond this host. In the config file or SHARDLIFT_API_TOKEN only."),
    knob("api_cert", "", Text(""), Any, MIGRATE,
        "PEM file with the certificate of the API, for TLS."),
    knob("api_key", "", Text(""), Any, MIGRATE,
        "PEM file with the private key of api_cert."),
    knob("api_ca", "", Text(""), Any, ASKS,
        "PEM file with the authority that signed the certificate of an API by https. Default: those that Mozilla trusts."),
    knob("http_status_port", "port", Number(0), Between(0, 65_535), MIGRATE,
        "Port on 127.0.0.1 that answers in mongomirror's shape; the process then stays up after an error, to report it. 0: none."),
    knob("copy_mb_s", "MiB", Number(0), Between(0, 1_000_000), THROTTLES,
        "Most that is copied in a second, all shards together. 0: no limit."),
    knob("ops_s", "count", Number(0), Between(0, 100_000_000), THROTTLES,
        "Most ops that are applied in a second, all shards together. 0: no limit. The target falls behind while the source writes more."),
    knob("source_lag_max_s", "s", Number(30), Between(0, 86_400), MIGRATE,
        "Copying holds while a secondary of the source is further behind its primary than this. 0: never. Following goes on."),
    knob("target_lag_max_s", "s", Number(30), Between(0, 86_400), MIGRATE,
        "Copying holds while the target's majority is further behind its primary than this. 0: never."),
    knob("target_dirty_max", "percent", Number(30), Between(0, 100), MIGRATE,
        "Copying holds while more of a target server's cache than this waits to be written to disk. 0: never."),
    knob("log_format", "", Text("text"), OneOf(&["text", "json"]), DEPLOYMENTS,
        "Format of the log on stderr."),
    knob("log_level", "", Text("info"), OneOf(&["error", "warn", "info", "debug", "trace"]), DEPLOYMENTS,
        "Lowest level that is logged."),
    knob("progress", "", Text("auto"), OneOf(&["auto", "display", "lines", "none"]), MIGRATE,
        "How to show progress on stderr. display: live. lines: in the log. none: not at all. auto: display on a terminal, else lines."),
    knob("report", "", Text(""), Any, MIGRATE,
        "File to write at the end: what was copied and verified, how long it took, lag over time, settings. JSON; with .html at its end, a page."),
    knob("status_interval_s", "s", Number(5), Between(1, 3_600), MIGRATE,
        "Time between progress lines in the log."),
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

    /// Its value is never shown.
    pub fn is_secret(&self) -> bool {
        self.bounds == Hidden
    }

    pub fn is_number(&self) -> bool {
        matches!(self.bounds, Between(..))
    }

    /// The bounds as an operator reads them: "64 to 65536 MiB", "text or json".
    pub fn bounds_text(&self) -> String {
        match self.bounds {
            Any | Hidden => "any text".to_string(),
            List => "any texts".to_string(),
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
