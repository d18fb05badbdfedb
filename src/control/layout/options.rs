//! Options of collections: turns what a server lists into what a server accepts, and
//! compares two lists by meaning.
//!
//! Pure functions.

use bson::raw::cstr;
use bson::{RawDocument, RawDocumentBuf};

use crate::bson::element::{Element, elements, field};
use crate::bson::view::View;
use crate::cluster::catalog::capped::{LIMITS, Limits, with_room};
use crate::cluster::catalog::listing::without;
use crate::cluster::catalog::{EXPIRY, PRE_IMAGES};
use crate::cluster::dialect::WriteForms;
use crate::pair::ddl::options::{IMAGES, SWITCHED_OFF};

/// Options a 6.0 server lists for old collections and refuses to create.
const OBSOLETE: &str = "autoIndexId";
/// Left over by an `$out` that broke off. A server refuses to create such a collection,
/// and drops it at its next election, which is followed as any drop.
pub(crate) const TEMPORARY: &str = "temp";

/// Options that `collMod` changes, but for the size of a capped collection.
const CHANGED: [&str; 5] = [
    "validator",
    "validationLevel",
    "validationAction",
    PRE_IMAGES,
    IMAGES,
];
/// Of a time series.
const CHANGED_OF_SERIES: [&str; 2] = ["granularity", "bucketMaxSpanSeconds"];

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

/// True if what is there was created alike but for what `collMod` may have changed since,
/// in the source's log further on: a crash lets the creation come again. A size counts unless
/// it is the room that we make where `trims_come`.
pub(super) fn made_alike(wanted: &RawDocument, there: &RawDocument, forms: WriteForms) -> bool {
    let has_room = forms.trims_come && Limits::of(there).is_some_and(Limits::are_room);
    let are_capped = has_room && Limits::of(wanted).is_some();
    same(&as_made(wanted, are_capped), &as_made(there, are_capped))
}

fn as_made(options: &RawDocument, of_any_size: bool) -> RawDocumentBuf {
    let mut made = without(options, &CHANGED);
    if of_any_size {
        made = without(&made, &LIMITS);
    }
    let Ok(series) = made.get_document("timeseries") else {
        return made;
    };
    let series = without(series, &CHANGED_OF_SERIES);
    let mut made = without(&made, &["timeseries"]);
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

/// True unless somebody else changed options of what was made with `wanted`: what waits for the
/// cutover, and what another change may have switched off, does not count.
pub(crate) fn is_as_made(wanted: &RawDocument, there: &RawDocument) -> bool {
    let has_room = Limits::of(there).is_some_and(Limits::are_room);
    let waits: &[&str] = if has_room { &LIMITS } else { &[] };
    let left_out = [waits, &SWITCHED_OFF].concat();
    same(&without(wanted, &left_out), &without(there, &left_out))
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
    use crate::cluster::dialect::Dialect;

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

    #[test]
    fn what_waits_for_the_cutover_is_as_it_was_made() {
        let ring = |size: i64| rawdoc! {"capped": true, "size": size};
        let rows = [
            (ring(4096), with_room(&ring(8192)), true),
            (ring(4096), ring(8192), false),
            (rawdoc! {"recordPreImages": true}, rawdoc! {}, true),
            (rawdoc! {"expireAfterSeconds": 5}, rawdoc! {}, true),
            (rawdoc! {"validator": {"a": 1}}, rawdoc! {}, false),
            (rawdoc! {}, rawdoc! {"collation": {"locale": "de"}}, false),
        ];
        for (wanted, there, expect) in rows {
            assert_eq!(is_as_made(&wanted, &there), expect, "{wanted:?} {there:?}");
        }
    }

    #[test]
    fn what_a_collmod_changes_may_have_been_changed_since_the_creation() {
        let series = |granularity: &str, field: &str| {
            let seconds = if granularity == "hours" {
                2_592_000
            } else {
                86_400
            };
            rawdoc! {"timeseries": {"timeField": field, "granularity": granularity, "bucketMaxSpanSeconds": seconds}}
        };
        let validated = rawdoc! {"validator": {"a": 1}, "validationLevel": "strict", "validationAction": "error"};
        let ring = |size: i64| rawdoc! {"capped": true, "size": size};
        let roomy = with_room(&ring(8192));
        let newest = Dialect::newest().writes;
        let no_sizes = WriteForms {
            trims_come: false,
            ..newest
        };
        let rows = [
            (validated, rawdoc! {}, newest, true),
            (
                rawdoc! {"recordPreImages": true},
                rawdoc! {"changeStreamPreAndPostImages": {"enabled": true}},
                newest,
                true,
            ),
            (ring(4096), roomy.clone(), newest, true),
            (ring(4096), ring(8192), newest, false),
            (ring(4096), roomy, no_sizes, false),
            (ring(4096), rawdoc! {}, newest, false),
            (series("hours", "at"), series("minutes", "at"), newest, true),
            (series("hours", "at"), series("hours", "on"), newest, false),
            (
                rawdoc! {"collation": {"locale": "de"}},
                rawdoc! {},
                newest,
                false,
            ),
            (
                rawdoc! {"encryptedFields": {"fields": []}},
                rawdoc! {},
                newest,
                false,
            ),
        ];
        for (a, b, forms, expect) in rows {
            assert_eq!(made_alike(&a, &b, forms), expect, "{a:?} {b:?}");
        }
    }
}
