//! Says in a few words how two documents differ. The one place of this tool
//! that shows content; values are cut short.
//!
//! Knows nothing about where the documents come from.

use super::raw::{self, Field};

/// `_id …`
pub(super) fn id(document: &[u8]) -> String {
    format!(
        "_id {}",
        raw::field(document, "_id").map_or("none".into(), |id| id.show())
    )
}

/// The `_id` and the first field that differs.
pub(super) fn difference(source: &[u8], target: &[u8]) -> String {
    format!("{}: {}", id(source), first_difference(source, target))
}

fn first_difference(source: &[u8], target: &[u8]) -> String {
    let (left, right) = (raw::fields(source), raw::fields(target));
    if left.len() == right.len() && left != right && sorted(&left) == sorted(&right) {
        return "the fields are in another order".into();
    }
    let name = |field: &Field<'_>| raw::name(field.name);
    if let Some((left, right)) = left.iter().zip(&right).find(|(left, right)| left != right) {
        if left.name != right.name {
            return format!(
                "field {:?} on the source, {:?} on the target in its place",
                name(left),
                name(right)
            );
        }
        let (shown, other) = raw::show_apart(&left.show(), &right.show(), left.bytes, right.bytes);
        return format!(
            "field {:?}: {shown} on the source, {other} on the target",
            name(left)
        );
    }
    match left.get(right.len()).or(right.get(left.len())) {
        Some(field) => format!("field {:?} is on one side only", name(field)),
        None => "they differ after the last field that can be read".into(),
    }
}

fn sorted<'a>(fields: &[Field<'a>]) -> Vec<(&'a [u8], u8, &'a [u8])> {
    let mut all: Vec<_> = fields
        .iter()
        .map(|field| (field.name, field.kind, field.bytes))
        .collect();
    all.sort();
    all
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;

    #[test]
    fn the_first_field_that_differs_is_named() {
        for (target, found) in [
            (
                rawdoc! { "_id": 1, "a": 1, "b": 3 },
                "field \"b\": Int32(2) on the source",
            ),
            (
                rawdoc! { "_id": 1, "a": 1_i64, "b": 2 },
                "Int64(1) on the target",
            ),
            (rawdoc! { "_id": 1, "b": 2, "a": 1 }, "in another order"),
            (
                rawdoc! { "_id": 1, "a": 1, "c": 2 },
                "\"c\" on the target in its place",
            ),
            (rawdoc! { "_id": 1, "a": 1 }, "\"b\" is on one side only"),
            (
                rawdoc! { "_id": 1, "a": 1, "b": 2, "c": 3 },
                "\"c\" is on one side only",
            ),
        ] {
            let text = difference(
                rawdoc! { "_id": 1, "a": 1, "b": 2 }.as_bytes(),
                target.as_bytes(),
            );
            assert!(text.contains(found), "{text}");
        }
    }
}
