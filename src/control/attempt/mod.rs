//! One attempt: works from the state recorded on the target as far as it gets. It ends
//! with the run or with a fault; then nothing of it is left running.

pub mod patience;
pub mod resume;
pub mod start;
pub mod watchdog;
pub mod lookout;
pub mod observers;
pub mod pause;
pub mod again;
pub mod drive;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::control::attempt::drive::Drive;
use crate::control::attempt::patience::Patience;
use crate::control::attempt::start::Running;
use crate::control::balancers;
use crate::control::cutover::{finish, routers};
use crate::control::layout::{databases, prepare};
use crate::control::open::Opened;
use crate::control::process::Process;
use crate::control::stop;
use crate::control::summary::Summary;
use crate::control::waiting;
use crate::control::write_block;
use crate::error::{Error, Kind, Result};
use crate::observe::api::request::Request;
use crate::observe::phase::Phase;
use crate::pair::run::Pair;
use crate::state::Stage;

/// How long the last checkpoints may take when a signal ends the process.
const LAST_CHECKPOINT: Duration = Duration::from_secs(3);

/// Runs the attempt, and reports the progress of each pair to `patience`.
pub async fn to_the_end(
    process: Process<'_>,
    requests: &mut mpsc::Receiver<Request>,
    patience: &mut Patience,
) -> Result<Summary> {
    let Process { opened, stop, .. } = process;
    let asked = async {
        opened.renew_lease().await?;
        recorded_stage(opened).await
    };
    let outcome = match stop::unless_stopped(requests, stop, "asking for the lease", asked).await? {
        Stage::Cancelled => {
            return Err(
                Error::new(Kind::Cancelled, "the run was cancelled by another process")
                    .remedy("`shardlift migrate --restart` wipes what was copied and starts over"),
            );
        }
        Stage::Finishing => finish_only(process, requests).await,
        stage => {
            let sides = &process.opened.sides;
            let prepared = Box::pin(start_pairs(process, stage));
            let prepared = waiting::told(process.run, "the pairs to start", Some(sides), prepared);
            let doing = "preparing the target";
            let running = stop::unless_stopped(requests, stop, doing, prepared).await?;
            drive(process, running, requests, patience).await
        }
    };
    if outcome.is_ok() {
        remove_spool(process).await;
    }
    outcome
}

async fn recorded_stage(opened: &Opened) -> Result<Stage> {
    let missing = || {
        Error::new(Kind::Refused, "the run's state is gone from the target").remedy(
            "something removed the database __shardlift there: start over with an empty target",
        )
    };
    let recorded = opened.stores.run.load().await?;
    Ok(recorded.ok_or_else(missing)?.stage)
}

/// An earlier attempt came past the point of no return.
async fn finish_only(
    process: Process<'_>,
    requests: &mut mpsc::Receiver<Request>,
) -> Result<Summary> {
    let why = "an earlier process came past the point of no return";
    process.run.enter(Phase::CuttingOver, why);
    finish::unless_stopped(process, requests).await?;
    routers::settle(&process.opened.sides.target, process.run).await;
    process.run.enter(Phase::Done, "what was left is restored");
    Ok(Summary::of(process.run, None, 0, 0))
}

/// Brings the target to where copying begins, and starts the pairs.
async fn start_pairs(process: Process<'_>, mut stage: Stage) -> Result<Running> {
    let Process {
        config,
        run,
        opened,
        ..
    } = process;
    let Opened { sides, stores, .. } = opened;
    // A cutover that did not come to its end.
    write_block::lift(&sides.source, &stores.run).await?;
    balancers::stop(sides).await?;
    databases::none_is_being_dropped(&sides.target).await?;
    if stage == Stage::Planning {
        run.enter(Phase::Layout, "both sides are fit: what to copy is planned");
        prepare::plan(config, sides, stores, &run.id()).await?;
        stage = Stage::Layout;
    }
    if stage == Stage::Layout {
        run.enter(Phase::Layout, "the target's collections are to be made");
        prepare::lay_out(sides, stores, &run.id()).await?;
    }
    let running = start::start(config, opened, run).await?;
    run.enter(Phase::Copying, "every pair is at work");
    Ok(running)
}

/// Drives the pairs as far as they go. None of their tasks is left after it.
async fn drive(
    process: Process<'_>,
    running: Running,
    requests: &mut mpsc::Receiver<Request>,
    patience: &mut Patience,
) -> Result<Summary> {
    let Running {
        pairs,
        mut tasks,
        ddl,
    } = running;
    let drive = Drive::new(process, &pairs, &mut tasks, ddl, requests);
    let outcome = drive.to_the_end().await;
    let is_over = pairs
        .iter()
        .any(|pair| pair.with_gate(|gate| gate.is_closed()));
    if !is_over && matches!(&outcome, Err(e) if e.kind == Kind::Stopped) {
        record_all(&pairs).await;
    }
    patience.saw(pairs.iter().map(|pair| pair.outcome()));
    for tasks in tasks {
        tasks.end().await;
    }
    outcome
}

async fn record_all(pairs: &[Arc<Pair>]) {
    let all = futures_util::future::try_join_all(pairs.iter().map(|pair| pair.record_all()));
    match tokio::time::timeout(LAST_CHECKPOINT, all).await {
        Ok(Ok(_)) => tracing::info!("stopped at a checkpoint"),
        Ok(Err(e)) => {
            tracing::warn!("the last checkpoint could not be recorded; an earlier one is used: {e}")
        }
        Err(_) => tracing::warn!("the last checkpoint took too long; an earlier one is used"),
    }
}

async fn remove_spool(process: Process<'_>) {
    let Process {
        config,
        run,
        opened,
        ..
    } = process;
    if let Err(e) = opened.remove_spool(config, run).await {
        run.warn(format!("the spool could not be removed: {e}"));
    }
}
