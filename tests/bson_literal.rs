//! Which documents a server does not store as they are given, on the form of
//! write: the table behind `needs_literal`.

use bson::raw::cstr;
use bson::{Binary, RawArrayBuf, RawDocument, RawDocumentBuf, doc, rawdoc};
use mongodb::Client;
use shardlift::bson::element::{elements, kind};
use shardlift::bson::locate::{id_of, look, needs_literal};

use crate::bson_order::{find, insert};
use crate::bson_values::{Random, Value, document, embed, int, text, timestamp};
use crate::fixture;

/// How a document is written.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Form {
    Insert,
    /// `{q: {_id}, u: document, upsert: true}`, nothing there.
    Replacement,
    /// The same over another document.
    ReplacementOver,
    /// `$replaceWith: {$literal: document}` with the collection's UUID.
    Literal,
    LiteralOver,
    /// A delete, then `Literal`, over another document.
    DeleteLiteral,
    /// `d`, then `i` of one `applyOps` with the collection's UUID.
    Applied,
    AppliedOver,
}

struct Bench {
    client: Client,
    uuid: Binary,
}

impl Bench {
    async fn new(client: Client) -> Self {
        fixture::run(&client, "t", doc! { "create": "c" }).await;
        let listed = fixture::run(&client, "t", doc! { "listCollections": 1 }).await;
        let first = listed
            .get_document("cursor")
            .unwrap()
            .get_array("firstBatch")
            .unwrap()[0]
            .as_document()
            .unwrap();
        let uuid = first.get_document("info").unwrap().get("uuid").unwrap();
        let bson::Bson::Binary(uuid) = uuid else {
            panic!("{uuid:?}")
        };
        Bench {
            uuid: uuid.clone(),
            client,
        }
    }

    /// True if `document`, written in this form, is stored byte for byte.
    async fn keeps(&self, form: Form, document: &RawDocument) -> bool {
        fixture::run(
            &self.client,
            "t",
            doc! { "delete": "c", "deletes": [{ "q": {}, "limit": 0 }] },
        )
        .await;
        let Some(id) = elements(document).find(|e| e.name == b"_id") else {
            return false;
        };
        let id: Value = (id.kind, id.value.to_vec());
        if !matches!(
            form,
            Form::Insert | Form::Replacement | Form::Literal | Form::Applied
        ) {
            insert(
                &self.client,
                "c",
                &[crate::bson_values::document(&[
                    ("_id", id.clone()),
                    ("old", int(7)),
                ])],
            )
            .await;
        }
        let accepted = match form {
            Form::Insert => insert(&self.client, "c", &[document.to_owned()])
                .await
                .is_empty(),
            Form::Replacement | Form::ReplacementOver => {
                self.update(id, |update| update.append(cstr!("u"), document.to_owned()))
                    .await
            }
            Form::Literal | Form::LiteralOver | Form::DeleteLiteral => {
                if form == Form::DeleteLiteral {
                    let deletes = rawdoc! { "q": by_id(&id), "limit": 1 };
                    let mut array = RawArrayBuf::new();
                    array.push(deletes);
                    let command = rawdoc! { "delete": "c", "deletes": array };
                    self.client
                        .database("t")
                        .run_raw_command(command)
                        .await
                        .unwrap();
                }
                let mut pipeline = RawArrayBuf::new();
                pipeline.push(rawdoc! { "$replaceWith": { "$literal": document.to_owned() } });
                self.update(id, |update| update.append(cstr!("u"), pipeline))
                    .await
            }
            Form::Applied | Form::AppliedOver => self.apply(&id, document).await,
        };
        let stored = find(&self.client, "c", &rawdoc! {}).await;
        accepted && stored.len() == 1 && stored[0].as_bytes() == document.as_bytes()
    }

    async fn apply(&self, id: &Value, document: &RawDocument) -> bool {
        let mut ops = RawArrayBuf::new();
        let uuid = || self.uuid.clone();
        ops.push(
            rawdoc! { "op": "d", "ns": "t.c", "ui": uuid(), "o": crate::bson_values::document(&[("_id", id.clone())]) },
        );
        ops.push(rawdoc! { "op": "i", "ns": "t.c", "ui": uuid(), "o": document.to_owned() });
        let command = rawdoc! { "applyOps": ops, "allowAtomic": false, "alwaysUpsert": false };
        self.client
            .database("admin")
            .run_raw_command(command)
            .await
            .is_ok()
    }

    async fn update(&self, id: Value, with: impl FnOnce(&mut RawDocumentBuf)) -> bool {
        let mut update = rawdoc! { "q": by_id(&id), "upsert": true };
        with(&mut update);
        let mut updates = RawArrayBuf::new();
        updates.push(update);
        let mut command = rawdoc! { "update": "c", "collectionUUID": self.uuid.clone() };
        command.append(cstr!("updates"), updates);
        let reply = self.client.database("t").run_raw_command(command).await;
        reply.is_ok_and(|reply| !reply.contains_key("writeErrors"))
    }
}

fn by_id(id: &Value) -> RawDocumentBuf {
    document(&[("_id", embed(kind::DOCUMENT, &[("$eq", id.clone())]))])
}

pub(crate) fn rows() -> Vec<(&'static str, RawDocumentBuf)> {
    let id = || ("_id", int(1));
    let nested = |fields: &[(&str, Value)]| document(&[id(), ("x", embed(kind::DOCUMENT, fields))]);
    let double = |bits: u64| (kind::DOUBLE, bits.to_le_bytes().to_vec());
    vec![
        ("plain", document(&[id(), ("a", int(1))])),
        ("only an _id", document(&[id()])),
        ("zero timestamp", document(&[id(), ("a", timestamp(0))])),
        (
            "zero timestamps",
            document(&[id(), ("a", timestamp(0)), ("b", timestamp(0))]),
        ),
        ("zero timestamp, embedded", nested(&[("a", timestamp(0))])),
        (
            "zero timestamp, in an array",
            document(&[id(), ("x", embed(kind::ARRAY, &[("0", timestamp(0))]))]),
        ),
        (
            "zero timestamp as _id",
            document(&[("_id", timestamp(0)), ("a", int(1))]),
        ),
        ("timestamp (0, 1)", document(&[id(), ("a", timestamp(1))])),
        (
            "timestamp (1, 0)",
            document(&[id(), ("a", timestamp(1 << 32))]),
        ),
        ("dollar name", document(&[id(), ("$a", int(1))])),
        ("dollar alone", document(&[id(), ("$", int(1))])),
        (
            "dollar name of an operator",
            document(&[id(), ("$set", embed(kind::DOCUMENT, &[("a", int(1))]))]),
        ),
        (
            "dollar names of a DBRef",
            document(&[id(), ("$ref", int(1)), ("$id", int(1))]),
        ),
        (
            "dollar name, embedded",
            nested(&[("$a", int(1)), ("$ref", int(1)), ("$id", int(1))]),
        ),
        ("dollar inside a name", document(&[id(), ("a$", int(1))])),
        (
            "dotted names",
            document(&[id(), ("a.b", int(1)), (".", int(1)), ("_id.a", int(1))]),
        ),
        ("dotted names, embedded", nested(&[("a.b", int(1))])),
        (
            "dotted name in the _id",
            document(&[("_id", embed(kind::DOCUMENT, &[("a.b", int(1))]))]),
        ),
        (
            "empty names",
            document(&[
                id(),
                ("", int(1)),
                ("x", embed(kind::DOCUMENT, &[("", int(1))])),
            ]),
        ),
        (
            "duplicate names",
            document(&[
                id(),
                ("a", int(1)),
                ("b", int(1)),
                ("a", int(2)),
                ("a", int(2)),
            ]),
        ),
        (
            "duplicate names, embedded",
            nested(&[("a", int(1)), ("a", int(2))]),
        ),
        (
            "duplicate names and a zero timestamp",
            document(&[id(), ("a", int(1)), ("a", timestamp(0))]),
        ),
        ("two _ids", document(&[id(), ("_id", int(2))])),
        (
            "NaNs with payloads",
            document(&[
                id(),
                ("a", double(0x7ff8_0000_0000_1234)),
                ("b", double(0xfff0_0000_0000_0001)),
            ]),
        ),
        (
            "minus zero",
            document(&[("_id", double(1 << 63)), ("b", double(1 << 63))]),
        ),
        (
            "odd decimals",
            document(&[
                id(),
                ("a", (kind::DECIMAL128, vec![0xff; 16])),
                ("b", (kind::DECIMAL128, vec![0x7c; 16])),
            ]),
        ),
        (
            "regex flags out of order",
            document(&[id(), ("a", (kind::REGEX, b"x\0xmi\0".to_vec()))]),
        ),
        (
            "a string that is not UTF-8",
            document(&[id(), ("a", text(kind::STRING, b"\xff\xfe\0"))]),
        ),
        (
            "array names that are none",
            document(&[
                id(),
                ("a", embed(kind::ARRAY, &[("5", int(1)), ("x", int(2))])),
            ]),
        ),
        (
            "null _id",
            document(&[("_id", (kind::NULL, vec![])), ("a", int(1))]),
        ),
    ]
}

const PLAIN: [Form; 3] = [Form::Insert, Form::Replacement, Form::ReplacementOver];

#[tokio::test]
async fn a_literal_is_needed_exactly_where_a_plain_write_does_not_keep_the_bytes() {
    let set = fixture::replica_set("literal", &[]).await;
    let bench = Bench::new(set.client().await.unwrap()).await;
    for (name, document) in rows() {
        let mut plain = true;
        for form in PLAIN {
            plain &= bench.keeps(form, &document).await;
        }
        assert_eq!(needs_literal(&document), !plain, "{name}");
        assert!(
            bench.keeps(Form::Literal, &document).await,
            "{name}: as a literal"
        );
        for form in [Form::DeleteLiteral, Form::Applied, Form::AppliedOver] {
            assert!(bench.keeps(form, &document).await, "{name}: {form:?}");
        }
        // Over a document this may abort the server: see `has_duplicate_names`.
        if !look(&document).duplicate_names {
            assert!(
                bench.keeps(Form::LiteralOver, &document).await,
                "{name}: as a literal over another"
            );
        }
    }
}

/// Documents of every type, deep and mixed: what is not special is kept.
#[tokio::test]
async fn random_documents_are_kept_by_plain_writes() {
    let set = fixture::replica_set("random", &[]).await;
    let bench = Bench::new(set.client().await.unwrap()).await;
    let mut random = Random(23);
    for at in 0..300 {
        let fields = ["_id", "a", "b", "c", "a"]
            .map(|n| (n, if n == "_id" { int(at) } else { random.value(3) }));
        let document = document(&fields);
        assert!(!needs_literal(&document));
        for form in PLAIN {
            assert!(bench.keeps(form, &document).await, "{form:?} {document:?}");
        }
    }
}

/// What no insert or update keeps, literal or not.
#[tokio::test]
async fn an_id_that_is_not_first_is_kept_by_apply_ops_only() {
    let set = fixture::replica_set("moved", &[]).await;
    let bench = Bench::new(set.client().await.unwrap()).await;
    let document = document(&[("a", int(1)), ("_id", int(1))]);
    for form in [
        Form::Insert,
        Form::Replacement,
        Form::ReplacementOver,
        Form::Literal,
        Form::LiteralOver,
    ] {
        assert!(!bench.keeps(form, &document).await, "{form:?}");
    }
    for form in [Form::Applied, Form::AppliedOver] {
        assert!(bench.keeps(form, &document).await, "{form:?}");
    }
}

/// A literal document may be as large and as deep as a plain one.
#[tokio::test]
async fn the_largest_documents_pass_as_literals() {
    let set = fixture::replica_set("large", &[]).await;
    let bench = Bench::new(set.client().await.unwrap()).await;
    const MAX: usize = shardlift::limits::DOCUMENT_BYTES_MAX;
    let sized = |bytes: usize| {
        let bare = document(&[
            ("_id", int(1)),
            ("a", timestamp(0)),
            ("s", text(kind::STRING, b"")),
        ])
        .as_bytes()
        .len();
        document(&[
            ("_id", int(1)),
            ("a", timestamp(0)),
            ("s", text(kind::STRING, &vec![b'x'; bytes - bare])),
        ])
    };
    let largest = sized(MAX);
    assert_eq!(largest.as_bytes().len(), MAX);
    assert_eq!(id_of(&largest).unwrap().kind, kind::INT32);
    assert!(bench.keeps(Form::Literal, &largest).await);
    assert!(bench.keeps(Form::LiteralOver, &largest).await);
    let deep = |levels: usize| {
        (0..levels).fold(document(&[]), |inner, _| {
            document(&[("a", (kind::DOCUMENT, inner.into_bytes()))])
        })
    };
    let with_id = |levels| {
        document(&[
            ("_id", int(1)),
            ("t", timestamp(0)),
            ("d", (kind::DOCUMENT, deep(levels).into_bytes())),
        ])
    };
    let mut deepest = (0, 0);
    for levels in 150..200 {
        let plain = document(&[
            ("_id", int(1)),
            ("d", (kind::DOCUMENT, deep(levels).into_bytes())),
        ]);
        if bench.keeps(Form::Insert, &plain).await {
            deepest.0 = levels;
        }
        if bench.keeps(Form::Literal, &with_id(levels)).await {
            deepest.1 = levels;
        }
    }
    assert_eq!(
        deepest.0, deepest.1,
        "levels kept by an insert, and as a literal"
    );
}
