//! Empties a capped collection of a target before 6.0, which refuses to delete from one
//! (20): it is dropped and made again under its UUID, as a secondary is told of both.
//!
//! By two commands: one `applyOps` of several ops, a command among them, is for superusers
//! only (4.2.6, 4.4.2, 5.0.4). What ends between them leaves the collection missing: the next
//! start makes it from the recorded options (`control::recorded::emptying`).
//!
//! Sends nothing.

use bson::raw::cstr;
use bson::{Binary, RawDocument, RawDocumentBuf, Uuid, rawdoc};

use crate::bson::element::{document, elements, field, kind};
use crate::cluster::catalog::Namespace;
use crate::error::{Error, Kind, Result};

/// Asks for the collection as it is.
pub fn listing(ns: &Namespace, uuid: Uuid) -> RawDocumentBuf {
    rawdoc! {
        "listCollections": 1, "cursor": {},
        "filter": { "name": ns.coll.as_str(), "info.uuid": Binary::from(uuid) },
    }
}

/// What makes it anew, one after the other. `listed`: the answer to `listing`. Its indexes
/// are gone then, but for that on `_id`.
///
/// # Errors
/// `Server` if the collection is not listed.
pub fn remaking(ns: &Namespace, uuid: Uuid, listed: &RawDocument) -> Result<[RawDocumentBuf; 2]> {
    let gone = || Error::new(Kind::Server, format!("{ns} is not on the target any more"));
    let batch = listed.get_document("cursor")?.get_array("firstBatch")?;
    let row = batch.into_iter().next().ok_or_else(gone)??;
    let row = row.as_document().ok_or_else(gone)?;
    let create = rawdoc! { "create": ns.coll.as_str() };
    let options = row.get_document("options")?;
    let id_index = field(row.as_bytes(), b"idIndex").filter(|index| index.kind == kind::DOCUMENT);
    let create = document(elements(&create).chain(elements(options)).chain(id_index));
    let drop = rawdoc! { "drop": ns.coll.as_str() };
    Ok([apply(ns, uuid, drop), apply(ns, uuid, create)])
}

/// What makes it where it is missing. `options`: to create it with.
pub fn making(ns: &Namespace, uuid: Uuid, options: &RawDocument) -> RawDocumentBuf {
    let mut create = rawdoc! { "create": ns.coll.as_str() };
    if field(options.as_bytes(), b"idIndex").is_none() {
        let mut index = rawdoc! { "v": 2, "key": { "_id": 1 }, "name": "_id_" };
        if let Ok(Some(collation)) = options.get("collation") {
            index.append(cstr!("collation"), collation);
        }
        create.append(cstr!("idIndex"), index);
    }
    let create = document(elements(&create).chain(elements(options)));
    apply(ns, uuid, create)
}

fn apply(ns: &Namespace, uuid: Uuid, o: RawDocumentBuf) -> RawDocumentBuf {
    rawdoc! { "applyOps": [
        { "op": "c", "ns": format!("{}.$cmd", ns.db), "ui": Binary::from(uuid), "o": o },
    ] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_made_again_as_it_was() {
        let ns = Namespace {
            db: "d".to_owned(),
            coll: "c".to_owned(),
        };
        let uuid = Uuid::from_bytes([7; 16]);
        let index = rawdoc! { "v": 2, "key": { "_id": 1 }, "name": "_id_" };
        let row = rawdoc! {
            "name": "c", "options": { "capped": true, "size": 4096 }, "idIndex": index.clone(),
        };
        let listed = rawdoc! { "cursor": { "firstBatch": [row] } };
        let create = rawdoc! { "create": "c", "capped": true, "size": 4096, "idIndex": index };
        let apply = |o: RawDocumentBuf| {
            let op = rawdoc! { "op": "c", "ns": "d.$cmd", "ui": Binary::from(uuid), "o": o };
            rawdoc! { "applyOps": [op] }
        };
        let expect = [apply(rawdoc! { "drop": "c" }), apply(create)];
        assert_eq!(remaking(&ns, uuid, &listed).unwrap(), expect);
        let none = rawdoc! { "cursor": { "firstBatch": [] } };
        assert!(remaking(&ns, uuid, &none).is_err());
    }
}
