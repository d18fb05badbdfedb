//! The shard key of a raw document, as chunk bounds are compared with it.
//!
//! Called once per scanned document: finding the values allocates nothing.
//! Knows nothing about chunks.

use std::cmp::Ordering;

use bson::raw::CString;
use bson::{RawBsonRef, RawDocument, RawDocumentBuf};

use super::element::{Element, elements, field, kind};
use super::hash::hashed_view;
use super::order::compare_views;
use super::view::View;
use crate::error::{Error, Kind, Result};

/// Most fields of a shard key: that of a compound index (documented limit).
/// <https://www.mongodb.com/docs/manual/reference/limits/>
pub const KEY_FIELDS_MAX: usize = 32;

/// A shard key pattern such as `{a: 1, "b.c": "hashed"}`.
#[derive(Debug, Clone)]
pub struct ShardKeyPattern {
    pub pattern: RawDocumentBuf,
    fields: Vec<Field>,
}

#[derive(Debug, Clone)]
struct Field {
    name: CString,
    hashed: bool,
}

/// A document's key: its values in pattern order, borrowed from the document.
#[derive(Debug, Clone, Copy)]
pub struct KeyValues<'a> {
    values: [View<'a>; KEY_FIELDS_MAX],
    count: usize,
}

impl ShardKeyPattern {
    /// # Errors
    /// `Unsupported` for a pattern without fields or with more than an index
    /// may have, or whose values are neither `"hashed"` nor a direction.
    pub fn new(pattern: RawDocumentBuf) -> Result<Self> {
        let fields = elements(&pattern)
            .map(field_of)
            .collect::<Result<Vec<_>>>()?;
        if fields.is_empty() || KEY_FIELDS_MAX < fields.len() {
            let found = format!("the shard key {pattern:?} has {} fields", fields.len());
            return Err(Error::new(Kind::Unsupported, found)
                .remedy(format!("1 to {KEY_FIELDS_MAX} are expected")));
        }
        Ok(ShardKeyPattern { pattern, fields })
    }

    /// The key of `doc`, fields named and ordered as in the pattern, missing
    /// ones null, hashed ones hashed.
    pub fn extract(&self, doc: &RawDocument) -> RawDocumentBuf {
        let mut key = RawDocumentBuf::new();
        for field in &self.fields {
            let name = field.name.as_str();
            let view = field.value(doc.as_bytes());
            match (view, element_at(doc.as_bytes(), name)) {
                (View::Int(v), _) if field.hashed => key.append(&field.name, v),
                (_, Some(element)) => append(&mut key, &field.name, element),
                (_, None) => key.append(&field.name, RawBsonRef::Null),
            }
        }
        key
    }

    /// The values of `doc`'s key, as `extract` would give them.
    #[inline]
    pub fn values<'a>(&self, doc: &'a RawDocument) -> KeyValues<'a> {
        let mut key = KeyValues {
            values: [View::Null; KEY_FIELDS_MAX],
            count: self.fields.len(),
        };
        for (value, field) in key.values.iter_mut().zip(&self.fields) {
            *value = field.value(doc.as_bytes());
        }
        key
    }
}

impl KeyValues<'_> {
    /// Orders this key against a chunk bound, by values only.
    #[inline]
    pub fn compare(&self, bound: &RawDocument) -> Ordering {
        let mut theirs = elements(bound);
        for ours in &self.values[..self.count] {
            let order = match theirs.next() {
                Some(theirs) => compare_views(ours, &theirs.into()),
                None => Ordering::Greater,
            };
            if order.is_ne() {
                return order;
            }
        }
        if theirs.next().is_some() {
            Ordering::Less
        } else {
            Ordering::Equal
        }
    }
}

impl Field {
    /// This field's value in the document `bytes`: missing is null.
    #[inline]
    fn value<'a>(&self, bytes: &'a [u8]) -> View<'a> {
        let view = element_at(bytes, self.name.as_str()).map_or(View::Null, View::from);
        if self.hashed {
            View::Int(hashed_view(&view))
        } else {
            view
        }
    }
}

fn field_of(element: Element<'_>) -> Result<Field> {
    let name = std::str::from_utf8(element.name)
        .ok()
        .and_then(|n| CString::try_from(n.to_owned()).ok());
    let hashed = match View::from(element) {
        View::Text(b"hashed") => true,
        View::Int(_) | View::Double(_) | View::Decimal(_) => false,
        other => {
            return Err(Error::new(
                Kind::Unsupported,
                format!("a shard key field of kind {other:?}"),
            )
            .remedy("only ranged (1) and hashed shard keys are known"));
        }
    };
    let name = name.ok_or_else(|| {
        Error::new(
            Kind::Unsupported,
            "a shard key field whose name is not UTF-8",
        )
    })?;
    Ok(Field { name, hashed })
}

/// The element a dotted path leads to. Arrays on the way lead nowhere: the
/// server refuses documents with arrays along their shard key.
#[inline]
fn element_at<'a>(bytes: &'a [u8], path: &str) -> Option<Element<'a>> {
    let mut bytes = bytes;
    let mut path = path;
    while let Some((first, rest)) = path.split_once('.') {
        let outer = field(bytes, first.as_bytes())?;
        if outer.kind != kind::DOCUMENT {
            return None;
        }
        (bytes, path) = (outer.value, rest);
    }
    field(bytes, path.as_bytes())
}

/// Appends a copy of `element` under another name.
fn append(key: &mut RawDocumentBuf, name: &CString, element: Element<'_>) {
    let mut one = Vec::with_capacity(element.value.len() + 7);
    one.extend(((element.value.len() + 7) as i32).to_le_bytes());
    one.extend([element.kind, 0]);
    one.extend(element.value);
    one.push(0);
    let value = RawDocumentBuf::from_bytes(one).ok();
    match value.as_ref().and_then(|one| one.iter().next()?.ok()) {
        Some((_, value)) => key.append(name, value),
        None => key.append(name, RawBsonRef::Undefined),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bson::hash::hashed;
    use crate::bson::order::compare_keys;
    use bson::rawdoc;
    use proptest::prelude::*;

    #[test]
    fn keys_are_found_named_and_filled() {
        let pattern = ShardKeyPattern::new(rawdoc! { "b.c": 1, "a": "hashed", "z": 1.0 }).unwrap();
        let key = pattern.extract(&rawdoc! { "_id": 1, "a": "x", "b": { "d": 0, "c": [1] } });
        let hash = hashed(RawBsonRef::String("x"));
        assert_eq!(
            key,
            rawdoc! { "b.c": [1], "a": hash, "z": RawBsonRef::Null }
        );
    }

    #[test]
    fn missing_paths_are_null() {
        let pattern = ShardKeyPattern::new(rawdoc! { "b.c": 1, "a": "hashed" }).unwrap();
        let null = rawdoc! { "b.c": RawBsonRef::Null, "a": hashed(RawBsonRef::Null) };
        for doc in [
            rawdoc! {},
            rawdoc! { "b": 1 },
            rawdoc! { "b.c": 1 },
            rawdoc! { "b": [{ "c": 1 }] },
        ] {
            assert_eq!(pattern.extract(&doc), null);
        }
    }

    #[test]
    fn odd_patterns_are_refused() {
        assert!(ShardKeyPattern::new(rawdoc! {}).is_err());
        assert!(ShardKeyPattern::new(rawdoc! { "a": "2dsphere" }).is_err());
    }

    proptest! {
        #[test]
        fn values_compare_as_the_extracted_key(a in crate::bson::samples::any_value(), b in crate::bson::samples::any_value()) {
            let pattern = ShardKeyPattern::new(rawdoc! { "k.x": 1, "l": 1 }).unwrap();
            let doc = |v: &bson::Bson| RawDocumentBuf::try_from(bson::doc! { "k": { "x": v.clone() }, "l": 1 }).unwrap();
            let (a, b) = (doc(&a), doc(&b));
            let bound = pattern.extract(&b);
            prop_assert_eq!(pattern.values(&a).compare(&bound), compare_keys(&pattern.extract(&a), &bound));
        }
    }
}
