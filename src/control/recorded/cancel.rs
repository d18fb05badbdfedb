//! Giving up a recorded run: by the process that works on it, or while none does. The
//! answer says exactly what was put back.
//!
//! What was copied stays; `wipe` is what drops it.

use std::time::Duration;

use crate::cluster::connect::connect;
use crate::cluster::deployment::{Deployment, Side, Topology};
use crate::cluster::retry::within;
use crate::config::Config;
use crate::control::balancer::{self, Found, back};
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
    let told = left.iter().map(|(side, e)| {
        format!(
            "the balancer of the {side} is not as it was found: {}",
            e.message
        )
    });
    let by_hand = left.iter().map(|(side, _)| {
        let found = match side {
            Side::Source => &found.source,
            Side::Target => &found.target,
        };
        let commands = back::listed(&back::by_hand(found, None));
        format!("run {commands} on a mongos of the {side}")
    });
    let by_hand = by_hand.collect::<Vec<_>>().join("; and ");
    Err(Error::new(Kind::Server, told.collect::<Vec<_>>().join("; ")).remedy(by_hand))
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
            were(&found.source),
            if_gone(&sides.source, &found.source).await,
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
    let (found, gone) = match noted.last() {
        Some(noted) => (
            format!(
                "nothing is cancelled, and no balancer was restored: run {}, noted on this host{}",
                noted.run,
                were(&noted.source())
            ),
            if_gone(&source, &noted.source()).await,
        ),
        None if source.topology == Topology::Sharded => (
            "nothing is cancelled, and no balancer was restored; how the source's was is not noted on this host"
                .to_owned(),
            "if it is gone for good and the source's balancer was on, run `sh.startBalancer()` on a mongos of it (up to \
             6.0.5 that switches auto-split on, too), and never resume this run; the log of the run's first process \
             says how it was"
                .to_owned(),
        ),
        None => (
            "nothing is cancelled".to_owned(),
            NOTHING_LEFT.to_owned(),
        ),
    };
    let back = "run the same command again when the target is back";
    Error {
        remedy: Some(format!("{back}; {gone}")),
        ..e.context(found)
    }
}

fn were(source: &Found) -> String {
    let state = source.state();
    state.map_or_else(String::new, |state| {
        format!(", and the source's was {state} when the run began")
    })
}

const NOTHING_LEFT: &str = "if it is gone for good, nothing is left to do on the source";

/// What to do if the target is gone for good.
async fn if_gone(source: &Deployment, found: &Found) -> String {
    let commands = balancer::by_hand(source, found).await;
    let known = found.enabled.is_none() || found.settings.is_some();
    gone(&commands, known)
}

/// `known` are the settings as found.
fn gone(commands: &[String], known: bool) -> String {
    let also = if known {
        ""
    } else {
        " (an older release began the run and did not note its mode nor auto-split, which up to 6.0.5 is switched \
         with the balancer: set them as they were)"
    };
    match commands {
        [] => format!("{NOTHING_LEFT}{also}"),
        commands => format!(
            "if it is gone for good, run {} on a mongos of the source{also}, and never resume this run",
            back::listed(commands)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_the_target_each_command_is_named_or_that_none_is_needed() {
        let commands = ["sh.startBalancer()".to_owned(), "b".to_owned()];
        assert_eq!(gone(&[], true), NOTHING_LEFT);
        assert!(gone(&[], false).contains("older release"));
        let told = gone(&commands, true);
        assert!(
            told.contains("`sh.startBalancer()`, then `b` on a mongos of the source, and never")
        );
        let state = |enabled, mode| {
            let row = bson::rawdoc! {"_id": "balancer", "mode": mode};
            were(&Found {
                enabled,
                settings: Some(vec![row]),
            })
        };
        let rows = [
            (Some(true), "full", "the source's was on"),
            (Some(false), "off", "the source's was off"),
            (Some(false), "autoSplitOnly", "was in mode autoSplitOnly"),
        ];
        for (enabled, mode, expect) in rows {
            assert!(state(enabled, mode).contains(expect), "{expect}");
        }
        assert_eq!(state(None, "full"), "");
    }
}
