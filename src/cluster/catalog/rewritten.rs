//! Views by the run's names: what a view of the source stands on, and what its stages read, as
//! these are called on the target.
//!
//! Asks no server. All else of a definition stays byte for byte.

use std::borrow::Cow;

use bson::{RawDocument, RawDocumentBuf};

use crate::bson::element::{Element, document, elements_of, kind, string, string_value};
use crate::cluster::catalog::Namespace;
use crate::error::{Error, Kind, Result};
use crate::scope::Scope;

/// The options that make the view `ns`, which is the run's name, in database `db` of its side.
/// Those of anything else stay as they are.
///
/// # Errors
/// `Refused` if it would read another database, which no view can, or a collection of another
/// name.
pub(super) fn options(
    scope: &Scope,
    db: &str,
    ns: &Namespace,
    options: &RawDocument,
) -> Result<RawDocumentBuf> {
    if scope.renames().are_none() {
        return Ok(options.to_owned());
    }
    let view = View { scope, db, ns };
    let field = |field: Element<'_>| match (field.name, field.kind) {
        (b"viewOn", kind::STRING) => view.name(field.value),
        (b"pipeline", kind::ARRAY) => view.pipeline(field.value),
        _ => Ok(None),
    };
    Ok(changed(options.as_bytes(), field)?.unwrap_or_else(|| options.to_owned()))
}

const LEFT_OUT: &str = "leave the view out by --exclude; if the run was begun, drop the view on the source, or start over so with `shardlift migrate --restart`";

/// The bytes of a changed value; None if it stays as it is.
type Changed = Result<Option<Vec<u8>>>;

struct View<'a> {
    scope: &'a Scope,
    db: &'a str,
    ns: &'a Namespace,
}

impl View<'_> {
    fn pipeline(&self, stages: &[u8]) -> Changed {
        let stage = |stage: Element<'_>| match stage.kind {
            kind::DOCUMENT => bytes(changed(stage.value, |stage| self.stage(stage))),
            _ => Ok(None),
        };
        bytes(changed(stages, stage))
    }

    fn stage(&self, stage: Element<'_>) -> Changed {
        match (stage.name, stage.kind) {
            (b"$lookup" | b"$graphLookup", kind::DOCUMENT) => self.reads(stage.value, b"from"),
            (b"$unionWith", kind::STRING) => self.name(stage.value),
            (b"$unionWith", kind::DOCUMENT) => self.reads(stage.value, b"coll"),
            (b"$facet", kind::DOCUMENT) => bytes(changed(stage.value, |of| match of.kind {
                kind::ARRAY => self.pipeline(of.value),
                _ => Ok(None),
            })),
            _ => Ok(None),
        }
    }

    /// A stage that reads the collection in its field `of`, perhaps through a pipeline.
    fn reads(&self, stage: &[u8], of: &[u8]) -> Changed {
        bytes(changed(stage, |field| match (field.name, field.kind) {
            (name, kind::STRING) if name == of => self.name(field.value),
            (b"pipeline", kind::ARRAY) => self.pipeline(field.value),
            _ => Ok(None),
        }))
    }

    fn name(&self, value: &[u8]) -> Changed {
        let text = string(value).and_then(|(text, _)| std::str::from_utf8(text).ok());
        let Some(coll) = text else { return Ok(None) };
        let (db, view, renames) = (self.db, self.ns, self.scope.renames());
        let Some((on_db, on)) = self.scope.named(db, coll) else {
            let view = view.own(self.scope);
            let found = format!(
                "the view {view} of the source reads {db}.{coll}, whose name another is to have on the target ({renames})"
            );
            return Err(Error::new(Kind::Refused, found).remedy(LEFT_OUT));
        };
        if on_db != view.db {
            let found = format!(
                "the view {view} of the target would read {on_db}.{on} ({db}.{coll} of the source): a view reads its own database only ({renames})"
            );
            return Err(Error::new(Kind::Refused, found).remedy(format!(
                "rename the view and all that it reads into one database, or {LEFT_OUT}"
            )));
        }
        Ok((on != coll).then(|| string_value(on.as_bytes())))
    }
}

fn bytes(changed: Result<Option<RawDocumentBuf>>) -> Changed {
    Ok(changed?.map(RawDocumentBuf::into_bytes))
}

/// A document with some of its values changed; None if none is.
fn changed(of: &[u8], change: impl Fn(Element<'_>) -> Changed) -> Result<Option<RawDocumentBuf>> {
    let mut values = Vec::new();
    for element in elements_of(of) {
        let value = change(element)?.map_or(Cow::Borrowed(element.value), Cow::Owned);
        values.push((element, value));
    }
    let is_any = values
        .iter()
        .any(|(_, value)| matches!(value, Cow::Owned(_)));
    let now = values.iter().map(|(element, value)| Element {
        value: value.as_ref(),
        ..*element
    });
    Ok(is_any.then(|| document(now)))
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;

    fn view(renames: &[&str], name: &str, made: &RawDocument) -> Result<RawDocumentBuf> {
        let scope = Scope::with_renames(renames);
        let ns = Namespace::named(&scope, "d", name)?;
        options(&scope, "d", &ns, made)
    }

    #[test]
    fn all_that_a_view_reads_has_its_name_on_the_target() {
        let of = |name: &str| {
            let inner = [
                rawdoc! {"$unionWith": name},
                rawdoc! {"$match": {"from": "a"}},
            ];
            let inner = || bson::RawArrayBuf::from_iter(inner.clone());
            let stages = [
                rawdoc! {"$match": {"$lookup": {"from": "a"}, "x": 1_i64}},
                rawdoc! {"$lookup": {"from": name, "let": {"from": "a"}, "pipeline": inner(), "as": "a"}},
                rawdoc! {"$graphLookup": {"from": name, "as": "a"}},
                rawdoc! {"$unionWith": {"coll": name, "pipeline": inner()}},
                rawdoc! {"$facet": {"a": inner(), "b": inner()}},
                rawdoc! {"$lookup": {"from": "other", "as": "a"}},
            ];
            rawdoc! {"viewOn": name, "pipeline": bson::RawArrayBuf::from_iter(stages), "collation": {"locale": "de"}}
        };
        assert_eq!(view(&["d.a=d.b"], "v", &of("a")).unwrap(), of("b"));
        assert_eq!(view(&["d=e"], "v", &of("a")).unwrap(), of("a"));
        assert_eq!(view(&["d=e", "d.a=e.b"], "v", &of("a")).unwrap(), of("b"));
    }

    #[test]
    fn a_view_of_a_name_that_is_anothers_on_the_target_is_refused_whatever_has_it() {
        let union = bson::RawArrayBuf::from_iter([rawdoc! {"$unionWith": "b"}]);
        let made = rawdoc! {"viewOn": "other", "pipeline": union};
        let renames = ["d.a=d.b", "d.v=d.w"];
        let error = view(&renames, "v", &made).unwrap_err();
        let text = "the view d.v of the source reads d.b, whose name another is to have";
        assert!(error.message.starts_with(text), "{error}");
        assert_eq!(error.remedy.as_deref(), Some(LEFT_OUT));
    }

    #[test]
    fn a_view_that_would_read_another_database_is_refused() {
        let made = rawdoc! {"viewOn": "a", "pipeline": []};
        for renames in [&["d.a=e.a"][..], &["d.v=e.v"]] {
            let error = view(renames, "v", &made).unwrap_err();
            assert!(
                error.to_string().contains("reads its own database only"),
                "{error}"
            );
        }
        let both = view(&["d.a=e.b", "d.v=e.v"], "v", &made).unwrap();
        assert_eq!(both, rawdoc! {"viewOn": "b", "pipeline": []});
    }
}
