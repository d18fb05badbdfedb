//! Views and validators that the target's release no longer takes.
//!
//! Both sides are asked how they would run the same pipeline or filter on a collection that
//! is not there: nothing is read or written, and a server refuses here what it refuses when
//! the view or collection is made (tests/paths asks real servers). What the source refuses,
//! too, has another reason than the release.

use bson::{RawDocument, RawDocumentBuf, rawdoc};
use futures_util::{StreamExt, stream};
use mongodb::Client;

use crate::bson::element::{Element, document, elements, field, kind};
use crate::cluster::admin;
use crate::cluster::catalog::{Catalog, Collection};
use crate::cluster::deployment::Deployment;
use crate::codes;
use crate::control::validate::Check;
use crate::error::{Error, Kind, Result};

const NAME: &str = "views and validators supported";
/// No user's collection.
const ABSENT: &str = "__shardlift absent";
/// Questions asked side by side.
const CONCURRENCY: usize = 16;

pub(super) async fn check(source: &Deployment, target: &Deployment, catalog: &Catalog) -> Check {
    if source.dialect == target.dialect {
        return Check::pass(NAME, "both sides are of one release");
    }
    let asked: Vec<Result<Option<String>>> = stream::iter(&catalog.collections)
        .map(|collection| refused(source, target, collection))
        .buffered(CONCURRENCY)
        .collect()
        .await;
    let mut wrong = Vec::new();
    for answer in asked {
        match answer {
            Err(e) => return Check::unanswered(NAME, &e),
            Ok(found) => wrong.extend(found),
        }
    }
    Check::none_of(
        NAME,
        &wrong,
        "the target's release takes all of them",
        "change each on the source, by collMod, into what the target's release takes, or drop it there and make it anew after the cutover",
    )
}

/// The collection's name on the source with the target's text, if only the target refuses it.
async fn refused(
    source: &Deployment,
    target: &Deployment,
    collection: &Collection,
) -> Result<Option<String>> {
    let Some(question) = question(&collection.options) else {
        return Ok(None);
    };
    let db = &collection.ns.db;
    let Some(refused) = refusal(&target.shards[0].client, db, &question).await? else {
        return Ok(None);
    };
    let shard = &source.shards[collection.primary].client;
    let own = collection.ns.own(&source.scope);
    let is_by_release = refusal(shard, &own.db, &question).await?.is_none();
    Ok(is_by_release.then(|| format!("{own} ({})", refused.message)))
}

/// None for a collection that defines nothing.
fn question(options: &RawDocument) -> Option<RawDocumentBuf> {
    let part = |name: &str| field(options.as_bytes(), name.as_bytes());
    let run = if let Some(pipeline) = part("pipeline").filter(|p| p.kind == kind::ARRAY) {
        let ends = [rawdoc! {"aggregate": ABSENT}, rawdoc! {"cursor": {}}];
        let [head, tail] = ends.each_ref().map(|end| elements(end));
        document(head.chain([pipeline]).chain(tail))
    } else {
        let validator = part("validator").filter(|v| v.kind == kind::DOCUMENT)?;
        let filter = Element {
            name: b"filter",
            ..validator
        };
        document(elements(&rawdoc! {"find": ABSENT}).chain([filter]))
    };
    Some(rawdoc! {"explain": run, "verbosity": "queryPlanner"})
}

/// Why a server does not take it; None also where it does not let us ask.
async fn refusal(client: &Client, db: &str, question: &RawDocument) -> Result<Option<Error>> {
    match admin::run_once(client, db, question).await {
        Ok(_) => Ok(None),
        Err(e) if e.code == Some(codes::UNAUTHORIZED) => Ok(None),
        Err(e) if e.kind == Kind::Server => Ok(Some(e)),
        Err(e) => Err(e),
    }
}
