//! The document of one source collection: its properties, its chunks, and the bounds of
//! its units, which keep their bytes.

use bson::spec::BinarySubtype;
use bson::{Binary, RawArrayBuf, RawBson, RawBsonRef, RawDocument, RawDocumentBuf, rawdoc};

use super::chunks::{MapParts, chunk, chunk_document, map_parts, map_parts_document};
use super::{
    Read, Unreadable, document, index, list, namespace, namespace_document, optional, owned,
    position, position_document, present, read, required, sized, switch, text, uuid, uuid_value,
};
use crate::cluster::catalog::{MapVersion, Sharded, Zone};
use crate::error::Result;
use crate::position::Position;
use crate::state::{CollectionState, FORMAT, ScanOrder, UnitState};

/// The collection's document, without its units, which are documents of their own.
/// `apart` names the parts of its chunk map if that is too large (`chunks`).
///
/// # Errors
/// `Unsupported` if it does not fit into one document.
pub(in crate::state) fn collection_document(
    run: &str,
    state: &CollectionState,
    apart: Option<MapParts>,
) -> Result<RawDocumentBuf> {
    let document = rawdoc! {
        "_id": uuid_value(state.uuid),
        "run": run,
        "format": FORMAT,
        "target_uuid": optional(state.target_uuid.map(uuid_value)),
        "target_version": optional(state.target_version.map(version_document)),
        "ns": namespace_document(&state.ns),
        "renamed_at": position_document(state.renamed_at),
        "planned_at": position_document(state.planned_at),
        "options": storable(&state.options),
        "primary": state.primary as i64,
        "sharded": optional(state.sharded.as_ref().map(|sharded| sharded_document(sharded, apart))),
        "key_index": optional(state.key_index.clone()),
        "dead": state.dead,
        "wiping": state.wiping,
        "duplicate_names": state.duplicate_names,
        "natural": state.order == ScanOrder::Natural,
        "whole_reads": state.whole_reads as i64,
        "bounds": bounds_array(&state.bounds),
    };
    sized(
        &state.ns,
        document,
        "raise range_mb, so that it is split into fewer ranges",
    )
}

/// How it is sharded, and what its target is: fields of its document.
pub(in crate::state) fn sharding_fields(
    state: &CollectionState,
    apart: Option<MapParts>,
) -> RawDocumentBuf {
    rawdoc! {
        "target_version": optional(state.target_version.map(version_document)),
        "sharded": optional(state.sharded.as_ref().map(|sharded| sharded_document(sharded, apart))),
        "key_index": optional(state.key_index.clone()),
    }
}

pub(in crate::state) fn bounds_array(bounds: &[RawBson]) -> RawArrayBuf {
    let mut array = RawArrayBuf::new();
    bounds.iter().for_each(|bound| array.push(bound.clone()));
    array
}

/// As bytes: validators are full of names with a `$`, which servers before 5.0 take in no
/// update.
pub(in crate::state) fn storable(options: &RawDocument) -> Binary {
    Binary {
        subtype: BinarySubtype::Generic,
        bytes: options.as_bytes().to_vec(),
    }
}

/// Releases before this one stored them as a document.
fn stored(options: RawBsonRef<'_>) -> Read<RawDocumentBuf> {
    match options.as_binary() {
        Some(binary) => RawDocumentBuf::from_bytes(binary.bytes.to_vec()).map_err(Unreadable::new),
        None => owned(options),
    }
}

/// Reads a collection. All its units are waiting in the result, and a chunk map stored
/// apart is empty.
pub(in crate::state) fn collection(raw: &RawDocument) -> Result<CollectionState> {
    let named = raw
        .get_document("ns")
        .ok()
        .and_then(|ns| namespace(ns).ok());
    let what = named.map_or("a collection".to_owned(), |ns| ns.to_string());
    read(&what, raw, |raw| {
        let bounds = list(raw, "bounds", |value| Ok(RawBson::from(value)))?;
        Ok(CollectionState {
            uuid: uuid(required(raw, "_id")?)?,
            target_uuid: present(raw, "target_uuid")?.map(uuid).transpose()?,
            target_version: version(raw, "target_version")?,
            ns: namespace(raw.get_document("ns")?)?,
            renamed_at: since(raw, "renamed_at")?,
            planned_at: since(raw, "planned_at")?,
            options: stored(required(raw, "options")?)?,
            primary: index(required(raw, "primary")?)?,
            sharded: present(raw, "sharded")?
                .map(|value| sharded(document(value)?))
                .transpose()?,
            key_index: present(raw, "key_index")?.map(owned).transpose()?,
            dead: raw.get_bool("dead")?,
            wiping: switch(raw, "wiping")?.unwrap_or(false),
            duplicate_names: switch(raw, "duplicate_names")?.unwrap_or(false),
            order: match switch(raw, "natural")? {
                Some(true) => ScanOrder::Natural,
                Some(false) | None => ScanOrder::Id,
            },
            whole_reads: present(raw, "whole_reads")?
                .map(index)
                .transpose()?
                .unwrap_or(0),
            units: vec![UnitState::Waiting; bounds.len() + 1],
            bounds,
        })
    })
}

/// None in what an older release recorded.
fn since(raw: &RawDocument, field: &str) -> Read<Position> {
    let at = present(raw, field)?.map(|at| position(document(at)?));
    Ok(at.transpose()?.unwrap_or_default())
}

/// Where the chunk map of a stored collection is, if it is not in its document.
pub(in crate::state) fn apart(raw: &RawDocument) -> Result<Option<MapParts>> {
    read("a collection", raw, |raw| match present(raw, "sharded")? {
        Some(sharded) => map_parts(document(sharded)?),
        None => Ok(None),
    })
}

fn sharded_document(sharded: &Sharded, apart: Option<MapParts>) -> RawDocumentBuf {
    let chunks = if apart.is_some() {
        &[]
    } else {
        &sharded.chunks[..]
    };
    let zone =
        |z: &Zone| rawdoc! {"min": z.min.clone(), "max": z.max.clone(), "name": z.name.as_str()};
    rawdoc! {
        "key": sharded.key.clone(),
        "unique": sharded.unique,
        "chunks": RawArrayBuf::from_iter(chunks.iter().map(chunk_document)),
        "parts": optional(apart.map(map_parts_document)),
        "zones": RawArrayBuf::from_iter(sharded.zones.iter().map(zone)),
        "version": optional(sharded.version.map(version_document)),
    }
}

pub(in crate::state) fn version_document(version: MapVersion) -> RawDocumentBuf {
    rawdoc! {"epoch": version.epoch, "major": i64::from(version.major), "moved_at": optional(version.moved_at)}
}

/// None in what an older release recorded.
fn version(raw: &RawDocument, field: &str) -> Read<Option<MapVersion>> {
    let Some(value) = present(raw, field)? else {
        return Ok(None);
    };
    let version = document(value)?;
    let moved_at = present(version, "moved_at")?.map(|at| {
        at.as_timestamp()
            .ok_or_else(|| Unreadable::new("a time is not a timestamp"))
    });
    Ok(Some(MapVersion {
        epoch: version.get_object_id("epoch")?,
        major: u32::try_from(version.get_i64("major")?).map_err(Unreadable::new)?,
        moved_at: moved_at.transpose()?,
    }))
}

fn sharded(raw: &RawDocument) -> Read<Sharded> {
    let zone = |value: RawBsonRef<'_>| {
        let raw = document(value)?;
        let (min, max) = (owned(required(raw, "min")?)?, owned(required(raw, "max")?)?);
        Ok(Zone {
            min,
            max,
            name: text(required(raw, "name")?)?,
        })
    };
    Ok(Sharded {
        key: raw.get_document("key")?.to_owned(),
        unique: raw.get_bool("unique")?,
        chunks: list(raw, "chunks", chunk)?,
        zones: list(raw, "zones", zone)?,
        version: version(raw, "version")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_come_back_from_either_form() {
        let options = rawdoc! {"validator": {"n": {"$type": "int"}}};
        for kept in [storable(&options).into(), RawBson::from(options.clone())] {
            let back = stored(kept.as_raw_bson_ref()).ok();
            assert_eq!(back.as_ref(), Some(&options));
        }
    }
}
