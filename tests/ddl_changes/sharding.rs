//! Layouts that change on a sharded source while a migration runs: zones are followed; what is
//! sharded and spread at once stops the run, which goes on once that collection is copied again;
//! a shard more stops it.

use loadgen::cluster::ShardedCluster;

use super::*;
use crate::recorded::shardlift;

async fn admin(client: &Client, command: Document) {
    run(client, "admin", command).await;
}

async fn insert(client: &Client, coll: &str, ids: std::ops::Range<i32>) {
    let documents = ids.map(|id| doc! {"_id": id, "k": id, "u": format!("{id}")});
    let documents: Vec<Document> = documents.collect();
    run(client, "d", doc! {"insert": coll, "documents": documents}).await;
}

async fn delete(client: &Client, coll: &str, id: i32) {
    let delete = doc! {"q": {"_id": id, "k": id}, "limit": 1};
    run(client, "d", doc! {"delete": coll, "deletes": [delete]}).await;
}

async fn shard(client: &Client, coll: &str, key: Document) {
    admin(
        client,
        doc! {"shardCollection": format!("d.{coll}"), "key": key},
    )
    .await;
}

/// On shard0, but for the half of `halves`.
async fn populate(a: &Client) {
    admin(a, doc! {"enableSharding": "d", "primaryShard": "shard0"}).await;
    run(a, "d", doc! {"create": "empty"}).await;
    shard(a, "halves", doc! {"k": 1}).await;
    admin(a, doc! {"split": "d.halves", "middle": {"k": 300}}).await;
    admin(
        a,
        doc! {"moveChunk": "d.halves", "find": {"k": 300}, "to": "shard1"},
    )
    .await;
    insert(a, "halves", 0..600).await;
}

async fn stopped(engine: Engine) -> String {
    let outcome = engine.end().await;
    let log = outcome.log.text();
    assert!([4, 6].contains(&outcome.code), "{log}");
    log.split_once("error: ").expect("it says why").1.to_owned()
}

struct Sides {
    source: ShardedCluster,
    target: ShardedCluster,
}

impl Sides {
    async fn engine(&self) -> Engine {
        Engine::start(&self.source.uri(), &self.target.uri(), &[]).await
    }

    /// Copies one collection of shard0 again.
    async fn recopy(&self, coll: &str) -> String {
        let (source, target) = (self.source.uri(), self.target.uri());
        let ns = format!("d.{coll}");
        let recopy = ["recopy", "--shard", "shard0", "--ns", &ns];
        let sides = ["--source", &source, "--target", &target];
        let (code, text) = shardlift(&[&recopy[..], &sides].concat(), None).await;
        assert_eq!(code, Some(0), "{text}");
        text
    }
}

/// Without documents its chunks are on all shards at once.
async fn spread_at_once(sides: &Sides, a: &Client) {
    let mut engine = sides.engine().await;
    engine.until_ready().await;
    shard(a, "empty", doc! {"_id": "hashed"}).await;
    insert(a, "empty", 600..700).await;
    let error = stopped(engine).await;
    let recopy = "`shardlift recopy --shard shard0 --ns d.empty`";
    let what = "d.empty was sharded on the source";
    assert!(error.contains(what) && error.contains(recopy), "{error}");
    delete(a, "empty", 601).await;
    let text = sides.recopy("empty").await;
    assert!(text.contains("made anew: 1"), "{text}");
}

/// New ones that a new collection needs, and those of collections that are there.
async fn zones(sides: &Sides, a: &Client) {
    let range = |coll: &str, min: i32, max: i32, zone: Option<&str>| {
        doc! {"updateZoneKeyRange": format!("d.{coll}"), "min": {"k": min}, "max": {"k": max}, "zone": zone}
    };
    let mut engine = sides.engine().await;
    engine.until_ready().await;
    for (shard, zone) in [
        ("shard1", "north"),
        ("shard0", "south"),
        ("shard0", "unused"),
    ] {
        admin(a, doc! {"addShardToZone": shard, "zone": zone}).await;
    }
    admin(a, range("zoned", 0, 100, Some("north"))).await;
    shard(a, "zoned", doc! {"k": 1}).await;
    insert(a, "zoned", 0..200).await;
    // Where its documents are.
    admin(a, range("halves", 0, 50, Some("south"))).await;
    engine.until_ready().await;
    admin(a, range("halves", 0, 50, None)).await;
    admin(a, range("halves", 50, 60, Some("south"))).await;
    admin(a, doc! {"removeShardFromZone": "shard0", "zone": "unused"}).await;
    engine.kill();
}

/// What is made on it stops the run, and without it the same command goes on.
async fn one_more_shard(sides: &Sides, a: &Client) {
    let more = fixture::replica_set("more", &["--shardsvr"]).await;
    let mut engine = sides.engine().await;
    engine.until_ready().await;
    let host = more.members()[0].host();
    admin(a, doc! {"addShard": format!("more/{host}"), "name": "more"}).await;
    admin(a, doc! {"enableSharding": "far", "primaryShard": "more"}).await;
    let error = stopped(engine).await;
    assert!(
        error.contains("shard more of the source was added") && error.contains("removeShard"),
        "{error}"
    );
    a.database("far").drop().await.unwrap();
    let shards = a.database("config").collection::<Document>("shards");
    while shards
        .find_one(doc! {"_id": "more"})
        .await
        .unwrap()
        .is_some()
    {
        admin(a, doc! {"removeShard": "more"}).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn layouts_that_change_are_followed_or_stop_the_run_with_a_remedy_that_helps() {
    let (source, target) = tokio::join!(fixture::cluster(2), fixture::cluster(2));
    let a = source.client().await.unwrap();
    let sides = Sides { source, target };
    populate(&a).await;
    spread_at_once(&sides, &a).await;
    zones(&sides, &a).await;
    one_more_shard(&sides, &a).await;
    let mut engine = sides.engine().await;
    delete(&a, "empty", 602).await;
    engine.until_ready().await;
    engine.cut_over().await;
    expect_equal(&sides.source.uri(), &sides.target.uri()).await;
}
