//! Checks whether two deployments are fit for a migration, before anything is touched.
//!
//! This is the list of checks, in the order an operator should read them. `ask` has the
//! questions to servers; pure functions decide what the answers mean. Changes nothing on
//! either side.

mod ask;
mod content;
mod definitions;
pub mod indexes;
mod members;
pub mod privileges;
mod profile;
mod scope;
mod strays;
mod topology;

use std::collections::BTreeSet;

use crate::cluster::catalog::{self, Catalog, Namespace};
use crate::cluster::deployment::{Deployment, Side};
use crate::config::Profile;
use crate::control::sides::Sides;
use crate::error::{Error, Kind, Result};

/// One check and what it found.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Check {
    pub name: &'static str,
    pub ok: bool,
    /// What was found.
    pub found: String,
    /// If not ok, the remedy; if ok, advice.
    pub remedy: Option<String>,
}

impl Check {
    fn pass(name: &'static str, found: impl Into<String>) -> Self {
        Check {
            name,
            ok: true,
            found: found.into(),
            remedy: None,
        }
    }

    fn fail(name: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Check {
            name,
            ok: false,
            found: found.into(),
            remedy: Some(remedy.into()),
        }
    }

    /// Fit, but the operator should know.
    fn warn(name: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Check {
            ok: true,
            ..Check::fail(name, found, remedy)
        }
    }

    /// A check whose question the server did not answer has failed.
    fn answered(name: &'static str, answer: Result<Check>) -> Self {
        answer.unwrap_or_else(|e| Check::unanswered(name, &e))
    }

    fn unanswered(name: &'static str, e: &Error) -> Self {
        let remedy = e
            .remedy
            .clone()
            .unwrap_or_else(|| "see the server's message".to_owned());
        Check::fail(name, e.message.clone(), remedy)
    }

    /// Passes if nothing was found to be wrong.
    fn none_of(
        name: &'static str,
        wrong: &[String],
        good: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        if wrong.is_empty() {
            Check::pass(name, good)
        } else {
            Check::fail(name, listed(wrong), remedy)
        }
    }
}

/// The name of a check that is made on both sides.
fn named(side: Side, source: &'static str, target: &'static str) -> &'static str {
    match side {
        Side::Source => source,
        Side::Target => target,
    }
}

/// Most names an operator is shown in one line.
const NAMES_MAX: usize = 10;

/// Names in one line, the first few of many.
fn listed(names: &[String]) -> String {
    let shown = names
        .iter()
        .take(NAMES_MAX)
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(", ");
    match names.len().saturating_sub(NAMES_MAX) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// Checks that the user of a side may do everything that a run does.
pub async fn privileges_of(deployment: &Deployment) -> Check {
    let needs = match deployment.side {
        Side::Source => privileges::source(deployment.topology, &deployment.dialect),
        Side::Target => privileges::target(deployment.topology, &deployment.dialect),
    };
    ask::privileges(deployment, &needs).await
}

/// Runs every check, also after one has failed. Touches nothing. `to_wipe`: collections
/// of the target that will be gone before the run begins.
pub async fn run(
    source: &Deployment,
    target: &Deployment,
    catalog: &Catalog,
    to_wipe: &BTreeSet<Namespace>,
) -> Result<Vec<Check>> {
    let mut checks = topology::decide(&topology::Side::of(source), &topology::Side::of(target));
    let (identity, members_source, members_target, moving_source, moving_target) = tokio::join!(
        ask::identity(source, target),
        members::checks(source),
        members::checks(target),
        ask::balancer(source),
        ask::balancer(target),
    );
    checks.push(identity);
    checks.extend(members_source);
    checks.extend(members_target);
    checks.extend(moving_source);
    checks.extend(moving_target);
    checks.extend(ask::oplog(source).await);
    checks.push(ask::history(source).await);
    checks.push(privileges_of(source).await);
    checks.push(privileges_of(target).await);
    checks.extend(scope::filters(source, catalog).await);
    checks.push(content::source_collections(catalog));
    checks.push(ask::indexes(source, catalog, &target.dialect.catalog).await);
    checks.push(definitions::check(source, target, catalog).await);
    checks.push(strays::check(source, catalog).await);
    checks.push(scope::left_behind(source).await);
    checks.push(ask::target_empty(catalog, target, to_wipe).await);
    Ok(checks)
}

/// What the profile asks for beside.
pub fn of_profile(profile: Profile, source: &Deployment, target: &Deployment) -> Vec<Check> {
    profile::checks(profile, source, target)
}

/// Runs every check; the first thing a migration does. `to_wipe`: collections of
/// the target that go before it begins.
///
/// # Errors
/// `Refused`, naming every check that failed with its remedy.
pub async fn require(profile: Profile, sides: &Sides, to_wipe: &BTreeSet<Namespace>) -> Result<()> {
    let catalog = catalog::read(&sides.source).await?;
    let mut checks = run(&sides.source, &sides.target, &catalog, to_wipe).await?;
    checks.extend(of_profile(profile, &sides.source, &sides.target));
    for check in checks.iter().filter(|check| check.ok) {
        tracing::info!("validated {}: {}", check.name, check.found);
    }
    let failed: Vec<_> = checks.iter().filter(|check| !check.ok).collect();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_few_of_many_names_are_shown() {
        let names: Vec<String> = (0..12).map(|i| format!("n{i}")).collect();
        assert_eq!(listed(&names[..2]), "n0, n1");
        assert!(listed(&names).ends_with("n9 and 2 more"));
    }
}
