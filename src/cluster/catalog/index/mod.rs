//! Index specifications: which one carries a shard key, which options wait for the
//! cutover, whether two are the same.
//!
//! Pure functions over bytes: a specification may contain what a decoded one cannot (a
//! field twice in a filter, text that is not UTF-8).

mod hidden;
mod plan;
mod projection;

use std::fmt;

use bson::raw::cstr;
use bson::{RawDocument, RawDocumentBuf, Uuid, rawdoc};

pub use plan::{IndexPlan, named, plan};

use crate::bson::element::{
    Element, document, elements, elements_of, field, kind, string, string_value,
};
use crate::bson::view::View;
use crate::cluster::catalog::EXPIRY;

/// Refuses new duplicates and lets the old ones be; no part of what is built (R10).
const PREPARE_UNIQUE: &str = "prepareUnique";
const COLLATION: &str = "collation";

/// A name as the server has it, UTF-8 or not.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IndexName(Vec<u8>);

impl IndexName {
    pub fn new(name: &[u8]) -> Self {
        IndexName(name.to_vec())
    }

    pub fn of(spec: &RawDocument) -> Self {
        let name = field(spec.as_bytes(), b"name").filter(|name| name.kind == kind::STRING);
        IndexName(
            name.and_then(|name| string(name.value))
                .map_or_else(Vec::new, |(name, _)| name.to_vec()),
        )
    }

    /// The value of an element that holds it.
    pub fn value(&self) -> Vec<u8> {
        string_value(&self.0)
    }
}

impl fmt::Display for IndexName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

/// `dropIndexes` of these, by their bytes: a name may be no UTF-8. `rest`: what else the
/// command says.
pub fn dropping(coll: &str, names: &[IndexName], rest: &RawDocument) -> RawDocumentBuf {
    let head = rawdoc! { "dropIndexes": coll };
    let names: Vec<(String, Vec<u8>)> = names
        .iter()
        .enumerate()
        .map(|(place, name)| (place.to_string(), name.value()))
        .collect();
    let names = document(names.iter().map(|(place, name)| Element {
        kind: kind::STRING,
        name: place.as_bytes(),
        value: name,
    }));
    // The driver reads what lies at the top, and no deeper.
    let names = Element {
        kind: kind::ARRAY,
        name: b"index",
        value: names.as_bytes(),
    };
    document(elements(&head).chain([names]).chain(elements(rest)))
}

/// An index as a server lists it.
#[derive(Debug, Clone)]
pub struct Listed {
    pub spec: RawDocumentBuf,
    /// The build it is part of, while it is being built.
    pub build: Option<Uuid>,
}

/// The specification that the target has until the cutover, from one that
/// `catalog::indexes` gave. Leaves out options that are set at the cutover (R10); where
/// those may not be missing, `never` is the expiry with which nothing expires
/// (`WriteForms::expiry_never`). A longer one stays out: the target keeps none such. Spells
/// out the simple collation where the collection's own (`collated`) would be used instead.
pub fn to_create(collated: bool, never: Option<i64>, spec: &RawDocument) -> RawDocumentBuf {
    let held_back = [EXPIRY.as_bytes(), PREPARE_UNIQUE.as_bytes()];
    let kept = elements(spec).filter(|option| !held_back.contains(&option.name));
    let simple = rawdoc! { "collation": { "locale": "simple" } };
    let spelled_out = collated && field(spec.as_bytes(), COLLATION.as_bytes()).is_none();
    let mut kept = document(kept.chain(elements(&simple).filter(|_| spelled_out)));
    if let Some(never) = never.filter(|never| expires(spec) && !expires_after(spec, *never)) {
        kept.append(cstr!("expireAfterSeconds"), never);
    }
    kept
}

/// The same specification with another expiry.
pub fn expiring_after(spec: &RawDocument, seconds: i64) -> RawDocumentBuf {
    let mut other = document(elements(spec).filter(|option| option.name != EXPIRY.as_bytes()));
    other.append(cstr!("expireAfterSeconds"), seconds);
    other
}

/// The options that `to_create` leaves out, with the index's name, in the form that
/// `collMod` takes under `index`. None if there are none.
pub fn held_back(spec: &RawDocument) -> Option<RawDocumentBuf> {
    let option = |name: &str| field(spec.as_bytes(), name.as_bytes());
    let expiry = option(EXPIRY);
    let prepare_unique = option(PREPARE_UNIQUE).filter(is_true);
    (expiry.is_some() || prepare_unique.is_some()).then(|| {
        document(
            [option("name"), expiry, prepare_unique]
                .into_iter()
                .flatten(),
        )
    })
}

pub fn expires(spec: &RawDocument) -> bool {
    field(spec.as_bytes(), EXPIRY.as_bytes()).is_some()
}

/// Whether it expires later than after these seconds.
pub fn expires_after(spec: &RawDocument, seconds: i64) -> bool {
    match field(spec.as_bytes(), EXPIRY.as_bytes()).map(View::from) {
        Some(View::Int(expiry)) => seconds < expiry,
        Some(View::Double(expiry)) => (seconds as f64) < expiry,
        _ => false,
    }
}

pub fn is_unique(spec: &RawDocument) -> bool {
    field(spec.as_bytes(), b"unique").is_some_and(|unique| is_true(&unique))
}

/// Made with the collection itself.
pub fn is_implicit(spec: &RawDocument) -> bool {
    IndexName::of(spec).0 == b"_id_"
        || field(spec.as_bytes(), b"clustered").is_some_and(|clustered| is_true(&clustered))
}

/// Whether two specifications have the same options, in any order. Values are compared by
/// their bytes, except those that a server rewrites.
pub fn same(a: &RawDocument, b: &RawDocument) -> bool {
    options(a) == options(b)
}

/// An option's value as a server of 6.0 would list it.
#[derive(Debug, PartialEq)]
enum Value<'a> {
    Flag(bool),
    /// On the top level a server picks the type of a number itself.
    Whole(i64),
    Paths(Vec<(Vec<u8>, bool)>),
    Bytes(u8, &'a [u8]),
}

/// The options by name. If one occurs twice the first counts.
fn options(spec: &RawDocument) -> Vec<(&[u8], Value<'_>)> {
    let mut options: Vec<(&[u8], Value<'_>)> = Vec::new();
    for option in elements(spec) {
        if options.iter().all(|(name, _)| *name != option.name)
            && let Some(value) = value(&option)
        {
            options.push((option.name, value));
        }
    }
    options.sort_by_key(|(name, _)| *name);
    options
}

/// None for an option that a server leaves out.
fn value<'a>(option: &Element<'a>) -> Option<Value<'a>> {
    match option.name {
        b"ns" | b"dropDups" => None,
        b"unique" | b"hidden" | b"prepareUnique" => is_true(option).then_some(Value::Flag(true)),
        b"sparse" | b"background" => Some(Value::Flag(is_true(option))),
        b"collation" if is_simple(option) => None,
        b"wildcardProjection" if option.kind == kind::DOCUMENT => {
            Some(Value::Paths(projection::paths(option)))
        }
        _ => Some(match View::from(*option) {
            View::Int(whole) => Value::Whole(whole),
            View::Double(number) if number.fract() == 0.0 && number.abs() < 2f64.powi(53) => {
                Value::Whole(number as i64)
            }
            _ => Value::Bytes(option.kind, option.value),
        }),
    }
}

/// Reads a flag as the server does: any number but 0 is true.
fn is_true(option: &Element<'_>) -> bool {
    match View::from(*option) {
        View::Boolean(flag) => flag,
        View::Int(number) => number != 0,
        View::Double(number) => number != 0.0,
        _ => false,
    }
}

fn is_simple(collation: &Element<'_>) -> bool {
    collation.kind == kind::DOCUMENT
        && field(collation.value, b"locale")
            .is_some_and(|l| string(l.value).is_some_and(|(l, _)| l == b"simple"))
}

/// The index that carries a shard key, chosen as the server does: the key is
/// its prefix, it holds every document, under the simple collation. An exact
/// one goes before a longer one; `_id` is there anyway.
pub fn of_shard_key(indexes: &[RawDocumentBuf], key: &RawDocument) -> Option<RawDocumentBuf> {
    let fits = |spec: &&RawDocumentBuf| {
        let option = |name: &[u8]| field(spec.as_bytes(), name);
        let partial = option(b"partialFilterExpression").is_some();
        let collated = option(COLLATION.as_bytes()).is_some_and(|collation| !is_simple(&collation));
        let sparse = option(b"sparse").is_some_and(|sparse| is_true(&sparse));
        !partial
            && !collated
            && !sparse
            && option(b"key").is_some_and(|k| is_prefix(key.as_bytes(), k.value))
    };
    let length = |spec: &&RawDocumentBuf| {
        field(spec.as_bytes(), b"key").map_or(usize::MAX, |key| elements_of(key.value).count())
    };
    let best = indexes.iter().filter(fits).min_by_key(length)?;
    (!is_implicit(best)).then(|| best.clone())
}

fn is_prefix(key: &[u8], index_key: &[u8]) -> bool {
    let mut fields = elements_of(index_key);
    let text = |kind: &Element<'_>| (kind.kind == kind::STRING).then(|| kind.value.to_vec());
    elements_of(key).all(|wanted| {
        fields
            .next()
            .is_some_and(|f| f.name == wanted.name && text(&f) == text(&wanted))
    })
}

#[cfg(test)]
mod tests;
