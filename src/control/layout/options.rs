//! Options of collections: turns what a server lists into what a server accepts, and
//! compares two lists by meaning.
//!
//! Pure functions.

use bson::raw::cstr;
use bson::{RawDocument, RawDocumentBuf};

use crate::bson::element::{Element, elements, field};
use crate::bson::view::View;
use crate::cluster::catalog::EXPIRY;
use crate::cluster::catalog::capped::with_room;
use crate::cluster::catalog::listing::without;
use crate::cluster::dialect::WriteForms;

/// Options a 6.0 server lists for old collections and refuses to create.
const OBSOLETE: &str = "autoIndexId";
/// Left over by an `$out` that broke off. A server refuses to create such a collection,
/// and drops it at its next election, which is followed as any drop.
pub(crate) const TEMPORARY: &str = "temp";

/// The same of a target that lets nothing go by itself: what it may hold waits, too.
pub(super) fn to_lay_out(options: &RawDocument, forms: WriteForms) -> RawDocumentBuf {
    if forms.trims_come {
        to_create(&with_room(options))
    } else {
        to_create(options)
    }
}

/// Collection options to create with: a clustered collection's expiry comes
/// back at cutover, until then nothing may expire on the target (R10).
pub(crate) fn to_create(options: &RawDocument) -> RawDocumentBuf {
    without(options, &[OBSOLETE, TEMPORARY, EXPIRY])
}

/// Without the granularity of a time series. It may have been changed since its creation, in
/// the source's log further on: a crash lets the creation come again.
pub(super) fn as_made(options: &RawDocument) -> RawDocumentBuf {
    let Ok(series) = options.get_document("timeseries") else {
        return options.to_owned();
    };
    let mut made = without(options, &["timeseries"]);
    let series = without(series, &["granularity", "bucketMaxSpanSeconds"]);
    made.append(cstr!("timeseries"), series);
    made
}

/// True if two collections were created alike; order on the top level and
/// expiries do not count.
pub(super) fn same(a: &RawDocument, b: &RawDocument) -> bool {
    let (a, b) = (to_create(a), to_create(b));
    let holds = |doc: &RawDocument, other: &RawDocument| {
        elements(doc)
            .all(|option| field(other.as_bytes(), option.name).is_some_and(|other| other == option))
    };
    holds(&a, &b) && holds(&b, &a)
}

/// The expiry in these options of a collection or an index, as a server understands it:
/// whole seconds. What is not a number never expires.
pub(crate) fn expiry(options: &RawDocument) -> Option<i64> {
    field(options.as_bytes(), EXPIRY.as_bytes()).map(seconds)
}

fn seconds(expiry: Element<'_>) -> i64 {
    match View::from(expiry) {
        View::Int(seconds) => seconds,
        View::Double(seconds) if seconds.is_finite() => seconds as i64,
        _ => i64::from(i32::MAX),
    }
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;

    #[test]
    fn an_expiry_is_whole_seconds_of_whatever_type() {
        assert_eq!(expiry(&rawdoc! {"expireAfterSeconds": 3.7}), Some(3));
        assert_eq!(
            expiry(&rawdoc! {"expireAfterSeconds": 3i64}),
            expiry(&rawdoc! {"expireAfterSeconds": 3})
        );
        assert_eq!(
            expiry(&rawdoc! {"expireAfterSeconds": f64::NAN}),
            Some(i64::from(i32::MAX))
        );
        assert_eq!(expiry(&rawdoc! {}), None);
    }

    #[test]
    fn same_options_are_told_from_others() {
        let rows = [
            (rawdoc! {}, rawdoc! {}, true),
            (
                rawdoc! {"capped": true, "size": 4096},
                rawdoc! {"size": 4096, "capped": true},
                true,
            ),
            (
                rawdoc! {"capped": true, "size": 4096},
                rawdoc! {"capped": true, "size": 8192},
                false,
            ),
            (rawdoc! {"validator": {"a": 1}}, rawdoc! {}, false),
            (rawdoc! {}, rawdoc! {"validator": {"a": 1}}, false),
            (rawdoc! {"autoIndexId": true}, rawdoc! {}, true),
            (rawdoc! {"temp": true}, rawdoc! {}, true),
            (
                rawdoc! {"clusteredIndex": {"v": 2}, "expireAfterSeconds": 5},
                rawdoc! {"clusteredIndex": {"v": 2}},
                true,
            ),
        ];
        for (a, b, expect) in rows {
            assert_eq!(same(&a, &b), expect, "{a:?} {b:?}");
        }
    }
}
