//! Giving up a recorded run: by the process that works on it, or while none does. The
//! answer says exactly what was put back.
//!
//! What was copied stays; `wipe` is what drops it.

use std::time::Duration;

use crate::cluster::connect::connect;
use crate::cluster::deployment::{Deployment, Side, Topology};
use crate::cluster::retry::within;
use crate::config::Config;
use crate::control::balancer;
use crate::control::balancers::Balancers;
use crate::control::found_file::FoundFile;
use crate::control::layout::zones;
use crate::control::recorded;
use crate::control::sides::Sides;
use crate::control::write_block;
use crate::error::{Error, Kind, Result};
use crate::observe::api::request::Answer;
use crate::state::run_store::RunStore;
use crate::state::{DATABASE, RunState, Stage};

/// How long the target may take to record it and to forget temporary zones, and a router to
/// start its balancer: who asked waits for 30 s at most.
const RECORD_WAIT: Duration = Duration::from_secs(15);
const ZONES_WAIT: Duration = Duration::from_secs(4);
const RESTORE_WAIT: Duration = Duration::from_secs(10);

/// How what was copied is left on the target.
const LEFT: &str = "stays on the target, without what only a cutover sets (expiries, `prepareUnique`, the sizes of \
    capped collections, pre-images: `collMod` sets them)";

/// Marks the recorded run as cancelled, puts both balancers back as it found
/// them, and returns what stays, as a sentence. May be repeated.
///
/// Does nothing and returns None if the run is `answering`: then a process works on it,
/// and must be asked instead.
///
/// # Errors
/// `Refused` while a process works on the target, if no run of these two
/// deployments is recorded, or past the point of no return of its cutover.
pub async fn cancel(
    source: &Deployment,
    target: &Deployment,
    answering: Option<&str>,
) -> Result<Option<String>> {
    let run = recorded::load(source, target).await?;
    recorded::is_no_way_back(&run)?;
    if answering == Some(run.id.as_str()) {
        return Ok(None);
    }
    let lease = recorded::lease(target, &run.id, "shardlift cancel").await?;
    let cancelled = give_up(source, target).await;
    let released = lease.release().await;
    let run = cancelled?;
    released?;
    Ok(Some(format!(
        "run {} is cancelled and both balancers are as it found them; what it copied {LEFT}, with its \
         state in `{DATABASE}`: `shardlift migrate --restart` drops both and starts over",
        run.id
    )))
}

async fn give_up(source: &Deployment, target: &Deployment) -> Result<RunState> {
    // Again, now that nobody else changes it.
    let run = recorded::load(source, target).await?;
    recorded::may_be_undone(&run)?;
    // IMPORTANT: first. Once a balancer runs nobody may go on with this run.
    RunStore::new(recorded::first(target))
        .set_stage(Stage::Cancelled)
        .await?;
    write_block::lift(source, &RunStore::new(recorded::first(target))).await?;
    zones::forget_temporary(target).await?;
    match put_back(source, target, &Balancers::recorded(&run)).await {
        Ok(()) => Ok(run),
        Err(left) => Err(Error::new(
            Kind::Server,
            format!("run {} is cancelled, but {}", run.id, left.message),
        )
        .remedy(left.remedy.unwrap_or_default())),
    }
}

/// Puts back whatever can be.
///
/// # Errors
/// Says which balancer is not as it was found, and the command for it.
pub async fn put_back(source: &Deployment, target: &Deployment, found: &Balancers) -> Result<()> {
    let (a, b) = tokio::join!(
        within(
            RESTORE_WAIT,
            "the source's router",
            balancer::restore(source, &found.source)
        ),
        within(
            RESTORE_WAIT,
            "the target's router",
            balancer::restore(target, &found.target)
        ),
    );
    let left: Vec<(Side, Error)> = [(Side::Source, a), (Side::Target, b)]
        .into_iter()
        .filter_map(|(side, put)| Some((side, put.err()?)))
        .collect();
    if left.is_empty() {
        return Ok(());
    }
    let found = left.iter().map(|(side, e)| {
        format!(
            "the balancer of the {side}, which was on, stays off: {}",
            e.message
        )
    });
    let sides: Vec<String> = left.iter().map(|(side, _)| format!("the {side}")).collect();
    let by_hand = format!(
        "run `sh.startBalancer()` on a mongos of {}",
        sides.join(" and of ")
    );
    Err(Error::new(Kind::Server, found.collect::<Vec<_>>().join("; ")).remedy(by_hand))
}

/// Cancels the run in the process that works on it. Returns exactly what is put back,
/// what is not, and what to do about that.
pub async fn by_its_process(sides: &Sides, run: &RunStore, found: &Balancers) -> Answer {
    // IMPORTANT: first. Once a balancer runs nobody may go on with this run.
    let recorded = run.set_stage(Stage::Cancelled);
    if let Err(e) = within(RECORD_WAIT, "the target", recorded).await {
        return Err(format!(
            "the run is NOT recorded as cancelled on the target ({}), and no balancer was restored{}; when the target \
             is back, run `shardlift cancel` with the same --source and --target; {}",
            e.message,
            were(found.source.enabled),
            if_gone(found.source.enabled),
        ));
    }
    let zones = within(
        ZONES_WAIT,
        "the target's router",
        zones::forget_temporary(&sides.target),
    )
    .await;
    let lifted = within(
        ZONES_WAIT,
        "the source's router",
        write_block::lift(&sides.source, run),
    )
    .await;
    let put_back = put_back(&sides.source, &sides.target, found).await;
    let left: Vec<String> = [put_back.err(), zones.err().map(zones_left), lifted.err()]
        .into_iter()
        .flatten()
        .map(|e| e.to_string())
        .collect();
    match (left.is_empty(), found.any_was_on()) {
        (true, true) => Ok(format!(
            "cancelled: the balancers are as the run found them; what was copied {LEFT}"
        )),
        (true, false) => Ok(format!("cancelled: what was copied {LEFT}")),
        (false, _) => Err(format!("the run is cancelled, but {}", left.join("; and "))),
    }
}

fn zones_left(e: Error) -> Error {
    Error::new(Kind::Server, format!("zones named `__shardlift…` may be left on the target: {}", e.message))
        .remedy("`shardlift migrate --restart` drops them, or run `shardlift cancel` again with --source and --target")
}

/// The error if one side cannot be reached (`e`): what is left undone, and what to do by
/// hand.
pub async fn unreachable(config: &Config, e: Error) -> Error {
    let source = connect(
        Side::Source,
        config.source.expose(),
        Duration::from_secs(config.server_timeout_s),
    )
    .await;
    let Ok(source) = source else {
        return e.context("nothing is cancelled, and no balancer was restored");
    };
    let shards: Vec<String> = source.shards.iter().map(|shard| shard.id.clone()).collect();
    let noted = config
        .spool_path()
        .map(|spool| FoundFile::all(&spool, &shards))
        .unwrap_or_default();
    let noted = noted.last();
    let found = match noted {
        Some(noted) => format!(
            "nothing is cancelled, and no balancer was restored: run {}, noted on this host{}",
            noted.run,
            were(noted.source)
        ),
        None if source.topology == Topology::Sharded => {
            "nothing is cancelled, and no balancer was restored; whether the source's was on is not noted on this host"
                .to_owned()
        }
        None => "nothing is cancelled".to_owned(),
    };
    let sharded = (source.topology == Topology::Sharded).then_some(true);
    let gone = if_gone(noted.map_or(sharded, |noted| noted.source));
    let back = "run the same command again when the target is back";
    Error {
        remedy: Some(format!("{back}; {gone}")),
        ..e.context(found)
    }
}

fn were(source_enabled: Option<bool>) -> &'static str {
    match source_enabled {
        Some(true) => ", and the source's was on when the run began",
        Some(false) => ", and the source's was off when the run began",
        None => "",
    }
}

/// What to do if the target is gone for good.
fn if_gone(source_enabled: Option<bool>) -> &'static str {
    match source_enabled {
        Some(true) => {
            "if it is gone for good, run `sh.startBalancer()` on a mongos of the source, and never resume this run"
        }
        Some(false) | None => "if it is gone for good, nothing is left to do on the source",
    }
}
