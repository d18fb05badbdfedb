//! The run recorded on a target, for commands that work on it while no process
//! does.
//!
//! Changes nothing.

use crate::cluster::connect::{Deployment, Shard};
use crate::error::{Error, Kind, Result};
use crate::state::run_store::RunStore;
use crate::state::{DATABASE, RunState};

/// The target's first shard by id, where the run is recorded.
pub fn first(target: &Deployment) -> &Shard {
    // Connecting refuses a deployment without shards.
    &target.shards[0]
}

/// The run, if there is one and it belongs to these two deployments.
///
/// # Errors
/// `Refused` if no run is recorded, or one of other shards.
pub async fn load(source: &Deployment, target: &Deployment) -> Result<RunState> {
    let none = || {
        Error::new(Kind::Refused, "no run is recorded on this target")
            .remedy("check --target; a run is recorded from the moment it begins to copy until it is done")
    };
    let run = RunStore::new(first(target)).load().await?.ok_or_else(none)?;
    for (deployment, recorded) in [(source, &run.source_shards), (target, &run.target_shards)] {
        let ids: Vec<&str> = deployment.shards.iter().map(|s| s.id.as_str()).collect();
        if ids != *recorded {
            let found = format!(
                "the recorded run has the {} shards {}, this {} has {}",
                deployment.side,
                recorded.join(", "),
                deployment.side,
                ids.join(", ")
            );
            let remedy = format!("give the {} the run was begun with", deployment.side);
            return Err(Error::new(Kind::Refused, found).remedy(remedy));
        }
    }
    Ok(run)
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
        Error::new(Kind::Refused, format!("the recorded run {} has shards that this target lacks", run.id))
            .remedy(format!("add them again, or drop by hand what it copied and `{DATABASE}` on every shard"))
    };
    run.pairs.iter().map(|pair| shard(pair).ok_or_else(lacking)).collect()
}
