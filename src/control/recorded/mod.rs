//! The run recorded on a target, for commands that work on it while no process
//! does.
//!
//! Changes nothing.

pub mod changes;
pub mod ahead;
pub mod namesakes;
pub mod names;
pub mod others;
pub mod emptying;
pub mod replan;
pub mod restart;
pub mod wipe;
pub mod cancel;
pub mod made;
pub mod anew;
pub mod chosen;
pub mod at_rest;
pub mod whole;

use crate::cluster::deployment::{Deployment, Shard, Side};
use crate::cluster::probe;
use crate::config::Config;
use crate::error::{Error, Kind, Result};
use crate::state::lease::Lease;
use crate::state::run_store::RunStore;
use crate::state::{DATABASE, Reverse, RunState, Stage};

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
    if let Some(run) = find(source, target).await? {
        return Ok(run);
    }
    is_followed_by_none(source).await?;
    Err(none())
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

/// Checks that the run goes the way that is asked for.
///
/// # Errors
/// `Refused` if a way back is taken for a migration or the other way round, or if it is asked
/// for a way back that was not prepared from its start.
pub fn goes_as_asked(run: &RunState, config: &Config) -> Result<()> {
    let refused =
        |found: String, remedy: &str| Err(Error::new(Kind::Refused, found).remedy(remedy));
    match (run.reverse, config.turned) {
        (Reverse::Itself, false) => is_no_way_back(run),
        (Reverse::Itself, true) if !matches!(run.stage, Stage::Moving | Stage::Finishing) => {
            let found = format!("the way back {} is given up, or was never whole", run.id);
            refused(
                found,
                "remove what is left of it by `shardlift reverse stop`",
            )
        }
        (Reverse::No | Reverse::Wanted | Reverse::GivenUp, true) => {
            let found = format!("run {}, recorded on the source, is no way back", run.id);
            refused(found, "complete or cancel that run first")
        }
        (Reverse::No, false) if config.reverse => {
            let found = format!("run {} was begun without --reverse", run.id);
            let remedy = "leave --reverse out; or add `--restart` to wipe what it copied and start over with it";
            refused(found, remedy)
        }
        (Reverse::Wanted, false) if !config.reverse && run.stage != Stage::Cancelled => {
            let found = format!("run {} was begun with --reverse", run.id);
            let remedy = "add --reverse; or add `--restart` to wipe what it copied and start over without a way back";
            refused(found, remedy)
        }
        _ => Ok(()),
    }
}

/// # Errors
/// `Refused` if it is one: what is on its target was there before it.
pub fn is_no_way_back(run: &RunState) -> Result<()> {
    if run.reverse != Reverse::Itself {
        return Ok(());
    }
    let found = format!("{} is the way back of a migration that is done", run.id);
    Err(Error::new(Kind::Refused, found).remedy(
        "go on with it by the command that began it: `shardlift migrate --reverse` with that --source and --target; or give it up by `shardlift reverse stop` with them",
    ))
}

/// Where nobody may read what is recorded, validation says so.
///
/// # Errors
/// `Refused` if a former target is followed back to this source.
pub async fn is_followed_by_none(source: &Deployment) -> Result<()> {
    match RunStore::new(first(source)).load().await {
        Ok(Some(run)) => is_no_way_back(&run),
        Ok(None) | Err(_) => Ok(()),
    }
}

/// For a source that is to be followed back to: that is where the way back is recorded.
///
/// # Errors
/// `Refused` if it has any run recorded.
pub async fn has_no_run(source: &Deployment) -> Result<()> {
    let Some(run) = RunStore::new(first(source)).load().await? else {
        return Ok(());
    };
    let found = format!(
        "run {}, of which the source is the target, is recorded there",
        run.id
    );
    Err(Error::new(Kind::Refused, found)
        .remedy("complete it first; or, if it is not needed any more, drop `__shardlift` on every shard of the source"))
}

/// The lease of the run, for a command that gives it up.
///
/// # Errors
/// `Refused` while a process works on it.
pub async fn lease(target: &Deployment, run: &str, command: &str) -> Result<Lease> {
    let taken = Lease::take(first(target), run).await;
    taken.map_err(|e| match e.kind {
        Kind::Refused => e.remedy(format!(
            "run `{command}` on that host; or stop that process, then try again"
        )),
        _ => e,
    })
}

/// Removes the lease of a process that died at the very end of its cutover: no run is recorded
/// on this target any more. One that is alive keeps it.
pub async fn sweep(target: &Deployment) {
    if let Err(e) = Lease::sweep(first(target), "none").await {
        tracing::warn!("what an earlier process left on the target could not be removed: {e}");
    }
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
