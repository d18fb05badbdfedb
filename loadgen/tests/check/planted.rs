//! What is made different on the two sides: indexes, options, views, documents.

use bson::raw::cstr;
use bson::{Document, RawDocumentBuf, doc, rawdoc};

/// A filter whose field occurs twice, which no decoded document can hold.
pub(crate) fn twice(first: i32, second: i32) -> RawDocumentBuf {
    let mut filter = RawDocumentBuf::new();
    filter.append(cstr!("x"), rawdoc! { "$gt": first });
    filter.append(cstr!("x"), rawdoc! { "$gt": second });
    filter
}

pub(crate) fn partial_index(coll: &str, filter: RawDocumentBuf) -> RawDocumentBuf {
    let mut spec = rawdoc! { "key": { "x": 1 }, "name": "x_1" };
    spec.append(cstr!("partialFilterExpression"), filter);
    let mut specs = bson::RawArrayBuf::new();
    specs.push(spec);
    let mut command = rawdoc! { "createIndexes": coll };
    command.append(cstr!("indexes"), specs);
    command
}

pub(crate) fn index(coll: &str, more: Document) -> Document {
    let mut spec = doc! {"key": {"x": 1}, "name": "x_1"};
    spec.extend(more);
    doc! {"createIndexes": coll, "indexes": [spec]}
}

/// What each side is given, by name of the collection.
pub(crate) fn planted() -> Vec<(&'static str, &'static str, Vec<Document>, Vec<Document>)> {
    let with = |coll: &str, more: Document| vec![index(coll, more)];
    let create = |coll: &str, more: Document| {
        let mut command = doc! {"create": coll};
        command.extend(more);
        vec![command]
    };
    let prepared = doc! {"collMod": "prepared", "index": {"name": "x_1", "prepareUnique": true}};
    vec![
        (
            "number",
            "index",
            with("number", doc! {"key": {"x": 1}}),
            with("number", doc! {"key": {"x": 1_i64}}),
        ),
        (
            "expiry",
            "index",
            with("expiry", doc! {"expireAfterSeconds": 60}),
            with("expiry", doc! {"expireAfterSeconds": 61}),
        ),
        (
            "no_expiry",
            "index",
            with("no_expiry", doc! {"expireAfterSeconds": 60}),
            with("no_expiry", doc! {}),
        ),
        (
            "unique",
            "index",
            with("unique", doc! {"unique": true}),
            with("unique", doc! {}),
        ),
        (
            "prepared",
            "index",
            [with("prepared", doc! {}), vec![prepared]].concat(),
            with("prepared", doc! {}),
        ),
        (
            "hidden",
            "index",
            with("hidden", doc! {"hidden": true}),
            with("hidden", doc! {}),
        ),
        (
            "collated",
            "index",
            with(
                "collated",
                doc! {"collation": {"locale": "de", "strength": 2}},
            ),
            with(
                "collated",
                doc! {"collation": {"locale": "de", "strength": 3}},
            ),
        ),
        (
            "missing_index",
            "missing index",
            with("missing_index", doc! {}),
            create("missing_index", doc! {}),
        ),
        (
            "extra_index",
            "extra index",
            create("extra_index", doc! {}),
            with("extra_index", doc! {}),
        ),
        (
            "id_version",
            "index",
            create(
                "id_version",
                doc! {"idIndex": {"v": 1, "key": {"_id": 1}, "name": "_id_"}},
            ),
            create("id_version", doc! {}),
        ),
        (
            "missing",
            "missing collection",
            create("missing", doc! {}),
            vec![],
        ),
        (
            "extra",
            "extra collection",
            vec![],
            create("extra", doc! {}),
        ),
        (
            "kind",
            "type",
            create("kind", doc! {}),
            create("kind", doc! {"viewOn": "number", "pipeline": []}),
        ),
        (
            "validator",
            "options",
            create("validator", doc! {"validator": {"a": 1}}),
            create("validator", doc! {"validator": {"a": 1_i64}}),
        ),
        (
            "capped",
            "options",
            create("capped", doc! {"capped": true, "size": 4096}),
            create("capped", doc! {"capped": true, "size": 8192}),
        ),
        (
            "view",
            "options",
            create(
                "view",
                doc! {"viewOn": "number", "pipeline": [{"$match": {"a": 1}}]},
            ),
            create(
                "view",
                doc! {"viewOn": "number", "pipeline": [{"$match": {"a": 2}}]},
            ),
        ),
        (
            "left_view",
            "extra collection",
            vec![],
            create("left_view", doc! {"viewOn": "number", "pipeline": []}),
        ),
        (
            "document",
            "different document",
            vec![doc! {"insert": "document", "documents": [{"_id": 1, "a": 1}]}],
            vec![doc! {"insert": "document", "documents": [{"_id": 1, "a": 1_i64}]}],
        ),
        (
            "system.js",
            "missing document",
            vec![doc! {"insert": "system.js", "documents": [{"_id": "f", "value": 1}]}],
            create("system.js", doc! {}),
        ),
    ]
}
