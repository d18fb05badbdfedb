//! Documents of sharded clusters before 6.0, whose servers carry no router's code: what
//! the stand-in routes lands where it belongs, is found again, and looks in the oplogs as
//! a router's writes do.

use bson::{Bson, Document, doc};
use futures_util::TryStreamExt;
use loadgen::check::{self, CheckOptions};
use loadgen::cluster::{ClusterUsers, ShardedCluster, ShardedOptions, orphans};
use loadgen::load::mix::Mix;
use loadgen::load::{Load, LoadOptions};
use loadgen::populate::{self, PopulateArgs};
use loadgen::wire::link::Link;
use mongodb::{Client, Collection};

use super::{admin, held};

const POPULATED: u64 = 2_000;

async fn start(release: &str, login: bool) -> ShardedCluster {
    let options = ShardedOptions {
        release: release.parse().unwrap(),
        cache_gb: 0.25,
        oplog_mb: Some(256),
        stand_in_only: true,
        login: login.then(ClusterUsers::default),
        ..ShardedOptions::default()
    };
    let cluster = ShardedCluster::start(options).await.unwrap();
    admin(&cluster, doc! {"balancerStop": 1}).await;
    cluster
}

/// `db.c`, sharded by `key`, half of it on each shard.
async fn halves(cluster: &ShardedCluster, db: &str, key: Document) -> Collection<Document> {
    super::shard(cluster, db, key.clone()).await;
    if key.get("k") == Some(&Bson::Int32(1)) {
        let ns = format!("{db}.c");
        admin(cluster, doc! {"split": &ns, "middle": {"k": 50}}).await;
        give(cluster, &ns, 50, "shard1").await;
    }
    let client = cluster.client().await.unwrap();
    client.database(db).collection("c")
}

/// Moves the chunk that holds `k`. Its donor has no orphans then: else it would not take
/// the chunk back for 15 minutes.
async fn give(cluster: &ShardedCluster, ns: &str, k: i32, to: &str) {
    admin(
        cluster,
        doc! {"moveChunk": ns, "find": {"k": k}, "to": to, "_waitForDelete": true},
    )
    .await;
}

async fn rows(cursor: mongodb::Cursor<Document>) -> Vec<Document> {
    cursor.try_collect().await.unwrap()
}

/// Reads and writes of one client, on a collection of `{_id: n, k: n}` below 100.
async fn serves(c: &Collection<Document>) {
    let docs = (0..100).map(|n| doc! {"_id": n, "k": n, "g": n % 3});
    c.insert_many(docs).await.unwrap();

    let found = c.find(doc! {}).sort(doc! {"g": 1, "_id": -1}).batch_size(7);
    let found = rows(found.await.unwrap()).await;
    let mut expect: Vec<(i32, i32)> = (0..100).map(|n| (n % 3, -n)).collect();
    expect.sort();
    let of = |row: &Document| (row.get_i32("g").unwrap(), -row.get_i32("_id").unwrap());
    assert!(
        found.iter().map(of).eq(expect),
        "lost, mixed or out of order"
    );
    assert!(
        found.iter().all(|row| row.len() == 3),
        "sort keys were left"
    );

    let page = c.find(doc! {}).sort(doc! {"k": 1}).skip(48).limit(4);
    let page = page.projection(doc! {"_id": 0, "k": 1}).await.unwrap();
    let expect: Vec<_> = (48..52).map(|k| doc! {"k": k}).collect();
    assert_eq!(rows(page).await, expect);
    let one = c.find_one(doc! {"k": {"$gt": 97}}).sort(doc! {"k": -1});
    assert_eq!(one.await.unwrap().unwrap().get_i32("k").unwrap(), 99);
    assert_eq!(
        c.find_one(doc! {"k": 77})
            .await
            .unwrap()
            .unwrap()
            .get_i32("_id")
            .unwrap(),
        77
    );

    assert_eq!(
        c.count_documents(doc! {"k": {"$gte": 40}}).await.unwrap(),
        60
    );
    assert_eq!(c.estimated_document_count().await.unwrap(), 100);
    let mut groups = c.distinct("g", doc! {}).await.unwrap();
    groups.sort_by_key(Bson::to_string);
    assert_eq!(groups, [Bson::Int32(0), Bson::Int32(1), Bson::Int32(2)]);
    let average = doc! {"$group": {"_id": null, "k": {"$avg": "$k"}}};
    let averages = rows(c.aggregate([average]).await.unwrap()).await;
    assert_eq!(averages[0].get_f64("k").unwrap(), 49.5);
    let sample = doc! {"$sample": {"size": 10}};
    assert_eq!(rows(c.aggregate([sample]).await.unwrap()).await.len(), 10);

    let all = c
        .update_many(doc! {"g": 1}, doc! {"$inc": {"x": 1}})
        .await
        .unwrap();
    assert_eq!((all.matched_count, all.modified_count), (33, 33));
    let by_id = c
        .update_one(doc! {"_id": 3}, doc! {"$set": {"x": 5}})
        .await
        .unwrap();
    assert_eq!(by_id.modified_count, 1);
    let vague = c.update_one(doc! {"g": 1}, doc! {"$set": {"x": 5}}).await;
    assert!(vague.is_err_and(|e| e.to_string().contains("shard key")));
    let upsert = c.update_one(doc! {"k": 200, "_id": 200}, doc! {"$set": {"x": 1}});
    assert!(upsert.upsert(true).await.unwrap().upserted_id.is_some());
    let duplicate = c.insert_one(doc! {"_id": 7, "k": 7}).await.unwrap_err();
    assert!(duplicate.to_string().contains("11000"), "{duplicate}");
    let modified = c
        .find_one_and_update(doc! {"k": 200}, doc! {"$inc": {"x": 1}})
        .await;
    assert_eq!(modified.unwrap().unwrap().get_i32("x").unwrap(), 1);
    assert!(
        c.find_one_and_delete(doc! {"k": 200})
            .await
            .unwrap()
            .is_some()
    );
    c.delete_one(doc! {"_id": 4}).await.unwrap();
    assert_eq!(
        c.delete_many(doc! {"k": {"$in": [5, 95]}})
            .await
            .unwrap()
            .deleted_count,
        2
    );
    assert_eq!(c.count_documents(doc! {}).await.unwrap(), 97);
}

/// A chunk that another router moves between two writes of this one.
async fn follows_a_move(cluster: &ShardedCluster, c: &Collection<Document>, db: &str) {
    let ns = format!("{db}.c");
    let other = cluster.another_router().await.unwrap();
    let mut other = Link::connect(&other.host())
        .await
        .map(|link| (link, other))
        .unwrap();
    let wait = doc! {"moveChunk": &ns, "find": {"k": 60}, "to": "shard0", "_waitForDelete": true};
    c.insert_one(doc! {"_id": 150, "k": 150}).await.unwrap();
    other.0.command("admin", wait).await.unwrap();
    let more = [1, 151, 2, 152].map(|n| doc! {"_id": n + 1000, "k": n});
    c.insert_many(more).await.unwrap();
    let moved = c
        .update_one(doc! {"k": 150}, doc! {"$set": {"x": 1}})
        .await
        .unwrap();
    assert_eq!(moved.modified_count, 1);
    assert_eq!(held(cluster, 1, db).await, 0);
    assert_eq!(held(cluster, 0, db).await, 97 + 5);
    assert_eq!(c.count_documents(doc! {}).await.unwrap(), 97 + 5);
    let back = doc! {"moveChunk": &ns, "find": {"k": 60}, "to": "shard1", "_waitForDelete": true};
    other.0.command("admin", back).await.unwrap();
    assert_eq!(
        rows(c.find(doc! {"k": {"$gte": 150}}).await.unwrap())
            .await
            .len(),
        3
    );
    c.delete_many(doc! {"k": {"$gte": 0}}).await.unwrap();
    assert_eq!(held(cluster, 0, db).await + held(cluster, 1, db).await, 0);
}

/// What is not sharded, a view on what is, and a collection that nobody made.
async fn serves_the_rest(client: &Client, c: &Collection<Document>) {
    let db = client.database(&c.namespace().db);
    let plain = db.collection::<Document>("plain");
    plain
        .insert_many((0..10).map(|n| doc! {"_id": n}))
        .await
        .unwrap();
    plain
        .update_one(doc! {"_id": 3}, doc! {"$set": {"x": 1}})
        .await
        .unwrap();
    assert_eq!(plain.count_documents(doc! {"x": 1}).await.unwrap(), 1);
    c.insert_many((0..20).map(|n| doc! {"_id": n, "k": n * 10}))
        .await
        .unwrap();
    let view =
        doc! {"create": "view", "viewOn": "c", "pipeline": [{"$match": {"k": {"$gte": 30}}}]};
    db.run_command(view).await.unwrap();
    let view = db.collection::<Document>("view");
    let seen = view
        .find(doc! {"k": {"$lt": 80}})
        .sort(doc! {"k": -1})
        .limit(4);
    let seen = rows(seen.await.unwrap()).await;
    assert!(
        seen.iter()
            .map(|row| row.get_i32("k").unwrap())
            .eq([70, 60, 50, 40])
    );
    assert_eq!(view.count_documents(doc! {}).await.unwrap(), 17);
    let elsewhere = client.database("elsewhere").collection::<Document>("c");
    assert_eq!(rows(elsewhere.find(doc! {}).await.unwrap()).await, []);
    elsewhere.insert_one(doc! {"_id": 1}).await.unwrap();
    assert_eq!(elsewhere.count_documents(doc! {}).await.unwrap(), 1);
}

/// loadgen's own content and load, through the router.
async fn carries_a_load(cluster: &ShardedCluster) {
    let args = PopulateArgs {
        docs: POPULATED,
        direct: false,
        ..PopulateArgs::new(cluster.uri())
    };
    populate::populate(&args).await.unwrap();
    let load = Load::start(LoadOptions {
        ddl: true,
        mix: Mix::default().without_transactions(),
        ..LoadOptions::new(cluster.uri())
    });
    let load = load.await.unwrap();
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let report = load.stop().await;
    assert!(report.errors.is_empty() && 0 < report.ops, "{report}");
    let (uri, options) = (cluster.uri(), CheckOptions::default());
    let report = check::compare(&uri, &uri, &options).await.unwrap();
    assert!(report.equal && POPULATED <= report.documents, "{report}");
    for ns in [
        "shop.orders",
        "shop.customers",
        "social.posts",
        "telemetry.readings",
    ] {
        assert_eq!(orphans::count(cluster, ns).await.unwrap(), 0, "{ns}");
    }
}

/// No write looks like a migration's; updates say the shard key.
async fn oplogs_are_a_routers(cluster: &ShardedCluster) {
    let mut both = 0;
    for shard in cluster.shard_clients().await.unwrap() {
        let oplog = shard.database("local").collection::<Document>("oplog.rs");
        let writes =
            doc! {"op": {"$in": ["i", "u", "d"]}, "ns": {"$regex": "^(shop|social|telemetry)\\."}};
        let mut marked = writes.clone();
        marked.insert("fromMigrate", true);
        assert_eq!(oplog.find_one(marked).await.unwrap(), None);
        let update = doc! {"op": "u", "ns": "shop.customers"};
        let update = oplog.find_one(update).await.unwrap().unwrap();
        let key = update
            .get_document("o2")
            .unwrap()
            .keys()
            .collect::<Vec<_>>();
        assert_eq!(key, ["customer", "_id"]);
        both += u32::from(oplog.find_one(writes).await.unwrap().is_some());
    }
    assert_eq!(both, 2);
}

async fn routes(release: &str, login: bool) {
    let cluster = start(release, login).await;
    let client = cluster.client().await.unwrap();
    let hashed = halves(&cluster, "hashed", doc! {"k": "hashed"}).await;
    serves(&hashed).await;
    assert!(0 < held(&cluster, 0, "hashed").await && 0 < held(&cluster, 1, "hashed").await);
    assert_eq!(orphans::count(&cluster, "hashed.c").await.unwrap(), 0);
    let ranged = halves(&cluster, "ranged", doc! {"k": 1}).await;
    serves(&ranged).await;
    assert_eq!(held(&cluster, 0, "ranged").await, 48);
    follows_a_move(&cluster, &ranged, "ranged").await;
    serves_the_rest(&client, &ranged).await;
    carries_a_load(&cluster).await;
    oplogs_are_a_routers(&cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_of_4_2_are_routed() {
    routes("4.2", false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_of_4_4_are_routed() {
    routes("4.4", true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_of_5_0_are_routed() {
    routes("5.0", true).await;
}
