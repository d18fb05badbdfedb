//! Entries of the oplog by what they are about: commands out of the run's scope are passed
//! over, and what would bring something into it, or out, stops the pair; and changes of
//! views, of which a time series is one.
//!
//! Pure. What a command means is `meaning`'s.

use bson::RawDocument;

use crate::error::Result;
use crate::pair::ddl::entry::VIEWS;
use crate::pair::gate::Gate;
use crate::pair::oplog::entry::Entry;
use crate::scope::{BUCKETS, Scope};

const CROSSED: &str = "a collection that comes into the filters by a rename, or goes out of them, cannot be followed: rename it after the cutover, or start over with `shardlift migrate --restart` and other filters";

/// Whether a command on collections matters to the run. `is_known`: its collection is one
/// of the run's.
///
/// # Errors
/// `Unsupported` for a rename across the filters.
pub(super) fn concerns(scope: &Scope, entry: &Entry<'_>, is_known: bool) -> Result<bool> {
    let Some((command, name)) = first(entry.o) else {
        return Ok(true);
    };
    if command != "renameCollection" {
        return Ok(is_known || scope.concerns(entry.database(), name));
    }
    let has = |name: &str| {
        name.split_once('.')
            .is_some_and(|(db, coll)| scope.concerns(db, coll))
    };
    let to = entry.o.get_str("to").unwrap_or_default();
    match (is_known || has(name), has(to)) {
        (true, false) | (false, true) if !scope.filters().are_none() => {
            let what = format!(
                "a rename of {name} to {to}, of which only one is in the run ({})",
                scope.filters()
            );
            Err(entry.unsupported(&what).remedy(CROSSED))
        }
        (from, to) => Ok(from || to),
    }
}

/// A change of the view that a time series is: it is made and dropped with its buckets.
/// What else changes it is a `collMod` of these, too.
pub(super) fn is_of_a_series(gate: &Gate, entry: &Entry<'_>) -> bool {
    let Some((db, VIEWS)) = entry.ns.split_once('.') else {
        return false;
    };
    match entry.op {
        "d" => changed_view(entry)
            .is_some_and(|series| gate.has_named(db, &format!("{BUCKETS}{series}"))),
        _ => entry
            .o
            .get_str("viewOn")
            .is_ok_and(|on| on.starts_with(BUCKETS)),
    }
}

/// The name of the view that a change of `system.views` is about.
pub(super) fn changed_view<'a>(entry: &Entry<'a>) -> Option<&'a str> {
    let id = entry.o2.unwrap_or(entry.o).get_str("_id").ok()?;
    id.strip_prefix(entry.database())?.strip_prefix('.')
}

/// A command and the name that it is on.
fn first(o: &RawDocument) -> Option<(&str, &str)> {
    let (command, name) = o.into_iter().next()?.ok()?;
    Some((command.as_str(), name.as_str()?))
}

#[cfg(test)]
mod tests {
    use bson::{RawDocumentBuf, rawdoc};

    use super::*;
    use crate::scope::Filters;

    fn told(o: RawDocumentBuf, is_known: bool) -> std::result::Result<bool, String> {
        let filters = Filters {
            include: vec!["d.*".parse().unwrap()],
            exclude: vec!["/out/".parse().unwrap()],
        };
        let raw = rawdoc! {"op": "c", "ns": "d.$cmd", "o": o};
        let entry = Entry::read(&raw).unwrap();
        concerns(&Scope::new(filters, true), &entry, is_known).map_err(|e| e.to_string())
    }

    #[test]
    fn a_command_out_of_scope_is_passed_over() {
        let rows = [
            (rawdoc! {"create": "in"}, false, true),
            (rawdoc! {"create": "out"}, false, false),
            (rawdoc! {"collMod": "out", "validator": {}}, false, false),
            (rawdoc! {"drop": "out"}, true, true),
            (rawdoc! {"drop": "system.views"}, false, true),
            (rawdoc! {"create": "system.resharding.x"}, false, true),
            (rawdoc! {"create": "system.buckets.out"}, false, false),
            (
                rawdoc! {"renameCollection": "d.in", "to": "d.in2"},
                true,
                true,
            ),
            (
                rawdoc! {"renameCollection": "d.out", "to": "d.out2"},
                false,
                false,
            ),
        ];
        for (o, is_known, expect) in rows {
            assert_eq!(told(o.clone(), is_known), Ok(expect), "{o:?}");
        }
    }

    #[test]
    fn a_rename_across_the_filters_stops_the_pair_and_names_both() {
        for (from, to) in [("d.in", "d.out"), ("d.out", "d.in"), ("e.a", "d.in")] {
            let text = told(rawdoc! {"renameCollection": from, "to": to}, false).unwrap_err();
            assert!(text.contains(from) && text.contains(to), "{text}");
            assert!(text.contains("include d.*, exclude /out/"), "{text}");
        }
    }
}
