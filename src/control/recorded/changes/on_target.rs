//! What somebody else did to what the run made on the target.
//!
//! Pure.

use crate::cluster::catalog::Catalog;
use crate::control::layout;
use crate::state::CollectionState;

/// How it is other than it was made.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Touched {
    Gone,
    Options,
}

pub(super) fn touched(was: &CollectionState, there: &Catalog) -> Option<Touched> {
    let made = was.target_uuid?;
    let mut all = there.collections.iter();
    let Some(found) = all.find(|c| c.uuid == Some(made)) else {
        return Some(Touched::Gone);
    };
    let is_as_made = layout::options::is_as_made(&was.options, &found.options);
    (!is_as_made).then_some(Touched::Options)
}

#[cfg(test)]
mod tests {
    use bson::{RawDocumentBuf, Uuid, rawdoc};

    use super::*;
    use crate::cluster::catalog::{Collection, CollectionKind, Namespace};

    #[test]
    fn what_is_not_as_it_was_made_is_told() {
        let uuid = |byte| Uuid::from_bytes([byte; 16]);
        let ns = || Namespace {
            db: "d".to_owned(),
            coll: "c".to_owned(),
        };
        let made = |byte, options: RawDocumentBuf| Collection {
            ns: ns(),
            kind: CollectionKind::Plain,
            uuid: Some(uuid(byte)),
            options,
            primary: 0,
            sharded: None,
            key_index: None,
        };
        let validated = || rawdoc! {"validator": {"a": 1}};
        let rows = [
            (Some(2), rawdoc! {}, vec![made(2, rawdoc! {})], None),
            (Some(2), rawdoc! {}, vec![], Some(Touched::Gone)),
            (
                Some(2),
                rawdoc! {},
                vec![made(3, rawdoc! {})],
                Some(Touched::Gone),
            ),
            // Nothing of it is to be there.
            (None, rawdoc! {}, vec![], None),
            (
                Some(2),
                rawdoc! {},
                vec![made(2, validated())],
                Some(Touched::Options),
            ),
            (
                Some(2),
                validated(),
                vec![made(2, rawdoc! {})],
                Some(Touched::Options),
            ),
        ];
        for (target, options, collections, expect) in rows {
            let was = CollectionState {
                target_uuid: target.map(uuid),
                options,
                ..CollectionState::dead(uuid(1), &ns())
            };
            let there = Catalog {
                databases: Vec::new(),
                collections,
                shard_zones: Vec::new(),
            };
            assert_eq!(touched(&was, &there), expect, "{there:?}");
        }
    }
}
