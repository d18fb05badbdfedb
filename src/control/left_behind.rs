//! Settings about chunks that do not travel, but matter when the target's balancer runs
//! again. Reported by name when a run begins or resumes.

use bson::{Document, RawDocument, RawDocumentBuf, doc};
use futures_util::TryStreamExt;
use mongodb::options::ReadConcern;

use crate::cluster::catalog::sharding;
use crate::cluster::deployment::{Deployment, Topology};
use crate::cluster::retry::answered;
use crate::control::balancers::Balancers;
use crate::control::run::Run;
use crate::control::sides::Sides;
use crate::error::{Error, Result};

/// Most names of one kind in a report.
const NAMES_MAX: usize = 20;
/// Fields of the balancer's row that are its own and no operator's.
const STATE: [&str; 3] = ["_id", "mode", "stopped"];

/// Warns of all of them. A setting that cannot be read is a warning too.
pub async fn tell(sides: &Sides, found: &Balancers, run: &Run) {
    if sides.source.topology == Topology::ReplicaSet {
        return;
    }
    match warnings(&sides.source, &sides.target, found).await {
        Ok(warnings) => warnings.into_iter().for_each(|warning| run.warn(warning)),
        Err(e) => run.warn(format!(
            "balancer settings that do not travel could not be read: {}",
            e.message
        )),
    }
}

/// All of them, of sharded clusters.
pub async fn warnings(
    source: &Deployment,
    target: &Deployment,
    found: &Balancers,
) -> Result<Vec<String>> {
    let mut warnings = Vec::new();
    let pinned = rows(source, "collections", doc! {"noBalance": true}).await?;
    if let Some(names) = named(source, &pinned)? {
        warnings.push(format!(
            "balancing is disabled on the source for {names}; this does not travel: run `sh.disableBalancing(…)` for them on the target before its balancer runs"
        ));
    }
    let sized = rows(
        source,
        "collections",
        doc! {"maxChunkSizeBytes": {"$exists": true}},
    )
    .await?;
    if let Some(names) = named(source, &sized)? {
        warnings.push(format!(
            "a chunk size of their own is set on the source for {names}; this does not travel: run configureCollectionBalancing with chunkSize for them on the target"
        ));
    }
    let (here, there) = tokio::try_join!(
        rows(source, "settings", doc! {}),
        rows(target, "settings", doc! {})
    )?;
    let differing = differing(&here, &there);
    if !differing.is_empty() {
        warnings.push(format!(
            "config.settings of source and target differ in {}; they do not travel: set on the target what you need there",
            differing.join(", ")
        ));
    }
    let counts = |side: &Deployment| side.dialect.catalog.balancer_counts_chunks;
    if counts(target) && !counts(source) {
        warnings.push(format!(
            "the target runs {}, whose balancer counts chunks, and gets those of a source whose balancer weighs data: let it run a newer release before its balancer runs",
            target.version
        ));
    }
    for (side, found) in [(source, &found.source), (target, &found.target)] {
        let mode = found.mode().filter(|mode| !matches!(*mode, "full" | "off"));
        warnings.extend(mode.map(|mode| {
            format!(
                "the balancer of the {} was in mode {mode}: it is off during the run and returns to that mode afterwards",
                side.side
            )
        }));
    }
    Ok(warnings)
}

async fn rows(side: &Deployment, name: &str, filter: Document) -> Result<Vec<RawDocumentBuf>> {
    let rows = side
        .entry
        .database("config")
        .collection::<RawDocumentBuf>(name);
    let rows = rows.find(filter).read_concern(ReadConcern::majority());
    let rows = async { Ok(rows.await?.try_collect().await?) };
    answered("the router", rows)
        .await
        .map_err(|e: Error| e.context(format_args!("config.{name} of the {}", side.side)))
}

/// The run's collections in rows of the source's `config.collections`, as they are called on
/// the target.
fn named(source: &Deployment, rows: &[RawDocumentBuf]) -> Result<Option<String>> {
    let mut names = Vec::new();
    for name in rows.iter().filter_map(|row| row.get_str("_id").ok()) {
        let ns = sharding::namespace_in(source, name)?;
        names.extend(ns.map(|ns| ns.to_string()));
    }
    Ok(told(&names))
}

fn told(names: &[String]) -> Option<String> {
    if names.is_empty() {
        return None;
    }
    let more = names.len().saturating_sub(NAMES_MAX);
    let listed = names[..names.len() - more].join(", ");
    if more == 0 {
        return Some(listed);
    }
    Some(format!("{listed} and {more} more"))
}

/// Names of what is set differently, as `row.field`.
fn differing(here: &[RawDocumentBuf], there: &[RawDocumentBuf]) -> Vec<String> {
    let mut differing: Vec<String> = [here, there]
        .concat()
        .iter()
        .flat_map(|row| fields(row))
        .collect();
    differing.sort();
    differing.dedup();
    let value = |rows: &[RawDocumentBuf], name: &str| {
        let (id, field) = name.split_once('.')?;
        let row = rows
            .iter()
            .find(|row| row.get_str("_id").is_ok_and(|is| is == id))?;
        row.get(field)
            .ok()
            .flatten()
            .map(|value| format!("{value:?}"))
    };
    differing.retain(|name| value(here, name) != value(there, name));
    differing
}

fn fields(row: &RawDocument) -> Vec<String> {
    let id = row.get_str("_id").unwrap_or_default();
    // Fields that stopping the balancer changes are put back anyway.
    let names = row.iter().flatten().map(|(name, _)| name.as_str());
    let names =
        names.filter(|name| !STATE.contains(name) && (id, *name) != ("autosplit", "enabled"));
    names.map(|name| format!("{id}.{name}")).collect()
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;

    #[test]
    fn settings_that_differ_are_named_and_the_balancers_state_is_not() {
        let here = [
            rawdoc! {"_id": "balancer", "mode": "full", "activeWindow": {"start": "1:00", "stop": "5:00"}, "_waitForDelete": true},
            rawdoc! {"_id": "chunksize", "value": 64},
            rawdoc! {"_id": "autosplit", "enabled": true},
        ];
        let there = [rawdoc! {"_id": "balancer", "mode": "off", "_waitForDelete": true}];
        assert_eq!(
            differing(&here, &there),
            ["balancer.activeWindow", "chunksize.value"]
        );
        assert_eq!(differing(&here, &here), [""; 0]);
    }

    #[test]
    fn not_all_of_many_names_are_told() {
        let told = |count: usize| {
            let names = (0..count).map(|i| format!("d.c{i}"));
            told(&names.collect::<Vec<_>>())
        };
        assert_eq!(told(0), None);
        assert_eq!(told(2).as_deref(), Some("d.c0, d.c1"));
        assert!(told(23).is_some_and(|names| names.ends_with("d.c19 and 3 more")));
    }
}
