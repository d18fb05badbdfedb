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
    let mut checks = of_deployments(source, target).await;
    checks.extend(of_content(source, target, catalog, to_wipe).await);
    checks.sort_by_key(|check| check.group);
    checks
}

/// Those that need no catalog.
async fn of_deployments(source: &Deployment, target: &Deployment) -> Vec<Check> {
    let (a, b) = (topology::Side::of(source), topology::Side::of(target));
    let (identity, readable, history, window, skew) = tokio::join!(
        ask::identity(source, target),
        ask::oplog("source oplog readable", source),
        ask::history("source keeps its history", source),
        capacity::oplog_window(source),
        settings::clocks(source, target),
    );
    let (of_source, of_target) = tokio::join!(of_side(source), of_side(target));
    let (reached_source, reached_target, disk) = tokio::join!(
        reach::members(source),
        reach::members(target),
        host::target_disk(source, target)
    );
    let (files_source, files_target, balancing, orphans) = tokio::join!(
        host::open_files(source),
        host::open_files(target),
        settings::balancing(source, target),
        orphans::check(source)
    );
    let (may_source, may_target, users) = tokio::join!(
        privileges_of(source),
        privileges_of(target),
        users::check(source, target)
    );
    let connect = vec![settings::encrypted(source), reached_source, reached_target];
    let mut checks = grouped(Group::Connect, connect);
    checks.extend(grouped(Group::Topology, topology::of_layout(&a, &b)));
    checks.push(identity.about(Group::Topology));
    checks.extend(grouped(Group::Release, topology::of_release(&a, &b)));
    checks.extend(grouped(
        Group::Privileges,
        vec![may_source, may_target, users],
    ));
    checks.extend(of_source);
    checks.extend(grouped(Group::SourceState, vec![readable, history, skew]));
    checks.extend(balancing.map(|check| check.about(Group::SourceState)));
    checks.extend(orphans);
    checks.extend(of_target);
    let capacity = vec![files_source, files_target];
    let found = [window, disk, host::own_open_files()].into_iter().flatten();
    checks.extend(grouped(
        Group::Capacity,
        capacity.into_iter().chain(found).collect(),
    ));
    checks
}

async fn of_side(deployment: &Deployment) -> Vec<Check> {
    let (mut checks, moving, scans) = tokio::join!(
        members::checks(deployment),
        ask::balancer(deployment),
        settings::scans(deployment)
    );
    checks.extend(moving);
    checks.push(scans);
    grouped(Group::state_of(deployment.side), checks)
}

async fn of_content(
    source: &Deployment,
    target: &Deployment,
    catalog: &Catalog,
    to_wipe: &BTreeSet<Namespace>,
) -> Vec<Check> {
    let mut checks = vec![content::source_collections(catalog, &source.scope)];
    checks.extend(ask::indexes(source, catalog, &target.dialect).await);
    checks.extend([
        definitions::check(source, target, catalog).await,
        strays::check(source, catalog).await,
        scope::left_behind(source).await,
    ]);
    checks.extend(scope::filters(source, catalog).await);
    checks.extend(scope::atomicity(source));
    checks.extend(scope::renames(source, catalog));
    checks.extend(scope::encrypted(source, catalog));
    let empty = ask::target_empty(catalog, target, to_wipe).await;
    checks.push(empty.about(Group::TargetState));
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
    /// Why a side was not reached: then nothing else was checked.
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
        (Err(unreached), _) | (_, Err(unreached)) => {
            let unreached = Some(unreached);
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
            checks.extend(of_deployments(&source, &target).await);
            checks.push(Check::unanswered("source catalog read", e));
        }
    }
    checks.extend(of_config(config, &source, &target));
    checks.extend(of_reverse(config, &source, &target).await);
    checks.sort_by_key(|check| check.group);
    Validation {
        checks,
        unreached: None,
    }
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
    for check in checks.iter().filter(|check| !check.has_failed()) {
        tell(check);
    }
    refuse_failed(&checks)
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
