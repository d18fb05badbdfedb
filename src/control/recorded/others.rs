//! Whether another migration has to do with these two deployments: one that is recorded, or
//! works there now.
//!
//! Reads only. A start has its own refusals: this tells of them before.

use crate::cluster::deployment::Deployment;
use crate::config::Config;
use crate::control::recorded;
use crate::control::validate::{Check, Group};
use crate::error::{Error, Result};
use crate::state::lease::Lease;
use crate::state::run_store::RunStore;
use crate::state::{Reverse, RunState, Stage};

const NAME: &str = "no other migration";

pub async fn check(config: &Config, source: &Deployment, target: &Deployment) -> Check {
    let check = match target_free(source, target).await {
        Ok(None) => source_free(config, source).await,
        found => found,
    };
    let good = || Check::pass(NAME, "none is recorded on either side");
    Check::answered(NAME, check.map(|found| found.unwrap_or_else(good))).about(Group::TargetState)
}

/// None: nothing is in the way.
async fn target_free(source: &Deployment, target: &Deployment) -> Result<Option<Check>> {
    let first = recorded::first(target);
    if let Some(working) = Lease::held(first).await? {
        return Ok(Some(refused(working)));
    }
    Ok(match recorded::find(source, target).await {
        Err(other) => Some(refused(other)),
        Ok(None) => None,
        Ok(Some(run)) => Some(of_these(&run)),
    })
}

fn refused(e: Error) -> Check {
    Check::unanswered(NAME, &e)
}

/// A run of these two deployments.
fn of_these(run: &RunState) -> Check {
    let id = &run.id;
    if run.reverse == Reverse::Itself {
        return match recorded::is_no_way_back(run) {
            Err(e) => refused(e),
            Ok(()) => Check::pass(NAME, ""),
        };
    }
    let (found, remedy) = match run.stage {
        Stage::Cancelled => (
            format!("run {id} was cancelled, and what it copied is on the target"),
            "`shardlift migrate --restart` drops that and starts over",
        ),
        Stage::Planning | Stage::Layout | Stage::Moving | Stage::Finishing => (
            format!("run {id} of these two is recorded on the target"),
            "`shardlift migrate` as before goes on with it; add --restart to drop what it copied and start over",
        ),
    };
    Check::warn(NAME, found, remedy)
}

/// None: nothing is in the way.
async fn source_free(config: &Config, source: &Deployment) -> Result<Option<Check>> {
    let Some(run) = RunStore::new(recorded::first(source)).load().await? else {
        return Ok(None);
    };
    if let Err(e) = recorded::is_no_way_back(&run) {
        return Ok(Some(refused(e)));
    }
    if config.reverse {
        return Ok(recorded::has_no_run(source).await.err().map(refused));
    }
    let found = format!(
        "run {}, of which the source is the target, is recorded there",
        run.id
    );
    let remedy = "complete that one first: until its cutover the source has not all of its data";
    Ok(Some(Check::warn(NAME, found, remedy)))
}
