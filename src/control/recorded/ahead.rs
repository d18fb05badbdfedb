//! What entries that pairs have still to read say of names.
//!
//! Renames of sharded collections: all that hold one have it ahead, or none (R4). A pair that
//! starts over has none ahead, and the others would wait for it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bson::Uuid;

use crate::cluster::catalog::Namespace;
use crate::cluster::retry::within;
use crate::control::layout::listing::Listing;
use crate::control::recorded::changes::Changes;
use crate::error::{Error, Kind, Result};
use crate::pair::oplog::namings::Namings;
use crate::pair::oplog::proven::Lister;
use crate::position::Position;
use crate::scope::Scope;
use crate::state::PairState;

/// A day of a busy shard's log is read in minutes.
const NAMES_WITHIN: Duration = Duration::from_secs(3600);
const LEFT_TO_READ: &str = "the entries that shards have still to read";

/// Which had each name in entries that a pair has still to read. None that its source shard does
/// not hold any more: nor has it them to read then, but in its spool.
pub async fn taken(
    state: &PairState,
    scope: &Scope,
    (lister, start): (&Lister, Position),
) -> Result<HashMap<Namespace, HashSet<Uuid>>> {
    let mut namings = Namings::default();
    let from = state.resume.position.min(state.applied.position);
    let read = lister.note_namings(&mut namings, from, start);
    within(NAMES_WITHIN, LEFT_TO_READ, read).await?;
    let mut taken: HashMap<Namespace, HashSet<Uuid>> = HashMap::new();
    for (name, uuids) in namings.taken {
        let named = name
            .split_once('.')
            .filter(|(db, coll)| scope.has(db, coll));
        if let Some((db, coll)) = named {
            let ns = Namespace::named(scope, db, coll)?;
            taken.entry(ns).or_default().extend(uuids);
        }
    }
    Ok(taken)
}

/// UUIDs of sharded collections that pairs other than this one are still to see renamed, as far
/// as their source shards hold what they have to read. One lister and state per source shard.
pub async fn of_others(
    listers: &[Arc<Lister>],
    states: &[PairState],
    pair: usize,
    listing: &Listing,
) -> Result<HashSet<Uuid>> {
    let read = ahead_of_others(listers, states, pair, listing);
    within(NAMES_WITHIN, LEFT_TO_READ, read).await
}

async fn ahead_of_others(
    listers: &[Arc<Lister>],
    states: &[PairState],
    pair: usize,
    listing: &Listing,
) -> Result<HashSet<Uuid>> {
    let collections = listing.catalog.collections.iter();
    let sharded = collections.filter(|c| c.sharded.is_some());
    let sharded: HashSet<Uuid> = sharded.filter_map(|c| c.uuid).collect();
    let mut ahead = HashSet::new();
    if sharded.is_empty() {
        return Ok(ahead);
    }
    let others = listers.iter().zip(states).enumerate();
    for (other, (lister, state)) in others.filter(|(other, _)| *other != pair) {
        let upto = listing.starts[other].position;
        let from = state.resume.position.min(state.applied.position);
        let mut renamed_there = renamed(lister, (from, upto)).await?;
        renamed_there.retain(|uuid| sharded.contains(uuid));
        for uuid in renamed_there {
            // What the pair has recorded it does not wait for again.
            let recorded = renamed_at(state, &uuid).max(from);
            let is_met =
                from < recorded && !renamed(lister, (recorded, upto)).await?.contains(&uuid);
            if !is_met {
                ahead.insert(uuid);
            }
        }
    }
    Ok(ahead)
}

/// In entries after the first position, up to the second.
async fn renamed(lister: &Lister, (after, upto): (Position, Position)) -> Result<HashSet<Uuid>> {
    let mut namings = Namings::default();
    lister.note_namings(&mut namings, after, upto).await?;
    Ok(namings.before.into_keys().collect())
}

/// The last rename of it that the pair has recorded.
fn renamed_at(state: &PairState, uuid: &Uuid) -> Position {
    let mut known = state.collections.iter().filter(|c| c.uuid == *uuid);
    known.next().map(|c| c.renamed_at).unwrap_or_default()
}

/// What of it the pair would never see renamed. One that keeps its position does, but for what is
/// made now.
fn never_met<'a>(
    changes: &'a Changes<'_>,
    ahead: &HashSet<Uuid>,
    keeps_position: bool,
) -> Vec<&'a Namespace> {
    let kept = changes.kept.iter().filter(|_| !keeps_position);
    let kept = kept.map(|was| (was.uuid, &was.ns));
    let anew = changes.anew.iter().map(|(was, is)| (was.uuid, &is.ns));
    let created = changes.created.iter();
    let created = created.filter_map(|is| Some((is.uuid?, &is.ns)));
    let all = kept.chain(anew).chain(created);
    let found = all.filter(|(uuid, _)| ahead.contains(uuid));
    let mut names: Vec<_> = found.map(|(_, ns)| ns).collect();
    names.sort();
    names
}

/// # Errors
/// `Refused` if the pair would never see renamed what others are to see renamed.
pub fn expect_none(
    shard: &str,
    changes: &Changes<'_>,
    ahead: &HashSet<Uuid>,
    keeps_position: bool,
) -> Result<()> {
    let names = never_met(changes, ahead, keeps_position);
    if names.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let found = format!(
        "source shard {shard} cannot start over now: other shards have still to meet renames of sharded collections, and would wait for it: {}",
        names.join(", ")
    );
    Err(Error::new(Kind::Refused, found).remedy(
        "let the run catch up first, with the same `shardlift migrate`, and copy again then; if that shard cannot go on at all, start over with `shardlift migrate --restart`",
    ))
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;
    use crate::cluster::catalog::{Collection, CollectionKind};
    use crate::control::recorded::changes::Gone;
    use crate::position::Mark;
    use crate::state::CollectionState;

    fn uuid(byte: u8) -> Uuid {
        Uuid::from_bytes([byte; 16])
    }

    fn ns(coll: &str) -> Namespace {
        Namespace {
            db: "d".to_owned(),
            coll: coll.to_owned(),
        }
    }

    fn listed(byte: u8, coll: &str) -> Collection {
        Collection {
            ns: ns(coll),
            kind: CollectionKind::Plain,
            uuid: Some(uuid(byte)),
            options: rawdoc! {},
            primary: 0,
            sharded: None,
            key_index: None,
        }
    }

    #[test]
    fn a_pair_does_not_pass_a_rename_that_others_have_ahead() {
        let [kept, was, gone] = [(1, "kept"), (2, "was"), (4, "gone")]
            .map(|(of, coll)| CollectionState::dead(uuid(of), &ns(coll)));
        let new = listed(3, "new");
        let changes = Changes {
            kept: vec![&kept],
            anew: vec![(&was, listed(2, "anew"))],
            created: vec![&new],
            gone: vec![(&gone, Gone::OnlyHere)],
            ..Changes::default()
        };
        let rows: [(&[u8], bool, &[&str]); 6] = [
            (&[], false, &[]),
            (&[1, 2, 3, 4], false, &["anew", "kept", "new"]),
            (&[1, 2, 3, 4], true, &["anew", "new"]),
            (&[1], false, &["kept"]),
            (&[1], true, &[]),
            (&[9], false, &[]),
        ];
        for (ahead, keeps_position, expect) in rows {
            let of: HashSet<Uuid> = ahead.iter().map(|of| uuid(*of)).collect();
            let names = never_met(&changes, &of, keeps_position);
            let names: Vec<&str> = names.iter().map(|ns| ns.coll.as_str()).collect();
            assert_eq!(names, expect, "{ahead:?} {keeps_position}");
            let told = expect_none("a", &changes, &of, keeps_position);
            assert_eq!(told.is_ok(), expect.is_empty(), "{ahead:?}");
        }
    }

    #[test]
    fn what_is_not_known_was_never_renamed() {
        let at = Mark {
            position: Position::from_raw(3),
            term: 1,
        };
        let state = PairState {
            resume: at,
            applied: at,
            catalog_position: at.position,
            collections: vec![CollectionState {
                renamed_at: Position::from_raw(7),
                ..CollectionState::dead(uuid(1), &ns("a"))
            }],
        };
        assert_eq!(renamed_at(&state, &uuid(1)), Position::from_raw(7));
        assert_eq!(renamed_at(&state, &uuid(2)), Position::default());
    }
}
