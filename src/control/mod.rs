//! Makes the decisions from validation to cutover, and moves no document. `migrate` is
//! the story of a whole run.

// Before, and beside.
pub mod gap;
pub mod run;
pub mod sides;
pub mod throttle;
pub mod open_ops;
pub mod waiting;
pub mod stores;
pub mod stop;
pub mod limits;
pub mod balancer;
pub mod balancers;
pub mod write_block;
pub mod held_back;
pub mod left_behind;
pub mod found_file;

// From the first question to the end.
pub mod validate;
pub mod layout;
pub mod across;
pub mod cutover;
pub mod recorded;
pub mod window;
pub mod phases;
pub mod open;
pub mod process;
pub mod reverse;
pub mod attempt;
pub mod summary;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use crate::cluster::catalog;
use crate::cluster::retry::Retry;
use crate::config::listen::Listen;
use crate::config::{Config, VerifyMode};
use crate::control::attempt::patience::Patience;
use crate::control::attempt::{again, pause};
use crate::control::cutover::prepare;
use crate::control::open::Opened;
use crate::control::process::Process;
use crate::control::recorded::{cancel, others, restart};
use crate::control::run::Run;
use crate::control::sides::Sides;
use crate::control::stop::{Stop, Turn};
use crate::control::summary::Summary;
use crate::error::{Error, Kind, Policy, Result};
use crate::observe::api::request::{Control, Limits, Request};
use crate::observe::phase::Phase;
use crate::observe::{api, display, mirror, report};
use crate::state::Reverse;
use crate::verify;

/// API requests that may wait.
const REQUESTS_QUEUE: usize = 16;

/// The answer to a cancel before this process holds a run.
const NOTHING_TAKEN_UP: &str = "this process ended before it took up a run, and nothing was changed: to cancel a run recorded \
    earlier, run `shardlift cancel` with its --source and --target";

/// Moves the source to the target: validate → layout → copy and follow → ready → cutover.
/// Resumes what an earlier process left. Returns when the cutover is done and the grace
/// time is over.
///
/// # Errors
/// By cause. The state recorded on the target stays, except after a cutover.
pub async fn migrate(config: Config) -> Result<Summary> {
    if !config.report.is_empty() {
        report::check(&config.report)?;
    }
    let run = Run::new();
    run.moves(config.source.to_string(), config.target.to_string());
    let stop = Stop::listen()?;
    run.limit(Some(config.copy_mb_s), Some(config.ops_s));
    let (requests, mut received) = mpsc::channel(REQUESTS_QUEUE);
    let reached: Reached = Arc::default();
    let control = offered(&config, &run, &reached, requests);
    let spool = config.spool_path().ok();
    let api = api::serve(&Listen::of(&config)?, control.clone(), spool).await?;
    tracing::info!("API on {}", api.url);
    let status_port = match config.http_status_port {
        0 => None,
        port => Some(mirror::serve(port, control.snapshot.clone()).await?),
    };
    let display = display::start(
        config.progress,
        Duration::from_secs(config.status_interval_s),
        control.snapshot,
    );
    let tell = |summary: Option<&Summary>| report(&config, &run, &api, summary);
    let outcome = there_and_back(&config, &run, &reached, &mut received, &stop, tell).await;
    stop.answer_cancel(Err(NOTHING_TAKEN_UP.to_owned()));
    if let Err(e) = &outcome {
        run.fail(Phase::after(e.kind), e.to_string());
    }
    api.keep_history();
    tell(outcome.as_ref().ok());
    api.linger().await;
    if let (Some(_), Err(e)) = (&status_port, &outcome) {
        tracing::error!("{e}; the process stays up to report it, until Ctrl-C");
        stop.asked().await;
    }
    drop(display);
    outcome
}

/// Both sides, once the run is opened.
type Reached = Arc<Mutex<Option<Sides>>>;

/// What the API may ask at any time, and where it sends what must wait for its turn.
fn offered(
    config: &Config,
    run: &Arc<Run>,
    reached: &Reached,
    requests: mpsc::Sender<Request>,
) -> Control {
    let of = run.clone();
    let snapshot = Arc::new(move || of.snapshot());
    let of = run.clone();
    let limit = move |limits: Limits| {
        of.limit(limits.copy_mb_s, limits.ops_s);
        let told = match &of.throttled().lines()[..] {
            [] => "nothing is throttled".to_owned(),
            lines => lines.join("; "),
        };
        tracing::info!("{told}");
        Ok(told)
    };
    let (of, reached, verify) = (run.clone(), reached.clone(), config.verify);
    let prepare = move || {
        let (run, reached) = (of.clone(), reached.clone());
        let look = async move {
            let sides = reached.lock().clone();
            let sides = sides.ok_or("not yet: the run has not begun")?;
            Ok::<_, String>(prepare::look(&run, &sides, verify).await)
        };
        look.boxed()
    };
    Control {
        snapshot,
        limit: Arc::new(limit),
        prepare: Arc::new(prepare),
        requests,
    }
}

/// Writes the report of the way that has ended, if one is wanted.
fn report(config: &Config, run: &Run, api: &api::Server, summary: Option<&Summary>) {
    if config.report.is_empty() {
        return;
    }
    let way = report::Way {
        status: run.snapshot(),
        summary: serde_json::to_value(summary).unwrap_or_default(),
        history: api.history(),
    };
    let written = report::write(&config.report, way, config.settings());
    written.unwrap_or_else(|e| tracing::warn!("{e}"));
}

/// The migration, and its way back if that is wanted. `tell`: what the first of both came to.
async fn there_and_back(
    config: &Config,
    run: &Arc<Run>,
    reached: &Reached,
    requests: &mut mpsc::Receiver<Request>,
    stop: &Stop,
    tell: impl Fn(Option<&Summary>),
) -> Result<Summary> {
    let looked = Box::pin(is_way_back_left(config));
    let may_be_done = config.reverse && !config.restart;
    let is_done = may_be_done && stop::unless_ended(requests, stop, "connecting", looked).await?;
    if !is_done {
        let summary = migrate_observed(config, run, reached, requests, stop).await?;
        let mut retry = Retry::new(config.away_max());
        let looked = Box::pin(retry.until_it_works(|| is_way_back_left(config)));
        if !run.goes_back() || !stop::unless_ended(requests, stop, "connecting", looked).await? {
            return Ok(summary);
        }
        for line in summary.to_string().lines() {
            tracing::info!("{line}");
        }
        tell(Some(&summary));
    }
    run.turn_round();
    let back = migrate_observed(&config.turned(), run, reached, requests, stop).await;
    back.map_err(reverse::with_its_remedy)
}

async fn is_way_back_left(config: &Config) -> Result<bool> {
    let sides = Sides::connect(config).await?;
    let is_left = reverse::is_left(&sides).await?;
    if is_left {
        recorded::sweep(&sides.target).await;
    }
    Ok(is_left)
}

async fn migrate_observed(
    config: &Config,
    run: &Arc<Run>,
    reached: &Reached,
    requests: &mut mpsc::Receiver<Request>,
    stop: &Stop,
) -> Result<Summary> {
    let opened = stop::unless_ended(
        requests,
        stop,
        "connecting and validating",
        open::open(config, run),
    )
    .await?;
    let window = opened.window.clone();
    stop.extends_by(move |reply| window.extend(reply));
    *reached.lock() = Some(opened.sides.clone());
    run.take_way(opened.reverse);
    let process = Process {
        config,
        run,
        opened: &opened,
        stop,
    };
    let working = async {
        tokio::select! {
            outcome = recover(process, requests) => outcome,
            lost = opened.keep_lease() => Err(lost),
            never = opened.window.answer(run, &opened.stores.run) => match never {},
            never = validate::judge_again(&opened.sides), if opened.is_taken_up => match never {},
            never = phases::keep(run, &opened.stores.run) => match never {},
        }
    };
    let panicked = |_| {
        Err(Error::internal(
            "control panicked; its message is on stderr",
        ))
    };
    let outcome = AssertUnwindSafe(working)
        .catch_unwind()
        .await
        .unwrap_or_else(panicked);
    if let Err(e) = &outcome {
        phases::end(run, &opened.stores.run, e).await;
        leave(process, e).await;
    }
    opened.release_lease().await;
    outcome
}

/// Attempts, each from the last checkpoint, until one is done or cannot go on.
async fn recover(process: Process<'_>, requests: &mut mpsc::Receiver<Request>) -> Result<Summary> {
    let Process {
        config, run, stop, ..
    } = process;
    let mut patience = Patience::new(config.away_max());
    loop {
        // On the heap, as all that is large and polled from deep down.
        let attempt = Box::pin(attempt::to_the_end(process, requests, &mut patience));
        let outcome = attempt.await;
        let mut ended = match outcome {
            Ok(summary) => return Ok(summary),
            Err(error) if error.kind.policy() == Policy::Retry => {
                run.recovers_from(&error.message);
                let waiting = patience.pause(error);
                stop::unless_stopped(requests, stop, "waiting for a server", waiting).await
            }
            Err(error) => Err(error),
        };
        while let Err(error) = ended {
            let turn = stop.take_turn().filter(|_| error.kind == Kind::Stopped);
            ended = match turn.ok_or(error)? {
                Turn::Pause(by) => pause::hold(process, requests, by).await,
                Turn::Recopy(asked, reply) => again::copy(process, requests, &asked, reply).await,
            };
        }
    }
}

/// Cleans up, and reports, when a run ends unfinished. While it can be resumed the
/// balancers stay off: chunks must not move until then.
async fn leave(process: Process<'_>, error: &Error) {
    let Process {
        run, opened, stop, ..
    } = process;
    if error.kind == Kind::Cancelled {
        let Opened {
            sides,
            stores,
            balancers,
            reverse,
            ..
        } = opened;
        let answer = if *reverse == Reverse::Itself {
            reverse::stop::by_its_process(process).await
        } else {
            cancel::by_its_process(sides, &stores.run, balancers).await
        };
        if let Err(not_done) = &answer {
            run.warn(not_done.clone());
        }
        stop.answer_cancel(answer);
    } else if opened.balancers.any_was_on() {
        let gives_up = if opened.reverse == Reverse::Itself {
            "give the way back up by `shardlift reverse stop`"
        } else {
            "cancel the run with `shardlift cancel`"
        };
        run.warn(format!(
            "the balancers stay off: run the same command to resume, or {gives_up}, which restores them"
        ));
    }
}

/// Runs every check, also after one has failed, and changes nothing.
pub async fn validate_command(config: Config) -> Result<validate::Validation> {
    let (source, target) = Sides::connect_each(&config).await;
    let others = match (&source, &target) {
        (Ok(source), Ok(target)) => Some(others::check(&config, source, target).await),
        _ => None,
    };
    let mut validation = validate::all(source, target, &config).await;
    others.into_iter().for_each(|check| validation.join(check));
    Ok(validation)
}

/// Gives up the run that is recorded on the target, when no process is left.
/// None if it is `answering`, the run of the process that answers on this host.
pub async fn cancel_command(config: Config, answering: Option<String>) -> Result<Option<String>> {
    let sides = match Sides::connect(&config).await {
        Err(e) if matches!(e.kind, Kind::Connect | Kind::Transient) => {
            return Err(cancel::unreachable(&config, e).await);
        }
        sides => sides?,
    };
    cancel::cancel(&sides.source, &sides.target, answering.as_deref()).await
}

/// Gives up the way back that is recorded on the source, when no process is left.
/// None if it is `answering`, the run of the process that answers on this host.
pub async fn stop_reverse_command(
    config: Config,
    answering: Option<String>,
) -> Result<Option<String>> {
    reverse::stop::command(config, answering.as_deref()).await
}

/// Makes the recorded run copy a source shard, one collection of it, or one of all shards, again.
/// None if it is `answering`, the run of the process that answers on this host.
pub async fn restart_command(
    config: Config,
    shard: Option<String>,
    ns: Option<String>,
    answering: Option<String>,
) -> Result<Option<String>> {
    let ns = ns.map(|ns| restart::namespace(&ns)).transpose()?;
    let sides = Sides::connect(&config).await?;
    let (source, target) = (&sides.source, &sides.target);
    let run = recorded::load(source, target).await?;
    if answering == Some(run.id) {
        return Ok(None);
    }
    let cut = layout::prepare::cut(&config);
    let asked = (shard.as_deref(), ns.as_ref());
    let told = restart::restart(source, target, asked, cut).await?;
    Ok(Some(told))
}

/// Compares both sides now. Means something only while nobody writes.
pub async fn verify_command(config: Config) -> Result<verify::Report> {
    let sides = Sides::connect(&config).await?.map(&config.map)?;
    let catalog = catalog::read(&sides.source).await?;
    let depth = match config.verify {
        VerifyMode::Digests | VerifyMode::Full => verify::Depth::Digests,
        VerifyMode::Counts => verify::Depth::Counts,
        VerifyMode::None => {
            return Err(Error::new(Kind::Config, "verify is `none`")
                .remedy("give --verify digests or counts"));
        }
    };
    let job = verify::Job {
        source: &sides.source,
        target: &sides.target,
        catalog: &catalog,
        pairs: &sides.pairs,
        concurrency: config.verify_concurrency,
        depth,
    };
    verify::run(&job).await
}
