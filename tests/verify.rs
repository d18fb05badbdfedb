//! Verification on real servers: what is alike is found alike, and every kind
//! of difference is found and named.

use std::collections::HashSet;

use bson::{Document, RawDocumentBuf, doc, rawdoc};
use loadgen::cluster::{ReplicaSet, orphans};
use mongodb::Client;
use shardlift::bson::element::kind;
use shardlift::bson::identity::IdKey;
use shardlift::bson::locate::id_of;
use shardlift::cluster::catalog;
use shardlift::cluster::deployment::Deployment;
use shardlift::cluster::ownership::Ownership;
use shardlift::pair::gate::touched::Touched;
use shardlift::position::Position;
use shardlift::verify::{self, Depth, Job, Report, part, recheck};

use crate::bson_order::{find, insert};
use crate::bson_values::{Random, document, embed, int};
use crate::fixture;

mod strays;

async fn verify(source: &Deployment, target: &Deployment, depth: Depth) -> Report {
    let catalog = catalog::read(source).await.unwrap();
    let pairs: Vec<usize> = (0..source.shards.len()).collect();
    verify::run(&Job {
        source,
        target,
        catalog: &catalog,
        pairs: &pairs,
        concurrency: 3,
        depth,
    })
    .await
    .unwrap()
}

/// Two replica sets whose `t` database is filled by the same calls.
struct Twins {
    sets: [ReplicaSet; 2],
    clients: [Client; 2],
}

impl Twins {
    async fn start() -> Twins {
        let (source, target) = tokio::join!(
            fixture::replica_set("source", &[]),
            fixture::replica_set("target", &[])
        );
        let clients = [
            source.client().await.unwrap(),
            target.client().await.unwrap(),
        ];
        Twins {
            sets: [source, target],
            clients,
        }
    }

    async fn run(&self, command: Document) {
        for client in &self.clients {
            fixture::run(client, "t", command.clone()).await;
        }
    }

    async fn insert(&self, coll: &str, documents: &[RawDocumentBuf]) {
        for client in &self.clients {
            assert_eq!(insert(client, coll, documents).await, []);
        }
    }

    async fn verify(&self, depth: Depth) -> Report {
        let source = fixture::source(&self.sets[0].uri()).await;
        let target = fixture::target(&self.sets[1].uri()).await;
        verify(&source, &target, depth).await
    }
}

fn numbered(count: i32) -> Vec<RawDocumentBuf> {
    (0..count)
        .map(|at| rawdoc! { "_id": at, "a": "text" })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn like_deployments_are_equal() {
    let twins = Twins::start().await;
    twins.insert("many", &numbered(230_000)).await;
    let mut random = Random(30);
    let values: Vec<_> = (0..2000)
        .map(|at| document(&[("_id", int(at)), ("a", random.value(3))]))
        .collect();
    twins.insert("types", &values).await;
    twins
        .run(doc! { "create": "capped", "capped": true, "size": 100_000 })
        .await;
    twins.insert("capped", &numbered(100)).await;
    twins.run(doc! { "create": "clustered", "clusteredIndex": { "key": { "_id": 1 }, "unique": true } }).await;
    twins.insert("clustered", &numbered(100)).await;
    twins
        .run(doc! { "create": "words", "collation": { "locale": "en", "strength": 2 } })
        .await;
    twins
        .insert("words", &[rawdoc! { "_id": "b" }, rawdoc! { "_id": "A" }])
        .await;
    twins.run(doc! { "create": "empty" }).await;
    twins
        .run(doc! { "create": "view", "viewOn": "many", "pipeline": [] })
        .await;
    fixture::run(
        &twins.clients[0],
        "t",
        doc! { "create": "missing, but empty" },
    )
    .await;
    for depth in [Depth::Counts, Depth::Digests] {
        let report = twins.verify(depth).await;
        assert!(report.equal && report.differences.is_empty(), "{report:?}");
        assert_eq!((report.collections, report.documents), (7, 232_202));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn differences_are_named_by_id() {
    let twins = Twins::start().await;
    twins.insert("many", &numbered(110_000)).await;
    twins
        .insert(
            "types",
            &[document(&[
                ("_id", embed(kind::DOCUMENT, &[("k", int(1))])),
                ("a", int(1)),
            ])],
        )
        .await;
    let [source, target] = &twins.clients;
    let delete =
        |id: i32| doc! { "delete": "many", "deletes": [{ "q": { "_id": id }, "limit": 1 }] };
    fixture::run(target, "t", delete(10)).await;
    fixture::run(source, "t", delete(100_000)).await;
    let double =
        doc! { "update": "types", "updates": [{ "q": {}, "u": { "$set": { "a": 1.0 } } }] };
    fixture::run(target, "t", double).await;

    let report = twins.verify(Depth::Digests).await;
    let mut differences = report.differences.clone();
    differences.sort();
    assert!(!report.equal);
    let expected = [
        "t.many: _id 10 is missing on the target",
        "t.many: _id 100000 is on the target but not on the source",
        "t.types: _id { \"k\": 1 } has another type in field `a`: int32 on the source, double on the target",
    ];
    assert_eq!(differences, expected);
    let mut counts: Vec<_> = report
        .differing
        .iter()
        .map(|d| (d.shard.as_str(), d.ns.as_str(), d.documents))
        .collect();
    counts.sort_unstable();
    assert_eq!(counts, [("source", "t.many", 2), ("source", "t.types", 1)]);
    let told = report.told().join("; ");
    assert!(
        told.contains("t.many on source shard source: 2 documents differ"),
        "{told}"
    );
    assert!(
        told.contains("`shardlift recopy --shard source --ns t.many`"),
        "{told}"
    );
    let report = twins.verify(Depth::Counts).await;
    assert!(!report.equal && report.differences.len() == 2, "{report:?}");
}

/// What is not found is taken for missing on both sides: so every `_id` that may be
/// kept as touched must be found by it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_with_ids_of_every_kind_are_found_by_id() {
    let twins = Twins::start().await;
    let [source, target] = &twins.clients;
    let mut random = Random(31);
    let mut documents: Vec<_> = (0..9_000)
        .map(|_| document(&[("_id", random.value(3)), ("a", int(1))]))
        .collect();
    // None twice (the server's error would repeat it).
    let mut seen = HashSet::new();
    documents.retain(|d| id_of(d).is_some_and(|id| seen.insert(IdKey::new(id))));
    insert(source, "c", &documents).await;
    let stored = find(source, "c", &rawdoc! {}).await;
    assert!(
        1_000 < stored.len(),
        "only {} of the random ids were taken",
        stored.len()
    );
    assert_eq!(insert(target, "c", &stored).await, []);

    let uuid = bson::Uuid::from_bytes([7; 16]);
    let mut touched = Touched::default();
    let round = touched.begin(uuid);
    let at = Position::from_raw(1);
    stored
        .iter()
        .for_each(|d| touched.note(&uuid, &IdKey::new(id_of(d).unwrap()), at, stored.len()));
    let ids = touched
        .of(&uuid, round, at, usize::MAX)
        .expect("the server takes no id that cannot be asked for");
    assert_eq!(ids.len(), stored.len());

    let different = async || {
        let (source, target) = (
            fixture::source(&twins.sets[0].uri()).await,
            fixture::target(&twins.sets[1].uri()).await,
        );
        let catalog = catalog::read(&source).await.unwrap();
        let job = Job {
            source: &source,
            target: &target,
            catalog: &catalog,
            pairs: &[0],
            concurrency: 1,
            depth: Depth::Digests,
        };
        let part = part::list(&job).await.unwrap().pop().unwrap();
        let mut different = Vec::new();
        for ids in recheck::chunks(&ids) {
            different.extend(recheck::different(&part, ids).await.unwrap());
        }
        different
    };
    assert!(different().await.is_empty());
    let change = doc! { "update": "c", "updates": [{ "q": {}, "u": { "$set": { "a": 2 } }, "multi": true }] };
    fixture::run(target, "t", change).await;
    let changed = different().await;
    assert!(changed.iter().all(|(_, how)| *how == recheck::How::Changed));
    assert_eq!(changed.len(), stored.len());
    fixture::run(
        target,
        "t",
        doc! { "delete": "c", "deletes": [{ "q": {}, "limit": 0 }] },
    )
    .await;
    let missing = different().await;
    assert!(missing.iter().all(|(_, how)| *how == recheck::How::Missing));
    assert_eq!(missing.len(), stored.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_differences_are_bounded() {
    let twins = Twins::start().await;
    insert(&twins.clients[0], "c", &numbered(110_000)).await;
    for depth in [Depth::Counts, Depth::Digests] {
        let report = twins.verify(depth).await;
        assert!(!report.equal);
        assert_eq!(report.differences.len(), verify::DIFFERENCES_MAX);
        assert!(
            report
                .differences
                .iter()
                .all(|d| d.ends_with("is missing on the target")),
            "{report:?}"
        );
        assert!(
            report
                .told()
                .iter()
                .any(|told| told.contains("documents differ")),
            "{report:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn collections_read_as_stored_are_compared_too() {
    let twins = Twins::start().await;
    let [source, target] = &twins.clients;
    twins
        .run(doc! { "create": "capped", "capped": true, "size": 100_000 })
        .await;
    insert(
        source,
        "capped",
        &[rawdoc! { "_id": 1 }, rawdoc! { "_id": 2 }],
    )
    .await;
    insert(
        target,
        "capped",
        &[rawdoc! { "_id": 2 }, rawdoc! { "_id": 1 }],
    )
    .await;
    twins
        .run(doc! { "create": "words", "collation": { "locale": "en", "strength": 2 } })
        .await;
    insert(
        source,
        "words",
        &[
            rawdoc! { "_id": "a" },
            rawdoc! { "_id": "b" },
            rawdoc! { "_id": "c", "x": 1 },
        ],
    )
    .await;
    insert(
        target,
        "words",
        &[
            rawdoc! { "_id": "c", "x": 2 },
            rawdoc! { "_id": "B" },
            rawdoc! { "_id": "a" },
        ],
    )
    .await;

    let report = twins.verify(Depth::Digests).await;
    let mut differences = report.differences;
    differences.sort();
    let expected = [
        "t.capped: the same documents, but in another natural order",
        "t.words: _id \"B\" is on the target but not on the source",
        "t.words: _id \"b\" is missing on the target",
        "t.words: _id \"c\" has another value in field `x`",
    ];
    assert_eq!(differences, expected);
    assert!(
        twins.verify(Depth::Counts).await.equal,
        "the numbers are the same"
    );
}
