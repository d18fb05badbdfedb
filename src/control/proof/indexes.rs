//! The indexes of one collection on one pair, compared as sets of options with raw
//! values. An expiry is held back until the cutover: the target must have none, and
//! what is held back must be the source's.
//!
//! Pure functions.

use bson::{Bson, RawBsonRef, RawDocument, RawDocumentBuf};

use crate::cluster::catalog::EXPIRY;
use crate::control::proof::shown::{same_fields, shown};

/// What is not alike, in words. `held` gives the expiry that is held back for an index.
pub(super) fn compare(
    source: &[RawDocumentBuf],
    target: &[RawDocumentBuf],
    held: impl Fn(&str) -> Option<Bson>,
) -> Vec<String> {
    let mut found = Vec::new();
    for wanted in source {
        match named(target, name_of(wanted)) {
            None => found.push(format!("index {} is missing on the target", shown(wanted))),
            Some(there) if !same_fields(wanted, there, &[EXPIRY]) => {
                found.push(format!("an index is {} on the source and {} on the target", shown(wanted), shown(there)));
            }
            Some(there) => found.extend(expiry(wanted, there, held(name_of(wanted)))),
        }
    }
    for extra in target.iter().filter(|extra| named(source, name_of(extra)).is_none()) {
        found.push(format!("index {} is on the target and not on the source", shown(extra)));
    }
    found
}

fn expiry(wanted: &RawDocument, there: &RawDocument, held: Option<Bson>) -> Option<String> {
    let name = name_of(wanted);
    let seconds = |spec: &RawDocument| spec.get(EXPIRY).ok().flatten().and_then(seconds);
    if let Some(early) = seconds(there) {
        return Some(format!("index {name} of the target deletes already, after {early} s"));
    }
    let held = held.and_then(|held| seconds_of(&held));
    let wanted = seconds(wanted);
    (wanted != held).then(|| format!("index {name} has expiry {wanted:?} on the source and {held:?} for the target"))
}

/// As a server takes them: whole seconds; what is no number lasts for ever.
fn whole(seconds: f64) -> i64 {
    if seconds.is_finite() { seconds as i64 } else { i64::from(i32::MAX) }
}

fn seconds(value: RawBsonRef<'_>) -> Option<i64> {
    Bson::try_from(value).ok().and_then(|value| seconds_of(&value))
}

fn seconds_of(value: &Bson) -> Option<i64> {
    match value {
        Bson::Int32(n) => Some(i64::from(*n)),
        Bson::Int64(n) => Some(*n),
        Bson::Double(n) => Some(whole(*n)),
        _ => None,
    }
}

fn named<'a>(specs: &'a [RawDocumentBuf], name: &str) -> Option<&'a RawDocumentBuf> {
    specs.iter().find(|spec| name_of(spec) == name)
}

fn name_of(spec: &RawDocument) -> &str {
    spec.get_str("name").unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;

    fn check(source: RawDocumentBuf, target: Option<RawDocumentBuf>, held: Option<Bson>, expect: &[&str]) {
        let target: Vec<_> = target.into_iter().collect();
        let found = compare(&[source], &target, |_| held.clone());
        assert_eq!(found.len(), expect.len(), "{found:?}");
        found.iter().zip(expect).for_each(|(found, part)| assert!(found.contains(part), "{found}"));
    }

    #[test]
    fn indexes_are_alike_in_every_option_but_the_expiry_that_is_held_back() {
        let plain = || rawdoc! {"v": 2, "key": {"a": 1}, "name": "a"};
        let ttl = |seconds: f64| rawdoc! {"v": 2, "key": {"a": 1}, "name": "a", "expireAfterSeconds": seconds};
        check(plain(), Some(rawdoc! {"name": "a", "key": {"a": 1}, "v": 2}), None, &[]);
        check(plain(), None, None, &["is missing on the target"]);
        check(plain(), Some(rawdoc! {"v": 2, "key": {"a": 1.0}, "name": "a"}), None, &["on the source and"]);
        check(plain(), Some(rawdoc! {"v": 1, "key": {"a": 1}, "name": "a"}), None, &["on the source and"]);
        check(ttl(3.7), Some(plain()), Some(Bson::Int32(3)), &[]);
        check(ttl(3.7), Some(plain()), None, &["has expiry"]);
        check(ttl(f64::NAN), Some(plain()), Some(Bson::Int32(i32::MAX)), &[]);
        check(ttl(3.0), Some(ttl(3.0)), Some(Bson::Int32(3)), &["deletes already"]);
        check(plain(), Some(plain()), Some(Bson::Int32(3)), &["has expiry"]);
        let found = compare(&[], &[plain()], |_| None);
        assert!(found.len() == 1 && found[0].contains("not on the source"), "{found:?}");
    }
}
