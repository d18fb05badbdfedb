//! A source with every kind of layout.

use super::*;

pub(super) async fn populate(client: &Client) {
    for (db, shard) in [("shop", "shard1"), ("lone", "shard0"), ("bare", "shard2")] {
        run(
            client,
            "admin",
            doc! {"enableSharding": db, "primaryShard": shard},
        )
        .await;
    }
    unsharded(client, "shop").await;
    run(client, "lone", doc! {"create": "one"}).await;

    shard(client, "hashed", doc! {"user": "hashed"}, doc! {}).await;
    shard(client, "ranged name.with dots", doc! {"a": 1}, doc! {}).await;
    let middles = vec![
        "text".into(),
        Bson::Int64(20),
        Bson::Double(10.5),
        Bson::Int32(0),
        Bson::Null,
    ];
    spread(client, "ranged name.with dots", "a", middles).await;
    shard(client, "nested", doc! {"at.city": 1}, doc! {}).await;
    spread(client, "nested", "at.city", vec!["t".into(), "k".into()]).await;

    shard(client, "compound", doc! {"region": 1, "n": 1}, doc! {}).await;
    for (middle, to) in [
        (doc! {"region": "eu", "n": 7}, "shard0"),
        (doc! {"region": "us", "n": Bson::MinKey}, "shard2"),
    ] {
        cut(client, "compound", middle, to).await;
    }
    shard(
        client,
        "hashed after",
        doc! {"a": 1, "h": "hashed"},
        doc! {},
    )
    .await;
    cut(
        client,
        "hashed after",
        doc! {"a": 5, "h": 123_456_789_i64},
        "shard2",
    )
    .await;

    shard(client, "sku", doc! {"sku": 1}, doc! {"unique": true}).await;
    cut(client, "sku", doc! {"sku": "m"}, "shard0").await;

    zoned(client).await;
    own_key_indexes(client).await;
}

/// Everything that is not sharded.
pub(super) async fn unsharded(client: &Client, db: &str) {
    let creates = [
        doc! {"create": "checked", "validator": {"x": {"$gte": 0}}, "validationLevel": "moderate", "validationAction": "warn"},
        doc! {"create": "french", "collation": {"locale": "fr", "strength": 2}},
        doc! {"create": "ring", "capped": true, "size": 8192, "max": 100},
        doc! {"create": "clustered", "clusteredIndex": {"key": {"_id": 1}, "unique": true, "name": "by id"}, "expireAfterSeconds": 3600_i64},
        doc! {"create": "images", "changeStreamPreAndPostImages": {"enabled": true}},
        doc! {"create": "a view on a view", "viewOn": "seen", "pipeline": [{"$project": {"x": 1}}], "collation": {"locale": "fr", "strength": 2}},
        doc! {"create": "seen", "viewOn": "french", "pipeline": [{"$match": {"$expr": {"$gt": ["$x", 0]}}}], "collation": {"locale": "fr", "strength": 2}},
    ];
    for create in creates {
        run(client, db, create).await;
    }
    fixture::insert(client, db, "checked").await;
    fixture::insert(client, db, "system.js").await;
}

async fn zoned(client: &Client) {
    for (shard, zone) in [
        ("shard0", "north"),
        ("shard2", "south"),
        ("shard1", "south"),
    ] {
        run(
            client,
            "admin",
            doc! {"addShardToZone": shard, "zone": zone},
        )
        .await;
    }
    for (min, max, zone) in [
        (Bson::MinKey, Bson::Int32(100), "north"),
        (Bson::Int32(100), Bson::Int32(200), "south"),
    ] {
        let range = doc! {"updateZoneKeyRange": "shop.zoned", "min": {"zip": min}, "max": {"zip": max}, "zone": zone};
        run(client, "admin", range).await;
    }
    shard(client, "zoned", doc! {"zip": 1}, doc! {}).await;
    // Against the zones: chunks are where they are, not where they should be.
    cut(client, "zoned", doc! {"zip": 50}, "shard1").await;
}

/// Collections whose shard key rests on an index that `shardCollection` would not make.
async fn own_key_indexes(client: &Client) {
    let indexes = [
        ("longer", doc! {"key": {"a": 1, "b": -1}, "name": "a and b"}),
        (
            "expiring",
            doc! {"key": {"a": 1}, "name": "gone", "expireAfterSeconds": 60},
        ),
        (
            "collated",
            doc! {"key": {"a": 1}, "name": "plain", "collation": {"locale": "simple"}},
        ),
    ];
    run(
        client,
        "shop",
        doc! {"create": "collated", "collation": {"locale": "de"}},
    )
    .await;
    for (coll, index) in indexes {
        run(
            client,
            "shop",
            doc! {"createIndexes": coll, "indexes": [index]},
        )
        .await;
        let options = if coll == "collated" {
            doc! {"collation": {"locale": "simple"}}
        } else {
            doc! {}
        };
        shard(client, coll, doc! {"a": 1}, options).await;
        cut(client, coll, doc! {"a": 0}, "shard2").await;
    }
}

async fn shard(client: &Client, coll: &str, key: Document, options: Document) {
    let mut command = doc! {"shardCollection": format!("shop.{coll}"), "key": key};
    command.extend(options);
    run(client, "admin", command).await;
}

/// From the last middle down, so that no range comes back to a shard that has
/// its orphans still.
async fn spread(client: &Client, coll: &str, field: &str, middles: Vec<Bson>) {
    for (i, middle) in middles.into_iter().enumerate() {
        cut(
            client,
            coll,
            doc! {field: middle},
            ["shard0", "shard2", "shard1"][i % 3],
        )
        .await;
    }
}

/// Splits, and moves the upper part.
async fn cut(client: &Client, coll: &str, middle: Document, to: &str) {
    let ns = format!("shop.{coll}");
    run(
        client,
        "admin",
        doc! {"split": &ns, "middle": middle.clone()},
    )
    .await;
    run(
        client,
        "admin",
        doc! {"moveRange": &ns, "toShard": to, "min": middle},
    )
    .await;
}
