//! What the suites write: documents into collections, and ops on them, as
//! streams of commands.
//!
//! Knows nothing about servers and engines.

use bson::{RawDocumentBuf, rawdoc};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand_distr::{Distribution, Zipf};

use crate::bench::bulk::{Bulk, Kind};
use crate::bench::content::Content;
use crate::layout::dice::Dice;

pub(super) const DATABASE: &str = "bench";
/// Exponent of the zipfian cases.
const ZIPF_S: f64 = 0.99;

pub(super) type Bulks = Box<dyn Iterator<Item = Bulk> + Send>;

/// Statements of one kind on one collection, packed into commands.
pub(super) fn packed(
    kind: Kind,
    collection: &str,
    statements: impl Iterator<Item = RawDocumentBuf> + Send + 'static,
) -> Bulks {
    let collection = collection.to_owned();
    let mut statements = statements.fuse();
    Box::new(std::iter::from_fn(move || {
        let mut bulk = Bulk::new(kind, DATABASE, &collection);
        while !bulk.is_full() {
            let Some(statement) = statements.next() else {
                break;
            };
            bulk.push(&statement);
        }
        (!bulk.is_empty()).then(|| bulk.sealed())
    }))
}

/// Inserts of documents `ns`.
pub(super) fn inserts(
    content: &Content,
    collection: &str,
    ns: impl Iterator<Item = u64> + Send + 'static,
) -> Bulks {
    let content = content.clone();
    packed(
        Kind::Insert,
        collection,
        ns.map(move |n| content.document(n, 0)),
    )
}

pub(super) fn deletes(
    content: &Content,
    collection: &str,
    ns: impl Iterator<Item = u64> + Send + 'static,
) -> Bulks {
    let content = content.clone();
    packed(
        Kind::Delete,
        collection,
        ns.map(move |n| rawdoc! { "q": { "_id": content.id(n) }, "limit": 1 }),
    )
}

/// One-field `$set`s of documents `ns`, each of a value that was not there before.
pub(super) fn sets(
    content: &Content,
    collection: &str,
    ns: impl Iterator<Item = u64> + Send + 'static,
    first_value: i64,
) -> Bulks {
    let content = content.clone();
    let statement = move |(n, value): (u64, i64)| {
        rawdoc! { "q": { "_id": content.id(n) }, "u": { "$set": { "v": value } } }
    };
    packed(
        Kind::Update,
        collection,
        ns.zip(first_value..).map(statement),
    )
}

/// Half of them `$set` a field that documents lack, the other half takes it out of the same
/// documents: each changes its document. `ns`: no document twice.
pub(super) fn comings_and_goings(
    content: &Content,
    collection: &str,
    ns: impl Iterator<Item = u64> + Clone + Send + 'static,
    first_value: i64,
) -> Bulks {
    let (sets, unsets) = (content.clone(), content.clone());
    let set = move |(n, value): (u64, i64)| {
        rawdoc! { "q": { "_id": sets.id(n) }, "u": { "$set": { "mark": value } } }
    };
    let unset =
        move |n| rawdoc! { "q": { "_id": unsets.id(n) }, "u": { "$unset": { "mark": true } } };
    let come = ns.clone().zip(first_value..).map(set);
    packed(Kind::Update, collection, come.chain(ns.map(unset)))
}

pub(super) fn increments(
    content: &Content,
    collection: &str,
    ns: impl Iterator<Item = u64> + Send + 'static,
) -> Bulks {
    let content = content.clone();
    packed(
        Kind::Update,
        collection,
        ns.map(move |n| rawdoc! { "q": { "_id": content.id(n) }, "u": { "$inc": { "v": 1_i64 } } }),
    )
}

/// Whole documents in place of documents `ns`.
pub(super) fn replacements(
    content: &Content,
    collection: &str,
    ns: impl Iterator<Item = u64> + Send + 'static,
    version: u64,
) -> Bulks {
    let content = content.clone();
    let statement = move |(n, version): (u64, u64)| {
        rawdoc! { "q": { "_id": content.id(n) }, "u": content.document(n, version) }
    };
    packed(Kind::Update, collection, ns.zip(version..).map(statement))
}

/// Commands of several streams by turns, until all have ended.
pub(super) fn by_turns(mut streams: Vec<Bulks>) -> Bulks {
    let mut turn = 0;
    Box::new(std::iter::from_fn(move || {
        while !streams.is_empty() {
            turn %= streams.len();
            match streams[turn].next() {
                Some(bulk) => {
                    turn += 1;
                    return Some(bulk);
                }
                None => drop(streams.remove(turn)),
            }
        }
        None
    }))
}

/// Documents of `0..documents` that are this connection's, at random. Each
/// connection has its own, so that none waits for another's write.
pub(super) fn uniform(
    documents: u64,
    connection: u64,
    connections: u64,
    seed: u64,
) -> impl Iterator<Item = u64> + Send {
    let mut dice = Dice::new(&[seed, connection]);
    let own = (documents + connections - 1 - connection) / connections;
    std::iter::repeat_with(move || dice.below(own) * connections + connection)
}

/// The same, zipfian over all documents: document 0 is the hottest.
pub(super) fn zipfian(
    documents: u64,
    connection: u64,
    connections: u64,
    seed: u64,
) -> impl Iterator<Item = u64> + Send {
    let mut rng = StdRng::seed_from_u64(seed ^ connection << 32);
    let zipf = Zipf::new(documents as f64, ZIPF_S).expect("documents and exponent are above zero");
    std::iter::repeat_with(move || zipf.sample(&mut rng) as u64 - 1)
        .filter(move |n| n % connections == connection)
}

/// The part of `range` that is this connection's.
pub(super) fn share(
    range: std::ops::Range<u64>,
    connection: u64,
    connections: u64,
) -> impl Iterator<Item = u64> + Clone + Send + 'static {
    range.filter(move |n| n % connections == connection)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::content::Ids;

    #[test]
    fn commands_hold_a_thousand_statements_and_the_rest() {
        let content = Content::new(64, Ids::Ascending, 1);
        assert_eq!(inserts(&content, "c", 0..2_500).count(), 3);
        let turns = by_turns(vec![
            deletes(&content, "c", 0..1_500),
            inserts(&content, "c", 0..4_000),
        ]);
        assert_eq!(turns.count(), 2 + 4);
    }

    #[test]
    fn every_document_is_of_one_connection() {
        for connection in 0..4 {
            let all = uniform(10, connection, 4, 1)
                .take(500)
                .chain(zipfian(10, connection, 4, 1).take(500));
            let all: Vec<u64> = all.chain(share(0..10, connection, 4)).collect();
            assert!(
                all.iter().all(|n| n % 4 == connection && *n < 10),
                "{all:?}"
            );
        }
    }

    #[test]
    fn the_hottest_document_gets_its_share() {
        let hits = zipfian(1_000, 0, 1, 1)
            .take(10_000)
            .filter(|n| *n == 0)
            .count();
        assert!((1_000..1_700).contains(&hits), "{hits}");
    }
}
