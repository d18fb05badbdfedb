//! What is made up for, and what is refused by name.

use bson::oid::ObjectId;
use bson::{RawDocumentBuf, rawdoc};

use super::*;
use crate::cluster::catalog::MapVersion;
use crate::cluster::catalog::{Chunk, Database, Sharded};
use crate::position::{Mark, Position};

mod only;

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

/// What the target has of them.
fn made_of(recorded: &[CollectionState]) -> Vec<Collection> {
    let made = recorded.iter().filter(|c| !c.dead).map(|was| Collection {
        uuid: was.target_uuid,
        ..was.collection()
    });
    made.collect()
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
fn told(states: [PairState; 2], source: &Catalog, target: &Catalog) -> String {
    let local = source.collections.iter().filter_map(|c| c.uuid).collect();
    let changes = changes(0, &states, source, &local, target, None);
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
    assert_eq!(told(states(), &same, &target), " |  | ");
    let now = catalog(vec![
        collection(1, "a"),
        collection(9, "b"),
        collection(8, "new"),
    ]);
    assert_eq!(
        told(states(), &now, &target),
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
    let changed = Collection {
        options: rawdoc! {"validator": {"x": 1}},
        ..collection(3, "s")
    };
    let moved = Collection {
        primary: 1,
        ..collection(1, "a")
    };
    let rows = [
        (
            vec![collection(1, "a"), changed],
            "the options of d.s were changed, and other shards have it, too",
        ),
        (vec![moved, collection(3, "s")], "owners of d.a changed"),
        (
            vec![collection(1, "a"), collection(9, "s")],
            "d.s was recreated, and another shard has not followed the drop",
        ),
    ];
    for (now, expect) in rows {
        let told = told(states(), &catalog(now), &target);
        assert!(told.contains(expect), "{expect}: {told}");
    }
}

/// The collections made anew, as `was>is`, and what is refused.
fn made_anew(was: &[CollectionState], now: Vec<Collection>) -> String {
    let others = state(vec![recorded(3, "s")]);
    let states = [state(was.to_vec()), others];
    let target = catalog([made_of(was), vec![collection(103, "s")]].concat());
    let local = now.iter().filter_map(|c| c.uuid).collect();
    let now = catalog(now);
    let changes = changes(0, &states, &now, &local, &target, None);
    let anew = changes.anew.iter();
    let anew: Vec<_> = anew
        .map(|(was, is)| format!("{}>{}", was.ns.coll, is.ns.coll))
        .collect();
    format!("{} | {}", anew.join(","), changes.refused.join(","))
}

#[test]
fn what_was_renamed_is_made_anew_unless_it_is_sharded() {
    let was = [recorded(1, "a"), recorded(2, "b")];
    let renamed =
        |one: &str, other: &str| made_anew(&was, vec![collection(1, one), collection(2, other)]);
    assert_eq!(renamed("z", "b"), "a>z | ");
    assert_eq!(renamed("b", "a"), "a>b,b>a | ");
    assert!(renamed("s", "b").contains("another shard has not followed the drop"));
    let was = CollectionState::planned(&spread(0, 1), Vec::new()).unwrap();
    let is = Collection {
        ns: ns("t"),
        ..spread(0, 1)
    };
    let renamed = "d.s was renamed to d.t".to_owned();
    assert_eq!(differs(&was, &is), Some(Differs::Owners(renamed)));
}

#[test]
fn what_was_made_otherwise_since_is_made_anew() {
    let with = |options: RawDocumentBuf| Collection {
        options,
        ..collection(1, "a")
    };
    let clustered = |expiry: Option<i64>| {
        let mut options = rawdoc! {"clusteredIndex": {"v": 2}};
        if let Some(seconds) = expiry {
            options.append(bson::cstr!("expireAfterSeconds"), seconds);
        }
        with(options)
    };
    let sharded = Collection {
        sharded: spread(0, 1).sharded,
        ..collection(1, "a")
    };
    let moved = Collection {
        sharded: spread(0, 2).sharded,
        ..collection(1, "a")
    };
    let plain = || with(rawdoc! {});
    let rows = [
        (plain(), plain(), " | "),
        (plain(), with(rawdoc! {"validator": {"x": 1}}), "a>a | "),
        (clustered(Some(5)), clustered(Some(5)), " | "),
        (clustered(Some(5)), clustered(Some(6)), "a>a | "),
        (clustered(None), clustered(Some(5)), "a>a | "),
        (clustered(Some(5)), clustered(None), "a>a | "),
        (plain(), sharded, "a>a | "),
        (
            plain(),
            moved,
            "a>a | d.a was sharded, and a chunk of it moved",
        ),
    ];
    for (was, is, expect) in rows {
        let was = CollectionState {
            options: was.options,
            ..recorded(1, "a")
        };
        assert_eq!(made_anew(&[was], vec![is.clone()]), expect, "{is:?}");
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
    assert_eq!(told(only_here, &now, &target), "s OnlyHere | new | ");
    let by_another = [state(Vec::new()), state(vec![recorded(3, "s")])];
    let told = told(by_another, &now, &target);
    assert!(
        told.contains("d.new was created; its database was recreated on another shard"),
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
    let told = |states, major, owner| told(states, &catalog(vec![spread(owner, major)]), &target);
    assert_eq!(told(states(), 1, 1), " | s | ");
    assert_eq!(told(states(), 2, 0), " |  | owners of d.s changed");
    let unknown = || [state(Vec::new()), state(Vec::new())];
    assert_eq!(told(unknown(), 1, 0), " | s | ");
    assert_eq!(
        told(unknown(), 2, 0),
        " |  | d.s was sharded, and a chunk of it moved"
    );
}
