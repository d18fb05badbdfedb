//! What a wildcard index leaves out or takes in, whichever way it was written: 5.0 rewrites
//! it as flags, nested, with `_id` spelled out; other releases list it as it was given.
//!
//! Pure functions over bytes.

use crate::bson::element::{Element, elements_of, kind};
use crate::cluster::catalog::index::is_true;

/// Whole paths with their flags, sorted. `_id` is left out where nothing is said of it.
pub(super) fn paths(projection: &Element<'_>) -> Vec<(Vec<u8>, bool)> {
    let mut paths = Vec::new();
    flatten(&[], projection, &mut paths);
    if !paths.iter().any(|(path, _)| path == b"_id") {
        paths.push((b"_id".to_vec(), false));
    }
    paths.sort();
    paths
}

fn flatten(before: &[u8], part: &Element<'_>, paths: &mut Vec<(Vec<u8>, bool)>) {
    if part.kind != kind::DOCUMENT {
        paths.push((before.to_vec(), is_true(part)));
        return;
    }
    for field in elements_of(part.value) {
        let mut path = before.to_vec();
        if !path.is_empty() {
            path.push(b'.');
        }
        path.extend_from_slice(field.name);
        flatten(&path, &field, paths);
    }
}

#[cfg(test)]
mod tests {
    use bson::{RawDocumentBuf, rawdoc};

    use super::super::same;

    fn index(projection: RawDocumentBuf) -> RawDocumentBuf {
        rawdoc! {"key": {"$**": 1}, "name": "n", "wildcardProjection": projection}
    }

    /// As 4.4.2 listed them and 5.0.4 after them.
    #[test]
    fn a_projection_is_the_same_however_it_is_written() {
        let rows = [
            (rawdoc! {"a": 1}, rawdoc! {"a": true, "_id": false}),
            (rawdoc! {"a": 0}, rawdoc! {"_id": false, "a": false}),
            (rawdoc! {"_id": 1, "a": 1}, rawdoc! {"_id": true, "a": true}),
            (
                rawdoc! {"a.b": 1, "c": 1.5},
                rawdoc! {"c": true, "a": {"b": true}, "_id": false},
            ),
        ];
        for (a, b) in rows {
            assert!(same(&index(a.clone()), &index(b.clone())), "{a:?} {b:?}");
        }
        let others = [
            rawdoc! {"a": true, "_id": true},
            rawdoc! {"a": {"b": true}, "_id": false},
            rawdoc! {"a": false},
            rawdoc! {"b": true},
        ];
        for other in others {
            let plain = index(rawdoc! {"a": 1});
            assert!(!same(&plain, &index(other.clone())), "{other:?}");
        }
    }
}
