//! Setting top-level fields, merged before anything is sent: one
//! such delta into another, or into a whole document; and which of them `$set` can do.
//!
//! Only what gives the same bytes on **any** base document, as the server applies
//! `$v: 2` (`tests/overlay.rs` asks it): the `u` section sets a field where it
//! stands, or appends it, in the order of the section. All else stays a chain.
//! Names are literal, never paths.
//!
//! The `$set` of `$v: 1` (4.2, 4.4) appends in the order of names, whatever its own. So it
//! is taken for the same only where that order is its own, and no name is a path or a
//! number, which 5.0 orders otherwise. Knows nothing about lanes or servers.

use bytes::Bytes;

use crate::bson::element::{Element, elements_of, kind};

/// Above this a document is copied too often for what it saves, bytes.
const BASE_BYTES_MAX: usize = 64 * 1024;
/// Fields compared with fields, per merge.
const COMPARISONS_MAX: usize = 4_096;

/// The fields a `$v: 2` delta sets on the top level, as a document's bytes; None
/// if it does anything else.
pub fn fields_set(delta: &[u8]) -> Option<&[u8]> {
    let mut parts = elements_of(delta);
    let version = parts
        .next()
        .filter(|e| e.name == b"$v" && e.kind == kind::INT32)?;
    let diff = parts
        .next()
        .filter(|e| e.name == b"diff" && e.kind == kind::DOCUMENT)?;
    let mut sections = elements_of(diff.value);
    let set = sections
        .next()
        .filter(|e| e.name == b"u" && e.kind == kind::DOCUMENT)?;
    let nothing_else = parts.next().is_none() && sections.next().is_none();
    (nothing_else && version.value == 2i32.to_le_bytes()).then_some(set.value)
}

/// True if the delta is in the form that servers up to 4.4 log. Only `applyOps` takes it as
/// it is. Its `$v: 1` may be missing.
pub fn is_old(delta: &[u8]) -> bool {
    delta.get(4..12) != Some(b"\x10$v\0\x02\0\0\0".as_slice())
}

/// The fields that a `$v: 1` delta sets, where it sets them as the `u` section of `$v: 2`
/// does, in its order; None if it does anything else.
pub fn fields_set_old(delta: &[u8]) -> Option<&[u8]> {
    if !is_old(delta) {
        return None;
    }
    let mut parts = elements_of(delta).filter(|part| part.name != b"$v");
    let set = parts
        .next()
        .filter(|e| e.name == b"$set" && e.kind == kind::DOCUMENT)?;
    (parts.next().is_none() && is_ordered(set.value)).then_some(set.value)
}

/// Whether the names are no paths, and in the order in which `$set` appends what is new.
fn is_ordered(fields: &[u8]) -> bool {
    let mut before: &[u8] = b"";
    let Some(fields) = walked(fields) else {
        return false;
    };
    for Element { name, .. } in fields {
        let is_path = name.contains(&b'.')
            || name.starts_with(b"$")
            || name.first().is_none_or(u8::is_ascii_digit);
        if is_path || name == b"_id" || name <= before {
            return false;
        }
        before = name;
    }
    !before.is_empty()
}

/// The fields of a delta that an ordinary `$set` sets as the delta does, on any document
/// without a name twice: plain values (the server looks into others), of names that are no
/// paths and in the order in which it appends what is new.
///
/// For the target that is the cheaper one (benches/log.md): it may write only what changed.
pub fn set_alike(delta: &[u8]) -> Option<&[u8]> {
    let fields = match fields_set(delta) {
        Some(fields) if is_ordered(fields) => fields,
        Some(_) => return None,
        None => fields_set_old(delta)?,
    };
    elements_of(fields)
        .all(|field| is_plain(field.kind))
        .then_some(fields)
}

fn is_plain(value: u8) -> bool {
    use kind::*;
    matches!(
        value,
        DOUBLE | STRING | BINARY | OBJECT_ID | BOOLEAN | DATE | NULL | INT32 | INT64 | DECIMAL128
    )
}

/// The delta that sets these fields.
pub fn delta_of(fields: &[u8]) -> Bytes {
    const HEAD: &[u8] = b"\x10$v\0\x02\0\0\0\x03diff\0";
    let section = 4 + 3 + fields.len() + 1;
    let total = 4 + HEAD.len() + section + 1;
    let mut bytes = Vec::with_capacity(total);
    bytes.extend_from_slice(&(total as i32).to_le_bytes());
    bytes.extend_from_slice(HEAD);
    bytes.extend_from_slice(&(section as i32).to_le_bytes());
    bytes.extend_from_slice(b"\x03u\0");
    bytes.extend_from_slice(fields);
    bytes.extend_from_slice(b"\0\0");
    bytes.into()
}

/// The `$v: 1` delta that sets these fields; None if it would not append them in their
/// order.
pub fn delta_of_old(fields: &[u8]) -> Option<Bytes> {
    const HEAD: &[u8] = b"\x10$v\0\x01\0\0\0\x03$set\0";
    if !is_ordered(fields) {
        return None;
    }
    let total = 4 + HEAD.len() + fields.len() + 1;
    let mut bytes = Vec::with_capacity(total);
    bytes.extend_from_slice(&(total as i32).to_le_bytes());
    bytes.extend_from_slice(HEAD);
    bytes.extend_from_slice(fields);
    bytes.push(0);
    Some(bytes.into())
}

/// `base` with each field of `over` set: where it stands, else at the end.
///
/// None if a name concerned occurs twice, or the work is not worth it.
pub fn overlay(base: &[u8], over: &[u8]) -> Option<Bytes> {
    if BASE_BYTES_MAX < base.len() {
        return None;
    }
    let mut set: Vec<(Element<'_>, bool)> = Vec::new();
    for element in walked(over)? {
        if set.iter().any(|(earlier, _)| earlier.name == element.name) {
            return None;
        }
        set.push((element, false));
    }
    let mut bytes = Vec::with_capacity(base.len() + over.len());
    bytes.extend_from_slice(&[0; 4]);
    let mut comparisons = 0;
    for element in walked(base)? {
        comparisons += set.len();
        match set.iter_mut().find(|(new, _)| new.name == element.name) {
            Some((_, true)) => return None,
            Some((new, placed)) => {
                *placed = true;
                write(&mut bytes, new);
            }
            None => write(&mut bytes, &element),
        }
        if COMPARISONS_MAX < comparisons {
            return None;
        }
    }
    set.iter()
        .filter(|(_, placed)| !placed)
        .for_each(|(new, _)| write(&mut bytes, new));
    bytes.push(0);
    let length = (bytes.len() as i32).to_le_bytes();
    bytes[..4].copy_from_slice(&length);
    Some(bytes.into())
}

/// Every element; None if the walk would not reach the document's end.
fn walked(document: &[u8]) -> Option<impl Iterator<Item = Element<'_>> + Clone> {
    let elements = elements_of(document);
    let bytes: usize = elements
        .clone()
        .map(|e| e.name.len() + e.value.len() + 2)
        .sum();
    (bytes + 5 == document.len()).then_some(elements)
}

fn write(bytes: &mut Vec<u8>, element: &Element<'_>) {
    bytes.push(element.kind);
    bytes.extend_from_slice(element.name);
    bytes.push(0);
    bytes.extend_from_slice(element.value);
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::{RawDocumentBuf, rawdoc};

    #[test]
    fn fields_are_set_in_place_or_at_the_end_in_order() {
        let shown = |base: RawDocumentBuf, over: RawDocumentBuf| {
            overlay(base.as_bytes(), over.as_bytes())
                .map(|bytes| RawDocumentBuf::from_bytes(bytes.to_vec()).unwrap())
        };
        let rows = [
            (
                rawdoc! { "_id": 1, "a": 2, "b": 3 },
                rawdoc! { "b": "x", "c": 1 },
                rawdoc! { "_id": 1, "a": 2, "b": "x", "c": 1 },
            ),
            (
                rawdoc! {},
                rawdoc! { "b": 1, "a": 2 },
                rawdoc! { "b": 1, "a": 2 },
            ),
            (
                rawdoc! { "a.b": 1 },
                rawdoc! { "a": 2, "a.b": 3 },
                rawdoc! { "a.b": 3, "a": 2 },
            ),
        ];
        for (base, over, expect) in rows {
            assert_eq!(shown(base, over), Some(expect));
        }
        let mut twice = rawdoc! { "a": 1 };
        twice.append(bson::cstr!("a"), 2);
        assert_eq!(shown(twice.clone(), rawdoc! { "a": 3 }), None);
        assert_eq!(shown(rawdoc! { "b": 1 }, twice.clone()), None);
        assert!(
            shown(twice, rawdoc! { "b": 3 }).is_some(),
            "a name that is left alone may occur twice"
        );
    }

    #[test]
    fn of_the_old_form_only_what_is_in_order_is_taken_apart() {
        let set = |fields: RawDocumentBuf| rawdoc! { "$v": 1, "$set": fields };
        let fields = rawdoc! { "a": 1, "b": { "c": [1] } };
        let delta = set(fields.clone());
        assert_eq!(fields_set_old(delta.as_bytes()), Some(fields.as_bytes()));
        assert_eq!(
            delta_of_old(fields.as_bytes()).as_deref(),
            Some(delta.as_bytes())
        );
        assert_eq!(
            set_alike(delta.as_bytes()),
            None,
            "the server looks into it"
        );
        assert!(set_alike(set(rawdoc! { "a": 1, "b": "x" }).as_bytes()).is_some());
        assert!(set_alike(rawdoc! { "$set": { "a": 1 } }.as_bytes()).is_some());
        for other in [
            set(rawdoc! { "b": 1, "a": 2 }),
            set(rawdoc! { "a.b": 1 }),
            set(rawdoc! { "7": 1 }),
            set(rawdoc! { "_id": 1 }),
            set(rawdoc! {}),
            rawdoc! { "$set": { "a": 1 }, "$unset": { "b": true } },
            rawdoc! { "$v": 1, "$unset": { "a": true } },
            rawdoc! { "$v": 1, "$set": { "a": 1 }, "$unset": { "b": true } },
            rawdoc! { "$v": 2, "diff": { "u": { "a": 1 } } },
        ] {
            assert_eq!(fields_set_old(other.as_bytes()), None, "{other:?}");
        }
        assert_eq!(delta_of_old(rawdoc! { "b": 1, "a": 2 }.as_bytes()), None);
    }

    #[test]
    fn only_deltas_that_set_top_level_fields_are_taken_apart() {
        let fields = rawdoc! { "a": 1, "b": { "c": [1] } };
        let delta = rawdoc! { "$v": 2, "diff": { "u": fields.clone() } };
        assert_eq!(fields_set(delta.as_bytes()), Some(fields.as_bytes()));
        assert_eq!(&*delta_of(fields.as_bytes()), delta.as_bytes());
        for other in [
            rawdoc! { "$v": 2, "diff": { "u": { "a": 1 }, "d": { "b": false } } },
            rawdoc! { "$v": 2, "diff": { "i": { "a": 1 } } },
            rawdoc! { "$v": 2, "diff": { "sa": { "u": { "b": 1 } } } },
            rawdoc! { "$v": 2, "diff": {} },
            rawdoc! { "$v": 1, "diff": { "u": { "a": 1 } } },
        ] {
            assert_eq!(fields_set(other.as_bytes()), None, "{other:?}");
        }
    }
}
