//! The way back: after the cutover the target is followed back to the old source, so that
//! users can return to it with all they wrote since.
//!
//! It is a run like others, of the same engine, with its sides turned round and its state on
//! the old source. It begins where copying would be done: at the **fence**, a position in the
//! oplog of each shard of the target.
//!
//! | step | if it ends here |
//! |---|---|
//! | `unfit`, before the proof: what would keep the way back calls the cutover off | nothing is changed |
//! | `plan`, after the proof: the way back is recorded on the old source, with the fence, the target's collections and what expires on the old source | following goes on; the next cutover plans anew |
//! | the cutover is past the point of no return | the plan holds, with its fence, whenever the cutover is completed |
//! | `prepare`: expiries of the old source are held back (R10), users' writes to it refused where ours may pass | it is done again |
//! | the way back is recorded as whole | the cutover goes on |
//!
//! So whatever anybody writes to the target after the proof is followed back. What keeps
//! `prepare` for good is recorded first: a way back that was given up is never begun.
//!
//! Both sides are proven equal, but the old source may have expired documents after that. So
//! collections with an expiry begin as if their copy had broken off at the fence: what the old
//! source lacks is copied again, with every op from there on held (R6).
//!
//! IMPORTANT: all that is written there is written with the lease of the old source, renewed
//! right before: a process that was frozen must not touch a way back that others follow.

pub mod expiries;
pub mod plan;
pub mod stop;

use crate::cluster::deployment::Side;
use crate::control::held_back;
use crate::control::open::Opened;
use crate::control::recorded;
use crate::control::run::Run;
use crate::control::sides::Sides;
use crate::control::stores::Stores;
use crate::control::validate;
use crate::control::write_block;
use crate::error::{Error, Kind, Policy, Result};
use crate::failpoint;
use crate::observe::reverse::{id_of, is_for_others};
use crate::state::lease::Lease;
use crate::state::run_store::RunStore;
use crate::state::{Reverse, RunState, Stage};

/// Why there could be no way back from a cutover now. `block`: the source shall refuse users'
/// writes.
pub async fn unfit(opened: &Opened, run: &Run, block: bool) -> Result<Option<String>> {
    let source = &opened.sides.source;
    let recorded = RunStore::new(recorded::first(source)).load().await?;
    if let Some(other) = recorded.filter(|recorded| recorded.id != id_of(&run.id())) {
        return Ok(Some(format!(
            "run {} is recorded on the source, where the way back would be",
            other.id
        )));
    }
    let blocked = block || write_block::is_set(source).await?;
    if !blocked || validate::may_write_blocked(source).await? {
        return Ok(None);
    }
    let without = if block {
        "cut over without --block-writes"
    } else {
        "take back the block of users' writes that somebody else has set there"
    };
    Ok(Some(format!(
        "the source would refuse the writes of the way back, too: give our user there the role `restore`, or {without}"
    )))
}

/// The warning that the old source takes users' writes.
const OPEN: &str = "old source open";

/// Users have gone back: what was told of the old source no longer holds.
pub fn is_over(run: &Run) {
    run.warn_while(OPEN, None);
}

/// The way back, as this process works on it.
struct Back<'a> {
    opened: &'a Opened,
    run: &'a Run,
    id: String,
    sides: Sides,
    stores: Stores,
    lease: Lease,
}

impl<'a> Back<'a> {
    /// # Errors
    /// `Transient` while another process has the lease of the old source.
    async fn open(opened: &'a Opened, run: &'a Run) -> Result<Self> {
        let (sides, id) = (opened.sides.turned(), id_of(&run.id()));
        let stores = Stores::new(&sides, &id);
        let lease = Lease::take(recorded::first(&sides.target), &id).await;
        let lease = lease.map_err(|e| Error {
            kind: Kind::Transient,
            ..e
        })?;
        Ok(Back {
            opened,
            run,
            id,
            sides,
            stores,
            lease,
        })
    }

    /// The stage that is recorded, if it is of this way back.
    async fn stage(&self) -> Result<Option<Stage>> {
        let recorded = self.stores.run.load().await?;
        let ours = recorded.filter(|recorded| recorded.id == self.id);
        Ok(ours.map(|ours| ours.stage))
    }

    async fn renew(&self) -> Result<()> {
        self.lease.renew().await.map_err(|e| Error {
            kind: Kind::Transient,
            ..e
        })
    }

    async fn close(self) {
        if let Err(e) = self.lease.release().await {
            tracing::warn!("the lease of the old source could not be released: {e}");
        }
    }
}

/// Records the way back with its fence; both sides are proven to be equal, and nobody writes.
///
/// # Errors
/// `Transient`, whatever it was: following goes on.
pub async fn plan(opened: &Opened, run: &Run) -> Result<()> {
    let back = Back::open(opened, run).await?;
    let planned = plan_anew(&back).await;
    back.close().await;
    planned.map_err(|e| {
        let e = e.context("the way back cannot be planned");
        Error {
            kind: Kind::Transient,
            ..e
        }
    })
}

async fn plan_anew(back: &Back<'_>) -> Result<()> {
    match back.stage().await? {
        Some(Stage::Planning) => {}
        Some(_) => return Err(Error::internal("it is under way already")),
        None => {
            let forward = back.opened.stores.run.load().await?;
            let forward = forward.ok_or_else(|| Error::internal("the run is not recorded"))?;
            let turned = turned(forward, &back.sides);
            back.renew().await?;
            back.stores.run.create(&turned).await?;
        }
    }
    back.renew().await?;
    let expiring = expiries::record(&back.sides.target, &back.stores.run).await?;
    let planned = plan::of(&back.sides, &back.id, &expiring).await?;
    for (store, state) in back.stores.pairs.iter().zip(&planned) {
        back.renew().await?;
        store.create(state).await?;
    }
    failpoint::hit("reverse-planned");
    Ok(())
}

/// Begins the way back that was planned, past the point of no return. Returns false, with a
/// loud warning, if there is none: that does not keep the cutover. May be repeated.
///
/// # Errors
/// What may pass.
pub async fn prepare(opened: &Opened, run: &Run) -> Result<bool> {
    let recorded = opened.stores.run.load().await?;
    match recorded.map_or(Reverse::No, |recorded| recorded.reverse) {
        Reverse::No | Reverse::Itself => return Ok(false),
        Reverse::Wanted => {}
        Reverse::GivenUp => return give_up(opened, run).await.map(|()| false),
    }
    let back = Back::open(opened, run).await?;
    let begun = begin(&back).await;
    back.close().await;
    match begun {
        Ok(()) => Ok(true),
        Err(e) if e.kind.policy() == Policy::Retry => Err(e),
        Err(e) => {
            run.warn(format!(
                "there is NO way back, and the cutover goes on without: {e}"
            ));
            // IMPORTANT: first. Once the target has expiries again it is too late to begin.
            opened.stores.run.give_up_reverse().await?;
            give_up(opened, run).await.map(|()| false)
        }
    }
}

async fn begin(back: &Back<'_>) -> Result<()> {
    match back.stage().await? {
        Some(Stage::Planning) => {}
        Some(Stage::Moving) => return Ok(()),
        _ => {
            let gone = "what was planned is gone from the old source";
            return Err(Error::new(Kind::Refused, gone));
        }
    }
    back.stores.load_pairs().await?;
    failpoint::hit("reverse-begun");
    back.renew().await?;
    expiries::hold(&back.sides.target, &back.stores.run).await?;
    if !expiries::none_runs(&back.sides.target).await? {
        back.run.warn_once(
            "the old source is still deleting what had expired before the cutover: one of these documents that users keep \
             alive on the target may be missing on the old source, and going back would be called off"
                .to_owned(),
        );
    }
    close(back).await?;
    failpoint::hit("reverse-held");
    back.renew().await?;
    back.stores.run.set_stage(Stage::Moving).await?;
    tracing::info!("cutover: the target is followed back to the source, from the proof on");
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
async fn close(back: &Back<'_>) -> Result<()> {
    let (store, old_source) = (&back.stores.run, &back.sides.target);
    if back
        .opened
        .stores
        .run
        .load_write_block(Side::Source)
        .await?
    {
        return store.set_write_block(Side::Target, true).await;
    }
    if write_block::is_set(old_source).await? && !store.load_write_block(Side::Target).await? {
        back.run.warn_once(
            "somebody else made the old source refuse users' writes: it will after going back, too"
                .to_owned(),
        );
        return Ok(());
    }
    if validate::may_block(old_source).await? {
        return write_block::set(old_source, store).await;
    }
    let open = "users' writes to the old source are not refused by its servers (that takes MongoDB 6.0, and a user of ours with \
                the roles `restore` and `clusterManager`): nobody may write to it while the target is followed back";
    back.run.warn_while(OPEN, Some(open.to_owned()));
    Ok(())
}

/// Leaves the old source as it was before the plan. What cannot be put back is a warning.
///
/// # Errors
/// What may pass.
async fn give_up(opened: &Opened, run: &Run) -> Result<()> {
    run.take_way(Reverse::GivenUp);
    let back = Back::open(opened, run).await?;
    let taken_back = take_back(&back).await;
    back.close().await;
    match taken_back {
        Err(e) if e.kind.policy() != Policy::Retry => {
            run.warn(format!(
                "what is left of the way back on the old source could not be taken back: {e}; see what its expiries are, and \
                 drop `__shardlift` on each of its shards"
            ));
            Ok(())
        }
        taken_back => taken_back,
    }
}

async fn take_back(back: &Back<'_>) -> Result<()> {
    let stage = back.stage().await?;
    if stage != Some(Stage::Planning) {
        return Ok(());
    }
    back.renew().await?;
    let (store, old_source) = (&back.stores.run, &back.sides.target);
    if !back
        .opened
        .stores
        .run
        .load_write_block(Side::Source)
        .await?
    {
        write_block::lift(old_source, store).await?;
    }
    held_back::set(old_source, &store.load_held_back().await?, back.run).await?;
    back.stores.remove().await
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

/// What to do about an error that ended it: what others may do is refused to a way back.
pub fn with_its_remedy(e: Error) -> Error {
    let is_others = |remedy: &String| is_for_others(remedy);
    if !e.remedy.as_ref().is_some_and(is_others) {
        return e;
    }
    let remedy = match e.kind {
        Kind::Cancelled => "both sides stay as they are, and nobody follows the target any more",
        _ => {
            "run the same `shardlift migrate --reverse` once the cause is gone; or give the way back up by `shardlift \
             reverse stop`, which leaves both sides as they are"
        }
    };
    e.remedy(remedy)
}
