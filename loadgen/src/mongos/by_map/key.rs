//! The shard key of a document, and of a query that has one.
//!
//! Pure decisions over BSON. Knows nothing about chunks.

use bson::{Bson, Document, RawBsonRef, RawDocument};

use super::map::Chunks;

/// Fields in the order of the shard key; what a document lacks is null.
pub(super) fn of_document(chunks: &Chunks, document: &RawDocument) -> Vec<Bson> {
    let value = |name: &str| raw_at(document, name).unwrap_or(Bson::Null);
    chunks.pattern.iter().map(|(name, _)| value(name)).collect()
}

/// True if no field of the shard key is missing.
pub(super) fn is_whole(chunks: &Chunks, document: &RawDocument) -> bool {
    chunks
        .pattern
        .iter()
        .all(|(name, _)| raw_at(document, name).is_some())
}

/// None unless the query holds every field of the shard key to one value.
pub(super) fn of_query(
    chunks: &Chunks,
    query: &Document,
    collation: Option<&Document>,
) -> Option<Vec<Bson>> {
    let loose = match collation {
        Some(collation) => collation.get_str("locale").ok() != Some("simple"),
        None => chunks.has_collation,
    };
    let value = |name: &str| equality(query, name).filter(|value| !(loose && has_text(value)));
    chunks.pattern.iter().map(|(name, _)| value(name)).collect()
}

/// True if the query holds `_id` to one value.
pub(super) fn has_id(query: &Document) -> bool {
    equality(query, "_id").is_some()
}

fn has_text(value: &Bson) -> bool {
    matches!(value, Bson::String(_) | Bson::Document(_) | Bson::Array(_))
}

fn equality(query: &Document, name: &str) -> Option<Bson> {
    for (key, value) in query {
        if key == "$and" {
            let parts = value.as_array()?.iter().filter_map(Bson::as_document);
            let found = parts.filter_map(|part| equality(part, name)).next();
            if found.is_some() {
                return found;
            }
        }
        if key == name {
            return exact(value);
        }
        let inside = name
            .strip_prefix(key.as_str())
            .and_then(|rest| rest.strip_prefix('.'));
        if let (Some(rest), Some(Bson::Document(whole))) = (inside, exact(value)) {
            return at(&whole, rest).cloned();
        }
    }
    None
}

/// The one value that a condition holds a field to.
fn exact(condition: &Bson) -> Option<Bson> {
    let Bson::Document(operators) = condition else {
        let value = !matches!(condition, Bson::RegularExpression(_) | Bson::Array(_));
        return value.then(|| condition.clone());
    };
    if !operators
        .keys()
        .next()
        .is_some_and(|key| key.starts_with('$'))
    {
        return Some(condition.clone());
    }
    if let Some(value) = operators.get("$eq") {
        return (!matches!(value, Bson::Array(_))).then(|| value.clone());
    }
    match operators.get_array("$in").map(Vec::as_slice) {
        Ok([only]) if !matches!(only, Bson::RegularExpression(_) | Bson::Array(_)) => {
            Some(only.clone())
        }
        _ => None,
    }
}

fn at<'a>(document: &'a Document, path: &str) -> Option<&'a Bson> {
    match path.split_once('.') {
        Some((head, rest)) => at(document.get_document(head).ok()?, rest),
        None => document.get(path),
    }
}

fn raw_at(document: &RawDocument, path: &str) -> Option<Bson> {
    let (head, rest) = path.split_once('.').unwrap_or((path, ""));
    let value = document.get(head).ok().flatten()?;
    match value {
        RawBsonRef::Document(inner) if !rest.is_empty() => raw_at(inner, rest),
        _ if !rest.is_empty() => None,
        value => Bson::try_from(value).ok(),
    }
}

#[cfg(test)]
mod tests {
    use bson::doc;

    use super::*;

    #[test]
    fn a_query_holds_a_field_to_one_value_or_does_not() {
        let rows = [
            (doc! { "k": 1 }, Some(Bson::Int32(1))),
            (doc! { "x": 2, "k": { "$eq": 1 } }, Some(Bson::Int32(1))),
            (
                doc! { "$and": [{ "x": 1 }, { "k": 1 }] },
                Some(Bson::Int32(1)),
            ),
            (doc! { "k": { "$in": [1] } }, Some(Bson::Int32(1))),
            (doc! { "k": { "$in": [1, 2] } }, None),
            (doc! { "k": { "$gt": 1 } }, None),
            (doc! { "k": { "$gt": 1, "$eq": 3 } }, Some(Bson::Int32(3))),
            (doc! { "$or": [{ "k": 1 }] }, None),
            (
                doc! { "k": { "a": 1 } },
                Some(Bson::Document(doc! { "a": 1 })),
            ),
            (doc! {}, None),
        ];
        for (query, expect) in rows {
            assert_eq!(equality(&query, "k"), expect, "{query}");
        }
        assert_eq!(
            equality(&doc! { "k": { "a": 1 } }, "k.a"),
            Some(Bson::Int32(1))
        );
        assert_eq!(equality(&doc! { "k.a": 1 }, "k.a"), Some(Bson::Int32(1)));
    }

    #[test]
    fn a_document_has_its_fields_by_path() {
        let document = bson::rawdoc! { "a": { "b": 1 }, "a.b": 2, "c": [1] };
        assert_eq!(raw_at(&document, "a.b"), Some(Bson::Int32(1)));
        assert_eq!(raw_at(&document, "c.b"), None);
    }
}
