//! Chunk maps that are too large for the document of their collection. They are stored in
//! parts, each a document. The parts of one map have the same set, which the collection
//! names.
//!
//! Most maps are small, and stored in their collection's document.

use bson::oid::ObjectId;
use bson::{RawArrayBuf, RawBsonRef, RawDocument, RawDocumentBuf, rawdoc};

use super::{Read, document, index, list, owned, present, read, required};
use crate::cluster::catalog::{Chunk, Namespace};
use crate::error::{Error, Kind, Result};
use crate::state::FORMAT;

/// Of one part: a collection's document has room for as much, beside the bounds of its units.
const PART_BYTES: usize = 8 << 20;
/// Most bytes that an array element takes besides its value.
const ELEMENT_BYTES: usize = 16;

/// Names the parts of one map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::state) struct MapParts {
    pub(in crate::state) set: ObjectId,
    pub(in crate::state) count: usize,
}

/// A map in parts; None if it is small enough to be in the document of its collection.
pub(in crate::state) fn in_parts(chunks: &[Chunk]) -> Option<Vec<RawArrayBuf>> {
    let (mut parts, mut bytes) = (vec![RawArrayBuf::new()], 0);
    for chunk in chunks {
        let chunk = chunk_document(chunk);
        let more = chunk.as_bytes().len() + ELEMENT_BYTES;
        if PART_BYTES < bytes + more {
            parts.push(RawArrayBuf::new());
            bytes = 0;
        }
        parts
            .last_mut()
            .expect("there is one from the beginning")
            .push(chunk);
        bytes += more;
    }
    (1 < parts.len()).then_some(parts)
}

pub(in crate::state) fn part_id(set: ObjectId, part: usize) -> RawDocumentBuf {
    rawdoc! {"set": set, "part": part as i64}
}

/// Everything of a part but its `_id`.
pub(in crate::state) fn part_fields(run: &str, chunks: RawArrayBuf) -> RawDocumentBuf {
    rawdoc! {"run": run, "format": FORMAT, "chunks": chunks}
}

/// The chunks of one part.
pub(in crate::state) fn part(ns: &Namespace, raw: &RawDocument) -> Result<Vec<Chunk>> {
    read(&format!("the chunk map of {ns}"), raw, |raw| {
        list(raw, "chunks", chunk)
    })
}

/// The set that a stored part is of.
pub(in crate::state) fn set_of(raw: &RawDocument) -> Option<ObjectId> {
    raw.get_document("_id").ok()?.get_object_id("set").ok()
}

pub(in crate::state) fn lacking(ns: &Namespace, found: usize, parts: MapParts) -> Error {
    let count = parts.count;
    Error::new(Kind::Unsupported, format!("the stored state of {ns} has {found} of the {count} parts of its chunk map"))
        .remedy(
            "find out who removed documents of the target's `__shardlift`, or wipe what was copied and start over: \
         `shardlift migrate --restart`",
        )
}

pub(super) fn map_parts_document(parts: MapParts) -> RawDocumentBuf {
    rawdoc! {"set": parts.set, "count": parts.count as i64}
}

/// None where the map is in the document.
pub(super) fn map_parts(sharded: &RawDocument) -> Read<Option<MapParts>> {
    let Some(parts) = present(sharded, "parts")? else {
        return Ok(None);
    };
    let parts = document(parts)?;
    Ok(Some(MapParts {
        set: parts.get_object_id("set")?,
        count: index(required(parts, "count")?)?,
    }))
}

pub(super) fn chunk_document(chunk: &Chunk) -> RawDocumentBuf {
    rawdoc! {"min": chunk.min.clone(), "max": chunk.max.clone(), "shard": chunk.shard as i64}
}

pub(super) fn chunk(value: RawBsonRef<'_>) -> Read<Chunk> {
    let raw = document(value)?;
    let (min, max) = (owned(required(raw, "min")?)?, owned(required(raw, "max")?)?);
    Ok(Chunk {
        min,
        max,
        shard: index(required(raw, "shard")?)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_map_that_is_too_large_is_apart_and_no_part_is_larger_than_a_part_may_be() {
        let chunk = |k: i32| Chunk {
            min: rawdoc! {"k": k, "x": "x".repeat(1_000)},
            max: rawdoc! {"k": k + 1},
            shard: 1,
        };
        let chunks: Vec<Chunk> = (0..20_000).map(chunk).collect();
        assert!(in_parts(&[]).is_none() && in_parts(&chunks[..7_000]).is_none());
        let parts = in_parts(&chunks).expect("more than one document takes");
        assert!(parts.iter().all(|part| part.as_bytes().len() <= PART_BYTES));
        assert_eq!(
            parts
                .iter()
                .map(|part| part.into_iter().count())
                .sum::<usize>(),
            chunks.len()
        );
        // One chunk that is larger than a part may be is a part of its own.
        let wide = Chunk {
            min: rawdoc! {"k": "x".repeat(PART_BYTES)},
            ..chunk(1)
        };
        assert_eq!(
            in_parts(&[chunk(0), wide, chunk(2)]).map(|parts| parts.len()),
            Some(3)
        );
    }
}
