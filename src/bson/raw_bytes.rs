//! Bytes that are no documents, and documents that lie: whatever walks over them ends, and
//! takes nothing from outside.

use bson::RawDocument;
use proptest::prelude::*;

use crate::bson::element::{self, Element, elements, elements_of, kind};
use crate::bson::identity::IdKey;
use crate::bson::samples::{any_or_damaged, damaged, every_type, framed};
use crate::bson::shard_key::ShardKeyPattern;
use crate::bson::{hash, identity, locate, order};

/// Everything that looks into a document.
fn look(doc: &RawDocument) {
    let _ = (
        locate::look(doc),
        locate::needs_literal(doc),
        locate::id_query(doc),
    );
    let _ = (
        locate::has_zero_timestamp(doc.as_bytes()),
        order::compare_keys(doc, doc),
    );
    let pattern = bson::rawdoc! { "_id": "hashed", "14.b": 1, "a": 1 };
    let key = ShardKeyPattern::new(pattern).unwrap().extract(doc);
    elements(&key).for_each(|_| {});
    if let Some(id) = locate::id_of(doc) {
        let view = id.view();
        let _ = (
            hash::hashed_view(&view),
            identity::hash_view(&view),
            order::place(&view),
        );
        let (key, again) = (IdKey::new(id), IdKey::new(id));
        assert!(key == again && key.hash() == again.hash());
        let _ = (key.bytes(), identity::any_of(&[key]));
    }
}

/// The elements of all documents inside, too.
fn walk(bytes: &[u8], depth: usize) -> usize {
    let mut walked = 4;
    for Element { kind, name, value } in elements_of(bytes) {
        walked += 2 + name.len() + value.len();
        let is_inside = bytes.as_ptr_range().start <= value.as_ptr_range().start
            && value.as_ptr_range().end <= bytes.as_ptr_range().end;
        assert!(is_inside);
        if matches!(kind, kind::DOCUMENT | kind::ARRAY) && 0 < depth {
            walk(value, depth - 1);
        }
        let _ = (element::string(value), element::cstring(value));
    }
    walked
}

/// The first field is an `_id`.
fn with_id() -> Vec<u8> {
    let every = every_type();
    let first = elements(&every).map(|element| Element {
        name: b"_id",
        ..element
    });
    element::document(first.clone().skip(14).take(1).chain(elements(&every))).into_bytes()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_walk_takes_no_more_than_there_is(bytes in any_or_damaged(with_id())) {
        prop_assert!(walk(&bytes, 5) <= bytes.len().max(4));
        look(&framed(bytes));
    }

    /// What the driver takes is taken whole, with the same elements.
    #[test]
    fn what_the_driver_reads_is_read_alike(bytes in damaged(every_type().into_bytes())) {
        let doc = framed(bytes);
        let theirs: Result<Vec<_>, _> = doc.iter_elements().collect();
        let Ok(theirs) = theirs else { return Ok(()) };
        let theirs = theirs.iter().map(|e| (e.key().as_str().as_bytes().to_vec(), e.size()));
        let ours = elements(&doc).map(|e| (e.name.to_vec(), e.value.len()));
        prop_assert_eq!(ours.collect::<Vec<_>>(), theirs.collect::<Vec<_>>());
    }
}
