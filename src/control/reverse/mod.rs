//! The way back: after the cutover the target is followed back to the old source, so that
//! users can return to it with all they wrote since.
//!
//! It is a run like others, of the same engine, with its sides turned round and its state on
//! the old source. It begins where copying would be done: at the **fence**, a position in the
//! oplog of each shard of the target, taken after the proof and before anybody writes there.
//!
//! | step of `prepare` | if it ends here |
//! |---|---|
//! | the reverse is recorded on the old source, with what expires there | it is done again |
//! | expiries of the old source are held back (R10) | the same |
//! | the target is listed, with the fence; its collections are those of the old source | the same |
//! | users' writes to the old source are refused, where our user may write nevertheless | the same |
//! | the reverse is recorded as whole | the cutover goes on |
//!
//! Both sides are proven equal, but the old source may have expired documents after that. So
//! collections with an expiry begin as if their copy had broken off at the fence: what the old
//! source lacks is copied again, with every op from there on held (R6).

pub mod expiries;
pub mod plan;
pub mod stop;

use crate::cluster::deployment::{Deployment, Side};
use crate::control::held_back;
use crate::control::open::Opened;
use crate::control::recorded;
use crate::control::run::Run;
use crate::control::sides::Sides;
use crate::control::stores::Stores;
use crate::control::validate;
use crate::control::write_block;
use crate::error::{Error, Policy, Result};
use crate::failpoint;
use crate::state::run_store::RunStore;
use crate::state::{Reverse, RunState, Stage};

/// Id of the reverse of a run.
fn id_of(run: &str) -> String {
    format!("{run}-reverse")
}

/// Prepares the way back of a run whose cutover is proven. Returns false, with a loud
/// warning, if there is none: that does not keep the cutover. May be repeated.
///
/// # Errors
/// What may pass.
pub async fn prepare(opened: &Opened, run: &Run) -> Result<bool> {
    let sides = opened.sides.turned();
    let stores = Stores::new(&sides, &id_of(&run.id()));
    match begin(opened, run, &sides, &stores).await {
        Ok(()) => Ok(true),
        Err(e) if e.kind.policy() == Policy::Retry => Err(e),
        Err(e) => {
            run.warn(format!(
                "there is NO way back, and the cutover goes on without: {e}"
            ));
            take_back(&sides, &stores, run).await?;
            Ok(false)
        }
    }
}

async fn begin(opened: &Opened, run: &Run, sides: &Sides, stores: &Stores) -> Result<()> {
    match stores.run.load().await? {
        Some(recorded) if recorded.id == id_of(&run.id()) => {
            if recorded.stage != Stage::Planning {
                return Ok(());
            }
        }
        _ => {
            let forward = opened.stores.run.load().await?;
            let forward = forward.ok_or_else(|| Error::internal("the run is not recorded"))?;
            stores.run.create(&turned(forward, sides)).await?;
        }
    }
    failpoint::hit("reverse-recorded");
    let expiring = expiries::hold(&sides.target, &stores.run).await?;
    failpoint::hit("reverse-held");
    plan::record(sides, stores, &id_of(&run.id()), &expiring).await?;
    close(opened, run, sides, stores).await?;
    failpoint::hit("reverse-planned");
    stores.run.set_stage(Stage::Moving).await?;
    tracing::info!("cutover: from here on the target is followed back to the source");
    Ok(())
}

/// The reverse of this run. Balancers are to be put back as that found them.
fn turned(forward: RunState, sides: &Sides) -> RunState {
    RunState {
        id: id_of(&forward.id),
        stage: Stage::Planning,
        source_shards: forward.target_shards,
        target_shards: forward.source_shards,
        source_identity: forward.target_identity,
        target_identity: forward.source_identity,
        pairs: sides.pairs.clone(),
        source_balancer: forward.target_balancer,
        target_balancer: forward.source_balancer,
        source_settings: forward.target_settings,
        target_settings: forward.source_settings,
        views: Vec::new(),
        scope: forward.scope,
        reverse: Reverse::Itself,
    }
}

/// Only we write to the old source from now on, as far as its servers can see to that.
async fn close(opened: &Opened, run: &Run, sides: &Sides, stores: &Stores) -> Result<()> {
    if opened.stores.run.load_write_block(Side::Source).await? {
        return stores.run.set_write_block(Side::Target, true).await;
    }
    if validate::may_block(&sides.target).await? {
        return write_block::set(&sides.target, &stores.run).await;
    }
    run.warn_once(
        "users' writes to the old source are not refused by its servers (that takes MongoDB 6.0, and a user of ours with the \
         roles `restore` and `clusterManager`): nobody may write to it while the target is followed back"
            .to_owned(),
    );
    Ok(())
}

/// The old source is as it was before `begin`.
async fn take_back(sides: &Sides, stores: &Stores, run: &Run) -> Result<()> {
    let ours = stores.run.load().await?;
    if ours.is_none_or(|ours| ours.id != id_of(&run.id())) {
        return Ok(());
    }
    held_back::set(&sides.target, &stores.run.load_held_back().await?, run).await?;
    stores.remove().await
}

/// Why the way back could not write to a source whose servers refuse users' writes. `block`:
/// they will.
pub async fn shut_out(source: &Deployment, block: bool) -> Result<Option<String>> {
    if !block && !write_block::is_set(source).await? {
        return Ok(None);
    }
    let lacks = !validate::may_write_blocked(source).await?;
    Ok(lacks.then(|| {
        "the source would refuse the writes of the way back, too: give our user there the role `restore`, or cut over \
         without --block-writes"
            .to_owned()
    }))
}

/// Whether all that is left of the recorded runs is a way back that can be taken up.
///
/// # Errors
/// `Refused` if it is not of these two deployments.
pub async fn is_left(sides: &Sides) -> Result<bool> {
    let load = async |side| RunStore::new(recorded::first(side)).load().await;
    if load(&sides.target).await?.is_some() {
        return Ok(false);
    }
    let back = load(&sides.source).await?;
    if back.is_none_or(|run| run.reverse != Reverse::Itself) {
        return Ok(false);
    }
    let turned = sides.turned();
    recorded::load(&turned.source, &turned.target).await?;
    Ok(true)
}
