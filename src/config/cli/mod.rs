//! The command line: commands and their flags, built from the knob table.
//!
//! Does not check values; `config::resolve` does.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command, ValueEnum};
use clap_complete::Shell;

use crate::config::knobs::{ASKS, Bounds, KNOBS, Knob, Verb};
use crate::config::mirror;

/// One call of `shardlift`, as typed.
#[derive(Debug)]
pub struct Invocation {
    pub verb: Verb,
    /// `--config`.
    pub file: Option<PathBuf>,
    /// Values of knob flags by knob name.
    pub flags: BTreeMap<String, String>,
    /// Print the outcome as JSON on stdout.
    pub json: bool,
    /// `--api`: base URL of a running process, instead of `--api-port`.
    pub api: Option<String>,
    /// Return as soon as the request is accepted.
    pub no_wait: bool,
    /// `--restart`: wipe what the recorded run copied, then start over.
    pub restart: bool,
    /// `--shard`: id of a source shard.
    pub shard: Option<String>,
    /// `--ns`: `db.collection`.
    pub ns: Option<String>,
    /// `--watch`: show the status until the run ends.
    pub watch: bool,
    /// Whose completions are asked for.
    pub shell: Option<Shell>,
    /// `--why`: what a pause is for.
    pub why: Option<String>,
    /// `--block-writes`: the source refuses users' writes from the cutover on.
    pub block_writes: bool,
    /// `--reverse`: the target is followed back to the source after the cutover.
    pub reverse: bool,
    /// What is asked of the way back.
    pub back: Option<Back>,
    /// The flags of mongomirror.
    pub mirror: mirror::Given,
}

/// What `reverse` does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Back {
    /// Show its progress.
    Status,
    /// Go back: cut over to the old source.
    Cutover,
    /// Give it up: both sides stay as they are.
    Stop,
}

const VERBS: &[(Verb, &str, &str)] = &[
    (
        Verb::Validate,
        "validate",
        "Check whether the migration can start; changes nothing",
    ),
    (
        Verb::Migrate,
        "migrate",
        "Run the migration: copy, follow the source, cut over on request",
    ),
    (
        Verb::Status,
        "status",
        "Show the progress of a running migration",
    ),
    (
        Verb::Cutover,
        "cutover",
        "Cut over a running migration, and wait for the outcome",
    ),
    (
        Verb::Cancel,
        "cancel",
        "Give up a migration, running or stopped; copied data stays on the target",
    ),
    (
        Verb::Pause,
        "pause",
        "Hold copying and following back at a checkpoint; the source's oplog is read on",
    ),
    (Verb::Resume, "resume", "Let a paused migration go on"),
    (
        Verb::Extend,
        "extend",
        "Add 24 h to the cutover window of a running migration",
    ),
    (
        Verb::Throttle,
        "throttle",
        "Show or change how fast a running migration may go; its next start begins with its own settings",
    ),
    (
        Verb::Prepare,
        "prepare",
        "Show what a cutover would wait for now: gaps, writers, transactions, index builds; and the steps",
    ),
    (
        Verb::Reverse,
        "reverse",
        "The way back after a `migrate --reverse`: show it, cut over to the old source, or give it up",
    ),
    (
        Verb::Mirror,
        "mirror",
        "Run `migrate` by the flags of mongomirror",
    ),
    (
        Verb::Recopy,
        "recopy",
        "Make a migration, running or stopped, copy one shard again, one collection of it, or one of all shards",
    ),
    (
        Verb::Verify,
        "verify",
        "Compare source and target; nothing may write to either meanwhile",
    ),
    (
        Verb::Completions,
        "completions",
        "Print completions for a shell",
    ),
    (Verb::Man, "man", "Print the manual, in roff"),
];

const AFTER_HELP: &str = "\
A flag overrides its SHARDLIFT_… variable, which overrides --config FILE, which overrides the default.

Exit codes: 0 done; 2 configuration; 3 connection; 4 refused: by validation, because another process or run holds the
target, or a cutover that was called off; 5 a server's error; 6 not supported, a lost stretch of oplog, a full spool or
disk; 7 source and target differ; 8 no running process, or it refused; 9 parked; 70 a defect of shardlift; 130
cancelled, or stopped by a signal.";

/// The whole command line; `Command::debug_assert` holds for it.
pub fn command() -> Command {
    Command::new("shardlift")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Moves live MongoDB deployments, sharded clusters first, to other ones while the source takes heavy writes")
        .after_help(AFTER_HELP)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommands(VERBS.iter().map(|(verb, name, about)| subcommand(*verb, name, about)))
}

/// Reads the arguments, program name first.
///
/// # Errors
/// What clap found wrong, or the text of `--help`; its `exit` prints it.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Invocation, clap::Error> {
    let matches = command().try_get_matches_from(args)?;
    // Also for an alias clap gives the own name of the command.
    let (name, matches) = matches.subcommand().expect("clap requires a subcommand");
    let (verb, ..) = VERBS
        .iter()
        .find(|(_, n, _)| *n == name)
        .expect("clap knows only the commands of this table");
    Ok(invocation(*verb, matches))
}

fn invocation(verb: Verb, matches: &ArgMatches) -> Invocation {
    let flag = |name| {
        matches
            .try_get_one::<bool>(name)
            .ok()
            .flatten()
            .copied()
            .unwrap_or(false)
    };
    let text = |name| matches.try_get_one::<String>(name).ok().flatten().cloned();
    // A line each, where a flag may be given several times.
    let value = |knob: &&Knob| {
        let texts: Vec<&str> = matches
            .get_many::<String>(knob.name)?
            .map(String::as_str)
            .collect();
        Some((knob.name.to_string(), texts.join("\n")))
    };
    Invocation {
        verb,
        file: matches.get_one::<PathBuf>("config").cloned(),
        flags: knobs_of(verb).filter_map(|knob| value(&knob)).collect(),
        json: matches.get_flag("json"),
        api: text("api"),
        no_wait: flag("no-wait"),
        restart: flag("restart"),
        shard: text("shard"),
        ns: text("ns"),
        watch: flag("watch"),
        shell: matches.try_get_one("shell").ok().flatten().copied(),
        why: text("why"),
        block_writes: flag("block-writes"),
        reverse: flag("reverse"),
        back: matches.try_get_one("what").ok().flatten().copied(),
        mirror: if verb == Verb::Mirror {
            mirror::given(matches)
        } else {
            mirror::Given::new()
        },
    }
}

fn knobs_of(verb: Verb) -> impl Iterator<Item = &'static Knob> {
    KNOBS.iter().filter(move |knob| knob.verbs.contains(&verb))
}

fn subcommand(verb: Verb, name: &'static str, about: &'static str) -> Command {
    let config = Arg::new("config")
        .long("config")
        .value_name("FILE")
        .value_parser(clap::value_parser!(PathBuf))
        .help("TOML file with settings: the long flags, with underscores");
    let json = Arg::new("json")
        .long("json")
        .action(ArgAction::SetTrue)
        .help("Print the outcome as JSON on stdout");
    let command = Command::new(name)
        .about(about)
        .args([config, json])
        .args(knobs_of(verb).map(flag));
    let command = match verb {
        _ if ASKS.contains(&verb) => command.arg(api()),
        _ => command,
    };
    match verb {
        Verb::Mirror => mirror::command(command),
        Verb::Cutover => command.args(waiting()).arg(block_writes()),
        Verb::Status => command.arg(watch()),
        Verb::Pause => command.arg(why()),
        Verb::Completions => command.arg(shell()),
        Verb::Migrate => command.args([restart(), reverse()]),
        Verb::Validate => command.arg(reverse()),
        Verb::Reverse => command.args(waiting()).args([block_writes(), back()]),
        // Its earlier name, kept as an alias: it restarts nothing.
        Verb::Recopy => command.args(selection()).alias("restart"),
        _ => command,
    }
}

fn api() -> Arg {
    Arg::new("api")
        .long("api")
        .value_name("URL")
        .help("URL of the running process's API, instead of --api-port")
        .conflicts_with("api_port")
}

fn watch() -> Arg {
    let watch = Arg::new("watch").long("watch").action(ArgAction::SetTrue);
    watch.help("Show it again every second, until the run ends; with --json, a line each")
}

fn shell() -> Arg {
    let shell = Arg::new("shell").value_parser(clap::value_parser!(Shell));
    shell.required(true).help("Whose completions")
}

fn why() -> Arg {
    let why = Arg::new("why").long("why").value_name("TEXT");
    why.help("What the status says beside your name")
}

fn restart() -> Arg {
    let restart = Arg::new("restart")
        .long("restart")
        .action(ArgAction::SetTrue);
    restart.help(
        "Start over: first drop from the target what the recorded run copied, and nothing else",
    )
}

fn reverse() -> Arg {
    let reverse = Arg::new("reverse")
        .long("reverse")
        .action(ArgAction::SetTrue);
    reverse.help(
        "After the cutover, follow the target back to the source, so that `shardlift reverse cutover` can go back to it",
    )
}

fn back() -> Arg {
    let back = Arg::new("what").value_parser(clap::value_parser!(Back));
    back.required(true).help("What to do")
}

fn selection() -> [Arg; 2] {
    let shard = Arg::new("shard")
        .long("shard")
        .value_name("ID")
        .required_unless_present("ns");
    let ns = Arg::new("ns").long("ns").value_name("DB.COLLECTION");
    [
        shard.help("Source shard to copy again"),
        ns.help("Only this collection of the shard; without --shard it is laid out anew and copied again on all shards ('DB.*': all of a database)"),
    ]
}

/// Waiting is the default, so `--wait` only undoes an earlier `--no-wait`.
fn waiting() -> [Arg; 2] {
    let wait = Arg::new("wait")
        .long("wait")
        .action(ArgAction::SetTrue)
        .overrides_with("no-wait");
    let no_wait = Arg::new("no-wait")
        .long("no-wait")
        .action(ArgAction::SetTrue)
        .overrides_with("wait");
    [
        wait.help("Wait until the cutover is over (the default)"),
        no_wait.help("Return as soon as the request is accepted"),
    ]
}

fn block_writes() -> Arg {
    let block = Arg::new("block-writes").long("block-writes");
    block.action(ArgAction::SetTrue).help(
        "Let the source refuse users' writes first (setUserWriteBlockMode, 6.0); lifted if the cutover is called off",
    )
}

fn flag(knob: &'static Knob) -> Arg {
    let name = if knob.unit.is_empty() {
        knob.name
    } else {
        knob.unit
    };
    let bounds = match (knob.bounds_text(), knob.default_text()) {
        (bounds, Some(default)) => format!(" [{bounds}; default {default}]"),
        _ => String::new(),
    };
    // Negative numbers are taken as values, so that the bounds check names them.
    let action = match knob.bounds {
        Bounds::List => ArgAction::Append,
        _ => ArgAction::Set,
    };
    Arg::new(knob.name)
        .action(action)
        .long(knob.flag())
        .value_name(name.to_uppercase())
        .allow_negative_numbers(true)
        .help(format!("{}{bounds}", knob.help))
}

#[cfg(test)]
mod tests;
