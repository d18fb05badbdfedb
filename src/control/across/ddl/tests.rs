//! What is laid out as an attempt begins, and what a rename makes of it.

use super::refining::still_refined;
use super::renaming::{renamed_version, with_epoch_of};
use super::*;
use crate::cluster::catalog::{Chunk, Sharded};
use crate::control::layout::owners;
use crate::position::{Mark, Position};
use bson::oid::ObjectId;
use bson::{Timestamp, rawdoc};

fn version(epoch: u8, major: u32, moved_at: u32) -> MapVersion {
    MapVersion {
        epoch: ObjectId::from_bytes([epoch; 12]),
        major,
        moved_at: Some(Timestamp {
            time: moved_at,
            increment: 1,
        }),
    }
}

#[test]
fn a_chunk_that_moved_away_and_back_before_a_rename_shows_after_it() {
    let recorded = version(1, 2, 100);
    for (what, recorded, now, expect, change) in [
        (
            "renamed",
            Some(recorded),
            Some(version(2, 2, 100)),
            Some(version(2, 2, 100)),
            None,
        ),
        (
            "moved away and back, and renamed",
            Some(recorded),
            Some(version(2, 4, 101)),
            Some(version(2, 2, 100)),
            Some("owners"),
        ),
        (
            "renamed again by now",
            Some(recorded),
            None,
            Some(recorded),
            None,
        ),
        (
            "recorded without a version",
            None,
            Some(version(2, 4, 101)),
            Some(version(2, 4, 101)),
            None,
        ),
    ] {
        let kept = with_epoch_of(now, recorded);
        assert_eq!(kept, expect, "{what}");
        let map = Sharded {
            key: rawdoc! {"k": 1},
            unique: false,
            chunks: Vec::new(),
            zones: Vec::new(),
            version: now,
        };
        let before = owners::intervals(&map);
        assert_eq!(owners::change(&before, kept, &map), change, "{what}");
    }
}

#[test]
fn a_key_that_was_refined_before_a_rename_shows_after_it() {
    let map = |key: RawDocumentBuf, epoch: u8| Sharded {
        key,
        unique: false,
        chunks: Vec::new(),
        zones: Vec::new(),
        version: Some(version(epoch, 2, 100)),
    };
    let laid_out = map(rawdoc! {"k": 1}, 1);
    for (what, now, expect) in [
        ("renamed", Some(map(rawdoc! {"k": 1}, 2)), 2),
        (
            "refined, then renamed",
            Some(map(rawdoc! {"k": 1, "u": 1}, 2)),
            1,
        ),
        ("renamed again by now", None, 1),
    ] {
        let kept = renamed_version(now, &laid_out);
        assert_eq!(kept, Some(version(expect, 2, 100)), "{what}");
    }
}

/// By what is read in the turn: it may be renamed since it was found.
#[test]
fn a_key_is_recorded_as_it_is_refined_when_its_turn_comes() {
    let map = |key: RawDocumentBuf, epoch: u8, major: u32| Sharded {
        key,
        unique: false,
        chunks: Vec::new(),
        zones: Vec::new(),
        version: Some(version(epoch, major, 100 + major)),
    };
    let (key, refined) = (|| rawdoc! {"k": 1}, || rawdoc! {"k": 1, "u": 1});
    let before = map(key(), 1, 2);
    for (what, now, epoch) in [
        ("renamed to another name, or dropped", None, None),
        ("refined", Some(map(refined(), 2, 2)), Some(2)),
        ("refined, and renamed", Some(map(refined(), 3, 2)), Some(3)),
        ("refined, and moved", Some(map(refined(), 2, 3)), None),
        ("not refined", Some(map(key(), 2, 2)), None),
    ] {
        let found = still_refined(&before, now).ok().and_then(|now| now.version);
        let expect = epoch.map(|epoch| version(epoch, 2, 102));
        assert_eq!(found, expect, "{what}");
    }
}

#[test]
fn what_a_pair_recorded_of_a_collection_that_lives_on_it_counts() {
    let ns = Namespace {
        db: "d".to_owned(),
        coll: "c".to_owned(),
    };
    let chunk = Chunk {
        min: rawdoc! {"k": 0},
        max: rawdoc! {"k": 1},
        shard: 0,
    };
    let sharded = Sharded {
        key: rawdoc! {"k": 1},
        unique: false,
        chunks: vec![chunk],
        zones: Vec::new(),
        version: None,
    };
    let recorded = |expiry: i64| CollectionState {
        dead: false,
        options: rawdoc! {"expireAfterSeconds": expiry},
        primary: 0,
        sharded: Some(sharded.clone()),
        ..CollectionState::dead(Uuid::from_bytes([1; 16]), &ns)
    };
    let mark = Mark {
        position: Position::default(),
        term: 1,
    };
    let states = [60, 5].map(|expiry| PairState {
        resume: mark,
        applied: mark,
        catalog_position: mark.position,
        collections: vec![recorded(expiry)],
    });
    let alive = alive(&states, &Rendezvous::default());
    let last = alive.last().expect("two pairs have it");
    assert_eq!(last.options.get_i64("expireAfterSeconds").unwrap(), 60);
}
