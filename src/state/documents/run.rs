//! The documents of the run: what it is, its stage, and what it is in the middle of.

use std::str::FromStr;

use bson::{RawArrayBuf, RawDocument, RawDocumentBuf, rawdoc};

use super::{
    Read, Unreadable, document, index, list, namespace, namespace_document, optional, present,
    read, required, sized, switch, text,
};
use crate::cluster::catalog::Namespace;
use crate::cluster::probe::Identity;
use crate::error::Result;
use crate::scope::Scope;
use crate::scope::filters::Filters;
use crate::scope::renames::Renames;
use crate::state::{FORMAT, HeldBack, OptionsOf, Reverse, RunState, Stage};

const STAGES: [(Stage, &str); 5] = [
    (Stage::Planning, "planning"),
    (Stage::Layout, "layout"),
    (Stage::Moving, "moving"),
    (Stage::Finishing, "finishing"),
    (Stage::Cancelled, "cancelled"),
];

const REVERSES: [(Reverse, &str); 4] = [
    (Reverse::No, "no"),
    (Reverse::Wanted, "wanted"),
    (Reverse::GivenUp, "given up"),
    (Reverse::Itself, "itself"),
];

pub(in crate::state) fn reverse_name(reverse: Reverse) -> &'static str {
    REVERSES
        .iter()
        .find(|(r, _)| *r == reverse)
        .map_or("", |(_, name)| name)
}

fn reverse(raw: &RawDocument) -> Read<Reverse> {
    let Some(name) = present(raw, "reverse")?.map(text).transpose()? else {
        return Ok(Reverse::No);
    };
    let known = REVERSES.iter().find(|(_, known)| *known == name);
    known
        .map(|(reverse, _)| *reverse)
        .ok_or_else(|| Unreadable::new(format_args!("unknown reverse {name:?}")))
}

pub(in crate::state) fn stage_name(stage: Stage) -> &'static str {
    STAGES
        .iter()
        .find(|(s, _)| *s == stage)
        .map_or("", |(_, name)| name)
}

/// Names of the stages a run may come from to be in `stage`, itself included.
pub(in crate::state) fn stages_up_to(stage: Stage) -> RawArrayBuf {
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
pub(in crate::state) fn run_document(state: &RunState) -> Result<RawDocumentBuf> {
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
        "include": texts(&state.scope.filters().include),
        "exclude": texts(&state.scope.filters().exclude),
        "rename": texts(state.scope.renames().all()),
        "admin": state.scope.has_admin(),
        "reverse": reverse_name(state.reverse),
    };
    sized(
        "the run",
        document,
        "drop views on the source, and create them on the target after the cutover",
    )
}

pub(in crate::state) fn run(raw: &RawDocument) -> Result<RunState> {
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
            scope: scope(raw)?,
            reverse: reverse(raw)?,
        })
    })
}

fn scope(raw: &RawDocument) -> Read<Scope> {
    let filters = Filters {
        include: parsed(raw, "include")?,
        exclude: parsed(raw, "exclude")?,
    };
    let renames = Renames::new(parsed(raw, "rename")?).map_err(Unreadable::new)?;
    let admin = switch(raw, "admin")?.unwrap_or(false);
    Ok(Scope::new(filters, renames, admin))
}

fn texts(of: &[impl ToString]) -> RawArrayBuf {
    RawArrayBuf::from_iter(of.iter().map(ToString::to_string))
}

fn parsed<T: FromStr<Err = String>>(raw: &RawDocument, field: &str) -> Read<Vec<T>> {
    let one = |value: bson::RawBsonRef<'_>| text(value)?.parse().map_err(Unreadable::new);
    match present(raw, field)? {
        Some(_) => list(raw, field, one),
        None => Ok(Vec::new()),
    }
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

pub(in crate::state) fn zone_document(shard: &str, zone: &str) -> RawDocumentBuf {
    rawdoc! {"shard": shard, "zone": zone}
}

/// A collection that is about to be made. In forms before 3 the run's document listed them.
pub(in crate::state) fn making_id(ns: &Namespace) -> RawDocumentBuf {
    namespace_document(ns)
}

pub(in crate::state) fn making(raw: &RawDocument) -> Result<Namespace> {
    read("what is being made", raw, |raw| {
        namespace(raw.get_document("_id")?)
    })
}

/// Collections being made that are listed in the run's document.
pub(in crate::state) fn making_in_run(raw: &RawDocument) -> Result<Vec<Namespace>> {
    read("the run", raw, |raw| match present(raw, "making")? {
        Some(_) => list(raw, "making", |value| namespace(document(value)?)),
        None => Ok(Vec::new()),
    })
}

/// The zones in the run's document.
pub(in crate::state) fn zones(raw: &RawDocument) -> Result<Vec<(String, String)>> {
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
pub(in crate::state) fn held_back_document(
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

pub(in crate::state) fn held_back(raw: &RawDocument) -> Result<HeldBack> {
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
