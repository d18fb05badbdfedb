//! Naming the documents that differ, of a range or among some: both sides are read again.
//!
//! Shows `_id`s, never other contents. Knows nothing about digests of ranges.

use std::collections::HashMap;
use std::ops::ControlFlow;

use bson::{RawDocument, RawDocumentBuf};
use xxhash_rust::xxh3::xxh3_128;

use crate::bson::identity::IdKey;
use crate::bson::locate::id_of;
use crate::bson::value::ValueRef;
use crate::error::Result;
use crate::verify::part::{Order, Part, Reader};
use crate::verify::range::Range;
use crate::verify::read::Documents;
use crate::verify::recheck::{self, How};
use crate::verify::walk::{self, Met, Walk};
use crate::verify::{DIFFERENCES_MAX, Depth, difference};

/// Documents kept in memory where both sides cannot be read in one order; those
/// beyond are not named (about 100 bytes each).
const REMEMBERED_MAX: usize = 2_000_000;

/// Characters of an `_id` shown.
const ID_CHARACTERS_MAX: usize = 200;

/// The differences in a range, or among some documents.
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
        let how = if found.sentences.len() < DIFFERENCES_MAX {
            how_changed(part, &id).await?
        } else {
            String::new()
        };
        found.found(|| named(part, id.value(), &how));
    }
    Ok(found)
}

/// What differs among some documents.
pub async fn documents(part: &Part, ids: &[IdKey]) -> Result<Explained> {
    let different = recheck::different(part, ids).await?;
    let mut found = Explained {
        documents: different.len() as u64,
        ..Explained::default()
    };
    for (id, how) in different.into_iter().take(DIFFERENCES_MAX) {
        let how = match how {
            How::Missing => MISSING.to_owned(),
            How::Extra => EXTRA.to_owned(),
            How::Changed => how_changed(part, &id).await?,
        };
        found.sentences.push(named(part, id.value(), &how));
    }
    Ok(found)
}

/// How two versions of a document differ, read once more from both sides.
async fn how_changed(part: &Part, id: &IdKey) -> Result<String> {
    let (source, target) =
        tokio::try_join!(one(part, &part.source, id), one(part, &part.target, id))?;
    Ok(match (source, target) {
        (Some(source), Some(target)) if source == target => {
            "differed, and no longer does: someone is still writing".to_owned()
        }
        (Some(source), Some(target)) => difference::between(source.as_bytes(), target.as_bytes()),
        _ => "differed, and is no longer on both sides: someone is still writing".to_owned(),
    })
}

async fn one(part: &Part, reader: &Reader, id: &IdKey) -> Result<Option<RawDocumentBuf>> {
    let command = recheck::find(part, reader, std::slice::from_ref(id));
    let mut documents = Documents::open(reader, &part.ns, command, 1).await?;
    while let Some(batch) = documents.next().await? {
        let same = |d: &&RawDocument| id_of(d).is_some_and(|found| IdKey::new(found) == *id);
        if let Some(document) = batch.iter().find(same) {
            return Ok(Some(document.to_owned()));
        }
    }
    Ok(None)
}

const MISSING: &str = "is missing on the target";
const EXTRA: &str = "is on the target but not on the source";

fn sentence(part: &Part, document: &RawDocument, what: &str) -> String {
    match id_of(document) {
        Some(id) => named(part, id, what),
        None => format!("{}: a document without _id {what}", part.ns),
    }
}

/// The text of one difference.
fn named(part: &Part, id: ValueRef<'_>, what: &str) -> String {
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
