//! The table of collections: one line of intent each, so that every kind of
//! `_id`, shard key, option and index a migration must carry is there once.
//!
//! Knows nothing about how they are made.

use bson::{Document, doc};

use super::{
    CollectionSpec,
    keys::{Ids, Sharding},
};

/// Bytes of the capped collection.
const CAPPED_BYTES: i64 = 8 << 20;

/// Every collection, with its part of `docs` documents.
pub fn all(docs: u64, capped: bool) -> Vec<CollectionSpec> {
    let mut all = [shop(), social(), telemetry()].concat();
    if capped {
        all.push(audit());
    }
    for spec in &mut all {
        spec.count = docs * spec.count / 1000;
    }
    all
}

/// `share`: documents of a thousand.
fn spec(
    database: &'static str,
    name: &'static str,
    share: u64,
    ids: Ids,
    sharding: Sharding,
) -> CollectionSpec {
    CollectionSpec {
        database,
        name,
        ids,
        sharding,
        count: share,
        options: Document::new(),
        indexes: Vec::new(),
    }
}

impl CollectionSpec {
    fn options(mut self, options: Document) -> Self {
        self.options = options;
        self
    }

    /// Adds an index; the name is made from the key as drivers do.
    fn index(mut self, key: Document, options: Document) -> Self {
        let name: Vec<String> = key
            .iter()
            .map(|(field, kind)| format!("{field}_{}", kind.to_string().trim_matches('"')))
            .collect();
        let mut index = doc! {"key": key, "name": name.join("_")};
        index.extend(options);
        self.indexes.push(index);
        self
    }

    /// What multi-updates look documents up by.
    fn grouped(self) -> Self {
        self.index(doc! {"group": 1}, doc! {})
    }
}

fn shop() -> Vec<CollectionSpec> {
    let partial = doc! {"partialFilterExpression": {"counter": {"$gt": 500}}};
    let insensitive = doc! {"collation": {"locale": "en", "strength": 2}};
    let validator = doc! {"validator": {"n": {"$type": "long"}}, "validationLevel": "moderate", "validationAction": "error"};
    vec![
        spec(
            "shop",
            "orders",
            220,
            Ids::ObjectId,
            Sharding::Hashed("_id"),
        )
        .grouped()
        .index(doc! {"note": 1}, doc! {"sparse": true})
        .index(doc! {"status": 1, "created": -1}, partial),
        spec(
            "shop",
            "customers",
            120,
            Ids::Int,
            Sharding::Range(&["customer"]),
        )
        .grouped()
        .index(doc! {"customer": 1, "email": 1}, doc! {"unique": true})
        .index(doc! {"title": 1}, insensitive),
        spec("shop", "products", 60, Ids::String, Sharding::Unsharded)
            .options(validator)
            .grouped()
            .index(doc! {"email": 1}, doc! {"unique": true})
            .index(doc! {"attributes.$**": 1}, doc! {})
            .index(
                doc! {"title": "text"},
                doc! {"weights": {"title": 3}, "default_language": "english"},
            ),
        spec("shop", "carts", 60, Ids::Uuid, Sharding::Unsharded)
            .grouped()
            .index(doc! {"expires": 1}, doc! {"expireAfterSeconds": 3600})
            .index(doc! {"status": "hashed"}, doc! {}),
    ]
}

fn social() -> Vec<CollectionSpec> {
    vec![
        spec(
            "social",
            "users",
            100,
            Ids::Long,
            Sharding::Range(&["handle"]),
        )
        .grouped()
        .index(doc! {"address.geo": "2dsphere"}, doc! {}),
        spec(
            "social",
            "posts",
            160,
            Ids::ObjectId,
            Sharding::Range(&["user", "_id"]),
        )
        .grouped()
        .index(doc! {"tags": 1}, doc! {}),
        spec("social", "messages", 80, Ids::Mixed, Sharding::Unsharded)
            .grouped()
            .index(doc! {"items.sku": 1, "counter": -1}, doc! {"hidden": true}),
        spec(
            "social",
            "residents",
            20,
            Ids::Int,
            Sharding::Zoned(&["zone", "_id"]),
        )
        .grouped(),
    ]
}

fn telemetry() -> Vec<CollectionSpec> {
    let collation = doc! {"collation": {"locale": "de", "strength": 2}};
    vec![
        spec(
            "telemetry",
            "readings",
            120,
            Ids::ObjectId,
            Sharding::Hashed("device"),
        )
        .grouped()
        .index(doc! {"device": 1, "created": 1}, doc! {}),
        spec(
            "telemetry",
            "sessions.2024 v1",
            30,
            Ids::Compound,
            Sharding::Unsharded,
        )
        .grouped(),
        spec("telemetry", "names", 30, Ids::String, Sharding::Unsharded)
            .options(collation)
            .grouped()
            .index(doc! {"email": 1}, doc! {"unique": true}),
        spec("telemetry", "unused", 0, Ids::ObjectId, Sharding::Unsharded)
            .index(doc! {"a": 1}, doc! {"sparse": true}),
        spec("vacant", "nothing", 0, Ids::ObjectId, Sharding::Unsharded),
    ]
}

fn audit() -> CollectionSpec {
    spec("telemetry", "audit", 10, Ids::Int, Sharding::Unsharded)
        .options(doc! {"capped": true, "size": CAPPED_BYTES})
}

/// Views, as `(database, name, collection, pipeline stage)`.
pub fn views() -> Vec<(&'static str, &'static str, &'static str, Document)> {
    vec![
        (
            "shop",
            "paid orders",
            "orders",
            doc! {"$match": {"status": "paid"}},
        ),
        (
            "social",
            "top_posts",
            "posts",
            doc! {"$match": {"counter": {"$gt": 900}}},
        ),
    ]
}
