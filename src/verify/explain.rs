//! Naming the documents of a range that differ: both sides are read again.
//!
//! Shows `_id`s, never other contents. Knows nothing about digests of ranges.

use std::collections::HashMap;
use std::ops::ControlFlow;

use bson::RawDocument;
use xxhash_rust::xxh3::xxh3_128;

use crate::bson::identity::IdKey;
use crate::bson::locate::id_of;
use crate::bson::value::ValueRef;
use crate::error::Result;
use crate::verify::part::{Order, Part};
use crate::verify::range::Range;
use crate::verify::walk::{self, Met, Walk};
use crate::verify::{DIFFERENCES_MAX, Depth, difference, recheck};

/// Documents kept in memory where both sides cannot be read in one order; those
/// beyond are not named (about 100 bytes each).
const REMEMBERED_MAX: usize = 2_000_000;

/// Characters of an `_id` shown.
const ID_CHARACTERS_MAX: usize = 200;

/// What differs in a range, or among some documents.
#[derive(Debug, Default)]
pub struct Explained {
    /// The first differences, one sentence each.
    pub sentences: Vec<String>,
    /// All documents that differ.
    pub documents: u64,
}

impl Explained {
    fn found(&mut self, sentence: impl FnOnce() -> String) {
        self.documents += 1;
        if self.sentences.len() < DIFFERENCES_MAX {
            self.sentences.push(sentence());
        }
    }
}

/// What differs in a range.
pub async fn explain(part: &Part, range: &Range) -> Result<Explained> {
    match part.order {
        Order::Id => merge(part, range).await,
        Order::Stored | Order::Natural => look_up(part, range).await,
    }
}

/// Both sides come in `_id` order.
async fn merge(part: &Part, range: &Range) -> Result<Explained> {
    let mut found = Explained::default();
    let differ = |a: &RawDocument, b: &RawDocument| {
        part.depth == Depth::Digests && a.as_bytes() != b.as_bytes()
    };
    walk::side_by_side(part, range, |met| {
        match met {
            Met::Source(document) => found.found(|| sentence(part, document, MISSING)),
            Met::Target(document) => found.found(|| sentence(part, document, EXTRA)),
            Met::Both(ours, theirs) if differ(ours, theirs) => {
                found.found(|| {
                    sentence(
                        part,
                        ours,
                        &difference::between(ours.as_bytes(), theirs.as_bytes()),
                    )
                });
            }
            Met::Both(..) => {}
        }
        ControlFlow::Continue(())
    })
    .await?;
    Ok(found)
}

/// The sides come in no common order: remembers the source, looks up the target.
async fn look_up(part: &Part, range: &Range) -> Result<Explained> {
    let mut found = Explained::default();
    let mut changed = Vec::new();
    let mut remembered: HashMap<IdKey, u128> = HashMap::new();
    let mut source = Walk::open(part, &part.source, range).await?;
    while let Some(document) = source.current() {
        if let Some(id) = id_of(document).filter(|_| remembered.len() < REMEMBERED_MAX) {
            remembered.insert(IdKey::new(id), xxh3_128(document.as_bytes()));
        }
        source.advance().await?;
    }
    let complete = remembered.len() < REMEMBERED_MAX;
    let mut target = Walk::open(part, &part.target, range).await?;
    while let Some(document) = target.current() {
        match id_of(document).and_then(|id| remembered.remove(&IdKey::new(id))) {
            Some(hash) if part.depth == Depth::Digests && hash != xxh3_128(document.as_bytes()) => {
                changed.extend(id_of(document).map(IdKey::new));
            }
            None if complete => found.found(|| sentence(part, document, EXTRA)),
            _ => {}
        }
        target.advance().await?;
    }
    for id in remembered.keys() {
        found.found(|| named(part, id.value(), MISSING));
    }
    for id in changed {
        let how = match found.sentences.len() < DIFFERENCES_MAX {
            true => recheck::how_changed(part, &id).await?,
            false => String::new(),
        };
        found.found(|| named(part, id.value(), &how));
    }
    Ok(found)
}

pub(super) const MISSING: &str = "is missing on the target";
pub(super) const EXTRA: &str = "is on the target but not on the source";

fn sentence(part: &Part, document: &RawDocument, what: &str) -> String {
    match id_of(document) {
        Some(id) => named(part, id, what),
        None => format!("{}: a document without _id {what}", part.ns),
    }
}

/// How a difference is told.
pub(super) fn named(part: &Part, id: ValueRef<'_>, what: &str) -> String {
    format!("{}: _id {} {what}", part.ns, shown(id))
}

/// An `_id`, cut where it is long.
fn shown(id: ValueRef<'_>) -> String {
    let text = id.to_string();
    match text.char_indices().nth(ID_CHARACTERS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
