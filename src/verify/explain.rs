//! Naming the documents of a range that differ: both sides are read again.
//!
//! Shows `_id`s, never other contents. Knows nothing about digests of ranges.

use std::cmp::Ordering;
use std::collections::{HashMap, VecDeque};

use bson::{Bson, RawBson, RawBsonRef, RawDocument, RawDocumentBuf};
use xxhash_rust::xxh3::xxh3_128;

use crate::bson::identity::IdKey;
use crate::bson::locate::id_of;
use crate::bson::order;
use crate::error::Result;
use crate::verify::part::{Counted, Order, Part, Reader};
use crate::verify::range::Range;
use crate::verify::read::{self, Documents};
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

/// Both sides come in `_id` order: walks them side by side.
async fn merge(part: &Part, range: &Range) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let mut source = Walk::open(part, &part.source, range).await?;
    let mut target = Walk::open(part, &part.target, range).await?;
    while found.len() < DIFFERENCES_MAX {
        let (ours, theirs) = (source.current(), target.current());
        let order = match (&ours, &theirs) {
            (None, None) => break,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(a), Some(b)) => compare_ids(a, b),
        };
        match (order, ours, theirs) {
            (Ordering::Less, Some(ours), _) => found.push(sentence(part, ours, MISSING)),
            (Ordering::Greater, _, Some(theirs)) => found.push(sentence(part, theirs, EXTRA)),
            (Ordering::Equal, Some(ours), Some(theirs)) if part.depth == Depth::Digests && !same(ours, theirs) => {
                found.push(sentence(part, ours, CHANGED));
            }
            _ => {}
        }
        if order.is_le() {
            source.advance().await?;
        }
        if order.is_ge() {
            target.advance().await?;
        }
    }
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
        found.extend(missing.map(|id| format!("{}: _id {} {MISSING}", part.ns, shown(id.value.as_raw_bson_ref()))));
    }
    Ok(found)
}

/// One side of a range, document by document. Copies what it holds: this path
/// runs on ranges that differ only.
struct Walk<'a> {
    reader: &'a Reader,
    documents: Option<Documents>,
    pending: VecDeque<RawDocumentBuf>,
}

impl<'a> Walk<'a> {
    async fn open(part: &Part, reader: &'a Reader, range: &Range) -> Result<Self> {
        let documents = match reader.counted {
            Counted::Nothing => None,
            _ => {
                let command = read::find(part, reader, range);
                Some(Documents::open(reader, &part.ns, command, Some(range.batch_documents)).await?)
            }
        };
        let mut walk = Walk { reader, documents, pending: VecDeque::new() };
        walk.fill().await?;
        Ok(walk)
    }

    fn current(&self) -> Option<&RawDocument> {
        self.pending.front().map(|d| &**d)
    }

    async fn advance(&mut self) -> Result<()> {
        self.pending.pop_front();
        self.fill().await
    }

    /// Reads batches until one holds a document that counts, or the end.
    async fn fill(&mut self) -> Result<()> {
        while self.pending.is_empty()
            && let Some(documents) = &mut self.documents
        {
            match documents.next().await? {
                Some(batch) => {
                    let counted = batch.iter().filter(|d| self.reader.counted.counts(d));
                    self.pending.extend(counted.map(RawDocument::to_owned));
                }
                None => self.documents = None,
            }
        }
        Ok(())
    }
}

const MISSING: &str = "is missing on the target";
const EXTRA: &str = "is on the target but not on the source";
const CHANGED: &str = "differs in its bytes";

fn compare_ids(a: &RawDocument, b: &RawDocument) -> Ordering {
    match (id_of(a), id_of(b)) {
        (Some(a), Some(b)) => order::compare(a, b),
        (a, b) => a.is_some().cmp(&b.is_some()),
    }
}

fn same(a: &RawDocument, b: &RawDocument) -> bool {
    a.as_bytes() == b.as_bytes()
}

fn sentence(part: &Part, document: &RawDocument, what: &str) -> String {
    let id = id_of(document).map_or_else(|| "(unreadable)".to_owned(), shown);
    format!("{}: _id {id} {what}", part.ns)
}

/// An `_id`, cut where it is long.
fn shown(id: RawBsonRef<'_>) -> String {
    let text = Bson::try_from(RawBson::from(id))
        .map_or_else(|_| format!("{id:?}"), |id| id.to_string());
    match text.char_indices().nth(ID_CHARACTERS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
