//! What became of a pair's collections while nobody followed its source shard:
//! its recorded state against the source's catalog now.
//!
//! Pure. A change that only its op could have told is refused, by name.

use std::collections::{HashMap, HashSet};

use bson::Uuid;

use crate::cluster::catalog::{Catalog, Collection, CollectionKind, Namespace};
use crate::control::{layout, owners};
use crate::state::{CollectionState, PairState};

#[derive(Debug, Default)]
pub struct Changes<'a> {
    pub gone: Vec<(&'a CollectionState, Gone)>,
    pub created: Vec<&'a Collection>,
    /// As parts of a sentence.
    pub refused: Vec<String>,
}

/// Who is still to meet the drop of a collection that is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gone {
    OnlyHere,
    OthersHoldIt,
}

/// `states[i]`: what pair i tracks; `local`: UUIDs that the pair's source shard
/// has; `views`: those of the plan.
pub fn changes<'a>(
    pair: usize,
    states: &'a [PairState],
    source: &'a Catalog,
    local: &HashSet<Uuid>,
    target: &Catalog,
    views: &[Namespace],
) -> Changes<'a> {
    let mut changes = Changes::default();
    let now: HashMap<Uuid, &Collection> = source
        .collections
        .iter()
        .filter_map(|c| Some((c.uuid?, c)))
        .filter(|(uuid, _)| local.contains(uuid))
        .collect();
    for was in states[pair].collections.iter().filter(|c| !c.dead) {
        match now.get(&was.uuid) {
            None => changes
                .gone
                .push((was, held_by_others(pair, states, &was.uuid))),
            Some(is) => changes.refused.extend(differs(was, is)),
        }
    }
    let known: HashMap<Uuid, &CollectionState> = states[pair]
        .collections
        .iter()
        .map(|c| (c.uuid, c))
        .collect();
    let mut created: Vec<&Collection> = now
        .iter()
        .filter(|(uuid, _)| known.get(uuid).is_none_or(|c| c.dead))
        .map(|(_, c)| *c)
        .collect();
    created.sort_by(|a, b| a.ns.cmp(&b.ns));
    for is in created {
        match in_the_way(pair, states, &changes.gone, is, target) {
            Some(why) => changes.refused.push(why),
            None => changes.created.push(is),
        }
    }
    changes
        .refused
        .extend(views_changed(pair, source, target, views));
    changes
}

fn held_by_others(pair: usize, states: &[PairState], uuid: &Uuid) -> Gone {
    let others = states
        .iter()
        .enumerate()
        .filter(|(other, _)| *other != pair);
    match others
        .flat_map(|(_, s)| &s.collections)
        .any(|c| c.uuid == *uuid && !c.dead)
    {
        true => Gone::OthersHoldIt,
        false => Gone::OnlyHere,
    }
}

fn differs(was: &CollectionState, is: &Collection) -> Option<String> {
    let what = if was.ns != is.ns {
        format!("{} was renamed to {}", was.ns, is.ns)
    } else if !layout::same_options(&was.options, &is.options) {
        format!("the options of {} were changed", was.ns)
    } else if layout::options::expiry(&was.options) != layout::options::expiry(&is.options) {
        format!("the expiry of {} was changed", was.ns)
    } else if !owners::are_same(&was.collection(), is) {
        format!("{} was sharded, or owners of it changed", was.ns)
    } else {
        return None;
    };
    Some(what)
}

/// Why a collection cannot be made on the target now.
fn in_the_way(
    pair: usize,
    states: &[PairState],
    gone: &[(&CollectionState, Gone)],
    is: &Collection,
    target: &Catalog,
) -> Option<String> {
    let ns = &is.ns;
    if is.kind != CollectionKind::Plain {
        return Some(format!("{ns} was created, and is not a plain collection"));
    }
    if states[pair]
        .collections
        .iter()
        .any(|c| c.dead && Some(c.uuid) == is.uuid)
    {
        return Some(format!("the drop of {ns} was rolled back"));
    }
    let mut laid_out = states
        .iter()
        .flat_map(|s| &s.collections)
        .filter(|c| !c.dead && Some(c.uuid) == is.uuid);
    match laid_out.next() {
        // A shard creates a collection, too, when it gets the first chunk of it.
        Some(was) if !owners::are_same(&was.collection(), is) => {
            return Some(format!("owners of {ns} changed"));
        }
        None if owners::has_moved(is) => {
            return Some(format!("{ns} was created, and a chunk of it moved"));
        }
        _ => {}
    }
    let is_dropped_first = |uuid: &Uuid| {
        gone.iter()
            .any(|(g, by)| g.uuid == *uuid && *by == Gone::OnlyHere)
    };
    let others = states
        .iter()
        .flat_map(|s| &s.collections)
        .filter(|c| !c.dead && Some(c.uuid) != is.uuid);
    let mut others = others.filter(|c| !is_dropped_first(&c.uuid));
    // A database moves with all that is in it.
    if others
        .clone()
        .any(|c| c.ns.db == ns.db && c.primary != is.primary)
    {
        let why = "was made anew on another shard, and the drop of older collections of it is still to be met";
        return Some(format!("{ns} was created, whose database {why}"));
    }
    let there = target
        .collections
        .iter()
        .find(|c| c.ns == *ns)
        .and_then(|c| c.uuid)?;
    others
        .any(|c| c.target_uuid == Some(there))
        .then(|| format!("{ns} was created anew, and the drop of its namesake is still to be met by another shard"))
}

/// Views of the databases that are at home on the pair.
fn views_changed(
    pair: usize,
    source: &Catalog,
    target: &Catalog,
    views: &[Namespace],
) -> Vec<String> {
    let is_view = |c: &&Collection| c.kind == CollectionKind::View;
    let homes: HashSet<&str> = source
        .databases
        .iter()
        .filter(|d| d.primary == pair)
        .map(|d| d.name.as_str())
        .collect();
    let now: HashMap<&Namespace, &Collection> = source
        .collections
        .iter()
        .filter(is_view)
        .map(|c| (&c.ns, c))
        .collect();
    let made: HashMap<&Namespace, &Collection> = target
        .collections
        .iter()
        .filter(is_view)
        .map(|c| (&c.ns, c))
        .collect();
    let mut changed = Vec::new();
    for ns in views
        .iter()
        .filter(|ns| homes.contains(ns.db.as_str()) && !now.contains_key(ns))
    {
        changed.push(format!("the view {ns} was dropped"));
    }
    for (ns, view) in now.iter().filter(|(ns, _)| homes.contains(ns.db.as_str())) {
        match made.get(ns).filter(|_| views.contains(ns)) {
            None => changed.push(format!("the view {ns} was created")),
            Some(made) if !layout::same_options(&view.options, &made.options) => {
                changed.push(format!("the view {ns} was changed"));
            }
            Some(_) => {}
        }
    }
    changed.sort();
    changed
}

#[cfg(test)]
mod tests {
    use bson::oid::ObjectId;
    use bson::{RawDocumentBuf, rawdoc};

    use super::*;
    use crate::cluster::catalog::MapVersion;
    use crate::cluster::catalog::{Chunk, Database, Sharded};
    use crate::pair::position::{Mark, Position};

    fn ns(coll: &str) -> Namespace {
        Namespace {
            db: "d".to_owned(),
            coll: coll.to_owned(),
        }
    }

    fn uuid(byte: u8) -> Uuid {
        Uuid::from_bytes([byte; 16])
    }

    fn collection(byte: u8, coll: &str) -> Collection {
        let options = RawDocumentBuf::new();
        let kind = CollectionKind::Plain;
        Collection {
            ns: ns(coll),
            kind,
            uuid: Some(uuid(byte)),
            options,
            primary: 0,
            sharded: None,
            key_index: None,
        }
    }

    fn catalog(collections: Vec<Collection>) -> Catalog {
        let databases = vec![Database {
            name: "d".to_owned(),
            primary: 0,
        }];
        Catalog {
            databases,
            collections,
            shard_zones: Vec::new(),
        }
    }

    /// Recorded as `byte`, on the target as `100 + byte`.
    fn recorded(byte: u8, coll: &str) -> CollectionState {
        let planned = CollectionState::planned(&collection(byte, coll), Vec::new()).unwrap();
        CollectionState {
            target_uuid: Some(uuid(100 + byte)),
            ..planned
        }
    }

    fn state(collections: Vec<CollectionState>) -> PairState {
        let at = Mark {
            position: Position::default(),
            term: 1,
        };
        PairState {
            resume: at,
            applied: at,
            catalog_position: at.position,
            collections,
        }
    }

    /// (gone, created, refused) as text.
    fn told(
        states: [PairState; 2],
        source: &Catalog,
        target: &Catalog,
        views: &[Namespace],
    ) -> String {
        let local = source.collections.iter().filter_map(|c| c.uuid).collect();
        let changes = changes(0, &states, source, &local, target, views);
        let gone: Vec<_> = changes
            .gone
            .iter()
            .map(|(c, by)| format!("{} {by:?}", c.ns.coll))
            .collect();
        let created: Vec<_> = changes.created.iter().map(|c| c.ns.coll.as_str()).collect();
        format!(
            "{} | {} | {}",
            gone.join(","),
            created.join(","),
            changes.refused.join(",")
        )
    }

    #[test]
    fn what_was_dropped_and_created_is_found() {
        let states = || {
            [
                state(vec![recorded(1, "a"), recorded(2, "b"), recorded(3, "s")]),
                state(vec![recorded(3, "s")]),
            ]
        };
        let target = catalog(vec![
            collection(101, "a"),
            collection(102, "b"),
            collection(103, "s"),
        ]);
        let same = catalog(vec![
            collection(1, "a"),
            collection(2, "b"),
            collection(3, "s"),
        ]);
        assert_eq!(told(states(), &same, &target, &[]), " |  | ");
        let now = catalog(vec![
            collection(1, "a"),
            collection(9, "b"),
            collection(8, "new"),
        ]);
        assert_eq!(
            told(states(), &now, &target, &[]),
            "b OnlyHere,s OthersHoldIt | b,new | "
        );
    }

    #[test]
    fn what_cannot_be_made_up_for_is_named() {
        let states = || {
            [
                state(vec![recorded(1, "a"), recorded(3, "s")]),
                state(vec![recorded(3, "s")]),
            ]
        };
        let target = catalog(vec![collection(101, "a"), collection(103, "s")]);
        let mut changed = collection(1, "a");
        changed.options = rawdoc! {"validator": {"x": 1}};
        let moved = Collection {
            primary: 1,
            ..collection(1, "a")
        };
        let view = Collection {
            kind: CollectionKind::View,
            uuid: None,
            ..collection(0, "v")
        };
        let rows = [
            (
                vec![collection(1, "z"), collection(3, "s")],
                "d.a was renamed to d.z",
            ),
            (
                vec![changed, collection(3, "s")],
                "the options of d.a were changed",
            ),
            (
                vec![moved, collection(3, "s")],
                "d.a was sharded, or owners of it changed",
            ),
            (
                vec![collection(1, "a"), collection(9, "s")],
                "d.s was created anew, and the drop of its namesake",
            ),
            (
                vec![collection(1, "a"), collection(3, "s"), view],
                "the view d.v was created",
            ),
        ];
        for (now, expect) in rows {
            let told = told(states(), &catalog(now), &target, &[]);
            assert!(told.contains(expect), "{expect}: {told}");
        }
        let same = catalog(vec![collection(1, "a"), collection(3, "s")]);
        assert!(told(states(), &same, &target, &[ns("v")]).contains("the view d.v was dropped"));
    }

    #[test]
    fn an_expiry_that_was_changed_or_came_or_went_is_named() {
        let clustered = |expiry: Option<i64>| {
            let mut options = rawdoc! {"clusteredIndex": {"v": 2}};
            if let Some(seconds) = expiry {
                options.append(bson::cstr!("expireAfterSeconds"), seconds);
            }
            Collection {
                options,
                ..collection(1, "a")
            }
        };
        for (was, is, named) in [
            (Some(5), Some(5), false),
            (None, None, false),
            (Some(5), Some(6), true),
            (None, Some(5), true),
            (Some(5), None, true),
        ] {
            let was = CollectionState {
                options: clustered(was).options,
                ..recorded(1, "a")
            };
            let target = catalog(vec![collection(101, "a")]);
            let told = told(
                [state(vec![was]), state(Vec::new())],
                &catalog(vec![clustered(is)]),
                &target,
                &[],
            );
            assert_eq!(
                told.contains("the expiry of d.a was changed"),
                named,
                "{told}"
            );
        }
    }

    #[test]
    fn a_database_that_was_made_anew_elsewhere_waits_for_what_is_older_in_it() {
        let now = catalog(vec![Collection {
            primary: 1,
            ..collection(9, "new")
        }]);
        let target = catalog(vec![collection(103, "s")]);
        let only_here = [state(vec![recorded(3, "s")]), state(Vec::new())];
        assert_eq!(told(only_here, &now, &target, &[]), "s OnlyHere | new | ");
        let by_another = [state(Vec::new()), state(vec![recorded(3, "s")])];
        let told = told(by_another, &now, &target, &[]);
        assert!(
            told.contains("d.new was created, whose database was made anew on another shard"),
            "{told}"
        );
    }

    /// `d.s` with all its chunks on one shard.
    fn spread(owner: usize, major: u32) -> Collection {
        let version = MapVersion {
            epoch: ObjectId::from_bytes([1; 12]),
            major,
            moved_at: None,
        };
        let chunks = vec![Chunk {
            min: rawdoc! {"k": 0},
            max: rawdoc! {"k": 1},
            shard: owner,
        }];
        let sharded = Sharded {
            key: rawdoc! {"k": 1},
            unique: false,
            chunks,
            zones: Vec::new(),
            version: Some(version),
        };
        Collection {
            sharded: Some(sharded),
            ..collection(3, "s")
        }
    }

    #[test]
    fn a_chunk_that_moved_to_the_shard_is_no_new_collection() {
        let planned = CollectionState::planned(&spread(1, 1), Vec::new()).unwrap();
        let states = || [state(Vec::new()), state(vec![planned.clone()])];
        let target = catalog(vec![collection(103, "s")]);
        let told =
            |states, major, owner| told(states, &catalog(vec![spread(owner, major)]), &target, &[]);
        assert_eq!(told(states(), 1, 1), " | s | ");
        assert_eq!(told(states(), 2, 0), " |  | owners of d.s changed");
        let unknown = || [state(Vec::new()), state(Vec::new())];
        assert_eq!(told(unknown(), 1, 0), " | s | ");
        assert_eq!(
            told(unknown(), 2, 0),
            " |  | d.s was created, and a chunk of it moved"
        );
    }
}
