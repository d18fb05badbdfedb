//! What of the source a run is about, and what stays behind.

use crate::cluster::catalog::{self, Catalog, left_behind};
use crate::cluster::deployment::Deployment;
use crate::control::validate::{Check, listed};
use crate::scope::Filters;

/// Shows what the filters let through, and what not; nothing if there are none.
pub(super) async fn filters(source: &Deployment, catalog: &Catalog) -> Option<Check> {
    const NAME: &str = "filters";
    let filters = source.scope.filters();
    if filters.are_none() {
        return None;
    }
    let whole = catalog::read(&source.filtered(&Filters::default())).await;
    let check = whole.map(|whole| shown(NAME, filters, &names(catalog), &names(&whole)));
    Some(Check::answered(NAME, check))
}

/// Public names: of a time series one, not two.
fn names(catalog: &Catalog) -> Vec<String> {
    let all = catalog.collections.iter();
    let all = all.filter(|c| c.ns.time_series().is_none());
    all.map(|c| c.ns.to_string()).collect()
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
