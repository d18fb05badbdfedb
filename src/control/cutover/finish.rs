//! The irreversible part of a cutover, and the watch over late writes after it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use crate::cluster::catalog::capped::Limits;
use crate::cluster::catalog::{EXPIRY, PRE_IMAGES};
use crate::cluster::retry::Retry;
use crate::config::Config;
use crate::control::across::ddl::Coordinator;
use crate::control::balancers;
use crate::control::held_back::{self, only};
use crate::control::open::Opened;
use crate::control::process::Process;
use crate::control::reverse;
use crate::control::run::Run;
use crate::control::stop;
use crate::control::write_block;
use crate::error::{Policy, Result};
use crate::failpoint;
use crate::observe::api::request::Request;
use crate::pair::run::Pair;
use crate::position::Position;
use crate::state::{HeldBack, OptionsOf, Reverse, Stage};

/// Records that only the finish is left, and what it has to restore. The gates
/// are closed for good.
pub async fn begin(opened: &Opened, coordinator: &Coordinator, pairs: &[Arc<Pair>]) -> Result<()> {
    // A process that was frozen meanwhile may have been replaced.
    opened.renew_lease().await?;
    let mut held_back: Vec<HeldBack> = Vec::new();
    for (ns, indexes) in pairs.iter().flat_map(|pair| pair.held_back().into_values()) {
        held_back.extend(indexes.into_iter().map(|options| HeldBack {
            ns: ns.clone(),
            of: OptionsOf::Index,
            options,
        }));
    }
    let had_room = opened.sides.target.dialect.writes.trims_come;
    for collection in coordinator.laid_out().into_values() {
        let options = [EXPIRY, PRE_IMAGES].map(|name| only(&collection.options, name));
        let limits = Limits::of(&collection.options).filter(|_| had_room);
        let options = options.into_iter().chain(limits.map(Limits::change));
        held_back.extend(options.filter(|o| !o.is_empty()).map(|options| HeldBack {
            ns: collection.ns.clone(),
            of: OptionsOf::Collection,
            options,
        }));
    }
    // Pairs have the same of a sharded collection.
    held_back.sort_by(|a, b| (&a.ns, a.options.as_bytes()).cmp(&(&b.ns, b.options.as_bytes())));
    held_back.dedup();
    opened.stores.run.save_held_back(&held_back).await?;
    opened.stores.run.set_stage(Stage::Finishing).await?;
    failpoint::hit("cutover-finishing");
    Ok(())
}

/// Finishes until it is done or a signal comes. The next start goes on with it: too late
/// for anything else.
pub async fn unless_stopped(
    process: Process<'_>,
    requests: &mut mpsc::Receiver<Request>,
) -> Result<()> {
    let Process {
        config,
        run,
        opened,
        stop,
    } = process;
    tokio::select! {
        biased;
        done = finish(config, opened, run) => done,
        () = stop.asked() => Err(stop::stopped("completing the cutover")),
        () = stop::refuse(requests, "too late: the cutover is being completed") => Ok(()),
    }
}

/// The irreversible part. Every step may be done twice; the state goes last.
async fn finish(config: &Config, opened: &Opened, run: &Run) -> Result<()> {
    let mut retry = Retry::new(config.away_max());
    // IMPORTANT: first. What the target deletes from then on by itself is followed back.
    let follows_back = opened.reverse == Reverse::Wanted
        && retry
            .until_it_works(|| reverse::prepare(opened, run))
            .await?;
    retry.until_it_works(|| restore_all(opened, run)).await?;
    failpoint::hit("cutover-expiries");
    tracing::info!("cutover: expiries and other options held back are restored");
    if opened.reverse == Reverse::Itself {
        retry.until_it_works(|| open_to_users(opened, run)).await?;
        reverse::is_over(run);
    }
    if !follows_back {
        balancers::restore(&opened.sides, &opened.balancers, run).await;
    }
    failpoint::hit("cutover-balancers");
    tracing::info!("cutover: only the run's state is left to remove");
    retry.until_it_works(|| opened.stores.remove()).await?;
    failpoint::hit("cutover-removed");
    Ok(())
}

/// Of a way back: users may write to the old source again.
async fn open_to_users(opened: &Opened, run: &Run) -> Result<()> {
    match write_block::lift(&opened.sides.target, &opened.stores.run).await {
        Err(e) if e.kind.policy() != Policy::Retry => {
            run.warn(format!(
                "{e}; run `db.adminCommand({{setUserWriteBlockMode: 1, global: false}})` there by hand"
            ));
            Ok(())
        }
        lifted => lifted,
    }
}

/// Gives indexes and collections back what was held back, through the target's
/// router. What cannot be is a loud warning: the data is there, and the command
/// is named.
async fn restore_all(opened: &Opened, run: &Run) -> Result<()> {
    let mut held_back = opened.stores.run.load_held_back().await?;
    // IMPORTANT: pre-images last: what sets another option may switch them off.
    let of_images = |held_back: &HeldBack| {
        held_back
            .options
            .get(PRE_IMAGES)
            .is_ok_and(|on| on.is_some())
    };
    held_back.sort_by_key(of_images);
    held_back::set(&opened.sides.target, &held_back, run).await
}

/// Reports what users wrote to the source until now, by pair.
pub fn report_late_so_far(pairs: &[Arc<Pair>], markers: &[Position], run: &Run) -> Vec<bool> {
    let late = pairs.iter().zip(markers).map(|(pair, marker)| {
        let ns = pair.changed_since(*marker);
        if let Some(ns) = &ns {
            tell_late(pair, ns, run);
        }
        ns.is_some()
    });
    late.collect()
}

fn tell_late(pair: &Pair, ns: &str, run: &Run) {
    run.warn(format!(
        "LATE WRITE: the source shard of {} took a write to {ns} after the cutover; it is NOT on the target: stop what still writes to the source",
        pair.name
    ));
}

/// Keeps the tails going for `grace` after the cutover and reports what users
/// still wrote to the source.
pub async fn report_late_writes(
    pairs: &[Arc<Pair>],
    markers: &[Position],
    grace: Duration,
    run: &Run,
) {
    let end = Instant::now() + grace;
    let (mut late, mut expired) = (vec![false; pairs.len()], vec![false; pairs.len()]);
    while Instant::now() < end {
        for (i, (pair, marker)) in pairs.iter().zip(markers).enumerate() {
            if let Some(ns) = pair
                .changed_since(*marker)
                .filter(|_| !std::mem::replace(&mut late[i], true))
            {
                tell_late(pair, &ns, run);
            }
            if pair.expired_since(*marker) && !std::mem::replace(&mut expired[i], true) {
                run.warn(format!(
                    "after the cutover the source shard of {} deleted documents of a collection with an expiry: by itself, as the target will too, or by a LATE client",
                    pair.name
                ));
            }
        }
        tokio::time::sleep(Duration::from_millis(50).min(grace)).await;
    }
}
