//! Expiries of indexes that the target does not keep, or not while it makes the index.
//!
//! Pure decisions over index specifications.

use bson::RawDocument;

use crate::cluster::catalog::index::expires_after;
use crate::cluster::dialect::WriteForms;
use crate::control::validate::Check;

/// What becomes of such an expiry; None where the target has it as the source does. `now_s`:
/// seconds since 1970.
pub(super) fn noted(spec: &RawDocument, forms: &WriteForms, now_s: i64) -> Option<&'static str> {
    if expires_after(spec, forms.expiry_max) {
        return Some("longer than the target keeps any: its index has none");
    }
    // Only of what a source would keep: an index is made with no longer expiry than this.
    let may_go = forms.expiry_never.is_some() && expires_after(spec, now_s);
    may_go.then_some("for some milliseconds, as its index is made, dates before 1970 may go")
}

/// `noted`: one text for each index.
pub(super) fn check(noted: &[String]) -> Check {
    Check::warn_of(
        "expiries kept",
        noted,
        "each as it is",
        "nothing is deleted that the source keeps, but for what is said; to have another expiry on the target, set it on \
         the source by `collMod`; an index that may let documents go is better dropped there, and made on the target after \
         the cutover",
    )
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;
    use crate::cluster::deployment::Version;
    use crate::cluster::dialect::Dialect;

    #[test]
    fn an_expiry_of_many_years_is_told_where_the_target_has_another() {
        let now_s = 1_800_000_000;
        let rows = [
            ((4, 4), 3_600, None),
            ((4, 4), 9_000_000_000_000_000_000_i64, Some("milliseconds")),
            ((5, 0), 3_600, None),
            ((5, 0), 2_000_000_000, Some("milliseconds")),
            ((5, 0), 3_000_000_000, Some("has none")),
            ((6, 0), 2_000_000_000, None),
            ((6, 0), 3_000_000_000, Some("has none")),
        ];
        for ((major, minor), seconds, expect) in rows {
            let version = Version {
                major,
                minor,
                patch: 4,
            };
            let forms = Dialect::of(version, &version.series()).writes;
            let spec = rawdoc! {"key": {"a": 1}, "name": "a", "expireAfterSeconds": seconds};
            let found = noted(&spec, &forms, now_s);
            assert_eq!(found.is_some(), expect.is_some(), "{spec:?} {version}");
            let is_told = |part| found.is_some_and(|text| text.contains(part));
            assert!(expect.is_none_or(is_told), "{found:?}");
        }
    }
}
