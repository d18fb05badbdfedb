//! Which collections and views a migration is about: users' own, less what its filters
//! leave out.
//!
//! Decides by name alone, of a time series by its own and not that of its buckets. Knows
//! no server.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use regex::Regex;
use serde::{Serialize, Serializer};

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

/// One filter: the name of a collection, all of a database, or a regular expression that
/// is looked for in full names.
#[derive(Debug, Clone)]
pub struct Pattern {
    text: String,
    form: Form,
}

#[derive(Debug, Clone)]
enum Form {
    Collection,
    /// `db.`, as the names of its collections begin.
    Database(String),
    Expression(Regex),
}

impl FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expression = text
            .strip_prefix('/')
            .and_then(|rest| rest.strip_suffix('/'));
        let form = match (expression, text.split_once('.')) {
            (Some(expression), _) => {
                let read = Regex::new(expression);
                Form::Expression(read.map_err(|e| format!("{text} cannot be read: {e}"))?)
            }
            (None, Some((db, "*"))) if is_name(db) => Form::Database(format!("{db}.")),
            (None, Some((_, coll))) if coll.contains('*') => {
                return Err(format!(
                    "`{text}`: `*` stands for all of a database only: write `/expression/` for a part of a name"
                ));
            }
            (None, Some((db, coll))) if is_name(db) && !coll.is_empty() => Form::Collection,
            _ => {
                return Err(format!(
                    "`{text}` is no filter: write `db.collection`, `db.*` or `/expression/`"
                ));
            }
        };
        // A time series by its buckets.
        let text = match form {
            Form::Collection => text.replacen(&format!(".{BUCKETS}"), ".", 1),
            _ => text.to_owned(),
        };
        Ok(Pattern { text, form })
    }
}

/// Of a database, which can have none of these characters.
fn is_name(db: &str) -> bool {
    !db.is_empty() && !db.contains(['*', '/'])
}

impl Pattern {
    /// `name`: `db.collection`.
    fn matches(&self, name: &str) -> bool {
        match &self.form {
            Form::Collection => self.text == name,
            Form::Database(start) => name.starts_with(start),
            Form::Expression(expression) => expression.is_match(name),
        }
    }

    /// Whether a name in this database may match.
    fn may_match_in(&self, db: &str) -> bool {
        match &self.form {
            Form::Collection => self
                .text
                .strip_prefix(db)
                .is_some_and(|rest| rest.starts_with('.')),
            Form::Database(start) => start.strip_suffix('.') == Some(db),
            Form::Expression(_) => true,
        }
    }

    fn is_all_of(&self, db: &str) -> bool {
        matches!(&self.form, Form::Database(start) if start.strip_suffix('.') == Some(db))
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Pattern {}

impl Serialize for Pattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

/// What an operator asks for: of `include`, or of all if that is empty, what no pattern of
/// `exclude` matches.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filters {
    pub include: Vec<Pattern>,
    pub exclude: Vec<Pattern>,
}

impl Filters {
    pub fn are_none(&self) -> bool {
        self.include.is_empty() && self.exclude.is_empty()
    }

    /// Those that match none of these names.
    pub fn idle<'f>(&'f self, names: &[String]) -> Vec<&'f Pattern> {
        let all = self.include.iter().chain(&self.exclude);
        all.filter(|pattern| !names.iter().any(|name| pattern.matches(name)))
            .collect()
    }

    fn let_through(&self, name: &str) -> bool {
        let any = |patterns: &[Pattern]| patterns.iter().any(|pattern| pattern.matches(name));
        (self.include.is_empty() || any(&self.include)) && !any(&self.exclude)
    }

    fn may_let_through_in(&self, db: &str) -> bool {
        let included = |pattern: &Pattern| pattern.may_match_in(db);
        (self.include.is_empty() || self.include.iter().any(included))
            && !self.exclude.iter().any(|pattern| pattern.is_all_of(db))
    }
}

impl fmt::Display for Filters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.are_none() {
            return f.write_str("no filters");
        }
        let include = self.include.iter().map(|pattern| ("include", pattern));
        let exclude = self.exclude.iter().map(|pattern| ("exclude", pattern));
        let all = include.chain(exclude);
        let texts: Vec<String> = all.map(|(of, pattern)| format!("{of} {pattern}")).collect();
        f.write_str(&texts.join(", "))
    }
}

/// The scope of one side. Cheap to clone.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Scope {
    filters: Arc<Filters>,
    has_admin: bool,
}

impl Scope {
    /// `has_admin`: users' collections in `admin` belong to it.
    pub fn new(filters: Filters, has_admin: bool) -> Self {
        let filters = Arc::new(filters);
        Scope { filters, has_admin }
    }

    /// The same with other filters.
    pub fn filtered(&self, filters: &Filters) -> Self {
        Scope::new(filters.clone(), self.has_admin)
    }

    pub fn has_admin(&self) -> bool {
        self.has_admin
    }

    pub fn filters(&self) -> &Filters {
        &self.filters
    }

    /// A collection or view. One that is to get another name belongs to it where that may.
    pub fn has(&self, db: &str, coll: &str) -> bool {
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
        !is_internal(db) && (self.has_admin || db != ADMIN) && self.filters.may_let_through_in(db)
    }

    /// A database of which nothing is left belongs to it all the same.
    pub fn has_empty(&self, db: &str) -> bool {
        db != ADMIN && self.filters.are_none()
    }

    /// Databases without anything of it.
    pub fn databases_left_out(&self) -> Vec<&'static str> {
        let admin = (!self.has_admin).then_some(ADMIN);
        LEFT_OUT.into_iter().chain(admin).collect()
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
        let admin = |has| Scope::new(Filters::default(), has).has("admin", "mine");
        assert!(admin(true) && !admin(false));
    }

    #[test]
    fn what_is_in_is_included_and_not_excluded() {
        let has = |filters: &Filters, name: &str| {
            let (db, coll) = name.split_once('.').unwrap();
            Scope::new(filters.clone(), true).has(db, coll)
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
        let scope = |filters| Scope::new(filters, true);
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
            let scope = Scope::new(filters.clone(), false);
            assert_eq!(scope.may_have_in(db), expect, "{filters}: {db}");
        }
    }

    #[test]
    fn what_is_no_filter_is_refused() {
        for text in ["", "a", "a.", ".b", "*", "*.b", "/(/", "/a.b"] {
            assert!(text.parse::<Pattern>().is_err(), "{text}");
        }
    }
}
