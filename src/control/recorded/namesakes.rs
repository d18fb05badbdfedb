//! Collections of the target that no pair recorded, by their names.
//!
//! | the name is | an empty one | one that holds documents |
//! |---|---|---|
//! | to be given to another | may be what an earlier `recopy` made: is taken | is somebody else's: the source's would be mixed with them |
//! | one that the run was about to make, and none of the source | was made just before a stop: is dropped | stays |

use std::collections::HashSet;

use bson::Uuid;

use crate::cluster::catalog::{Catalog, Collection, Namespace};
use crate::cluster::deployment::Deployment;
use crate::control::layout;
use crate::control::layout::dropping::drop_collection;
use crate::control::recorded;
use crate::control::recorded::changes::Changes;
use crate::error::{Error, Kind, Result};
use crate::state::PairState;
use crate::state::run_store::RunStore;

/// # Errors
/// `Refused`, naming one that holds documents.
pub async fn expect_empty(
    target: &Deployment,
    changes: &Changes<'_>,
    states: &[PairState],
    there: &Catalog,
) -> Result<()> {
    for ns in foreign(changes, states, there) {
        if layout::holding(target, ns).await?.is_some() {
            let found =
                format!("{ns} of the target was made by somebody else, and holds documents");
            return Err(Error::new(Kind::Refused, found).remedy(format!(
                "drop {ns} on the target, then run the same command again"
            )));
        }
    }
    Ok(())
}

/// A pair that has its collection by a copy does not go by its creation, which would meet what
/// was made then.
pub async fn drop_left_over(
    target: &Deployment,
    states: &[PairState],
    source: &Catalog,
    there: &Catalog,
) -> Result<()> {
    let runs = RunStore::new(recorded::first(target));
    let left = empty_left_over(target, states, source, there).await?;
    // Buckets are dropped with their time series alone.
    let is_plain = |c: &&Collection| c.ns.time_series().is_none();
    for left in left.into_iter().filter(is_plain) {
        drop_collection(target, left).await?;
        runs.forget_making(&left.ns).await?;
    }
    Ok(())
}

/// What was made just before a stop, and has no name of the source.
pub async fn empty_left_over<'a>(
    target: &Deployment,
    states: &[PairState],
    source: &Catalog,
    there: &'a Catalog,
) -> Result<Vec<&'a Collection>> {
    let making = RunStore::new(recorded::first(target)).load_making().await?;
    let mut empty = Vec::new();
    for left in left_over(&making, states, source, there) {
        if layout::holding(target, &left.ns).await?.is_none() {
            empty.push(left);
        }
    }
    Ok(empty)
}

fn left_over<'a>(
    making: &[Namespace],
    states: &[PairState],
    source: &Catalog,
    there: &'a Catalog,
) -> Vec<&'a Collection> {
    let ours = recorded_by(states);
    let is_left = |c: &&Collection| {
        let is_the_sources = source.collections.iter().any(|other| other.ns == c.ns);
        is_foreign(c, &ours) && making.contains(&c.ns) && !is_the_sources
    };
    there.collections.iter().filter(is_left).collect()
}

/// UUIDs on the target.
fn recorded_by(states: &[PairState]) -> HashSet<Uuid> {
    let recorded = states.iter().flat_map(|state| &state.collections);
    recorded.filter_map(|c| c.target_uuid).collect()
}

/// A view is none.
fn is_foreign(collection: &Collection, ours: &HashSet<Uuid>) -> bool {
    collection.uuid.is_some_and(|uuid| !ours.contains(&uuid))
}

/// Names that are to be given, and are had by what no pair recorded.
fn foreign<'a>(
    changes: &'a Changes<'_>,
    states: &[PairState],
    there: &Catalog,
) -> Vec<&'a Namespace> {
    let ours = recorded_by(states);
    let is_had = |ns: &&Namespace| {
        let mut named = there.collections.iter().filter(|c| c.ns == **ns);
        named.any(|c| is_foreign(c, &ours))
    };
    let anew = changes.anew.iter().map(|(_, is)| &is.ns);
    let created = changes.created.iter().map(|is| &is.ns);
    anew.chain(created).filter(is_had).collect()
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;
    use crate::cluster::catalog::CollectionKind;
    use crate::position::{Mark, Position};
    use crate::state::CollectionState;

    fn collection(byte: u8, coll: &str) -> Collection {
        Collection {
            ns: Namespace {
                db: "d".to_owned(),
                coll: coll.to_owned(),
            },
            kind: CollectionKind::Plain,
            uuid: Some(Uuid::from_bytes([byte; 16])),
            options: rawdoc! {},
            primary: 0,
            sharded: None,
            key_index: None,
        }
    }

    fn catalog(collections: Vec<Collection>) -> Catalog {
        Catalog {
            databases: Vec::new(),
            collections,
            shard_zones: Vec::new(),
        }
    }

    /// Of the source's `d.a`, which is 101 on the target.
    fn recorded() -> (CollectionState, [PairState; 1]) {
        let was = CollectionState {
            target_uuid: Some(Uuid::from_bytes([101; 16])),
            ..CollectionState::planned(&collection(1, "a"), Vec::new()).unwrap()
        };
        let at = Mark {
            position: Position::default(),
            term: 1,
        };
        let state = PairState {
            resume: at,
            applied: at,
            catalog_position: at.position,
            collections: vec![was.clone()],
        };
        (was, [state])
    }

    #[test]
    fn what_the_run_was_about_to_make_and_has_no_name_of_the_source_is_left_over() {
        let (_, states) = recorded();
        let source = catalog(vec![collection(1, "a"), collection(2, "b")]);
        let making = ["a", "b", "tmp", "system.buckets.s"].map(|coll| collection(0, coll).ns);
        let rows = [
            (collection(9, "tmp"), true),
            (collection(101, "tmp"), false),
            (collection(9, "b"), false),
            (collection(9, "other"), false),
            (collection(9, "system.buckets.s"), true),
        ];
        for (found, expect) in rows {
            let there = catalog(vec![found]);
            let left = left_over(&making, &states, &source, &there);
            assert_eq!(!left.is_empty(), expect, "{there:?}");
        }
    }

    #[test]
    fn what_no_pair_recorded_is_somebody_elses() {
        let (was, states) = recorded();
        let new = collection(2, "new");
        let changes = Changes {
            anew: vec![(&was, collection(1, "a"))],
            created: vec![&new],
            ..Changes::default()
        };
        let rows = [
            (vec![], ""),
            (vec![collection(101, "a")], ""),
            (vec![collection(9, "a")], "d.a"),
            (vec![collection(101, "b"), collection(9, "new")], "d.new"),
            (vec![collection(9, "other")], ""),
        ];
        for (collections, expect) in rows {
            let there = catalog(collections);
            let found = foreign(&changes, &states, &there);
            let found: Vec<String> = found.iter().map(ToString::to_string).collect();
            assert_eq!(found.join(","), expect, "{there:?}");
        }
    }
}
