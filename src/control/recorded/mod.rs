//! The run recorded on a target, for commands that work on it while no process
//! does.
//!
//! Changes nothing.

pub mod changes;
pub mod names;
pub mod emptying;
pub mod replan;
pub mod restart;
pub mod wipe;
pub mod cancel;
pub mod anew;

use crate::cluster::deployment::{Deployment, Shard, Side};
use crate::cluster::probe;
use crate::error::{Error, Kind, Result};
use crate::state::run_store::RunStore;
use crate::state::{DATABASE, RunState, Stage};

/// The target's first shard by id, where the run is recorded.
pub fn first(target: &Deployment) -> &Shard {
    // Connecting refuses a deployment without shards.
    &target.shards[0]
}

/// The run, if there is one; it belongs to these two deployments.
///
/// # Errors
/// `Refused` if it is one of other deployments.
pub async fn find(source: &Deployment, target: &Deployment) -> Result<Option<RunState>> {
    let Some(run) = RunStore::new(first(target)).load().await? else {
        return Ok(None);
    };
    tokio::try_join!(check(&run, source), check(&run, target))?;
    Ok(Some(run))
}

/// Like `find`, where there must be a run.
///
/// # Errors
/// `Refused` if no run is recorded, or one of other deployments.
pub async fn load(source: &Deployment, target: &Deployment) -> Result<RunState> {
    let none = || {
        Error::new(Kind::Refused, "no run is recorded on this target").remedy(
            "check --target; a run is recorded from the moment it begins to copy until it is done",
        )
    };
    find(source, target).await?.ok_or_else(none)
}

/// Checks that the run was begun with this deployment. Names of shards are often alike
/// (`shard0`), so their identities are compared.
///
/// # Errors
/// `Refused` if the run was begun with another deployment on this side.
pub async fn check(run: &RunState, deployment: &Deployment) -> Result<()> {
    let side = deployment.side;
    let (shards, identity) = match side {
        Side::Source => (&run.source_shards, &run.source_identity),
        Side::Target => (&run.target_shards, &run.target_identity),
    };
    let ids: Vec<&str> = deployment.shards.iter().map(|s| s.id.as_str()).collect();
    let differs = if ids != *shards {
        Some(format!(
            "its shards were {} and are {}",
            shards.join(", "),
            ids.join(", ")
        ))
    } else if let Some(identity) = identity {
        identity.differs(&probe::identity(deployment).await?)
    } else {
        None
    };
    let Some(differs) = differs else {
        return Ok(());
    };
    let found = format!(
        "the {side} is not that of run {}, which is recorded on this target: {differs}",
        run.id
    );
    Err(Error::new(Kind::Refused, found).remedy(format!(
        "give the {side} the run was started with (--{side}); a cancelled run may be wiped with any source: \
         `shardlift migrate --restart`"
    )))
}

/// # Errors
/// `Refused` if the run is past the point of no return: it can only be completed.
pub fn may_be_undone(run: &RunState) -> Result<()> {
    if run.stage != Stage::Finishing {
        return Ok(());
    }
    let found = format!(
        "run {} is past the point of no return of its cutover",
        run.id
    );
    Err(Error::new(Kind::Refused, found)
        .remedy("run `shardlift migrate` with the same arguments: it completes the cutover"))
}

/// The target shard of each pair of `run`, in order.
///
/// # Errors
/// `Refused` if the target lacks one of them.
pub fn pair_shards<'a>(run: &RunState, target: &'a Deployment) -> Result<Vec<&'a Shard>> {
    let shard = |pair: &usize| {
        let id = run.target_shards.get(*pair)?;
        Some(&target.shards[target.shard_index(id)?])
    };
    let lacking = || {
        Error::new(
            Kind::Refused,
            format!(
                "the recorded run {} has shards that this target lacks",
                run.id
            ),
        )
        .remedy(format!(
            "add them again, or drop by hand what it copied and `{DATABASE}` on every shard"
        ))
    };
    run.pairs
        .iter()
        .map(|pair| shard(pair).ok_or_else(lacking))
        .collect()
}
