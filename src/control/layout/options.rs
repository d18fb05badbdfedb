//! Options of collections: from what a server lists to what a
//! server takes, and whether two lists mean the same.
//!
//! Pure functions.

use bson::{RawDocument, RawDocumentBuf};

use crate::bson::element::{elements, field};
use crate::cluster::catalog::EXPIRY;
use crate::cluster::catalog::listing::without;

/// Options a 6.0 server lists for old collections and refuses to create.
const OBSOLETE: &str = "autoIndexId";
/// Left over by an `$out` that broke off. A server refuses to create such a collection,
/// and drops it at its next election, which is followed as any drop.
pub(crate) const TEMPORARY: &str = "temp";

/// Collection options to create with: a clustered collection's expiry comes
/// back at cutover, until then nothing may expire on the target (R10).
pub(super) fn to_create(options: &RawDocument) -> RawDocumentBuf {
    without(options, &[OBSOLETE, TEMPORARY, EXPIRY])
}

/// True if two collections were created alike; order on the top level and
/// expiries do not count.
pub(super) fn same(a: &RawDocument, b: &RawDocument) -> bool {
    let (a, b) = (to_create(a), to_create(b));
    let holds = |doc: &RawDocument, other: &RawDocument| {
        elements(doc).all(|option| field(other.as_bytes(), option.name).is_some_and(|other| other == option))
    };
    holds(&a, &b) && holds(&b, &a)
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;

    #[test]
    fn same_options_are_told_from_others() {
        let rows = [
            (rawdoc! {}, rawdoc! {}, true),
            (rawdoc! {"capped": true, "size": 4096}, rawdoc! {"size": 4096, "capped": true}, true),
            (rawdoc! {"capped": true, "size": 4096}, rawdoc! {"capped": true, "size": 8192}, false),
            (rawdoc! {"validator": {"a": 1}}, rawdoc! {}, false),
            (rawdoc! {}, rawdoc! {"validator": {"a": 1}}, false),
            (rawdoc! {"autoIndexId": true}, rawdoc! {}, true),
            (rawdoc! {"temp": true}, rawdoc! {}, true),
            (rawdoc! {"clusteredIndex": {"v": 2}, "expireAfterSeconds": 5}, rawdoc! {"clusteredIndex": {"v": 2}}, true),
        ];
        for (a, b, expect) in rows {
            assert_eq!(same(&a, &b), expect, "{a:?} {b:?}");
        }
    }
}
