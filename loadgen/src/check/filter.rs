//! What is compared: all but the servers' own, less what filters leave out.
//!
//! A filter names a database (`db` or `db.*`), a collection or view (`db.name`), or is a
//! regular expression between slashes, looked for in full names. The buckets of a time
//! series go by its name.

use regex::Regex;

use crate::check::renames::Renames;
use crate::entry::SYSTEM_DATABASES;
use crate::error::{Error, Result};

const BUCKETS: &str = "system.buckets.";

#[derive(Debug, Clone)]
enum Rule {
    Database(String),
    Name(String),
    Expression(Regex),
}

/// What is looked at on one side.
#[derive(Debug, Clone, Default)]
pub(super) struct Filter {
    include: Vec<Rule>,
    exclude: Vec<Rule>,
    /// From the names of this side to those of the source, which the rules are about.
    to_source: Renames,
    /// Back from there: what comes to another name is nobody's.
    from_source: Renames,
    /// From the names of this side to those of the target.
    to_target: Renames,
}

impl Filter {
    /// That of the source.
    ///
    /// # Errors
    /// For an expression or a rename that cannot be read.
    pub(super) fn new(include: &[String], exclude: &[String], rename: &[String]) -> Result<Self> {
        let rules = |texts: &[String]| -> Result<Vec<Rule>> {
            texts.iter().map(|text| rule(text)).collect()
        };
        Ok(Filter {
            include: rules(include)?,
            exclude: rules(exclude)?,
            to_source: Renames::default(),
            from_source: Renames::default(),
            to_target: Renames::new(rename)?,
        })
    }

    /// The same of the target.
    pub(super) fn of_target(&self) -> Filter {
        Filter {
            to_source: self.to_target.back(),
            from_source: self.to_target.clone(),
            to_target: Renames::default(),
            ..self.clone()
        }
    }

    pub(super) fn to_target(&self) -> &Renames {
        &self.to_target
    }

    /// Whether names in this database are looked at one by one. `admin`: whether users'
    /// collections are in that one.
    pub(super) fn has_database(&self, database: &str, admin: bool) -> bool {
        let is_servers = SYSTEM_DATABASES.contains(&database) && !(admin && database == "admin");
        let is_out =
            self.to_source.are_none() && self.exclude.iter().any(|rule| rule.is_all_of(database));
        !is_servers && !is_out
    }

    pub(super) fn has(&self, database: &str, name: &str) -> bool {
        if database == "admin" && (name.starts_with("system.") || name == "tempusers") {
            return false;
        }
        let own = (database.to_owned(), name.to_owned());
        let (database, name) = self.to_source.of(database, name);
        if self.from_source.of(&database, &name) != own {
            return false;
        }
        let public = name.strip_prefix(BUCKETS).unwrap_or(&name);
        let name = format!("{database}.{public}");
        let any = |rules: &[Rule]| rules.iter().any(|rule| rule.matches(&database, &name));
        (self.include.is_empty() || any(&self.include)) && !any(&self.exclude)
    }

    /// Databases may be on the source alone, for nothing of them is compared.
    pub(super) fn leaves_out_databases(&self) -> bool {
        !self.include.is_empty() || !self.exclude.is_empty() || !self.to_target.are_none()
    }
}

impl Rule {
    fn matches(&self, database: &str, name: &str) -> bool {
        match self {
            Rule::Database(other) => other == database,
            Rule::Name(other) => other == name,
            Rule::Expression(expression) => expression.is_match(name),
        }
    }

    fn is_all_of(&self, database: &str) -> bool {
        matches!(self, Rule::Database(other) if other == database)
    }
}

fn rule(text: &str) -> Result<Rule> {
    let expression = text
        .strip_prefix('/')
        .and_then(|rest| rest.strip_suffix('/'));
    if let Some(expression) = expression {
        let read = Regex::new(expression);
        let read = read.map_err(|e| Error::new(format!("{text} is no expression: {e}")))?;
        return Ok(Rule::Expression(read));
    }
    Ok(match text.split_once('.') {
        None => Rule::Database(text.to_owned()),
        Some((database, "*")) => Rule::Database(database.to_owned()),
        Some(_) => Rule::Name(text.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_in_that_are_included_and_not_excluded() {
        let rows: [(&[&str], &[&str], &str, bool); 9] = [
            (&[], &[], "d.c", true),
            (&[], &["d"], "d.c", false),
            (&["d.*"], &["d.c"], "d.c", false),
            (&["d.*"], &["d.c"], "d.e", true),
            (&["/^d/"], &[], "e.d", false),
            (&["d.t"], &[], "d.system.buckets.t", true),
            (&[], &["/t$/"], "d.system.buckets.t", false),
            (&[], &[], "admin.system.users", false),
            (&[], &[], "admin.mine", true),
        ];
        let own = |texts: &[&str]| texts.iter().map(ToString::to_string).collect::<Vec<_>>();
        for (include, exclude, name, expect) in rows {
            let filter = Filter::new(&own(include), &own(exclude), &[]).unwrap();
            let (database, name) = name.split_once('.').unwrap();
            let has = filter.has_database(database, true) && filter.has(database, name);
            assert_eq!(has, expect, "{filter:?}: {database}.{name}");
        }
    }
}
