//! Which collections and views a migration is about: users' own, less what its filters
//! leave out; and what they are called on the target.
//!
//! Decides by name alone, of a time series by its own and not that of its buckets. Knows
//! no server.

pub mod filters;
pub mod renames;

use std::sync::Arc;

use crate::scope::filters::Filters;
use crate::scope::renames::Renames;

/// How the names of collections begin that hold the data of time series: a document is a
/// bucket of measurements. The time series itself is a view of them.
pub const BUCKETS: &str = "system.buckets.";
/// Databases that are the server's or shardlift's own.
const LEFT_OUT: [&str; 3] = ["config", "local", "__shardlift"];
/// Of a replica set also users'; a cluster has it on its config servers, which no pair
/// follows.
const ADMIN: &str = "admin";
/// A server's own in `admin`, beside what begins with `system.`.
const SERVERS_IN_ADMIN: &str = "tempusers";

/// Whether no user's data is in a database, whatever is asked for.
pub fn is_internal(db: &str) -> bool {
    LEFT_OUT.contains(&db)
}

/// Whether the collection is a user's. Of the `system.` collections only stored functions
/// and the buckets of time series are. Views are made by command, and the profile and
/// remains of resharding are the server's.
pub fn is_users(db: &str, coll: &str) -> bool {
    let is_plain = !coll.starts_with("system.");
    match db {
        ADMIN => is_plain && coll != SERVERS_IN_ADMIN,
        _ => !is_internal(db) && (is_plain || coll == "system.js" || coll.starts_with(BUCKETS)),
    }
}

/// Whether servers make collections of this name, to give them another: for `$out`,
/// `mapReduce`, `convertToCapped`, and a rename across databases.
pub fn is_passing(coll: &str) -> bool {
    let Some(rest) = coll.strip_prefix("tmp") else {
        return false;
    };
    // After five characters by chance.
    let is_named =
        |rest: &str| rest.starts_with(".convertToCapped.") || rest == ".renameCollection";
    rest.starts_with(".agg_out.") || rest.starts_with(".mr.") || rest.get(5..).is_some_and(is_named)
}

/// What one list has the other has, too.
fn same_in_any_order<T: PartialEq>(one: &[T], other: &[T]) -> bool {
    one.iter().all(|each| other.contains(each)) && other.iter().all(|each| one.contains(each))
}

/// The scope of one side. Cheap to clone. A name is the side's own, unless it says otherwise.
/// The run's is that on the target, whichever side it was found on. Filters are about names
/// on the source.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Scope {
    filters: Arc<Filters>,
    renames: Arc<Renames>,
    has_admin: bool,
    /// The side is the target.
    is_targets: bool,
}

impl Scope {
    /// That of the source. `has_admin`: users' collections in `admin` belong to it.
    pub fn new(filters: Filters, renames: Renames, has_admin: bool) -> Self {
        let (filters, renames) = (Arc::new(filters), Arc::new(renames));
        Scope {
            filters,
            renames,
            has_admin,
            is_targets: false,
        }
    }

    /// The same with other filters and renames.
    pub fn asked(&self, filters: &Filters, renames: &Renames) -> Self {
        Scope {
            is_targets: self.is_targets,
            ..Scope::new(filters.clone(), renames.clone(), self.has_admin)
        }
    }

    /// The same of the target, or of the source.
    pub fn on(self, is_targets: bool) -> Self {
        Scope { is_targets, ..self }
    }

    pub fn has_admin(&self) -> bool {
        self.has_admin
    }

    pub fn filters(&self) -> &Filters {
        &self.filters
    }

    pub fn renames(&self) -> &Renames {
        &self.renames
    }

    /// A collection or view. One that is to get another name belongs to it where that may.
    pub fn has(&self, db: &str, coll: &str) -> bool {
        if !self.is_renamed() || !self.is_targets {
            return self.has_of_source(db, coll);
        }
        let source = self.renames.to_source(db, coll);
        source.is_some_and(|(db, coll)| self.has_of_source(&db, &coll))
    }

    fn has_of_source(&self, db: &str, coll: &str) -> bool {
        let is_there = is_users(db, coll) && (self.has_admin || db != ADMIN);
        if !is_there || self.filters.are_none() {
            return is_there;
        }
        if is_passing(coll) {
            return self.filters.may_let_through_in(db);
        }
        let public = coll.strip_prefix(BUCKETS).unwrap_or(coll);
        self.filters.let_through(&format!("{db}.{public}"))
    }

    /// Whether what happens to a name matters: also to one that is a server's, in a database
    /// of which something may belong to it.
    pub fn concerns(&self, db: &str, coll: &str) -> bool {
        if db == ADMIN || is_users(db, coll) {
            return self.has(db, coll);
        }
        self.may_have_in(db)
    }

    /// Some collection of the database may belong to it.
    pub fn may_have_in(&self, db: &str) -> bool {
        let may = |db: &str| {
            !is_internal(db)
                && (self.has_admin || db != ADMIN)
                && self.filters.may_let_through_in(db)
        };
        if !self.is_renamed() || !self.is_targets {
            return may(db);
        }
        let sources = self.renames.databases_to_source(db);
        sources.iter().any(|db| may(db))
    }

    /// A database of which nothing is left belongs to it all the same. By the run's name: one
    /// that only single collections come to does not.
    pub fn has_empty(&self, db: &str) -> bool {
        db != ADMIN && self.filters.are_none() && self.renames.is_whole(db)
    }

    /// Databases without anything of it.
    pub fn databases_left_out(&self) -> Vec<&'static str> {
        let admin = (!self.has_admin).then_some(ADMIN);
        LEFT_OUT.into_iter().chain(admin).collect()
    }

    fn is_renamed(&self) -> bool {
        !self.renames.are_none()
    }

    /// The run's name of what has this one; None if that is another's.
    pub fn named(&self, db: &str, coll: &str) -> Option<(String, String)> {
        if self.is_targets || !self.is_renamed() {
            return Some((db.to_owned(), coll.to_owned()));
        }
        self.renames.to_target(db, coll)
    }

    /// The own name of what the run calls so. It may have no such name: then the same.
    pub fn own(&self, db: &str, coll: &str) -> (String, String) {
        let own = (!self.is_targets && self.is_renamed()).then(|| self.renames.to_source(db, coll));
        own.flatten()
            .unwrap_or_else(|| (db.to_owned(), coll.to_owned()))
    }

    /// The run's names of a database: the first of it as a whole, the others of single
    /// collections.
    pub fn databases_named(&self, db: &str) -> Vec<String> {
        if self.is_targets {
            return vec![db.to_owned()];
        }
        self.renames.databases_to_target(db)
    }

    /// The own databases with collections that the run knows in `db`.
    pub fn own_databases(&self, db: &str) -> Vec<String> {
        if self.is_targets {
            return vec![db.to_owned()];
        }
        self.renames.databases_to_source(db)
    }
}

#[cfg(test)]
impl Scope {
    /// The source's, with these renames.
    pub fn with_renames(texts: &[&str]) -> Scope {
        let all = texts.iter().map(|text| text.parse().expect("a rename"));
        let renames = Renames::new(all.collect()).expect("they go together");
        Scope::new(Filters::default(), renames, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filters(include: &[&str], exclude: &[&str]) -> Filters {
        let patterns = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        Filters {
            include: patterns(include),
            exclude: patterns(exclude),
        }
    }

    #[test]
    fn only_users_own_are_users() {
        let rows = [
            ("d", "a", true),
            ("d", "a.system.b", true),
            ("d", "systematic", true),
            ("d", "system.js", true),
            ("d", "system.buckets.t", true),
            ("d", "system.views", false),
            ("d", "system.profile", false),
            ("d", "system.resharding.x", false),
            ("admin", "mine", true),
            ("admin", "system.users", false),
            ("admin", "system.js", false),
            ("admin", "tempusers", false),
            ("config", "mine", false),
            ("local", "mine", false),
            ("__shardlift", "run", false),
        ];
        for (db, coll, expect) in rows {
            assert_eq!(is_users(db, coll), expect, "{db}.{coll}");
        }
        let admin =
            |has| Scope::new(Filters::default(), Renames::default(), has).has("admin", "mine");
        assert!(admin(true) && !admin(false));
    }

    #[test]
    fn what_is_in_is_included_and_not_excluded() {
        let has = |filters: &Filters, name: &str| {
            let (db, coll) = name.split_once('.').unwrap();
            Scope::new(filters.clone(), Renames::default(), true).has(db, coll)
        };
        let rows: [(&[&str], &[&str], &str, bool); 16] = [
            (&[], &[], "a.b", true),
            (&["a.b"], &[], "a.b", true),
            (&["a.b"], &[], "a.bc", false),
            (&["a.b.c"], &[], "a.b.c", true),
            (&["a.*"], &[], "a.b.c", true),
            (&["a.*"], &[], "ab.c", false),
            (&["a.*"], &["a.b"], "a.b", false),
            (&["a.*"], &["a.b"], "a.c", true),
            (&[], &["a.*"], "a.b", false),
            (&[], &["a.*"], "b.a", true),
            (&["/^shop_\\d+\\./"], &[], "shop_12.x", true),
            (&["/^shop_\\d+\\./"], &[], "shop_x.x", false),
            (&[], &["/(?i)TEMP/"], "a.my_temp", false),
            (&["a.t"], &[], "a.system.buckets.t", true),
            (&[], &["a.t"], "a.system.buckets.t", false),
            (&["config.*"], &[], "config.mine", false),
        ];
        for (include, exclude, name, expect) in rows {
            let filters = filters(include, exclude);
            assert_eq!(has(&filters, name), expect, "{filters}: {name}");
        }
    }

    #[test]
    fn what_a_server_is_about_to_rename_is_in_where_anything_may_be() {
        let passing = [
            "tmp.agg_out.6d1a",
            "tmp.mr.c_0",
            "tmpaB3xZ.convertToCapped.c",
            "tmpaB3xZ.renameCollection",
        ];
        let users = [
            "tmp",
            "tmp.c",
            "tmpaB3xZ.c",
            "tmpaB3xZ.renameCollection.c",
            "x.tmp.mr.c",
        ];
        let scope = |filters| Scope::new(filters, Renames::default(), true);
        for (coll, is_in) in passing
            .map(|c| (c, true))
            .into_iter()
            .chain(users.map(|c| (c, false)))
        {
            assert_eq!(is_passing(coll), is_in, "{coll}");
            assert_eq!(
                scope(filters(&["d.c"], &["/tmp/"])).has("d", coll),
                is_in,
                "{coll}"
            );
            assert!(!scope(filters(&["d.c"], &[])).has("e", coll), "{coll}");
            assert!(!scope(filters(&[], &["d.*"])).has("d", coll), "{coll}");
        }
    }

    #[test]
    fn a_database_is_left_out_where_none_of_its_names_can_be_in() {
        let rows: [(&[&str], &[&str], &str, bool); 8] = [
            (&[], &[], "a", true),
            (&["a.b"], &[], "a", true),
            (&["a.b"], &[], "b", false),
            (&["a.b"], &[], "a.", false),
            (&["/x/"], &[], "b", true),
            (&[], &["a.*"], "a", false),
            (&[], &["a.b"], "a", true),
            (&[], &[], "local", false),
        ];
        for (include, exclude, db, expect) in rows {
            let filters = filters(include, exclude);
            let scope = Scope::new(filters.clone(), Renames::default(), false);
            assert_eq!(scope.may_have_in(db), expect, "{filters}: {db}");
        }
    }

    #[test]
    fn filters_are_about_the_source_on_either_side() {
        let all = vec!["a=c".parse().unwrap(), "x.y=c.z".parse().unwrap()];
        let renames = Renames::new(all).unwrap();
        let scope = Scope::new(filters(&["a.b", "x.*"], &[]), renames, false);
        assert!(scope.has("a", "b") && scope.has("x", "y") && !scope.has("c", "b"));
        let target = scope.clone().on(true);
        assert!(target.has("c", "b") && target.has("c", "z") && target.has("x", "w"));
        assert!(!target.has("a", "b") && !target.has("x", "y"));
        assert!(target.may_have_in("c") && !target.may_have_in("a"));
        let name = |(db, coll): (String, String)| format!("{db}.{coll}");
        assert_eq!(scope.named("a", "b").map(name).unwrap(), "c.b");
        assert_eq!(name(scope.own("c", "z")), "x.y");
        assert_eq!(name(target.own("c", "z")), "c.z");
    }
}
