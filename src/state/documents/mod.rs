//! The documents of the durable state, both ways. What cannot be read is
//! refused, never guessed at.
//!
//! The run and collections have their own parts. Talks to no server.

mod chunks;
mod collection;
mod run;

use std::fmt;

use bson::{RawBson, RawDocument, RawDocumentBuf, Timestamp, Uuid, rawdoc};

pub(super) use chunks::{MapParts, in_parts, lacking, part, part_fields, part_id, set_of};
pub(super) use collection::{
    apart, bounds_array, collection, collection_document, sharding_fields, storable,
    version_document,
};
pub(super) use run::{
    held_back, held_back_document, making, making_id, making_in_run, reverse_name, run,
    run_document, stage_name, stages_up_to, zone_document, zones,
};

use crate::cluster::catalog::Namespace;
use crate::error::{Error, Kind, Result};
use crate::position::{Mark, Position};
use crate::state::{FORMAT, FORMAT_OLDEST, PairState, UnitState};

/// Largest document stored: a replacement travels beside its old form, and the
/// server's limit is 16 MB.
const DOCUMENT_BYTES_MAX: usize = 12 << 20;

/// Why a document cannot be read.
#[derive(Debug)]
pub(super) struct Unreadable(String);

impl Unreadable {
    fn new(what: impl fmt::Display) -> Self {
        Unreadable(what.to_string())
    }
}

impl From<bson::error::Error> for Unreadable {
    fn from(e: bson::error::Error) -> Self {
        Unreadable::new(e)
    }
}

type Read<T> = std::result::Result<T, Unreadable>;

/// Checks the format, then reads. `what` names the document.
///
/// # Errors
/// `Unsupported` for another format and for what cannot be read.
fn read<T>(
    what: &str,
    raw: &RawDocument,
    parse: impl FnOnce(&RawDocument) -> Read<T>,
) -> Result<T> {
    let unsupported = |found: String| {
        Error::new(Kind::Unsupported, format!("the stored state of {what} {found}")).remedy(
            "resume with the release of shardlift that wrote it, or wipe what was copied and start over: \
             `shardlift migrate --restart`",
        )
    };
    match raw.get_i32("format") {
        Ok(FORMAT_OLDEST..=FORMAT) => {
            parse(raw).map_err(|e| unsupported(format!("cannot be read: {}", e.0)))
        }
        Ok(other) => Err(unsupported(format!(
            "has format {other}; this release knows {FORMAT}"
        ))),
        Err(_) => Err(unsupported("has no format".to_owned())),
    }
}

/// # Errors
/// `Unsupported` if the document is too large to be stored.
fn sized(
    what: impl fmt::Display,
    document: RawDocumentBuf,
    remedy: &str,
) -> Result<RawDocumentBuf> {
    let bytes = document.as_bytes().len();
    if bytes <= DOCUMENT_BYTES_MAX {
        return Ok(document);
    }
    Err(Error::new(
        Kind::Unsupported,
        format!("the state of {what} takes {bytes} bytes, more than one document holds"),
    )
    .remedy(remedy))
}

/// A pair's document as it is read, its collections apart.
pub(super) fn pair(pair: usize, raw: &RawDocument) -> Result<PairState> {
    read(&format!("pair {pair}"), raw, |raw| {
        let resume = mark(raw.get_document("resume")?)?;
        // None in form 1. Each is true by itself: the later one counts.
        let applied = present(raw, "applied")?
            .map(|value| mark(document(value)?))
            .transpose()?;
        let applied = applied
            .filter(|applied| resume.position < applied.position)
            .unwrap_or(resume);
        let catalog_position = position(raw.get_document("catalog")?)?;
        Ok(PairState {
            resume,
            applied,
            catalog_position,
            collections: Vec::new(),
        })
    })
}

pub(super) fn mark_document(mark: Mark) -> RawDocumentBuf {
    rawdoc! {"ts": Timestamp::from(mark.position), "t": mark.term}
}

pub(super) fn mark(raw: &RawDocument) -> Read<Mark> {
    Ok(Mark {
        position: position(raw)?,
        term: raw.get_i64("t")?,
    })
}

/// Below the top level of a document: there the server would turn
/// `Timestamp(0, 0)` into the time of writing.
pub(super) fn position_document(position: Position) -> RawDocumentBuf {
    rawdoc! {"ts": Timestamp::from(position)}
}

fn position(raw: &RawDocument) -> Read<Position> {
    Ok(raw.get_timestamp("ts")?.into())
}

pub(super) fn unit_id(uuid: Uuid, unit: usize) -> RawDocumentBuf {
    rawdoc! {"uuid": uuid_value(uuid), "unit": unit as i64}
}

/// Everything of a unit but `_id` and run, as fields to set.
pub(super) fn unit_fields(state: UnitState) -> RawDocumentBuf {
    match state {
        UnitState::Waiting => rawdoc! {"format": FORMAT, "settled": false},
        UnitState::Copying(fence) => {
            rawdoc! {"format": FORMAT, "settled": false, "fence": position_document(fence)}
        }
        UnitState::Settled => rawdoc! {"format": FORMAT, "settled": true},
    }
}

pub(super) fn unit(raw: &RawDocument) -> Result<(Uuid, usize, UnitState)> {
    read("a unit", raw, |raw| {
        let id = raw.get_document("_id")?;
        let fence = present(raw, "fence")?
            .map(|value| position(document(value)?))
            .transpose()?;
        let state = match (raw.get_bool("settled")?, fence) {
            (true, _) => UnitState::Settled,
            (false, Some(fence)) => UnitState::Copying(fence),
            (false, None) => UnitState::Waiting,
        };
        Ok((
            uuid(required(id, "uuid")?)?,
            index(required(id, "unit")?)?,
            state,
        ))
    })
}

pub(super) fn uuid_value(uuid: Uuid) -> RawBson {
    RawBson::Binary(uuid.into())
}

fn optional<T: Into<RawBson>>(value: Option<T>) -> RawBson {
    value.map_or(RawBson::Null, Into::into)
}

pub(super) fn namespace_document(ns: &Namespace) -> RawDocumentBuf {
    rawdoc! {"db": ns.db.as_str(), "coll": ns.coll.as_str()}
}

fn namespace(raw: &RawDocument) -> Read<Namespace> {
    Ok(Namespace {
        db: raw.get_str("db")?.to_owned(),
        coll: raw.get_str("coll")?.to_owned(),
    })
}

/// A field that may be absent or null.
fn present<'a>(raw: &'a RawDocument, field: &str) -> Read<Option<bson::RawBsonRef<'a>>> {
    Ok(raw
        .get(field)?
        .filter(|value| !matches!(value, bson::RawBsonRef::Null)))
}

fn required<'a>(raw: &'a RawDocument, field: &str) -> Read<bson::RawBsonRef<'a>> {
    raw.get(field)?
        .ok_or_else(|| Unreadable::new(format_args!("it has no {field}")))
}

fn list<T>(
    raw: &RawDocument,
    field: &str,
    item: impl Fn(bson::RawBsonRef<'_>) -> Read<T>,
) -> Read<Vec<T>> {
    raw.get_array(field)?
        .into_iter()
        .map(|value| item(value?))
        .collect()
}

fn switch(raw: &RawDocument, field: &str) -> Read<Option<bool>> {
    let yes_or_no = |value: bson::RawBsonRef<'_>| {
        value
            .as_bool()
            .ok_or_else(|| Unreadable::new("a flag is not a boolean"))
    };
    present(raw, field)?.map(yes_or_no).transpose()
}

fn text(value: bson::RawBsonRef<'_>) -> Read<String> {
    value
        .as_str()
        .map(str::to_owned)
        .ok_or_else(|| Unreadable::new("a name is not a string"))
}

fn index(value: bson::RawBsonRef<'_>) -> Read<usize> {
    let number = value
        .as_i64()
        .and_then(|number| usize::try_from(number).ok());
    number.ok_or_else(|| Unreadable::new("an index is not a number"))
}

fn owned(value: bson::RawBsonRef<'_>) -> Read<RawDocumentBuf> {
    Ok(document(value)?.to_owned())
}

fn document(value: bson::RawBsonRef<'_>) -> Read<&RawDocument> {
    value
        .as_document()
        .ok_or_else(|| Unreadable::new("a part is not a document"))
}

fn uuid(value: bson::RawBsonRef<'_>) -> Read<Uuid> {
    let bytes = value
        .as_binary()
        .and_then(|binary| binary.bytes.try_into().ok());
    bytes
        .map(Uuid::from_bytes)
        .ok_or_else(|| Unreadable::new("a UUID is not valid"))
}
