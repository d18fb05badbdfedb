//! What is laid out as an attempt begins.

use super::*;
use crate::cluster::catalog::{Chunk, Sharded};
use crate::position::{Mark, Position};
use bson::rawdoc;

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
