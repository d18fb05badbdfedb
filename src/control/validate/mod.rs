//! Checks whether two deployments are fit for a migration, before anything is touched.
//!
//! This is the list of checks, in the order an operator should read them. `ask` has the
//! questions to servers; pure functions decide what the answers mean. Changes nothing on
//! either side.

mod ask;
mod capacity;
mod check;
mod content;
mod definitions;
mod deployments;
mod expiries;
mod grants;
mod host;
pub mod indexes;
mod lack;
mod members;
mod order;
mod orphans;
pub mod privileges;
mod profile;
mod reach;
mod reverse;
mod role;
mod scope;
mod settings;
mod strays;
mod topology;
mod users;

use std::collections::BTreeSet;
use std::convert::Infallible;

use check::listed;
pub use check::{Check, Group, Verdict};

use crate::cluster::catalog::{self, Catalog, Named, Namespace};
use crate::cluster::deployment::{Deployment, Side};
use crate::config::Config;
use crate::control::sides::Sides;
use crate::error::{Error, Kind, Result};

/// The name of a check that is made on both sides.
fn named(side: Side, source: &'static str, target: &'static str) -> &'static str {
    match side {
        Side::Source => source,
        Side::Target => target,
    }
}

/// Checks that the user of a side may do everything that a run does.
pub async fn privileges_of(deployment: &Deployment) -> Check {
    let needs = match deployment.side {
        Side::Source => privileges::source(deployment.topology, &deployment.dialect),
        Side::Target => privileges::target(deployment.topology, &deployment.dialect),
    };
    let name = named(deployment.side, "source privileges", "target privileges");
    ask::privileges(name, deployment, &needs).await
}

/// Whether our user may write where users' writes are blocked.
pub async fn may_write_blocked(deployment: &Deployment) -> Result<bool> {
    ask::may(deployment, &reverse::past_a_block()).await
}

/// Whether our user may block users' writes there, and write then.
pub async fn may_block(deployment: &Deployment) -> Result<bool> {
    ask::may(deployment, &reverse::to_block(deployment.topology)).await
}

/// Runs every check, also after one has failed. Touches nothing. `to_wipe`: collections
/// of the target that will be gone before the run begins.
pub async fn run(
    source: &Deployment,
    target: &Deployment,
    catalog: &Catalog,
    to_wipe: &BTreeSet<Namespace>,
) -> Vec<Check> {
    let mut checks = deployments::of_both(source, target).await;
    checks.extend(of_content(source, target, catalog, to_wipe).await);
    checks.sort_by_key(|check| check.group);
    checks
}

async fn of_content(
    source: &Deployment,
    target: &Deployment,
    catalog: &Catalog,
    to_wipe: &BTreeSet<Namespace>,
) -> Vec<Check> {
    let mut checks = of_source_content(source, catalog).await;
    checks.extend(ask::indexes(source, catalog, &target.dialect).await);
    checks.push(definitions::check(source, target, catalog).await);
    let empty = ask::target_empty(catalog, target, to_wipe).await;
    checks.push(empty.about(Group::TargetState));
    checks
}

/// Those that hold of any target.
async fn of_source_content(source: &Deployment, catalog: &Catalog) -> Vec<Check> {
    let mut checks = vec![
        content::source_collections(catalog, &source.scope),
        strays::check(source, catalog).await,
        scope::left_behind(source).await,
    ];
    checks.extend(scope::filters(source, catalog).await);
    checks.extend(scope::atomicity(source));
    checks.extend(scope::renames(source, catalog));
    checks.extend(scope::encrypted(source, catalog));
    checks
}

fn grouped(group: Group, checks: Vec<Check>) -> Vec<Check> {
    checks.into_iter().map(|check| check.about(group)).collect()
}

/// What validation found.
#[derive(Debug)]
pub struct Validation {
    /// By group.
    pub checks: Vec<Check>,
    /// Why a side was not reached: then only the other was checked.
    pub unreached: Option<Error>,
}

/// Every check of two deployments that may not have been reached.
pub async fn all(
    source: Result<Deployment>,
    target: Result<Deployment>,
    config: &Config,
) -> Validation {
    let mut checks = vec![
        reached("source reached", &source),
        reached("target reached", &target),
    ];
    let (source, target) = match (source, target) {
        (Ok(source), Ok(target)) => (source, target),
        (source, target) => {
            let away = |side: &Result<Deployment>| side.as_ref().err().cloned();
            let unreached = away(&source).or_else(|| away(&target));
            checks.extend(of_those_reached(config, source.ok(), target.ok()).await);
            let mut checks = profile::judged(config.profile, checks);
            checks.sort_by_key(|check| check.group);
            return Validation { checks, unreached };
        }
    };
    let named = catalog::read_named(&source).await;
    match &named {
        Ok(Named { catalog, unnamed }) => {
            checks.push(content::names(unnamed));
            checks.extend(run(&source, &target, catalog, &BTreeSet::new()).await);
            checks.push(order::check(config, &source, catalog).await);
        }
        Err(e) => {
            checks.extend(deployments::of_both(&source, &target).await);
            checks.push(Check::unanswered("source catalog read", e));
        }
    }
    checks.extend(of_config(config, &source, &target));
    checks.extend(of_reverse(config, &source, &target).await);
    let mut checks = profile::judged(config.profile, checks);
    checks.sort_by_key(|check| check.group);
    Validation {
        checks,
        unreached: None,
    }
}

/// What can be checked while a side is away.
async fn of_those_reached(
    config: &Config,
    source: Option<Deployment>,
    target: Option<Deployment>,
) -> Vec<Check> {
    let mut checks = Vec::from_iter(of_spool(config));
    if let Some(source) = source {
        checks.extend(deployments::of_one(&source).await);
        match catalog::read_named(&source).await {
            Ok(Named { catalog, unnamed }) => {
                checks.push(content::names(&unnamed));
                checks.extend(of_source_content(&source, &catalog).await);
                checks.push(order::check(config, &source, &catalog).await);
            }
            Err(e) => checks.push(Check::unanswered("source catalog read", &e)),
        }
    }
    if let Some(target) = target {
        checks.extend(deployments::of_one(&target).await);
        let held = catalog::read(&target).await;
        let empty = held.map(|held| content::target_empty(&held, &held, &BTreeSet::new()));
        let empty = Check::answered(content::TARGET_EMPTY, empty);
        checks.push(empty.about(Group::TargetState));
    }
    checks
}

impl Validation {
    /// What was checked beside.
    pub fn join(&mut self, check: Check) {
        self.checks.push(check);
        self.checks.sort_by_key(|check| check.group);
    }
}

fn reached(name: &'static str, side: &Result<Deployment>) -> Check {
    let check = match side {
        Ok(side) => Check::pass(name, format!("{} of {}", side.topology, side.version)),
        Err(e) => Check::unanswered(name, e),
    };
    check.about(Group::Connect)
}

/// The disk of the spool. None if there is no place for it, which a run says.
fn of_spool(config: &Config) -> Option<Check> {
    let spool = config.spool_path().ok()?;
    Some(host::spool_disk(&spool, config.spool_bytes_max()).about(Group::Capacity))
}

/// What the operator asks for beside.
fn of_config(config: &Config, source: &Deployment, target: &Deployment) -> Vec<Check> {
    let profile = profile::checks(config.profile, source, target);
    let mut checks = grouped(Group::Release, profile);
    checks.push(settings::renames(config.renames, target));
    checks.extend(of_spool(config));
    checks
}

/// What a way back needs beside, if it is wanted.
async fn of_reverse(config: &Config, source: &Deployment, target: &Deployment) -> Vec<Check> {
    if config.reverse {
        reverse::checks(source, target).await
    } else {
        Vec::new()
    }
}

/// Runs every check; the first thing a migration does. `to_wipe`: collections of
/// the target that go before it begins.
///
/// # Errors
/// `Refused`, naming every check that failed with its remedy.
pub async fn require(config: &Config, sides: &Sides, to_wipe: &BTreeSet<Namespace>) -> Result<()> {
    let Named { catalog, unnamed } = catalog::read_named(&sides.source).await?;
    let mut checks = run(&sides.source, &sides.target, &catalog, to_wipe).await;
    checks.push(content::names(&unnamed));
    checks.extend(of_config(config, &sides.source, &sides.target));
    checks.extend(of_reverse(config, &sides.source, &sides.target).await);
    let checks = profile::judged(config.profile, checks);
    for check in checks.iter().filter(|check| !check.has_failed()) {
        tell(check);
    }
    refuse_failed(&checks)
}

/// What a run that goes on waits for by itself, or what was judged of its whole copy.
const OF_A_START: [&str; 6] = [
    "source shards healthy",
    "target shards healthy",
    "source chunks at rest",
    "target chunks at rest",
    "source oplog window",
    "target disk",
];

/// Warns of what has become of both sides since a run that is taken up was validated; it goes
/// on meanwhile. Never ends.
pub async fn judge_again(sides: &Sides) -> Infallible {
    // On the heap: what it is polled beside is large itself.
    let checks = Box::pin(deployments::of_both(&sides.source, &sides.target)).await;
    let noted = checks.iter().filter(|check| check.verdict != Verdict::Ok);
    noted
        .filter(|check| !OF_A_START.contains(&check.name))
        .for_each(tell);
    std::future::pending().await
}

/// That both sides are of releases and versions that go together, for a run that is taken up.
///
/// # Errors
/// `Refused`, as `require`.
pub fn require_release(sides: &Sides) -> Result<()> {
    let of = |side| topology::Side::of(side);
    refuse_failed(&topology::of_release(
        &of(&sides.source),
        &of(&sides.target),
    ))
}

fn refuse_failed(checks: &[Check]) -> Result<()> {
    let failed: Vec<_> = checks.iter().filter(|check| check.has_failed()).collect();
    if failed.is_empty() {
        return Ok(());
    }
    let found: Vec<String> = failed
        .iter()
        .map(|c| format!("{}: {}", c.name, c.found))
        .collect();
    let remedies: Vec<&str> = failed.iter().filter_map(|c| c.remedy.as_deref()).collect();
    Err(Error::new(Kind::Refused, found.join("; ")).remedy(remedies.join("; ")))
}

fn tell(check: &Check) {
    match &check.remedy {
        Some(remedy) => tracing::warn!("{}: {}; {remedy}", check.name, check.found),
        None => tracing::info!("validated {}: {}", check.name, check.found),
    }
}
