//! Which collections this release can move.
//!
//! Pure decisions over the catalog. What is to be changed on the source has its name there.

use std::collections::BTreeSet;

use crate::cluster::catalog::{Catalog, Collection, CollectionKind, Namespace};
use crate::control::layout::options::TEMPORARY;
use crate::control::validate::{Check, listed};
use crate::scope::Scope;

/// `scope`: of the source, as the catalog.
pub(super) fn source_collections(catalog: &Catalog, scope: &Scope) -> Check {
    const NAME: &str = "collections supported";
    let wrong = catalog.collections.iter();
    let wrong = wrong.filter_map(|c| {
        let why = unsupported(catalog, c)?;
        Some(format!("{} ({why})", c.ns.public().own(scope)))
    });
    let wrong: Vec<String> = wrong.collect();
    let left_over = catalog
        .collections
        .iter()
        .filter(|c| c.options.get_bool(TEMPORARY).unwrap_or(false));
    let left_over: Vec<String> = left_over.map(|c| c.ns.own(scope).to_string()).collect();
    if wrong.is_empty() && !left_over.is_empty() {
        let found = format!("{}; temporary: {}", counted(catalog), listed(&left_over));
        let check = Check::warn(
            NAME,
            found,
            "left by an interrupted operation; the source drops them at its next election, the target keeps them as ordinary ones: drop them",
        );
        return check.naming(&left_over);
    }
    Check::none_of(
        NAME,
        &wrong,
        counted(catalog),
        "this release cannot move them: move them by other means and drop them, or leave them out",
    )
}

/// `unnamed`: what has a name that is not UTF-8, in words.
pub(super) fn names(unnamed: &[String]) -> Check {
    Check::none_of(
        "names are UTF-8",
        unnamed,
        "of all databases, collections and views",
        "rename them, or move them by other means and drop them: only UTF-8 names can be migrated",
    )
}

pub(super) const TARGET_EMPTY: &str = "target is empty";

/// Fails if the target has collections in a database that a server takes for another
/// spelling of one of the source's: also those that the run is not about are in the way.
pub(super) fn other_spellings(
    source: &Catalog,
    target: &Catalog,
    to_wipe: &BTreeSet<Namespace>,
) -> Option<Check> {
    let left = target
        .collections
        .iter()
        .filter(|c| !to_wipe.contains(&c.ns));
    let other = left.filter_map(|c| Some((c, respelled(source, &c.ns.db)?)));
    let found: Vec<String> = other
        .map(|(c, spelled)| format!("{}, in {spelled}", c.ns))
        .collect();
    (!found.is_empty()).then(|| {
        Check::fail(
            TARGET_EMPTY,
            format!("the target holds {}", listed(&found)),
            "no server has two databases that differ only by case: drop or move these collections on the target",
        )
        .naming(&found)
    })
}

/// Collections that should not be on a target before the first run.
pub(super) fn target_empty(
    source: &Catalog,
    catalog: &Catalog,
    to_wipe: &BTreeSet<Namespace>,
) -> Check {
    const NAME: &str = TARGET_EMPTY;
    let left = catalog
        .collections
        .iter()
        .filter(|c| !to_wipe.contains(&c.ns));
    let names: Vec<String> = left.map(|c| c.ns.to_string()).collect();
    let respelled: Vec<String> = catalog
        .databases
        .iter()
        .filter_map(|d| respelled(source, &d.name))
        .collect();
    if names.is_empty() && !respelled.is_empty() {
        return Check::warn(
            NAME,
            format!(
                "no collections, but databases that differ by case from those to come: {}",
                listed(&respelled)
            ),
            "shardlift drops these empty databases when it makes the others; drop them yourself (`db.getSiblingDB(…).dropDatabase()`) if its user lacks the action dropDatabase",
        )
        .naming(&respelled);
    }
    if names.is_empty() {
        return Check::pass(NAME, "no collections");
    }
    Check::fail(
        NAME,
        format!("the target holds {}", listed(&names)),
        "give an empty target, or drop these databases there; after a cancelled run, start with --restart",
    )
    .naming(&names)
}

/// A database of the target that a server takes for another spelling of one of the source's.
fn respelled(source: &Catalog, name: &str) -> Option<String> {
    let differs_by_case = |other: &&str| *other != name && other.eq_ignore_ascii_case(name);
    let other = source
        .databases
        .iter()
        .map(|d| d.name.as_str())
        .find(differs_by_case)?;
    Some(format!("{name} ({other} on the source)"))
}

/// The reason why a collection cannot be moved.
fn unsupported(catalog: &Catalog, collection: &Collection) -> Option<&'static str> {
    let is_there = |ns: &Namespace, kind| {
        let mut others = catalog.collections.iter();
        others.any(|c| c.ns == *ns && c.kind == kind)
    };
    let ns = &collection.ns;
    let series = ns.time_series();
    if series.is_some_and(|series| !is_there(&series, CollectionKind::TimeSeries)) {
        Some("buckets without their time series")
    } else if collection.kind == CollectionKind::TimeSeries
        && !is_there(&ns.buckets(), CollectionKind::Plain)
    {
        Some("a time series without its buckets")
    } else {
        None
    }
}

fn counted(catalog: &Catalog) -> String {
    let of = |kind| {
        catalog
            .collections
            .iter()
            .filter(|c| c.kind == kind)
            .count()
    };
    let sharded = catalog
        .collections
        .iter()
        .filter(|c| c.sharded.is_some())
        .count();
    // A time series is a view, and buckets.
    let (views, series) = (of(CollectionKind::View), of(CollectionKind::TimeSeries));
    let plain = of(CollectionKind::Plain).saturating_sub(sharded + series);
    format!(
        "{} databases, {sharded} sharded and {plain} unsharded collections, {series} time series, {views} views",
        catalog.databases.len()
    )
}

#[cfg(test)]
mod tests {
    use bson::{RawDocumentBuf, rawdoc};

    use super::*;
    use crate::cluster::catalog::Database;
    use crate::control::validate::Verdict;

    fn collection(kind: CollectionKind, options: RawDocumentBuf) -> Collection {
        let ns = Namespace {
            db: "d".to_owned(),
            coll: "c".to_owned(),
        };
        Collection {
            ns,
            kind,
            uuid: None,
            options,
            primary: 0,
            sharded: None,
            key_index: None,
        }
    }

    fn buckets() -> Collection {
        let plain = collection(CollectionKind::Plain, rawdoc! {"clusteredIndex": true});
        let ns = plain.ns.buckets();
        Collection { ns, ..plain }
    }

    #[test]
    fn a_time_series_and_its_buckets_belong_together() {
        let series = collection(CollectionKind::TimeSeries, rawdoc! {"timeseries": {}});
        let check = checked(vec![series, buckets()]);
        assert!(check.verdict == Verdict::Ok, "{check:?}");
        assert!(
            check
                .found
                .contains("0 unsharded collections, 1 time series"),
            "{check:?}"
        );
    }

    fn checked(collections: Vec<Collection>) -> Check {
        source_collections(&catalog(collections), &Scope::default())
    }

    fn catalog(collections: Vec<Collection>) -> Catalog {
        Catalog {
            databases: Vec::new(),
            collections,
            shard_zones: Vec::new(),
        }
    }

    #[test]
    fn only_what_can_be_moved_passes() {
        let rows = [
            (collection(CollectionKind::Plain, rawdoc! {}), true),
            (
                collection(
                    CollectionKind::Plain,
                    rawdoc! {"capped": true, "size": 4096},
                ),
                true,
            ),
            (
                collection(
                    CollectionKind::Plain,
                    rawdoc! {"collation": {"locale": "fr"}},
                ),
                true,
            ),
            (
                collection(
                    CollectionKind::View,
                    rawdoc! {"viewOn": "x", "pipeline": []},
                ),
                true,
            ),
            (
                collection(CollectionKind::TimeSeries, rawdoc! {"timeseries": {}}),
                false,
            ),
            (buckets(), false),
        ];
        for (collection, expect) in rows {
            let text = format!("{collection:?}");
            assert_eq!(!checked(vec![collection]).has_failed(), expect, "{text}");
        }
    }

    #[test]
    fn what_is_to_be_dropped_on_the_source_has_its_name_there() {
        let scope = Scope::with_renames(&["d.c=d.x", "d.x=d.c"]);
        let plain = |options| collection(CollectionKind::Plain, options);
        let rows = [
            (plain(rawdoc! {"temp": true}), "temporary: d.x"),
            (buckets(), "d.x (buckets without their time series)"),
        ];
        for (collection, expect) in rows {
            let check = source_collections(&catalog(vec![collection]), &scope);
            assert!(check.found.contains(expect), "{check:?}");
        }
    }

    #[test]
    fn a_target_with_collections_is_not_empty() {
        let source = catalog(vec![]);
        assert!(!target_empty(&source, &catalog(vec![]), &BTreeSet::new()).has_failed());
        let left = collection(CollectionKind::Plain, rawdoc! {});
        let to_wipe = BTreeSet::from([left.ns.clone()]);
        assert!(!target_empty(&source, &catalog(vec![left.clone()]), &to_wipe).has_failed());
        let check = target_empty(&source, &catalog(vec![left]), &BTreeSet::new());
        assert!(check.has_failed() && check.found.contains("d.c"));
    }

    #[test]
    fn an_empty_database_of_another_spelling_is_named() {
        let with = |name: &str| Catalog {
            databases: vec![Database {
                name: name.to_owned(),
                primary: 0,
            }],
            ..catalog(vec![])
        };
        let check = target_empty(&with("shop"), &with("Shop"), &BTreeSet::new());
        assert!(
            !check.has_failed() && check.found.contains("Shop (shop on the source)"),
            "{check:?}"
        );
        assert!(
            check
                .remedy
                .is_some_and(|remedy| remedy.contains("dropDatabase"))
        );
        let mut held = collection(CollectionKind::Plain, rawdoc! {});
        held.ns.db = "Shop".to_owned();
        let held = catalog(vec![held]);
        let check = other_spellings(&with("shop"), &held, &BTreeSet::new());
        assert!(check.is_some_and(|check| check.found.contains("Shop.c, in Shop (shop on")));
        assert!(other_spellings(&with("Shop"), &held, &BTreeSet::new()).is_none());
        let same = target_empty(&with("shop"), &with("shop"), &BTreeSet::new());
        assert!(!same.has_failed() && same.remedy.is_none());
    }
}
