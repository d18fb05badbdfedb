//! Names that a pair's collections have on the target by now, where they are not as recorded:
//! an attempt may end between a rename and its record. Whoever addresses a collection there by
//! its recorded name asks for this first.

use std::collections::{BTreeSet, HashMap, HashSet};

use bson::Uuid;

use crate::cluster::catalog::{self, Namespace};
use crate::cluster::deployment::Shard;
use crate::error::{Error, Kind, Result};
use crate::state::pair_store::PairStore;
use crate::state::{CollectionState, PairState};

/// Records them. The client of shard and store must carry the incarnation's app name.
pub async fn record(shard: &Shard, store: &PairStore) -> Result<()> {
    let recorded = store.collections().await?;
    let databases: BTreeSet<&str> = recorded.iter().map(|c| c.ns.db.as_str()).collect();
    let there = catalog::local_names(shard, databases).await?;
    for (collection, ns) in renamed(&recorded, &there) {
        store.set_ns(collection.uuid, ns).await?;
    }
    Ok(())
}

/// Each collection has one name on all shards of the target. `states[i]`: what pair i recorded
/// by now. `dropped`: UUIDs of what is no longer there.
///
/// # Errors
/// `Transient` if it has several: a router renames it, as an earlier attempt asked it to.
/// `Unsupported` if it was made there more than once.
pub fn expect_one_each(states: &[PairState], dropped: &HashSet<Uuid>) -> Result<()> {
    let mut known: HashMap<Uuid, &CollectionState> = HashMap::new();
    let all = states.iter().flat_map(|state| &state.collections);
    let there = all.filter(|c| !c.dead && c.target_uuid.is_some() && !dropped.contains(&c.uuid));
    for collection in there {
        let first = *known.entry(collection.uuid).or_insert(collection);
        let (ns, other) = (&first.ns, &collection.ns);
        if first.target_uuid != collection.target_uuid {
            let found =
                format!("a collection was made twice on the target: as {ns} and as {other}");
            return Err(Error::new(Kind::Unsupported, found)
                .remedy("start over with `shardlift migrate --restart`"));
        }
        if ns != other {
            let found = format!(
                "the target renames a collection: some of its shards have it as {ns}, others as {other}"
            );
            return Err(Error::new(Kind::Transient, found));
        }
    }
    Ok(())
}

/// `there`: names on the target, by UUID there. Pure: the simulation drives the same code.
pub fn renamed<'a>(
    recorded: &'a [CollectionState],
    there: &'a HashMap<Uuid, Namespace>,
) -> Vec<(&'a CollectionState, &'a Namespace)> {
    let alive = recorded.iter().filter(|c| !c.dead);
    let named = alive.filter_map(|c| Some((c, there.get(&c.target_uuid?)?)));
    named.filter(|(c, ns)| c.ns != **ns).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::{Mark, Position};

    fn uuid(byte: u8) -> Uuid {
        Uuid::from_bytes([byte; 16])
    }

    fn ns(coll: &str) -> Namespace {
        Namespace {
            db: "d".to_owned(),
            coll: coll.to_owned(),
        }
    }

    fn tracked(of: u8, target: Option<u8>, dead: bool) -> CollectionState {
        CollectionState {
            target_uuid: target.map(uuid),
            dead,
            ..CollectionState::dead(uuid(of), &ns("c"))
        }
    }

    #[test]
    fn a_collection_that_is_being_renamed_has_two_names_on_shards_that_have_it() {
        let named = |target: Option<u8>, coll: &str| CollectionState {
            ns: ns(coll),
            ..tracked(1, target, false)
        };
        let [nothing, it] = [HashSet::new(), HashSet::from([uuid(1)])];
        let rows = [
            ([named(Some(9), "a"), named(Some(9), "a")], &nothing, None),
            (
                [named(Some(9), "a"), named(Some(9), "b")],
                &nothing,
                Some(Kind::Transient),
            ),
            (
                [named(Some(9), "a"), named(Some(8), "b")],
                &nothing,
                Some(Kind::Unsupported),
            ),
            ([named(Some(9), "a"), named(Some(9), "b")], &it, None),
            ([named(None, "a"), named(Some(9), "b")], &nothing, None),
        ];
        for (pairs, dropped, expect) in rows {
            let at = Mark {
                position: Position::default(),
                term: 1,
            };
            let states = pairs.clone().map(|c| PairState {
                resume: at,
                applied: at,
                catalog_position: at.position,
                collections: vec![c],
            });
            let told = expect_one_each(&states, dropped);
            assert_eq!(told.err().map(|e| e.kind), expect, "{pairs:?}");
        }
    }

    #[test]
    fn a_rename_that_was_not_recorded_is_seen_by_its_uuid() {
        let recorded = [
            tracked(1, Some(9), false),
            tracked(2, None, false),
            tracked(3, Some(8), true),
            tracked(4, Some(7), false),
        ];
        let names = [(9, "other"), (8, "dead"), (7, "c")];
        let there = names.map(|(of, name)| (uuid(of), ns(name))).into();
        let [(found, name)] = renamed(&recorded, &there)[..] else {
            panic!("one of them is");
        };
        assert_eq!((found.uuid, name), (uuid(1), &ns("other")));
    }
}
