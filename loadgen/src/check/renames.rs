//! Other names on the target: of databases (`a=c`), and of collections or views
//! (`a.b=c.d`), which go before those of their databases.
//!
//! Knows nothing about the engine's own reading of them.

use std::collections::BTreeMap;

use bson::{Bson, Document};

use crate::error::{Error, Result};

const BUCKETS: &str = "system.buckets.";

#[derive(Debug, Clone, Default)]
pub(super) struct Renames(BTreeMap<String, String>);

impl Renames {
    /// # Errors
    /// For one that is not `name=name`.
    pub(super) fn new(texts: &[String]) -> Result<Self> {
        let pair = |text: &String| {
            let (from, to) = text
                .split_once('=')
                .ok_or_else(|| Error::new(format!("--rename {text}: write it as name=name")))?;
            Ok((from.to_owned(), to.to_owned()))
        };
        Ok(Renames(texts.iter().map(pair).collect::<Result<_>>()?))
    }

    pub(super) fn back(&self) -> Renames {
        Renames(self.0.iter().map(|(a, b)| (b.clone(), a.clone())).collect())
    }

    pub(super) fn are_none(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn database(&self, name: &str) -> String {
        self.0.get(name).map_or(name, |to| to).to_owned()
    }

    /// Database and name.
    pub(super) fn of(&self, database: &str, name: &str) -> (String, String) {
        let (start, public) = match name.strip_prefix(BUCKETS) {
            Some(series) => (BUCKETS, series),
            None => ("", name),
        };
        let one = self.0.get(&format!("{database}.{public}"));
        match one.and_then(|to| to.split_once('.')) {
            Some((database, name)) => (database.to_owned(), format!("{start}{name}")),
            None => (self.database(database), name.to_owned()),
        }
    }

    /// What a view of this database is made with, by the other names.
    pub(super) fn view(&self, database: &str, options: &mut Document) {
        let name = |name: &mut String| *name = self.of(database, name).1;
        if let Some(Bson::String(on)) = options.get_mut("viewOn") {
            name(on);
        }
        if let Ok(stages) = options.get_array_mut("pipeline") {
            self.stages(database, stages);
        }
    }

    fn stages(&self, database: &str, stages: &mut [Bson]) {
        let named = |value: &mut Bson| {
            if let Bson::String(name) = value {
                *name = self.of(database, name).1;
            }
        };
        for stage in stages.iter_mut().filter_map(Bson::as_document_mut) {
            for (operator, of) in stage.iter_mut() {
                if operator == "$unionWith" {
                    named(of);
                }
                let Bson::Document(of) = of else { continue };
                for (field, value) in of.iter_mut() {
                    match (operator.as_str(), field.as_str(), value) {
                        ("$lookup" | "$graphLookup", "from", value) => named(value),
                        ("$unionWith", "coll", value) => named(value),
                        ("$lookup" | "$unionWith", "pipeline", Bson::Array(inner)) => {
                            self.stages(database, inner);
                        }
                        ("$facet", _, Bson::Array(inner)) => self.stages(database, inner),
                        _ => {}
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bson::doc;

    use super::*;

    #[test]
    fn one_collection_goes_before_its_database() {
        let renames = Renames::new(&["a=c".to_owned(), "a.b=e.f".to_owned()]).unwrap();
        for (name, to) in [
            (("a", "b"), ("e", "f")),
            (("a", "system.buckets.b"), ("e", "system.buckets.f")),
            (("a", "x"), ("c", "x")),
            (("x", "b"), ("x", "b")),
        ] {
            let (database, renamed) = renames.of(name.0, name.1);
            assert_eq!((&*database, &*renamed), to);
            assert_eq!(renames.back().of(to.0, to.1).1, name.1);
        }
        let mut view = doc! {"viewOn": "b", "pipeline": [{"$lookup": {"from": "b", "as": "b"}}]};
        renames.view("a", &mut view);
        let expect = doc! {"viewOn": "f", "pipeline": [{"$lookup": {"from": "f", "as": "b"}}]};
        assert_eq!(view, expect);
    }
}
