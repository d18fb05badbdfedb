//! Populate, load and check on real servers: what one writes, another finds.

use bson::{Document, RawDocumentBuf, doc};
use loadgen::{
    check::{self, CheckOptions, Report},
    cluster::{ReplicaSet, ReplicaSetOptions, ShardedCluster, ShardedOptions},
    entry::Entry,
    layout::Layout,
    load::{Load, LoadOptions, LoadReport, mix::Kind},
    populate::{self, PopulateArgs, types},
};
use mongodb::{Client, Collection};

async fn replica_set() -> ReplicaSet {
    ReplicaSet::start(ReplicaSetOptions {
        cache_gb: 0.25,
        ..ReplicaSetOptions::default()
    })
    .await
    .unwrap()
}

async fn sharded() -> ShardedCluster {
    ShardedCluster::start(ShardedOptions {
        cache_gb: 0.25,
        ..ShardedOptions::default()
    })
    .await
    .unwrap()
}

fn content(uri: String) -> PopulateArgs {
    PopulateArgs {
        docs: 6_000,
        capped: true,
        types: true,
        ..PopulateArgs::new(uri)
    }
}

async fn compare(source: &str, target: &str) -> Report {
    check::compare(
        source,
        target,
        &CheckOptions {
            max_differences: 100,
            ..CheckOptions::default()
        },
    )
    .await
    .unwrap()
}

/// Compares, and expects exactly the differences given, as `(ns, kind)`.
async fn expect(source: &str, target: &str, wanted: &[(&str, &str)]) {
    let report = compare(source, target).await;
    let mut found: Vec<_> = report
        .differences
        .iter()
        .map(|d| (d.ns.as_str(), d.kind))
        .collect();
    found.sort();
    let mut wanted = wanted.to_vec();
    wanted.sort();
    assert_eq!(found, wanted, "{report}");
    assert_eq!(report.equal, wanted.is_empty());
}

fn rows(client: &Client, ns: &str) -> Collection<Document> {
    let (database, name) = ns.split_once('.').unwrap();
    client.database(database).collection(name)
}

async fn nth(rows: &Collection<Document>, n: u64) -> Document {
    rows.find_one(doc! {"n": n as i64}).await.unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn populate_is_deterministic_and_check_finds_each_difference() {
    let (source, target) = tokio::join!(replica_set(), replica_set());
    let (a, b) = (source.uri(), target.uri());
    let first = populate::populate(&content(a.clone())).await.unwrap();
    let second = populate::populate(&PopulateArgs {
        connections: 2,
        ..content(b.clone())
    })
    .await
    .unwrap();
    assert_eq!(
        (first.documents, first.bytes),
        (second.documents, second.bytes)
    );
    expect(&a, &b, &[]).await;
    let report = compare(&a, &b).await;
    // The one document that remembers the layout is on top.
    assert_eq!(report.documents, first.documents + 1);

    let client = target.client().await.unwrap();
    change_documents(&client).await;
    change_collections(&client).await;
    let wanted = [
        ("shop.orders", "different document"),
        ("shop.orders", "different document"),
        ("shop.orders", "different document"),
        ("shop.orders", "missing document"),
        ("shop.orders", "extra document"),
        ("shop.customers", "missing document"),
        ("shop.carts", "index"),
        ("shop.products", "options"),
        ("shop.paid orders", "options"),
        ("social.posts", "missing index"),
        ("social.users", "extra index"),
        ("telemetry.unused", "missing collection"),
        ("telemetry.new", "extra collection"),
        ("telemetry.ring", "order of documents"),
    ];
    for (set, ids) in [(&source, [1, 2, 3]), (&target, [1, 3, 2])] {
        let database = set.client().await.unwrap().database("telemetry");
        database
            .run_command(doc! {"create": "ring", "capped": true, "size": 4096})
            .await
            .unwrap();
        let documents = ids.map(|id| doc! {"_id": id});
        database
            .collection::<Document>("ring")
            .insert_many(documents)
            .await
            .unwrap();
    }
    expect(&a, &b, &wanted).await;
}

async fn change_documents(client: &Client) {
    let orders = rows(client, "shop.orders");
    let mut flipped = nth(&orders, 10).await;
    let status = flipped
        .get_str("status")
        .unwrap()
        .replacen(['n', 'o', 'p', 's', 'c'], "x", 1);
    flipped.insert("status", status);
    orders
        .replace_one(doc! {"_id": flipped.get("_id")}, &flipped)
        .await
        .unwrap();
    let mut typed = nth(&orders, 11).await;
    let counter = f64::from(typed.get_i32("counter").unwrap());
    typed.insert("counter", counter);
    orders
        .replace_one(doc! {"_id": typed.get("_id")}, &typed)
        .await
        .unwrap();
    let ordered = nth(&orders, 12).await;
    let mut fields: Vec<_> = ordered.clone().into_iter().collect();
    fields.reverse();
    let reversed: Document = fields.into_iter().collect();
    // The server puts `_id` first again; the other fields stay reversed.
    orders
        .replace_one(doc! {"_id": ordered.get("_id")}, &reversed)
        .await
        .unwrap();
    orders.delete_one(doc! {"n": 0}).await.unwrap();
    orders.insert_one(doc! {"_id": "extra"}).await.unwrap();
    let last = rows(client, "shop.customers");
    let n = last.count_documents(doc! {}).await.unwrap() as i64 - 1;
    last.delete_one(doc! {"n": n}).await.unwrap();
}

async fn change_collections(client: &Client) {
    let (shop, telemetry) = (client.database("shop"), client.database("telemetry"));
    let expire =
        doc! {"collMod": "carts", "index": {"name": "expires_1", "expireAfterSeconds": 3601}};
    shop.run_command(expire).await.unwrap();
    shop.run_command(doc! {"collMod": "products", "validationLevel": "strict"})
        .await
        .unwrap();
    let view = doc! {"collMod": "paid orders", "viewOn": "orders", "pipeline": [{"$match": {"status": "sent"}}]};
    shop.run_command(view).await.unwrap();
    rows(client, "social.posts")
        .drop_index("tags_1")
        .await
        .unwrap();
    let index = doc! {"createIndexes": "users", "indexes": [{"key": {"x": 1}, "name": "x_1"}]};
    client.database("social").run_command(index).await.unwrap();
    rows(client, "telemetry.unused").drop().await.unwrap();
    telemetry.run_command(doc! {"create": "new"}).await.unwrap();
}

/// Every legal type is there, and the extremes arrive as they were made.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn types_are_all_there() {
    let set = replica_set().await;
    let entry = Entry::connect(&set.uri(), 4).await.unwrap();
    let made = types::create(&entry).await.unwrap();
    let ids = types::read_back(&entry, "ids").await.unwrap();
    assert_eq!(ids.len() as u64, made[0].documents);
    // All element types but array, regex and undefined may be an `_id`.
    let kinds: std::collections::BTreeSet<u8> = ids
        .iter()
        .map(|id| id.get("_id").unwrap().unwrap().element_type() as u8)
        .collect();
    assert_eq!(kinds.len(), 18, "{kinds:?}");
    let shapes = types::read_back(&entry, "shapes").await.unwrap();
    assert_eq!(shapes.len() as u64, made[2].documents);
    let find = |id: &str| {
        shapes
            .iter()
            .find(|shape| shape.get_str("_id").ok() == Some(id))
            .unwrap()
    };
    let names = |shape: &RawDocumentBuf| -> Vec<String> {
        shape
            .iter()
            .map(|field| field.unwrap().0.as_str().to_string())
            .collect()
    };
    assert_eq!(names(find("duplicate names")), ["_id", "a", "b", "a", "a"]);
    assert_eq!(find("largest").as_bytes().len(), 16 << 20);
    assert_eq!(
        find("zero timestamp").get_timestamp("t").unwrap(),
        bson::Timestamp {
            time: 0,
            increment: 0
        }
    );
}

fn expect_clean(report: &LoadReport, kinds: usize) {
    assert!(report.errors.is_empty(), "{report}");
    assert_eq!(report.by_kind.len(), kinds, "{report}");
    assert!(report.raced * 20 <= report.ops, "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn load_runs_every_kind_on_a_replica_set() {
    let set = replica_set().await;
    populate::populate(&content(set.uri())).await.unwrap();
    let mix = "all,large_transactions=20,multi=50,aborts=50"
        .parse()
        .unwrap();
    let mut load = Load::start(LoadOptions {
        ddl: true,
        mix,
        ..LoadOptions::new(set.uri())
    })
    .await
    .unwrap();
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    load.pause().await;
    let at_pause = load.ops();
    assert!(0 < at_pause);
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert_eq!(load.ops(), at_pause);
    load.resume();
    load.lap();
    load.set_rate(200.0);
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let lap = load.lap();
    assert!((60.0..=300.0).contains(&lap.rate), "{lap}");
    expect_clean(&load.stop().await, Kind::ALL.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sharded_clusters_are_populated_loaded_and_compared() {
    let (source, target) = tokio::join!(sharded(), sharded());
    let (a, b) = (source.uri(), target.uri());
    populate::populate(&content(a.clone())).await.unwrap();
    populate::populate(&PopulateArgs {
        direct: false,
        ..content(b.clone())
    })
    .await
    .unwrap();
    expect(&a, &b, &[]).await;

    // A document that the target's router does not show, and a chunk elsewhere.
    let owner = Entry::connect(&b, 2).await.unwrap();
    let customers = rows(&owner.shards[1].client, "shop.customers");
    customers
        .insert_one(doc! {"_id": "orphan", "customer": 0})
        .await
        .unwrap();
    let layout = Layout::read(&owner).await.unwrap();
    let point = layout
        .collection("social.users")
        .unwrap()
        .sharding
        .split_points(4)[0]
        .clone();
    let to = &owner.shards[0].id;
    owner
        .admin(doc! {"moveChunk": "social.users", "find": point, "to": to, "_waitForDelete": true})
        .await
        .unwrap();
    expect(
        &a,
        &b,
        &[("shop.customers", "orphans"), ("social.users", "chunks")],
    )
    .await;

    for direct in [false, true] {
        let mix = "all,large_transactions=5,multi=50,cross_shard=40,aborts=40"
            .parse()
            .unwrap();
        let options = LoadOptions {
            ddl: !direct,
            direct,
            mix,
            ..LoadOptions::new(a.clone())
        };
        let load = Load::start(options).await.unwrap();
        tokio::time::sleep(std::time::Duration::from_secs(3)).await;
        expect_clean(&load.stop().await, Kind::ALL.len());
    }
    expect_no_migrated_writes(&source).await;
}

/// The load and the straight inserts wrote where documents belong.
async fn expect_no_migrated_writes(cluster: &ShardedCluster) {
    let mut prepared = 0;
    for client in cluster.shard_clients().await.unwrap() {
        let oplog = client.database("local").collection::<Document>("oplog.rs");
        let writes = doc! {"fromMigrate": true, "op": {"$in": ["i", "u", "d"]}, "ns": {"$not": {"$regex": "^config"}}};
        assert_eq!(oplog.count_documents(writes).await.unwrap(), 0);
        prepared += oplog
            .count_documents(doc! {"o.prepare": true})
            .await
            .unwrap();
    }
    assert!(0 < prepared);
}
