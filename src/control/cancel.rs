//! Giving up a recorded run while no process works on it.
//!
//! What was copied stays; `wipe` is what drops it.

use crate::cluster::connect::Deployment;
use crate::control::balancer::{self, Found};
use crate::control::layout::zones;
use crate::control::recorded;
use crate::error::{Error, Kind, Result};
use crate::state::lease::Lease;
use crate::state::run_store::RunStore;
use crate::state::{DATABASE, RunState, Stage};

/// Marks the recorded run as cancelled, puts both balancers back as it found
/// them, and returns what stays, as a sentence. May be repeated.
///
/// None, and nothing is done, if it is the run `answering`: the process that
/// works on it answers, and is to be asked.
///
/// # Errors
/// `Refused` while a process works on the target, if no run of these two
/// deployments is recorded, or past the point of return of its cutover.
pub async fn cancel(source: &Deployment, target: &Deployment, answering: Option<&str>) -> Result<Option<String>> {
    let run = recorded::load(source, target).await?;
    if answering == Some(run.id.as_str()) {
        return Ok(None);
    }
    let lease = Lease::take(recorded::first(target), &run.id).await.map_err(|e| match e.kind {
        Kind::Refused => e.remedy("cancel where it runs: `shardlift cancel` on that host; or stop it, then try again"),
        _ => e,
    })?;
    let cancelled = give_up(source, target).await;
    let released = lease.release().await;
    let run = cancelled?;
    released?;
    Ok(Some(format!(
        "run {} is cancelled and both balancers are as it found them; what it copied stays on the target, with its \
         state in `{DATABASE}`: `shardlift migrate --restart` drops both and begins anew",
        run.id
    )))
}

async fn give_up(source: &Deployment, target: &Deployment) -> Result<RunState> {
    // Again, now that nobody else changes it.
    let run = recorded::load(source, target).await?;
    if run.stage == Stage::Finishing {
        return Err(Error::new(Kind::Refused, format!("run {} is past the point of return of its cutover", run.id))
            .remedy("run `shardlift migrate` with the same arguments: only the finish is left"));
    }
    // IMPORTANT: first. Once a balancer runs nobody may go on with this run.
    RunStore::new(recorded::first(target)).set_stage(Stage::Cancelled).await?;
    zones::forget_temporary(target).await?;
    balancer::restore(source, Found { enabled: run.source_balancer }).await?;
    balancer::restore(target, Found { enabled: run.target_balancer }).await?;
    Ok(run)
}
