//! Users and roles of the source that the target does not have. They are not copied.
//!
//! Reads only, and only where the logins may.

use std::collections::BTreeSet;

use bson::{Document, doc};
use futures_util::TryStreamExt;

use crate::cluster::deployment::Deployment;
use crate::cluster::retry::answered;
use crate::codes;
use crate::control::validate::Check;
use crate::error::Result;

const NAME: &str = "users and roles on the target";
const REMEDY: &str = "users and roles are not copied: create those your applications need on the target before the cutover";

/// What a side has, as `user name@db` and `role name@db`, or why it cannot be read.
type Names = std::result::Result<BTreeSet<String>, String>;

pub(super) async fn check(source: &Deployment, target: &Deployment) -> Check {
    let (source, target) = tokio::join!(names(source), names(target));
    let told = |names: Result<_>| {
        names.map_err(|e| match e.code {
            Some(codes::UNAUTHORIZED) => "the login may not read them".to_owned(),
            _ => e.message,
        })
    };
    decide(&told(source), &told(target))
}

async fn names(side: &Deployment) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for (collection, field) in [("system.users", "user"), ("system.roles", "role")] {
        let of = side
            .entry
            .database("admin")
            .collection::<Document>(collection);
        let find = of.find(doc! {}).projection(doc! {field: 1, "db": 1});
        let found = answered("users and roles", async {
            Ok(find.await?.try_collect::<Vec<_>>().await?)
        });
        for row in found.await? {
            let (name, db) = (row.get_str(field)?, row.get_str("db")?);
            names.insert(format!("{field} {name}@{db}"));
        }
    }
    Ok(names)
}

fn decide(source: &Names, target: &Names) -> Check {
    let unread = |side: &str, why: &str| {
        let found = format!("the {side}'s are not known: {why}");
        Check::warn(NAME, found, REMEDY)
    };
    match (source, target) {
        (Err(why), _) => unread("source", why),
        (Ok(source), _) if source.is_empty() => Check::pass(NAME, "the source has none"),
        (Ok(_), Err(why)) => unread("target", why),
        (Ok(source), Ok(target)) => {
            let missing: Vec<String> = source.difference(target).cloned().collect();
            let good = "the target has a namesake of each";
            Check::warn_of(NAME, &missing, good, REMEDY)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::validate::Verdict;

    #[test]
    fn what_the_target_lacks_is_listed() {
        let of = |names: &[&str]| Ok(names.iter().map(ToString::to_string).collect());
        let unread = || Err("why".to_owned());
        let rows = [
            (
                unread(),
                of(&[]),
                Verdict::Warning,
                "source's are not known: why",
            ),
            (of(&[]), unread(), Verdict::Ok, "none"),
            (
                of(&["user a@x"]),
                unread(),
                Verdict::Warning,
                "target's are",
            ),
            (
                of(&["user a@x"]),
                of(&["user a@x"]),
                Verdict::Ok,
                "namesake",
            ),
            (
                of(&["user a@x", "role b@y"]),
                of(&["user a@y"]),
                Verdict::Warning,
                "role b@y, user a@x",
            ),
        ];
        for (source, target, verdict, text) in rows {
            let check = decide(&source, &target);
            assert_eq!(check.verdict, verdict, "{check:?}");
            assert!(check.found.contains(text), "{check:?}");
        }
    }
}
