//! Entries of the oplog by what they are about: commands out of the run's scope are passed
//! over, and what would bring something into it, or out, stops the pair; and changes of
//! views, of which a time series is one.
//!
//! Pure. What a command means is `meaning`'s.

use bson::RawDocument;

use crate::error::Result;
use crate::pair::collection::Tracked;
use crate::pair::ddl::entry::{RESHARDED, RESHARDING, VIEWS};
use crate::pair::gate::Gate;
use crate::pair::oplog::entry::Entry;
use crate::pair::oplog::meaning::Meaning;
use crate::position::Position;
use crate::scope::{BUCKETS, Scope, is_passing};

const CROSSED: &str = "a collection that comes into the filters by a rename, or goes out of them, cannot be followed: copy it as it is now with `shardlift recopy --shard <its name> --ns <the name in the run>`, which gives it up if it has gone out (the whole shard, without --ns, if another had that name just before), then run the same `shardlift migrate` again";

/// What a command on collections means to the run; None if it does not matter. `is_ours`: its
/// collection is one of the run's.
///
/// # Errors
/// `Unsupported` for a rename across the filters, and one that ends a resharding.
pub(super) fn meaning_to<'a>(
    scope: &Scope,
    entry: &Entry<'a>,
    is_ours: bool,
    meaning: Meaning<'a>,
) -> Result<Option<Meaning<'a>>> {
    let Some((_, name)) = first(entry.o) else {
        return Ok(Some(meaning));
    };
    let Meaning::Rename { from, to, .. } = meaning else {
        let matters = is_ours || scope.concerns(entry.database(), name);
        return Ok(matters.then_some(meaning));
    };
    if is_in(from, RESHARDING) && !has(scope, to) {
        return Ok(None);
    }
    if is_in(from, RESHARDING) {
        let what = format!("the end of a resharding (`reshardCollection`) of {to}");
        return Err(entry.unsupported(&what).remedy(RESHARDED));
    }
    match (is_ours || has(scope, from), has(scope, to)) {
        (true, true) => Ok(Some(meaning)),
        (false, false) => Ok(None),
        // What a server made for a name that is out.
        (true, false) if is_to_be_renamed(from) => Ok(Some(Meaning::Drop { coll: from })),
        _ if scope.filters().are_none() => Ok(Some(meaning)),
        _ => {
            let what = format!(
                "a rename of {from} to {to}, of which only one is in the run ({})",
                scope.filters()
            );
            Err(entry.unsupported(&what).remedy(CROSSED))
        }
    }
}

/// A rename that the name of its collection is later than.
///
/// IMPORTANT: a drop is none, however old: one that was met is met again after a crash.
pub(super) fn is_in_its_name(
    meaning: &Meaning<'_>,
    tracked: Option<&Tracked>,
    position: Position,
) -> bool {
    matches!(meaning, Meaning::Rename { .. })
        && tracked.is_some_and(|tracked| !tracked.is_renamed_by(position))
}

/// Whether the filters let some ops of one transaction, or `applyOps`, through and not others.
#[derive(Debug, Default)]
pub(super) struct Crossing {
    has_inside: bool,
    has_outside: bool,
}

impl Crossing {
    /// Takes in more of its ops.
    pub(super) fn note<'a>(&mut self, scope: &Scope, ops: impl Iterator<Item = &'a Entry<'a>>) {
        let mut last = None;
        for op in ops {
            if self.crosses() {
                return;
            }
            if last != Some(op.ns) {
                let is_inside = has(scope, op.ns);
                self.has_inside |= is_inside;
                self.has_outside |= !is_inside;
                last = Some(op.ns);
            }
        }
    }

    pub(super) fn crosses(&self) -> bool {
        self.has_inside && self.has_outside
    }
}

fn has(scope: &Scope, name: &str) -> bool {
    let name = name.split_once('.');
    name.is_some_and(|(db, coll)| scope.concerns(db, coll))
}

/// The collection's name begins so.
fn is_in(name: &str, begin: &str) -> bool {
    let name = name.split_once('.');
    name.is_some_and(|(_, coll)| coll.starts_with(begin))
}

fn is_to_be_renamed(name: &str) -> bool {
    let name = name.split_once('.');
    name.is_some_and(|(_, coll)| is_passing(coll))
}

/// A change of the view that a time series is: it is made and dropped with its buckets.
/// What else changes it is a `collMod` of these, too.
pub(super) fn is_of_a_series(gate: &Gate, scope: &Scope, entry: &Entry<'_>) -> bool {
    let Some((db, VIEWS)) = entry.ns.split_once('.') else {
        return false;
    };
    match entry.op {
        "d" => {
            let named = |series| scope.named(db, &format!("{BUCKETS}{series}"));
            let buckets = changed_view(entry).and_then(named);
            buckets.is_some_and(|(db, coll)| gate.has_named(&db, &coll))
        }
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
    use bson::{RawDocumentBuf, Uuid, rawdoc};

    use super::*;
    use crate::cluster::catalog::Namespace;
    use crate::pair::collection::Traits;
    use crate::pair::collection::names::Names;
    use crate::scope::filters::Filters;
    use crate::scope::renames::Renames;

    /// Which meaning the command has, by its first word; none if it does not matter.
    fn told(o: RawDocumentBuf, is_ours: bool) -> std::result::Result<&'static str, String> {
        let filters = Filters {
            include: vec!["d.*".parse().unwrap()],
            exclude: vec!["/out/".parse().unwrap()],
        };
        let raw = rawdoc! {"op": "c", "ns": "d.$cmd", "o": o};
        let entry = Entry::read(&raw).unwrap();
        let meaning = entry.meaning().unwrap();
        let scope = Scope::new(filters, Renames::default(), true);
        match meaning_to(&scope, &entry, is_ours, meaning) {
            Ok(None) => Ok(""),
            Ok(Some(Meaning::Drop { .. })) => Ok("drop"),
            Ok(Some(_)) => Ok("as it is"),
            Err(e) => Err(e.to_string()),
        }
    }

    #[test]
    fn a_rename_may_be_in_the_name_of_its_collection_and_a_drop_never() {
        let rename = rawdoc! {"renameCollection": "d.tmp.agg_out.1", "to": "d.out"};
        let rows = [
            (&rename, 5, true),
            (&rename, 6, false),
            (&rawdoc! {"drop": "in"}, 5, false),
        ];
        let ns = Namespace {
            db: "d".to_owned(),
            coll: "in".to_owned(),
        };
        let at = Position::from_raw;
        let names = Names::new(ns, at(5));
        let tracked = Tracked::called(Uuid::new(), names, Traits::default()).planned(at(9));
        for (o, position, expect) in rows {
            let raw = rawdoc! {"op": "c", "ns": "d.$cmd", "o": o.clone()};
            let entry = Entry::read(&raw).unwrap();
            let meaning = entry.meaning().unwrap();
            let found = is_in_its_name(&meaning, Some(&tracked), at(position));
            assert_eq!(found, expect, "{o:?} {position}");
            assert!(!is_in_its_name(&meaning, None, at(position)));
        }
    }

    #[test]
    fn a_command_out_of_scope_is_passed_over() {
        let (none, as_it_is, drop) = ("", "as it is", "drop");
        let rename = |from: &str, to: &str| rawdoc! {"renameCollection": from, "to": to};
        let rows = [
            (rawdoc! {"create": "in"}, false, as_it_is),
            (rawdoc! {"create": "out"}, false, none),
            (rawdoc! {"collMod": "out", "validator": {}}, false, none),
            (rawdoc! {"drop": "out"}, true, drop),
            (rawdoc! {"drop": "system.views"}, false, drop),
            (rawdoc! {"create": "system.resharding.x"}, false, as_it_is),
            (rawdoc! {"create": "system.buckets.out"}, false, none),
            (rename("d.in", "d.in2"), true, as_it_is),
            (rename("d.out", "d.out2"), false, none),
            (rawdoc! {"create": "tmp.agg_out.1"}, false, as_it_is),
            (rename("d.tmp.agg_out.1", "d.in"), true, as_it_is),
            (rename("d.tmp.agg_out.1", "d.out"), true, drop),
            (rename("e.tmp.agg_out.1", "e.x"), false, none),
        ];
        for (o, is_ours, expect) in rows {
            assert_eq!(told(o.clone(), is_ours), Ok(expect), "{o:?}");
        }
    }

    #[test]
    fn a_resharding_stops_the_pair_when_it_ends_and_says_so() {
        let rename = |to: &str| rawdoc! {"renameCollection": "d.system.resharding.x", "to": to};
        let text = told(rename("d.in"), false).unwrap_err();
        assert!(
            text.contains("reshardCollection")
                && text.contains("of d.in")
                && text.contains("shard key"),
            "{text}"
        );
        assert_eq!(told(rename("d.out"), false), Ok(""));
        let create = rawdoc! {"op": "c", "ns": "d.$cmd", "o": {"create": "system.resharding.x"}};
        let create = Entry::read(&create).unwrap();
        let ddl =
            crate::pair::ddl::entry::Ddl::of(&Scope::default(), &create, create.meaning().unwrap());
        assert!(ddl.unwrap().is_none(), "it may be given up");
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
