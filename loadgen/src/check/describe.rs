//! Says in a few words how two documents differ. The one place of this tool
//! that shows content; values are cut short.
//!
//! Knows nothing about where the documents come from.

use bson::{RawBsonRef, RawDocument};

const VALUE_CHARS_MAX: usize = 100;

/// `_id …`
pub(super) fn id(document: &[u8]) -> String {
    let id = RawDocument::from_bytes(document).ok().and_then(|document| document.get("_id").ok().flatten());
    format!("_id {}", id.map_or("none".into(), show))
}

/// The `_id` and the first field that differs.
pub(super) fn difference(source: &[u8], target: &[u8]) -> String {
    let fields = |bytes| RawDocument::from_bytes(bytes).map(fields).unwrap_or_default();
    format!("{}: {}", id(source), first_difference(&fields(source), &fields(target)))
}

type Field<'a> = (&'a str, RawBsonRef<'a>);

/// Elements up to the first malformed one.
fn fields(document: &RawDocument) -> Vec<Field<'_>> {
    document.iter().map_while(Result::ok).map(|(name, value)| (name.as_str(), value)).collect()
}

fn first_difference(source: &[Field<'_>], target: &[Field<'_>]) -> String {
    if source.len() == target.len() && same_set(source, target) {
        return "the fields are in another order".into();
    }
    let both = source.iter().zip(target);
    if let Some((left, right)) = both.clone().find(|(left, right)| !same(left, right)) {
        return match left.0 == right.0 {
            true => format!("field {:?}: {} on the source, {} on the target", left.0, show(left.1), show(right.1)),
            false => format!("field {:?} on the source, {:?} on the target in its place", left.0, right.0),
        };
    }
    match source.get(both.len()).or(target.get(both.len())) {
        Some(field) => format!("field {:?} is on one side only", field.0),
        None => format!("{} fields on the source, {} on the target", source.len(), target.len()),
    }
}

fn same_set(source: &[Field<'_>], target: &[Field<'_>]) -> bool {
    source.iter().all(|left| target.iter().any(|right| same(left, right)))
}

/// By shown form with types, so that 1 and 1.0 differ.
fn same(left: &Field<'_>, right: &Field<'_>) -> bool {
    left.0 == right.0 && encoded(left.1) == encoded(right.1)
}

fn encoded(value: RawBsonRef<'_>) -> Vec<u8> {
    let mut alone = bson::RawDocumentBuf::new();
    alone.append(bson::raw::cstr!(""), value);
    alone.into_bytes()
}

fn show(value: RawBsonRef<'_>) -> String {
    let text = format!("{value:?}");
    match text.char_indices().nth(VALUE_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
