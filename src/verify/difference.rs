//! Says how two documents with one `_id` differ: the first place, and in what way. Names
//! fields, never shows values.
//!
//! Pure, by raw bytes: documents that no driver can decode are compared too.

use std::collections::HashMap;

use crate::bson::element::{Element, elements_of, kind};

/// Where bytes are not what an element is made of.
const BYTES: &str = "differs in its bytes";

/// The difference of the target's document, as a phrase after the `_id`.
pub fn between(source: &[u8], target: &[u8]) -> String {
    in_document("", source, target).unwrap_or_else(|| BYTES.to_owned())
}

/// The first difference of two documents, or arrays, at `path`; None if there is none that
/// can be named.
fn in_document(path: &str, source: &[u8], target: &[u8]) -> Option<String> {
    let (ours, theirs): (Vec<_>, Vec<_>) =
        (elements_of(source).collect(), elements_of(target).collect());
    let mut left: HashMap<&[u8], Element<'_>> = theirs
        .iter()
        .map(|element| (element.name, *element))
        .collect();
    if left.len() < theirs.len() {
        // A name that occurs twice: which is which cannot be told.
        return None;
    }
    for element in &ours {
        let at = joined(path, element.name);
        match left.remove(element.name) {
            None => return Some(format!("lacks field `{at}` on the target")),
            Some(theirs) if *element != theirs => return Some(in_value(&at, element, &theirs)),
            Some(_) => {}
        }
    }
    let extra = theirs
        .iter()
        .find(|element| left.contains_key(element.name));
    if let Some(extra) = extra {
        return Some(format!(
            "has field `{}` on the target only",
            joined(path, extra.name)
        ));
    }
    let names =
        |elements: &[Element<'_>]| elements.iter().map(|e| e.name.to_vec()).collect::<Vec<_>>();
    (names(&ours) != names(&theirs)).then(|| match path {
        "" => "has its fields in another order on the target".to_owned(),
        path => format!("has the fields of `{path}` in another order on the target"),
    })
}

fn in_value(at: &str, source: &Element<'_>, target: &Element<'_>) -> String {
    if source.kind != target.kind {
        let (ours, theirs) = (kind_name(source.kind), kind_name(target.kind));
        return format!(
            "has another type in field `{at}`: {ours} on the source, {theirs} on the target"
        );
    }
    let nested = match source.kind {
        kind::DOCUMENT | kind::ARRAY => in_document(at, source.value, target.value),
        _ => None,
    };
    nested.unwrap_or_else(|| format!("has another value in field `{at}`"))
}

fn joined(path: &str, name: &[u8]) -> String {
    let name = String::from_utf8_lossy(name);
    if path.is_empty() {
        name.into_owned()
    } else {
        format!("{path}.{name}")
    }
}

fn kind_name(kind: u8) -> &'static str {
    match kind {
        kind::DOUBLE => "double",
        kind::STRING => "string",
        kind::DOCUMENT => "document",
        kind::ARRAY => "array",
        kind::BINARY => "binary",
        kind::UNDEFINED => "undefined",
        kind::OBJECT_ID => "ObjectId",
        kind::BOOLEAN => "boolean",
        kind::DATE => "date",
        kind::NULL => "null",
        kind::REGEX => "regular expression",
        kind::DB_POINTER => "DBPointer",
        kind::CODE | kind::CODE_WITH_SCOPE => "code",
        kind::SYMBOL => "symbol",
        kind::INT32 => "int32",
        kind::TIMESTAMP => "timestamp",
        kind::INT64 => "int64",
        kind::DECIMAL128 => "decimal128",
        kind::MAX_KEY => "MaxKey",
        kind::MIN_KEY => "MinKey",
        _ => "unknown type",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::rawdoc;

    #[test]
    fn the_first_difference_is_named_by_path_and_kind() {
        let rows = [
            (
                rawdoc! {"_id": 1, "a": 1},
                rawdoc! {"_id": 1},
                "lacks field `a` on the target",
            ),
            (
                rawdoc! {"_id": 1},
                rawdoc! {"_id": 1, "a": 1},
                "has field `a` on the target only",
            ),
            (
                rawdoc! {"_id": 1, "a": 1},
                rawdoc! {"_id": 1, "a": 2},
                "has another value in field `a`",
            ),
            (
                rawdoc! {"_id": 1, "a": {"b": [1, {"c": 1}]}},
                rawdoc! {"_id": 1, "a": {"b": [1, {"c": 1_i64}]}},
                "has another type in field `a.b.1.c`: int32 on the source, int64 on the target",
            ),
            (
                rawdoc! {"_id": 1, "a": 1, "b": 2},
                rawdoc! {"_id": 1, "b": 2, "a": 1},
                "has its fields in another order on the target",
            ),
            (
                rawdoc! {"_id": 1, "x": {"a": 1, "b": 2}},
                rawdoc! {"_id": 1, "x": {"b": 2, "a": 1}},
                "has the fields of `x` in another order on the target",
            ),
            (
                rawdoc! {"_id": 1, "a": [1]},
                rawdoc! {"_id": 1, "a": [1, 2]},
                "has field `a.1` on the target only",
            ),
        ];
        for (source, target, expect) in rows {
            assert_eq!(between(source.as_bytes(), target.as_bytes()), expect);
        }
    }

    #[test]
    fn what_cannot_be_taken_apart_differs_in_its_bytes() {
        // {a: 1, a: 1} against {a: 1}: as raw bytes, since no builder makes it twice.
        let once = rawdoc! {"a": 1};
        let element = &once.as_bytes()[4..once.as_bytes().len() - 1];
        let mut twice = (4 + 2 * element.len() as i32 + 1).to_le_bytes().to_vec();
        twice.extend_from_slice(element);
        twice.extend_from_slice(element);
        twice.push(0);
        assert_eq!(between(once.as_bytes(), &twice), BYTES);
    }
}
