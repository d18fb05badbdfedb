//! The documents of the durable state, both ways. What cannot be read is
//! refused, never guessed at.
//!
//! Collections have their own part. Talks to no server.

mod chunks;
mod collection;

use std::fmt;

use bson::{RawArrayBuf, RawBson, RawDocument, RawDocumentBuf, Timestamp, Uuid, rawdoc};

pub(super) use chunks::{MapParts, in_parts, lacking, part, part_fields, part_id, set_of};
pub(super) use collection::{apart, collection, collection_document, version_document};

use crate::cluster::catalog::Namespace;
use crate::cluster::probe::Identity;
use crate::error::{Error, Kind, Result};
use crate::pair::position::{Mark, Position};
use crate::state::{
    FORMAT, FORMAT_OLDEST, HeldBack, OptionsOf, PairState, RunState, Stage, UnitState,
};

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
            "go on with the release of shardlift that wrote it, or wipe what was copied and begin anew: \
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

const STAGES: [(Stage, &str); 5] = [
    (Stage::Planning, "planning"),
    (Stage::Layout, "layout"),
    (Stage::Moving, "moving"),
    (Stage::Finishing, "finishing"),
    (Stage::Cancelled, "cancelled"),
];

pub(super) fn stage_name(stage: Stage) -> &'static str {
    STAGES
        .iter()
        .find(|(s, _)| *s == stage)
        .map_or("", |(_, name)| name)
}

/// Names of the stages a run may come from to be in `stage`, itself included.
pub(super) fn stages_up_to(stage: Stage) -> RawArrayBuf {
    let count = STAGES
        .iter()
        .position(|(s, _)| *s == stage)
        .map_or(0, |index| index + 1);
    let before = STAGES[..count].iter();
    // Past the point of no return only the finish is left.
    let before = before.filter(|(s, _)| stage != Stage::Cancelled || *s != Stage::Finishing);
    RawArrayBuf::from_iter(before.map(|(_, name)| *name))
}

/// # Errors
/// `Unsupported` if it does not fit into one document: of all that is in it only the views
/// may be many.
pub(super) fn run_document(state: &RunState) -> Result<RawDocumentBuf> {
    let document = rawdoc! {
        "_id": "run",
        "format": FORMAT,
        "id": state.id.as_str(),
        "stage": stage_name(state.stage),
        "source_shards": RawArrayBuf::from_iter(state.source_shards.iter().map(String::as_str)),
        "target_shards": RawArrayBuf::from_iter(state.target_shards.iter().map(String::as_str)),
        "source_identity": optional(state.source_identity.as_ref().map(identity_document)),
        "target_identity": optional(state.target_identity.as_ref().map(identity_document)),
        "pairs": RawArrayBuf::from_iter(state.pairs.iter().map(|i| *i as i64)),
        "source_balancer": optional(state.source_balancer),
        "target_balancer": optional(state.target_balancer),
        "source_settings": optional(state.source_settings.as_ref().map(|rows| RawArrayBuf::from_iter(rows.iter().cloned()))),
        "target_settings": optional(state.target_settings.as_ref().map(|rows| RawArrayBuf::from_iter(rows.iter().cloned()))),
        "views": RawArrayBuf::from_iter(state.views.iter().map(namespace_document)),
    };
    sized(
        "the run",
        document,
        "drop views of the source, and make them on the target after the cutover",
    )
}

pub(super) fn run(raw: &RawDocument) -> Result<RunState> {
    read("the run", raw, |raw| {
        let stage = raw.get_str("stage")?;
        let known = STAGES.iter().find(|(_, name)| *name == stage);
        let (stage, _) =
            known.ok_or_else(|| Unreadable::new(format_args!("unknown stage {stage:?}")))?;
        Ok(RunState {
            id: raw.get_str("id")?.to_owned(),
            stage: *stage,
            source_shards: list(raw, "source_shards", text)?,
            target_shards: list(raw, "target_shards", text)?,
            source_identity: present(raw, "source_identity")?
                .map(|value| identity(document(value)?))
                .transpose()?,
            target_identity: present(raw, "target_identity")?
                .map(|value| identity(document(value)?))
                .transpose()?,
            pairs: list(raw, "pairs", index)?,
            source_balancer: switch(raw, "source_balancer")?,
            target_balancer: switch(raw, "target_balancer")?,
            source_settings: settings(raw, "source_settings")?,
            target_settings: settings(raw, "target_settings")?,
            views: list(raw, "views", |value| namespace(document(value)?))?,
        })
    })
}

fn settings(raw: &RawDocument, field: &str) -> Read<Option<Vec<RawDocumentBuf>>> {
    match present(raw, field)? {
        Some(_) => list(raw, field, |row| Ok(document(row)?.to_owned())).map(Some),
        None => Ok(None),
    }
}

fn identity_document(identity: &Identity) -> RawDocumentBuf {
    rawdoc! {
        "cluster": optional(identity.cluster),
        "sets": RawArrayBuf::from_iter(identity.sets.iter().map(|set| optional(*set))),
    }
}

fn identity(raw: &RawDocument) -> Read<Identity> {
    let id = |value: bson::RawBsonRef<'_>| {
        value
            .as_object_id()
            .ok_or_else(|| Unreadable::new("an id is none"))
    };
    let set = |value: bson::RawBsonRef<'_>| match value {
        bson::RawBsonRef::Null => Ok(None),
        value => id(value).map(Some),
    };
    Ok(Identity {
        cluster: present(raw, "cluster")?.map(id).transpose()?,
        sets: list(raw, "sets", set)?,
    })
}

pub(super) fn zone_document(shard: &str, zone: &str) -> RawDocumentBuf {
    rawdoc! {"shard": shard, "zone": zone}
}

/// A collection that is about to be made. In forms before 3 the run's document listed them.
pub(super) fn making_id(ns: &Namespace) -> RawDocumentBuf {
    namespace_document(ns)
}

pub(super) fn making(raw: &RawDocument) -> Result<Namespace> {
    read("what is being made", raw, |raw| {
        namespace(raw.get_document("_id")?)
    })
}

/// Those in the run's document.
pub(super) fn making_in_run(raw: &RawDocument) -> Result<Vec<Namespace>> {
    read("the run", raw, |raw| match present(raw, "making")? {
        Some(_) => list(raw, "making", |value| namespace(document(value)?)),
        None => Ok(Vec::new()),
    })
}

/// The zones in the run's document.
pub(super) fn zones(raw: &RawDocument) -> Result<Vec<(String, String)>> {
    read("the run", raw, |raw| {
        let zone = |value: bson::RawBsonRef<'_>| {
            let zone = document(value)?;
            Read::Ok((
                zone.get_str("shard")?.to_owned(),
                zone.get_str("zone")?.to_owned(),
            ))
        };
        if present(raw, "zones")?.is_none() {
            Ok(Vec::new())
        } else {
            list(raw, "zones", zone)
        }
    })
}

/// `set` makes those of one call to save them belong together.
pub(super) fn held_back_document(
    set: bson::oid::ObjectId,
    number: usize,
    held_back: &HeldBack,
) -> RawDocumentBuf {
    rawdoc! {
        "_id": {"set": set, "number": number as i64},
        "format": FORMAT,
        "ns": namespace_document(&held_back.ns),
        "of_index": held_back.of == OptionsOf::Index,
        "options": held_back.options.clone(),
    }
}

pub(super) fn held_back(raw: &RawDocument) -> Result<HeldBack> {
    read("what waits for the finish", raw, |raw| {
        let ns = namespace(raw.get_document("ns")?)?;
        let Some(options) = present(raw, "options")? else {
            return earlier_expiry(ns, raw);
        };
        let of = if raw.get_bool("of_index")? {
            OptionsOf::Index
        } else {
            OptionsOf::Collection
        };
        Ok(HeldBack {
            ns,
            of,
            options: document(options)?.to_owned(),
        })
    })
}

/// An expiry as an earlier release recorded it: nothing else was held back.
fn earlier_expiry(ns: Namespace, raw: &RawDocument) -> Read<HeldBack> {
    let mut options = RawDocumentBuf::new();
    let name = present(raw, "index")?;
    if let Some(name) = name {
        options.append(bson::cstr!("name"), name);
    }
    options.append(bson::cstr!("expireAfterSeconds"), required(raw, "seconds")?);
    Ok(HeldBack {
        ns,
        of: name.map_or(OptionsOf::Collection, |_| OptionsOf::Index),
        options,
    })
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

fn namespace_document(ns: &Namespace) -> RawDocumentBuf {
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
            .ok_or_else(|| Unreadable::new("a flag is no flag"))
    };
    present(raw, field)?.map(yes_or_no).transpose()
}

fn text(value: bson::RawBsonRef<'_>) -> Read<String> {
    value
        .as_str()
        .map(str::to_owned)
        .ok_or_else(|| Unreadable::new("a name is no text"))
}

fn index(value: bson::RawBsonRef<'_>) -> Read<usize> {
    let number = value
        .as_i64()
        .and_then(|number| usize::try_from(number).ok());
    number.ok_or_else(|| Unreadable::new("an index is no number"))
}

fn owned(value: bson::RawBsonRef<'_>) -> Read<RawDocumentBuf> {
    Ok(document(value)?.to_owned())
}

fn document(value: bson::RawBsonRef<'_>) -> Read<&RawDocument> {
    value
        .as_document()
        .ok_or_else(|| Unreadable::new("a part is no document"))
}

fn uuid(value: bson::RawBsonRef<'_>) -> Read<Uuid> {
    let bytes = value
        .as_binary()
        .and_then(|binary| binary.bytes.try_into().ok());
    bytes
        .map(Uuid::from_bytes)
        .ok_or_else(|| Unreadable::new("a UUID is none"))
}
