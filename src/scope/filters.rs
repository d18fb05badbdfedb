//! What an operator asks for: names of collections and databases, and expressions.
//!
//! Pure.

use std::fmt;
use std::str::FromStr;

use regex::Regex;
use serde::{Serialize, Serializer};

use crate::scope::{BUCKETS, same_in_any_order};

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
/// `exclude` matches. Their order means nothing.
#[derive(Debug, Clone, Default)]
pub struct Filters {
    pub include: Vec<Pattern>,
    pub exclude: Vec<Pattern>,
}

impl PartialEq for Filters {
    fn eq(&self, other: &Self) -> bool {
        same_in_any_order(&self.include, &other.include)
            && same_in_any_order(&self.exclude, &other.exclude)
    }
}

impl Eq for Filters {}

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

    pub(super) fn let_through(&self, name: &str) -> bool {
        let any = |patterns: &[Pattern]| patterns.iter().any(|pattern| pattern.matches(name));
        (self.include.is_empty() || any(&self.include)) && !any(&self.exclude)
    }

    pub(super) fn may_let_through_in(&self, db: &str) -> bool {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_the_same_in_any_order() {
        let filters = |include: &[&str], exclude: &[&str]| {
            let all = |of: &[&str]| of.iter().map(|text| text.parse().unwrap()).collect();
            let (include, exclude) = (all(include), all(exclude));
            Filters { include, exclude }
        };
        let some = filters(&["a.*", "b.c"], &["a.x"]);
        assert_eq!(some, filters(&["b.c", "a.*", "b.c"], &["a.x"]));
        assert_ne!(some, filters(&["a.*", "b.c"], &[]));
        assert_ne!(some, filters(&["a.*", "b.c", "a.x"], &["a.x"]));
    }

    #[test]
    fn what_is_no_filter_is_refused() {
        for text in ["", "a", "a.", ".b", "*", "*.b", "/(/", "/a.b"] {
            assert!(text.parse::<Pattern>().is_err(), "{text}");
        }
    }
}
