//! Collections of the target that are not the run's, and have the name of one that is to be
//! made. An empty one may be what an earlier `recopy` made and could not record. Documents are
//! somebody else's: those of the source would be mixed with them.

use std::collections::HashSet;

use bson::Uuid;

use crate::cluster::catalog::{Catalog, Collection, Namespace};
use crate::cluster::deployment::Deployment;
use crate::control::layout;
use crate::control::recorded::changes::Changes;
use crate::error::{Error, Kind, Result};
use crate::state::PairState;

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

/// Names that are to be given, and are had by what no pair recorded.
fn foreign<'a>(
    changes: &'a Changes<'_>,
    states: &[PairState],
    there: &Catalog,
) -> Vec<&'a Namespace> {
    let recorded = states.iter().flat_map(|state| &state.collections);
    let ours: HashSet<Uuid> = recorded.filter_map(|c| c.target_uuid).collect();
    let is_foreign = |c: &Collection| c.uuid.is_some_and(|uuid| !ours.contains(&uuid));
    let is_had = |ns: &&Namespace| {
        let mut named = there.collections.iter().filter(|c| c.ns == **ns);
        named.any(is_foreign)
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

    #[test]
    fn what_no_pair_recorded_is_somebody_elses() {
        let was = CollectionState {
            target_uuid: Some(Uuid::from_bytes([101; 16])),
            ..CollectionState::planned(&collection(1, "a"), Vec::new()).unwrap()
        };
        let at = Mark {
            position: Position::default(),
            term: 1,
        };
        let states = [PairState {
            resume: at,
            applied: at,
            catalog_position: at.position,
            collections: vec![was.clone()],
        }];
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
            let there = Catalog {
                databases: Vec::new(),
                collections,
                shard_zones: Vec::new(),
            };
            let found = foreign(&changes, &states, &there);
            let found: Vec<String> = found.iter().map(ToString::to_string).collect();
            assert_eq!(found.join(","), expect, "{there:?}");
        }
    }
}
