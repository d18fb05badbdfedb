//! What of the source a run is about, and what stays behind.

use std::collections::BTreeSet;

use crate::cluster::catalog::{self, Catalog, Namespace, left_behind};
use crate::cluster::deployment::Deployment;
use crate::control::validate::{Check, listed};
use crate::scope::filters::Filters;
use crate::scope::renames::{NAME_BYTES_MAX, Renames, are_spellings};

/// Shows what the filters let through, and what not; nothing if there are none.
pub(super) async fn filters(source: &Deployment, catalog: &Catalog) -> Option<Check> {
    const NAME: &str = "filters";
    let filters = source.scope.filters();
    if filters.are_none() {
        return None;
    }
    let inside = names(catalog, |ns| ns.own(&source.scope));
    let whole = catalog::read(&source.unfiltered()).await;
    let check = whole.map(|all| shown(NAME, filters, &inside, &names(&all, Namespace::clone)));
    Some(Check::answered(NAME, check))
}

/// Says what is not whole where there are filters; nothing if there are none.
pub(super) fn atomicity(source: &Deployment) -> Option<Check> {
    let filters = source.scope.filters();
    let found = format!(
        "{filters}; of a transaction that also writes what is out only the rest arrives (counted: transactions_crossed), and a rename into the filters or out of them stops the run"
    );
    let remedy = "move all that one transaction writes, or that is renamed into one another, together; else tell who reads the target";
    (!filters.are_none()).then(|| Check::warn("transactions within the filters", found, remedy))
}

/// Shows what gets another name on the target; nothing if there are no renames.
pub(super) fn renames(source: &Deployment, catalog: &Catalog) -> Option<Check> {
    let renames = source.scope.renames();
    let from = names(catalog, |ns| ns.own(&source.scope));
    let to = names(catalog, Namespace::clone);
    (!renames.are_none()).then(|| renamed(renames, &from, &to))
}

fn renamed(renames: &Renames, from: &[String], to: &[String]) -> Check {
    const NAME: &str = "renames";
    let pairs = from.iter().zip(to).filter(|(from, to)| from != to);
    let pairs: Vec<String> = pairs.map(|(from, to)| format!("{from} as {to}")).collect();
    let found = format!(
        "{} arrive under another name: {}",
        pairs.len(),
        listed(&pairs)
    );
    // The source may have longer ones, of what is not sharded.
    let too_long = to.iter().zip(from);
    let too_long = too_long.filter(|(to, from)| NAME_BYTES_MAX.max(from.len()) < to.len());
    let too_long: Vec<String> = too_long.map(|(to, _)| to.clone()).collect();
    if !too_long.is_empty() {
        let found = format!("longer than {NAME_BYTES_MAX} bytes: {}", listed(&too_long));
        return Check::fail(NAME, found, "give shorter names");
    }
    if let Some((one, other)) = spelled_otherwise(to) {
        let found = format!("{one} and {other} would both be databases of the target");
        let remedy = "no server has two databases that differ only by case: rename otherwise";
        return Check::fail(NAME, found, remedy);
    }
    let idle: Vec<String> = renames.idle(from).iter().map(ToString::to_string).collect();
    if idle.is_empty() {
        return Check::pass(NAME, found);
    }
    let found = format!("{found}; nothing has the name in {}", listed(&idle));
    Check::warn(NAME, found, "check these renames for slips")
}

/// Two databases that differ only by case.
fn spelled_otherwise(names: &[String]) -> Option<(&str, &str)> {
    let databases: BTreeSet<&str> = names
        .iter()
        .filter_map(|n| Some(n.split_once('.')?.0))
        .collect();
    let mut all = databases.iter();
    all.find_map(|one| {
        let mut others = databases.iter();
        let other = others.find(|other| are_spellings(other, one))?;
        Some((*one, *other))
    })
}

/// Public names, in the order of the catalog: of a time series one, not two.
fn names(catalog: &Catalog, name: impl Fn(&Namespace) -> Namespace) -> Vec<String> {
    let all = catalog.collections.iter();
    let all = all.filter(|c| c.ns.time_series().is_none());
    all.map(|c| name(&c.ns).to_string()).collect()
}

fn shown(name: &'static str, filters: &Filters, inside: &[String], all: &[String]) -> Check {
    let is_out = |name: &&String| !inside.contains(name);
    let outside: Vec<String> = all.iter().filter(is_out).cloned().collect();
    let told = |names: &[String]| match names.len() {
        0 => "none".to_owned(),
        count => format!("{count}: {}", listed(names)),
    };
    let found = format!(
        "{filters}; in are {}; out are {}",
        told(inside),
        told(&outside)
    );
    if inside.is_empty() {
        let remedy = "nothing would be moved now, only what is created later: check the filters";
        return Check::warn(name, found, remedy);
    }
    let idle = filters.idle(all);
    if !idle.is_empty() {
        let idle: Vec<String> = idle.iter().map(ToString::to_string).collect();
        let found = format!("{found}; no name matches {}", listed(&idle));
        return Check::warn(name, found, "check these filters for slips");
    }
    Check::pass(name, found).naming(inside)
}

/// Reports what users keep in the servers' own databases, which is not moved.
pub(super) async fn left_behind(source: &Deployment) -> Check {
    const NAME: &str = "no users' collections in admin, config, local";
    let found = match left_behind::read(source).await {
        Ok(found) => found.iter().map(ToString::to_string).collect::<Vec<_>>(),
        // In the way of nothing.
        Err(e) => {
            return Check::warn(
                NAME,
                format!("could not be listed: {e}"),
                "they are not moved: copy them by other means",
            );
        }
    };
    if found.is_empty() {
        Check::pass(NAME, "none")
    } else {
        Check::warn(
            NAME,
            format!("{} stay behind", listed(&found)),
            "copy them by other means, if you need them",
        )
        .naming(&found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::validate::Verdict;

    #[test]
    fn what_gets_another_name_is_shown_and_what_does_not_is_told() {
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        let renames = ["a=c", "x.y=x.z"].map(|text| text.parse().unwrap());
        let renames = Renames::new(renames.into()).unwrap();
        let check = renamed(&renames, &names(&["a.b", "x.v"]), &names(&["c.b", "x.v"]));
        assert_eq!(
            check.found,
            "1 arrive under another name: a.b as c.b; nothing has the name in x.y=x.z"
        );
        assert!(check.verdict == Verdict::Warning);
        let check = renamed(&renames, &names(&["a.b", "C.v"]), &names(&["c.b", "C.v"]));
        assert_eq!(check.found, "C and c would both be databases of the target");
        assert!(check.has_failed());
        let long =
            |db: &str, bytes: usize| vec![format!("{db}.{}", "b".repeat(bytes - 1 - db.len()))];
        for (from, to, fails) in [(235, 236, true), (240, 241, true), (240, 239, false)] {
            let check = renamed(&renames, &long("a", from), &long("c", to));
            assert_eq!(check.has_failed(), fails, "{from} to {to}: {check:?}");
        }
    }

    #[test]
    fn what_is_in_and_what_is_out_is_shown() {
        let filters = Filters {
            include: Vec::new(),
            exclude: vec!["a.*".parse().unwrap()],
        };
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        let check = shown(
            "filters",
            &filters,
            &names(&["b.x"]),
            &names(&["a.x", "a.y", "b.x"]),
        );
        assert_eq!(
            check.found,
            "exclude a.*; in are 1: b.x; out are 2: a.x, a.y"
        );
        assert!(check.verdict == Verdict::Ok);
        let check = shown("filters", &filters, &[], &names(&["a.x"]));
        assert!(check.verdict == Verdict::Warning, "{check:?}");
        let check = shown("filters", &filters, &names(&["b.x"]), &names(&["b.x"]));
        assert!(
            check.verdict == Verdict::Warning && check.found.ends_with("no name matches a.*"),
            "{check:?}"
        );
    }
}
