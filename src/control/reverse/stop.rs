//! Giving the way back up: both sides stay as they are, balancers are put back as the first
//! run found them, and nothing of ours is left on the old source.

use crate::cluster::deployment::Side;
use crate::config::Config;
use crate::control::balancers::Balancers;
use crate::control::layout::zones;
use crate::control::process::Process;
use crate::control::recorded::{self, cancel};
use crate::control::reverse::expiries;
use crate::control::sides::Sides;
use crate::control::stores::Stores;
use crate::control::write_block;
use crate::error::{Error, Kind, Result};
use crate::observe::api::request::Answer;
use crate::state::run_store::RunStore;
use crate::state::{Reverse, Stage};

/// Gives it up in the process that works on it; none of its pairs runs any more.
pub async fn by_its_process(process: Process<'_>) -> Answer {
    let Process {
        config,
        run,
        opened,
        ..
    } = process;
    let told = give_up(&opened.sides, &opened.stores, &opened.balancers).await;
    if let Err(e) = opened.remove_spool(config, run).await {
        run.warn(format!("the spool could not be removed: {e}"));
    }
    told.map_err(|e| {
        format!("{e}; `shardlift reverse stop` with --source and --target tries again")
    })
}

/// Gives up the one that is recorded on the source, when no process is left. Does nothing and
/// returns None if it is `answering`: then a process works on it, and must be asked instead.
///
/// # Errors
/// `Refused` while a process works on it, if none is recorded, or past the point of no return
/// of its cutover.
pub async fn command(config: Config, answering: Option<&str>) -> Result<Option<String>> {
    let mut sides = Sides::connect(&config.turned()).await?;
    let none = || {
        Error::new(Kind::Refused, "no way back is recorded on the source")
            .remedy("check --source and --target: they are those of the first `migrate --reverse`")
    };
    let run = recorded::find(&sides.source, &sides.target).await?;
    let run = run
        .filter(|run| run.reverse == Reverse::Itself)
        .ok_or_else(none)?;
    if answering == Some(run.id.as_str()) {
        return Ok(None);
    }
    recorded::may_be_undone(&run)?;
    is_begun(&sides).await?;
    let lease = recorded::lease(&sides.target, &run.id, "shardlift reverse stop").await?;
    sides.pairs = run.pairs.clone();
    let stores = Stores::new(&sides, &run.id);
    let given_up = give_up(&sides, &stores, &Balancers::recorded(&run)).await;
    if let Err(e) = lease.release().await {
        tracing::warn!("the lease could not be released; it expires by itself: {e}");
    }
    given_up.map(Some)
}

/// # Errors
/// `Refused` while the run is still to be completed whose way back it is.
async fn is_begun(sides: &Sides) -> Result<()> {
    let there = RunStore::new(recorded::first(&sides.source)).load().await?;
    let Some(there) = there.filter(|there| there.stage != Stage::Cancelled) else {
        return Ok(());
    };
    let found = format!("run {}, whose way back this is, is not over", there.id);
    Err(Error::new(Kind::Refused, found)
        .remedy("complete it by the same `shardlift migrate --reverse`, or cancel it, first"))
}

async fn give_up(sides: &Sides, stores: &Stores, found: &Balancers) -> Result<String> {
    let was = stores.run.load().await?.map(|run| run.stage);
    // IMPORTANT: first. Once a balancer runs nobody may go on with it.
    stores.run.set_stage(Stage::Cancelled).await?;
    write_block::lift(&sides.source, &stores.run).await?;
    zones::forget_temporary(&sides.target).await?;
    cancel::put_back(&sides.source, &sides.target, found).await?;
    let held_back = expiries::held_back_now(&sides.source, &stores.run).await?;
    let mut held_back = expiries::told(&held_back);
    if was == Some(Stage::Planning) {
        // Nothing was held back yet.
        held_back.clear();
    }
    let blocked = stores.run.load_write_block(Side::Target).await?;
    let mut told =
        "the way back is given up: both sides stay as they are, and nobody follows any more"
            .to_owned();
    if found.any_was_on() {
        told += "; the balancers are as they were found";
    }
    if blocked {
        told += "; the old source still refuses users' writes: `db.adminCommand({setUserWriteBlockMode: 1, global: false})` takes that back";
    }
    if !held_back.is_empty() {
        told += &format!(
            "; there expiries and the sizes of capped collections stay held back, until you run {}",
            held_back.join("; ")
        );
    }
    // IMPORTANT: before it is forgotten.
    tracing::warn!("{told}");
    stores.remove().await?;
    Ok(told)
}
