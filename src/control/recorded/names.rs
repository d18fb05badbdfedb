//! Names that a pair's collections have on the target by now, where they are not as recorded:
//! an attempt may end between a rename and its record. Whoever addresses a collection there by
//! its recorded name asks for this first.

use std::collections::{BTreeSet, HashMap};

use bson::Uuid;

use crate::cluster::catalog::{self, Namespace};
use crate::cluster::deployment::Shard;
use crate::error::Result;
use crate::state::CollectionState;
use crate::state::pair_store::PairStore;

/// Records them. The client of shard and store must carry the incarnation's app name.
pub async fn record(shard: &Shard, store: &PairStore) -> Result<()> {
    let recorded = store.collections().await?;
    let databases: BTreeSet<&str> = recorded.iter().map(|c| c.ns.db.as_str()).collect();
    let there = catalog::local_names(shard, databases).await?;
    for (collection, ns) in renamed(&recorded, &there) {
        store.set_ns(collection, ns).await?;
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
