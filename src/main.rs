//! The `shardlift` command: arguments → config → one match over the commands →
//! exit code.
//!
//! Knows nothing about how a migration runs or how an outcome reads.

mod outcome;

use std::future::Future;
use std::io::Write;
use std::process::ExitCode;

use shardlift::config::cli::{self, Back, Invocation};
use shardlift::config::knobs::Verb;
use shardlift::config::{self, Config, Sources, hide, mirror};
use shardlift::control;
use shardlift::error::{Error, Kind, Result};
use shardlift::observe::client::Client;
use shardlift::observe::reverse::Reverse;
use shardlift::observe::{logging, plain};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let call = cli::parse(std::env::args_os()).unwrap_or_else(|e| e.exit());
    // Before the first thread: this may start the process again.
    let exposed = if call.verb.may_connect() {
        hide::hide_credentials()
    } else {
        None
    };
    match run(&call, exposed) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            let remedy = e
                .remedy
                .map(|remedy| format!("\nwhat to do: {}", plain::line(&remedy)))
                .unwrap_or_default();
            let _ = writeln!(
                std::io::stderr(),
                "error: {}{remedy}",
                plain::line(&e.message)
            );
            ExitCode::from(e.kind.exit_code())
        }
    }
}

fn run(call: &Invocation, exposed: Option<String>) -> Result<()> {
    let mut config = config::resolve(call.verb, &sources(call))?;
    config.warnings.extend(exposed);
    (config.restart, config.reverse) = (call.restart, call.reverse);
    match call.verb {
        Verb::Validate => outcome::checks(call, engine(&config, control::validate_command)?),
        Verb::Migrate => outcome::summary(call, &engine(&config, control::migrate)?),
        Verb::Verify => outcome::comparison(call, &engine(&config, control::verify_command)?),
        Verb::Status => outcome::status(call, &client(call, &config)?),
        Verb::Cutover => outcome::cutover(call, &client(call, &config)?, Reverse::Wanted),
        Verb::Cancel => cancel(call, &config),
        Verb::Pause => outcome::sentence(client(call, &config)?.pause(&asker(call))?),
        Verb::Resume => outcome::sentence(client(call, &config)?.resume()?),
        Verb::Extend => outcome::sentence(client(call, &config)?.extend()?),
        Verb::Throttle => throttle(call, &config),
        Verb::Prepare => outcome::prepared(call, &client(call, &config)?.prepare()?),
        Verb::Reverse => back(call, &config),
        Verb::Completions | Verb::Man => outcome::pages(call),
        Verb::Mirror => mirror(call),
        Verb::Recopy => recopy(call, &config),
    }
}

fn cancel(call: &Invocation, config: &Config) -> Result<()> {
    let left = "cancel the run recorded on the target";
    ask_or_work(
        call,
        config,
        (Reverse::Wanted, left),
        Client::cancel,
        control::cancel_command,
    )
}

fn back(call: &Invocation, config: &Config) -> Result<()> {
    match call.back.unwrap_or(Back::Status) {
        Back::Status => outcome::status(call, &client(call, config)?),
        Back::Cutover => outcome::cutover(call, &client(call, config)?, Reverse::Running),
        Back::Stop => {
            let left = "give up the way back recorded on the source";
            let meant = (Reverse::Running, left);
            ask_or_work(
                call,
                config,
                meant,
                Client::cancel,
                control::stop_reverse_command,
            )
        }
    }
}

fn recopy(call: &Invocation, config: &Config) -> Result<()> {
    let (shard, ns) = (call.shard.clone(), call.ns.clone());
    let ask = |client: &Client| client.recopy(shard.as_deref(), ns.as_deref());
    let work =
        |config, answering| control::restart_command(config, shard.clone(), ns.clone(), answering);
    let left = "work on the run recorded on the target";
    ask_or_work(call, config, (Reverse::Wanted, left), ask, work)
}

/// Asks the running process, which must go the way that is meant, or works on what is
/// `recorded` if none answers; `left` says what that does. Where the deployments are given, the
/// process that answers must work on their run: another may listen on the same port.
fn ask_or_work<F: Future<Output = Result<Option<String>>>>(
    call: &Invocation,
    config: &Config,
    (meant, left): (Reverse, &str),
    ask: impl Fn(&Client) -> Result<String>,
    recorded: impl FnOnce(Config, Option<String>) -> F,
) -> Result<()> {
    let client = client(call, config)?;
    let answer = client.status().map_err(|silent| {
        silent.remedy(format!(
            "run this on the host where `shardlift migrate` runs, with the same --api-port; if no process is left, give \
             --source and --target to {left}"
        ))
    });
    if call.api.is_some() || !config.has_deployments() {
        return answer.and_then(|now| {
            outcome::runs(&now, meant)?;
            outcome::sentence(ask(&client)?)
        });
    }
    // One that has ended answers for a moment, and does nothing any more.
    let answering = answer.ok().filter(|now| !now.is_final());
    let answering = answering.map(|now| now.run_id);
    let hint = answering.as_ref().map(|run| {
        format!(
            "; the process that answers on this host works on run {run}: give --api http://127.0.0.1:{} to ask it",
            config.api_port
        )
    });
    let worked = engine(config, |config| recorded(config, answering)).map_err(|e| match hint {
        Some(hint) => Error {
            remedy: e.remedy.clone().map(|remedy| remedy + &hint),
            ..e
        },
        None => e,
    });
    match worked? {
        Some(told) => outcome::sentence(told),
        None => outcome::sentence(ask(&client)?),
    }
}

/// Who asks, and why.
fn asker(call: &Invocation) -> String {
    let user = std::env::var("USER").unwrap_or_else(|_| "a user of this host".to_owned());
    match &call.why {
        Some(why) => format!("by {user}: {why}"),
        None => format!("by {user}"),
    }
}

/// Sets up log and runtime and runs one command of the engine in them.
fn engine<T, F: Future<Output = Result<T>>>(
    config: &Config,
    command: impl FnOnce(Config) -> F,
) -> Result<T> {
    logging::init(config.log_format, &config.log_level)?;
    tracing::info!("configuration: {}", config.describe());
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let runtime = tokio::runtime::Runtime::new()
        .map_err(|e| Error::new(Kind::Internal, format!("threads cannot be started: {e}")))?;
    // On the heap: moved about on the stack it would take a good part of it.
    let outcome = runtime.block_on(Box::pin(command(config.clone())));
    // Everything that matters has ended. The driver's own tasks panic when they
    // are taken down one before the other: they end with the process.
    std::mem::forget(runtime);
    outcome
}

/// The file of `mirror` is mongomirror's, not ours.
fn sources(call: &Invocation) -> Sources {
    let file = call.file.clone().filter(|_| call.verb != Verb::Mirror);
    Sources::of_process(file, call.flags.clone())
}

/// Becomes the `migrate` that the flags of mongomirror stand for.
fn mirror(call: &Invocation) -> Result<()> {
    let mut migrate = mirror::translate(&call.mirror, call.file.as_deref())?;
    let shown = format!("shardlift migrate {}", migrate.args.join(" "));
    let _ = writeln!(
        std::io::stderr(),
        "{}; cut over by `shardlift cutover`",
        plain::line(shown.trim_end())
    );
    if call.json {
        migrate.args.push("--json".to_owned());
    }
    let exposed = ["password", "destinationPassword"];
    let exposed = exposed.iter().any(|name| call.mirror.contains_key(*name));
    let failed = hide::start_migrate(migrate, exposed);
    Err(Error::internal(format!(
        "migrate cannot be started: {failed}"
    )))
}

/// Changes what is given as a flag, and shows how fast the run may go.
fn throttle(call: &Invocation, config: &Config) -> Result<()> {
    let given = |name, value| call.flags.contains_key(name).then_some(value);
    let copy_mb_s = given("copy_mb_s", config.copy_mb_s);
    let ops_s = given("ops_s", config.ops_s);
    outcome::sentence(client(call, config)?.throttle(copy_mb_s, ops_s)?)
}

fn client(call: &Invocation, config: &Config) -> Result<Client> {
    let here = || format!("http://127.0.0.1:{}", config.api_port);
    let url = call.api.clone().unwrap_or_else(here);
    Client::trusted(&url, config.api_token.clone(), &config.api_ca)
}
