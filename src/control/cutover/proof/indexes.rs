//! Compares the indexes of one collection on one pair, option by option, as the engine
//! builds them. The target must not have the options held back until the cutover, and
//! those must equal the source's.
//!
//! Pure functions.

use bson::{RawDocument, RawDocumentBuf};

use crate::bson::element::field;
use crate::cluster::catalog::index::{self, IndexName, same};
use crate::control::cutover::proof::shown::shown;
use crate::control::layout::options::expiry;

/// Texts about what is not alike. `collated`: the collection has its own collation.
/// `never`: the expiry with which the target deletes nothing (`WriteForms::expiry_never`).
/// `held_back`: options of its indexes that wait for the cutover.
pub(super) fn compare(
    collated: bool,
    never: Option<i64>,
    source: &[RawDocumentBuf],
    target: &[RawDocumentBuf],
    held_back: &[RawDocumentBuf],
) -> Vec<String> {
    let mut found = Vec::new();
    for wanted in source {
        let name = IndexName::of(wanted);
        match named(target, &name) {
            None => found.push(format!("index {} is missing on the target", shown(wanted))),
            Some(there) if same(&index::to_create(collated, never, wanted), there) => {
                found.extend(for_the_cutover(wanted, named(held_back, &name)));
            }
            Some(there) if index::expires(there) => {
                found.push(format!(
                    "index {} of the target already deletes documents",
                    shown(there)
                ));
            }
            Some(there) => {
                found.push(format!(
                    "an index is {} on the source and {} on the target",
                    shown(wanted),
                    shown(there)
                ));
            }
        }
    }
    for extra in target
        .iter()
        .filter(|extra| named(source, &IndexName::of(extra)).is_none())
    {
        found.push(format!(
            "index {} is on the target and not on the source",
            shown(extra)
        ));
    }
    // Of an index that the source has no longer.
    for kept in held_back
        .iter()
        .filter(|kept| named(source, &IndexName::of(kept)).is_none())
    {
        found.push(format!(
            "{} is kept for the cutover, but the source has no such index",
            shown(kept)
        ));
    }
    found
}

fn for_the_cutover(wanted: &RawDocumentBuf, kept: Option<&RawDocumentBuf>) -> Option<String> {
    let wanted = index::held_back(wanted);
    let alike = match (&wanted, kept) {
        (None, None) => true,
        (Some(wanted), Some(kept)) => {
            let refuses =
                |options: &RawDocument| field(options.as_bytes(), b"prepareUnique").is_some();
            expiry(wanted) == expiry(kept) && refuses(wanted) == refuses(kept)
        }
        _ => false,
    };
    let text = |options: Option<&RawDocumentBuf>| {
        options.map_or("nothing".to_owned(), |options| shown(options))
    };
    (!alike).then(|| {
        format!(
            "the source has {}, and {} is kept for the cutover",
            text(wanted.as_ref()),
            text(kept)
        )
    })
}

fn named<'a>(specs: &'a [RawDocumentBuf], name: &IndexName) -> Option<&'a RawDocumentBuf> {
    specs.iter().find(|spec| IndexName::of(spec) == *name)
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;

    fn check(
        source: RawDocumentBuf,
        target: Option<RawDocumentBuf>,
        held: Option<RawDocumentBuf>,
        expect: &[&str],
    ) {
        let (target, held): (Vec<_>, Vec<_>) =
            (target.into_iter().collect(), held.into_iter().collect());
        let found = compare(false, None, &[source], &target, &held);
        assert_eq!(found.len(), expect.len(), "{found:?}");
        found
            .iter()
            .zip(expect)
            .for_each(|(found, part)| assert!(found.contains(part), "{found}"));
    }

    #[test]
    fn indexes_are_alike_in_every_option_but_what_is_held_back() {
        let plain = || rawdoc! {"v": 2, "key": {"a": 1}, "name": "a"};
        let ttl = |seconds: f64| rawdoc! {"v": 2, "key": {"a": 1}, "name": "a", "expireAfterSeconds": seconds};
        let prepared = || rawdoc! {"v": 2, "key": {"a": 1}, "name": "a", "prepareUnique": true};
        let expiry = |seconds: i32| Some(rawdoc! {"name": "a", "expireAfterSeconds": seconds});
        let unique = || Some(rawdoc! {"name": "a", "prepareUnique": true});
        check(
            plain(),
            Some(rawdoc! {"name": "a", "key": {"a": 1}, "v": 2}),
            None,
            &[],
        );
        check(plain(), None, None, &["is missing on the target"]);
        check(
            plain(),
            Some(rawdoc! {"v": 2, "key": {"a": 1.0}, "name": "a"}),
            None,
            &["on the source and"],
        );
        check(
            plain(),
            Some(rawdoc! {"v": 1, "key": {"a": 1}, "name": "a"}),
            None,
            &["on the source and"],
        );
        check(ttl(3.7), Some(plain()), expiry(3), &[]);
        check(ttl(3.7), Some(plain()), None, &["is kept for the cutover"]);
        check(ttl(f64::NAN), Some(plain()), expiry(i32::MAX), &[]);
        check(
            ttl(3.0),
            Some(ttl(3.0)),
            expiry(3),
            &["already deletes documents"],
        );
        check(
            plain(),
            Some(plain()),
            expiry(3),
            &["is kept for the cutover"],
        );
        check(prepared(), Some(plain()), unique(), &[]);
        check(
            prepared(),
            Some(plain()),
            expiry(3),
            &["is kept for the cutover"],
        );
        check(
            prepared(),
            Some(prepared()),
            unique(),
            &["on the source and"],
        );
        let found = compare(
            false,
            None,
            &[],
            &[plain()],
            &[rawdoc! {"name": "b", "prepareUnique": true}],
        );
        assert!(
            found.len() == 2 && found[0].contains("not on the source"),
            "{found:?}"
        );
        let never = compare(
            false,
            Some(7),
            &[ttl(3.0)],
            &[ttl(7.0)],
            &[expiry(3).unwrap()],
        );
        assert!(never.is_empty(), "{never:?}");
        let simple = [rawdoc! {"v": 2, "key": {"a": 1}, "name": "a"}];
        assert!(compare(true, None, &simple, &simple, &[]).is_empty());
    }
}
