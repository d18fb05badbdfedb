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
use crate::verify::{DIFFERENCES_MAX, Depth};

/// Documents kept in memory where both sides cannot be read in one order; those
/// beyond are not named (about 100 bytes each).
const REMEMBERED_MAX: usize = 2_000_000;

/// Characters of an `_id` shown.
const ID_CHARACTERS_MAX: usize = 200;

/// The first differences of a range, one sentence each.
pub async fn explain(part: &Part, range: &Range) -> Result<Vec<String>> {
    match part.order {
        Order::Id => merge(part, range).await,
        Order::Stored | Order::Natural => look_up(part, range).await,
    }
}

/// Both sides come in `_id` order.
async fn merge(part: &Part, range: &Range) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let differ = |a: &RawDocument, b: &RawDocument| part.depth == Depth::Digests && a.as_bytes() != b.as_bytes();
    walk::side_by_side(part, range, |met| {
        match met {
            Met::Source(document) => found.push(sentence(part, document, MISSING)),
            Met::Target(document) => found.push(sentence(part, document, EXTRA)),
            Met::Both(ours, theirs) if differ(ours, theirs) => found.push(sentence(part, ours, CHANGED)),
            Met::Both(..) => {}
        }
        if found.len() < DIFFERENCES_MAX { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })
    .await?;
    Ok(found)
}

/// The sides come in no common order: remembers the source, looks up the target.
async fn look_up(part: &Part, range: &Range) -> Result<Vec<String>> {
    let mut found = Vec::new();
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
    while let Some(document) = target.current().filter(|_| found.len() < DIFFERENCES_MAX) {
        match id_of(document).and_then(|id| remembered.remove(&IdKey::new(id))) {
            Some(hash) if part.depth == Depth::Digests && hash != xxh3_128(document.as_bytes()) => {
                found.push(sentence(part, document, CHANGED));
            }
            None if complete => found.push(sentence(part, document, EXTRA)),
            _ => {}
        }
        target.advance().await?;
    }
    if found.len() < DIFFERENCES_MAX {
        let missing = remembered.keys().take(DIFFERENCES_MAX - found.len());
        found.extend(missing.map(|id| named(part, id.value(), MISSING)));
    }
    Ok(found)
}

pub(super) const MISSING: &str = "is missing on the target";
pub(super) const EXTRA: &str = "is on the target but not on the source";
pub(super) const CHANGED: &str = "differs in its bytes";

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
