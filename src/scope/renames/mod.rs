//! Other names on the target than on the source, as an operator asks for them: of a whole
//! database, or of one collection or view.
//!
//! Pure. A time series goes by its own name, and its buckets with it.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use crate::scope::{ADMIN, BUCKETS, is_internal, same_in_any_order};

/// Longest name of a database on any server, bytes.
const DATABASE_BYTES_MAX: usize = 63;
/// Longest full name of a collection that every server from 4.4 on can shard, bytes. 4.2
/// takes 120.
pub const NAME_BYTES_MAX: usize = 235;
/// Characters that no database can have on some server.
const NOT_IN_DATABASES: [char; 11] = ['/', '\\', '.', ' ', '"', '$', '*', '<', '>', ':', '|'];

const SAME: &str = "both names are the same";

/// A database, or a collection or view of it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Name {
    db: String,
    coll: Option<String>,
}

/// One rename: `from` on the source, `to` on the target. Both are of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rename {
    from: Name,
    to: Name,
}

impl FromStr for Rename {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused = |why: &str| format!("`{text}` is no rename: {why}");
        let Some((from, to)) = text.split_once('=') else {
            return Err(refused(
                "write `database=other` or `db.collection=db.other`",
            ));
        };
        if to.contains('=') {
            return Err(refused("names that contain `=` cannot be given"));
        }
        let (from, to) = (
            name(from).map_err(|e| refused(&e))?,
            name(to).map_err(|e| refused(&e))?,
        );
        if from.coll.is_some() != to.coll.is_some() {
            return Err(refused(
                "give a collection for a collection, a database for a database",
            ));
        }
        if from == to && from.coll.is_none() {
            return Err(refused(SAME));
        }
        Ok(Rename { from, to })
    }
}

fn name(text: &str) -> Result<Name, String> {
    let (db, coll) = match text.split_once('.') {
        Some((db, coll)) => (db, Some(coll)),
        None => (text, None),
    };
    if db.is_empty() || DATABASE_BYTES_MAX < db.len() || db.contains(NOT_IN_DATABASES) {
        return Err(format!("`{db}` is no name of a database"));
    }
    if db == ADMIN || is_internal(db) {
        return Err(format!("{db} is the server's own database"));
    }
    let coll = coll.map(collection).transpose()?;
    if NAME_BYTES_MAX < text.len() {
        return Err(format!(
            "`{text}` is longer than the {NAME_BYTES_MAX} bytes that servers take"
        ));
    }
    Ok(Name {
        db: db.to_owned(),
        coll,
    })
}

fn collection(coll: &str) -> Result<String, String> {
    if coll.is_empty() || coll.starts_with('.') || coll.contains(['$', '*', '\0']) {
        return Err(format!("`{coll}` is no name of a collection"));
    }
    if coll.starts_with("system.") {
        return Err(format!(
            "{coll} is the server's own name: of a time series give its own"
        ));
    }
    Ok(coll.to_owned())
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.coll {
            Some(coll) => write!(f, "{}.{coll}", self.db),
            None => f.write_str(&self.db),
        }
    }
}

impl fmt::Display for Rename {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.from, self.to)
    }
}

impl Serialize for Rename {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// All renames of a run. One of a collection goes before that of its database. No two names of
/// the source have one on the target: `to_target` has none for what would take another's. Their
/// order means nothing.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Renames(Vec<Rename>);

impl PartialEq for Renames {
    fn eq(&self, other: &Self) -> bool {
        same_in_any_order(&self.0, &other.0)
    }
}

impl Eq for Renames {}

impl Renames {
    /// # Errors
    /// If a name is given twice on one side, if a collection keeps its name and so does its
    /// database, or if the target would have databases that differ only by case.
    pub fn new(all: Vec<Rename>) -> Result<Self, String> {
        for (at, one) in all.iter().enumerate() {
            let is_whole =
                |other: &Rename| other.from.coll.is_none() && other.from.db == one.from.db;
            if one.from == one.to && !all.iter().any(is_whole) {
                return Err(format!("`{one}` is no rename: {SAME}"));
            }
            let mut before = all[..at].iter();
            if let Some(other) = before.find(|other| other.from == one.from || other.to == one.to) {
                return Err(format!("`{other}` and `{one}` are about one name"));
            }
            let mut before = all[..at].iter();
            if let Some(other) = before.find(|other| are_spellings(&other.to.db, &one.to.db)) {
                return Err(format!(
                    "`{other}` and `{one}` name databases that differ only by case"
                ));
            }
        }
        Ok(Renames(all))
    }

    pub fn are_none(&self) -> bool {
        self.0.is_empty()
    }

    pub fn all(&self) -> &[Rename] {
        &self.0
    }

    /// Those that none of these names on the source has to do with.
    pub fn idle<'r>(&'r self, names: &[String]) -> Vec<&'r Rename> {
        let is_meant = |rename: &Rename| {
            let from = rename.from.to_string();
            let in_db = |name: &str| {
                name.split_once('.')
                    .is_some_and(|(db, _)| rename.from.coll.is_none() && db == from)
            };
            names.iter().any(|name| *name == from || in_db(name))
        };
        self.0.iter().filter(|rename| !is_meant(rename)).collect()
    }

    /// The name on the target of a source's `db.coll`; None if that is another's.
    pub(super) fn to_target(&self, db: &str, coll: &str) -> Option<(String, String)> {
        let target = go(&self.0, |rename| (&rename.from, &rename.to), db, coll);
        let back = self.to_source(&target.0, &target.1)?;
        (back == (db.to_owned(), coll.to_owned())).then_some(target)
    }

    /// The name on the source of a target's `db.coll`; None if no name there becomes it.
    pub(super) fn to_source(&self, db: &str, coll: &str) -> Option<(String, String)> {
        let source = go(&self.0, |rename| (&rename.to, &rename.from), db, coll);
        let again = go(
            &self.0,
            |rename| (&rename.from, &rename.to),
            &source.0,
            &source.1,
        );
        (again == (db.to_owned(), coll.to_owned())).then_some(source)
    }

    /// Databases of the target that collections of a source's database may be in. The first is
    /// that of all which is not renamed by itself.
    pub(super) fn databases_to_target(&self, db: &str) -> Vec<String> {
        let mut all = vec![self.whole(db).unwrap_or(db).to_owned()];
        let parts = self.parts().filter(|part| part.from.db == db);
        all.extend(parts.map(|part| part.to.db.clone()));
        distinct(all)
    }

    /// Databases of the source that have collections which may be in a target's database.
    pub(super) fn databases_to_source(&self, db: &str) -> Vec<String> {
        let wholes = self.0.iter().filter(|one| one.from.coll.is_none());
        let wholes = wholes.filter(|whole| whole.to.db == db);
        let mut all: Vec<String> = wholes.map(|whole| whole.from.db.clone()).collect();
        all.extend(self.whole(db).is_none().then(|| db.to_owned()));
        let parts = self.parts().filter(|part| part.to.db == db);
        all.extend(parts.map(|part| part.from.db.clone()));
        distinct(all)
    }

    /// A database of the target is one of the source's, whatever is in it.
    pub(super) fn is_whole(&self, db: &str) -> bool {
        let comes = self
            .0
            .iter()
            .any(|one| one.from.coll.is_none() && one.to.db == db);
        (comes || self.whole(db).is_none()) && !self.parts().any(|part| part.to.db == db)
    }

    /// The target's name of a whole database that is renamed.
    fn whole(&self, db: &str) -> Option<&str> {
        let mut wholes = self.0.iter().filter(|one| one.from.coll.is_none());
        let whole = wholes.find(|whole| whole.from.db == db)?;
        Some(&whole.to.db)
    }

    /// Renames of single collections.
    fn parts(&self) -> impl Iterator<Item = &Rename> {
        self.0.iter().filter(|one| one.from.coll.is_some())
    }
}

/// Whether two databases have names that differ only by case: no server has both.
pub fn are_spellings(one: &str, other: &str) -> bool {
    one != other && one.eq_ignore_ascii_case(other)
}

fn distinct(names: Vec<String>) -> Vec<String> {
    let mut all = Vec::new();
    for name in names {
        if !all.contains(&name) {
            all.push(name);
        }
    }
    all
}

/// The other name of `db.coll`, one way or the other.
fn go<'r>(
    all: &'r [Rename],
    way: impl Fn(&'r Rename) -> (&'r Name, &'r Name),
    db: &str,
    coll: &str,
) -> (String, String) {
    let public = coll.strip_prefix(BUCKETS).unwrap_or(coll);
    let of_db = || all.iter().map(&way).filter(|(from, _)| from.db == db);
    if let Some(to) = of_db().find_map(|(from, to)| {
        to.coll
            .as_ref()
            .filter(|_| from.coll.as_deref() == Some(public))
            .map(|coll| (to, coll))
    }) {
        let (name, other) = to;
        let start = &coll[..coll.len() - public.len()];
        return (name.db.clone(), format!("{start}{other}"));
    }
    let whole = of_db().find(|(from, _)| from.coll.is_none());
    let db = whole.map_or(db, |(_, to)| to.db.as_str());
    (db.to_owned(), coll.to_owned())
}

impl fmt::Display for Renames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.are_none() {
            return f.write_str("no renames");
        }
        let texts: Vec<String> = self.0.iter().map(|one| format!("rename {one}")).collect();
        f.write_str(&texts.join(", "))
    }
}

#[cfg(test)]
mod tests;
