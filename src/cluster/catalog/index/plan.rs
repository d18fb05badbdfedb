//! The plan from the existing indexes to the wanted ones: which are dropped, which are
//! built. Exact: two indexes on one key may both be right, and neither costs the other.
//!
//! Pure functions.

use std::collections::BTreeMap;

use bson::RawDocumentBuf;

use super::hidden::{hiding, same_but_hidden};
use super::{IndexName, Listed, is_implicit, same};

/// Drops come first, so that nothing is in the way of the builds.
#[derive(Debug, Default)]
pub struct IndexPlan {
    /// To be hidden, or shown again: name and `hidden`, in the form that `collMod` takes
    /// under `index`.
    pub hide: Vec<RawDocumentBuf>,
    /// Each is one command: indexes of one build go together, or not at all.
    pub drop: Vec<Vec<IndexName>>,
    pub build: Vec<RawDocumentBuf>,
}

/// `wanted`: specifications as they are built (`to_create`). An index that comes with the
/// collection is neither dropped nor built. A wanted index that is being built is left to
/// finish: building it again means waiting for it.
pub fn plan(wanted: &[RawDocumentBuf], there: &[Listed]) -> IndexPlan {
    let wanted: Vec<&RawDocumentBuf> = wanted.iter().filter(|spec| !is_implicit(spec)).collect();
    let hidden = |listed: &&Listed| {
        listed.build.is_none()
            && wanted
                .iter()
                .any(|spec| same_but_hidden(spec, &listed.spec))
    };
    let is_wanted =
        |listed: &&Listed| wanted.iter().any(|spec| same(spec, &listed.spec)) || hidden(listed);
    let stale = |group: &&Vec<&Listed>| !group.iter().all(is_wanted);
    let groups = groups(there);
    let drop = groups
        .iter()
        .filter(stale)
        .map(|group| names(group))
        .collect();
    let is_there = |spec: &&&RawDocumentBuf| {
        there
            .iter()
            .any(|l| l.build.is_none() && (same(&l.spec, spec) || same_but_hidden(&l.spec, spec)))
    };
    let to_hide = wanted
        .iter()
        .filter(|spec| !there.iter().any(|listed| same(&listed.spec, spec)) && is_there(spec));
    let build = wanted
        .iter()
        .filter(|spec| !is_there(spec))
        .map(|spec| (*spec).clone())
        .collect();
    let hide = to_hide.map(|spec| hiding(spec)).collect();
    IndexPlan { hide, drop, build }
}

/// The drops after which nothing of these names is left.
pub fn named(gone: &[IndexName], there: &[Listed]) -> Vec<Vec<IndexName>> {
    let groups = groups(there).into_iter().map(|group| names(&group));
    groups
        .filter(|names| names.iter().any(|name| gone.contains(name)))
        .collect()
}

/// Groups the indexes of one build; every other one is alone.
fn groups(there: &[Listed]) -> Vec<Vec<&Listed>> {
    let mut builds: BTreeMap<[u8; 16], Vec<&Listed>> = BTreeMap::new();
    let mut groups = Vec::new();
    for listed in there.iter().filter(|listed| !is_implicit(&listed.spec)) {
        match listed.build {
            Some(build) => builds.entry(build.bytes()).or_default().push(listed),
            None => groups.push(vec![listed]),
        }
    }
    groups.extend(builds.into_values());
    groups
}

fn names(group: &[&Listed]) -> Vec<IndexName> {
    group
        .iter()
        .map(|listed| IndexName::of(&listed.spec))
        .collect()
}

#[cfg(test)]
mod tests {
    use bson::{Uuid, rawdoc};

    use super::*;
    use crate::bson::element::{document, elements};

    fn index(name: &str, more: RawDocumentBuf) -> RawDocumentBuf {
        document(elements(&rawdoc! {"v": 2, "key": {"a": 1}, "name": name}).chain(elements(&more)))
    }

    fn listed(build: Option<u8>, spec: RawDocumentBuf) -> Listed {
        Listed {
            spec,
            build: build.map(|byte| Uuid::from_bytes([byte; 16])),
        }
    }

    fn text(plan: &IndexPlan) -> (Vec<String>, Vec<String>) {
        let group = |names: &Vec<IndexName>| {
            names
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("+")
        };
        (
            plan.drop.iter().map(group).collect(),
            plan.build
                .iter()
                .map(|s| IndexName::of(s).to_string())
                .collect(),
        )
    }

    #[test]
    fn only_what_differs_is_dropped_and_only_what_is_missing_is_built() {
        let plain = || index("n", rawdoc! {});
        let german = || index("g", rawdoc! {"collation": {"locale": "de"}});
        let french = || index("g", rawdoc! {"collation": {"locale": "fr"}});
        let id = || rawdoc! {"v": 1, "key": {"_id": 1}, "name": "_id_"};
        let clustered = || rawdoc! {"v": 2, "key": {"_id": 1}, "name": "own", "unique": true, "clustered": true};
        let done = |spec| listed(None, spec);
        type Row = (
            &'static str,
            Vec<RawDocumentBuf>,
            Vec<Listed>,
            &'static [&'static str],
            &'static [&'static str],
        );
        let rows: Vec<Row> = vec![
            (
                "nothing",
                vec![id(), plain()],
                vec![done(id()), done(plain())],
                &[],
                &[],
            ),
            (
                "_id and clustered ones are left",
                vec![id()],
                vec![done(clustered())],
                &[],
                &[],
            ),
            (
                "missing",
                vec![plain(), german()],
                vec![done(plain())],
                &[],
                &["g"],
            ),
            (
                "gone",
                vec![plain()],
                vec![done(german()), done(plain())],
                &["g"],
                &[],
            ),
            (
                "one of two of a key",
                vec![plain(), french()],
                vec![done(plain()), done(german())],
                &["g"],
                &["g"],
            ),
            (
                "renamed",
                vec![index("m", rawdoc! {})],
                vec![done(plain())],
                &["n"],
                &["m"],
            ),
            (
                "sparse",
                vec![index("n", rawdoc! {"sparse": true})],
                vec![done(plain())],
                &["n"],
                &["n"],
            ),
            (
                "an expiry early",
                vec![plain()],
                vec![done(index("n", rawdoc! {"expireAfterSeconds": 1}))],
                &["n"],
                &["n"],
            ),
            (
                "refuses early",
                vec![plain()],
                vec![done(index("n", rawdoc! {"prepareUnique": true}))],
                &["n"],
                &["n"],
            ),
            (
                "a build goes on",
                vec![plain()],
                vec![listed(Some(1), plain())],
                &[],
                &["n"],
            ),
            (
                "a stale build",
                vec![],
                vec![listed(Some(1), plain())],
                &["n"],
                &[],
            ),
            (
                "a build of which one is stale",
                vec![plain(), french()],
                vec![
                    listed(Some(1), plain()),
                    listed(Some(1), german()),
                    listed(Some(2), french()),
                ],
                &["n+g"],
                &["n", "g"],
            ),
        ];
        for (name, wanted, there, drop, build) in rows {
            let plan = plan(&wanted, &there);
            let (drop, build) = (
                drop.iter().map(ToString::to_string),
                build.iter().map(ToString::to_string),
            );
            assert_eq!(text(&plan), (drop.collect(), build.collect()), "{name}");
        }
    }

    #[test]
    fn what_is_dropped_by_name_takes_the_build_with_it() {
        let there = [
            listed(None, index("a", rawdoc! {})),
            listed(Some(1), index("b", rawdoc! {})),
            listed(Some(1), index("c", rawdoc! {})),
        ];
        let drop = |name: &str| {
            text(&IndexPlan {
                drop: named(&[IndexName::new(name.as_bytes())], &there),
                ..IndexPlan::default()
            })
            .0
        };
        assert_eq!(
            (drop("a"), drop("c"), drop("d")),
            (vec!["a".to_owned()], vec!["b+c".to_owned()], vec![])
        );
    }
}
