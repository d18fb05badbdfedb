//! What is proven at the cutover besides documents: whatever it is that differs, no run
//! ends `done` with it.

use bson::{Document, RawDocumentBuf, doc, rawdoc};
use futures_util::TryStreamExt;
use mongodb::Client;
use shardlift::observe::phase::Phase;
use shardlift::observe::status::Snapshot;

use crate::engine::Engine;
use crate::fixture::{self, run};
use crate::migrate::expect_equal;

mod definitions;

async fn insert(
    client: &Client,
    db: &str,
    coll: &str,
    documents: impl IntoIterator<Item = Document>,
) {
    client
        .database(db)
        .collection(coll)
        .insert_many(documents)
        .await
        .unwrap();
}

async fn names(client: &Client, db: &str) -> Vec<String> {
    let mut names = client.database(db).list_collection_names().await.unwrap();
    names.retain(|name| !name.starts_with("system."));
    names.sort();
    names
}

/// Asks for a cutover until one was called off, or is refused for this; then it must not
/// have been done.
pub(crate) async fn never_done(engine: &mut Engine, because: &str) -> Snapshot {
    let told = |now: &Snapshot| {
        let mut texts = now
            .obstacles
            .iter()
            .chain(&now.warnings)
            .chain(&now.error)
            .chain(&now.last_cutover);
        texts.any(|text| text.contains(because))
    };
    loop {
        let _ = engine.ask_for_cutover().await;
        let now = engine
            .until("telling why", |now| told(now) || now.is_final())
            .await;
        assert_ne!(now.phase, Phase::Done, "{because}: {now:?}");
        if told(&now) {
            return now;
        }
    }
}

async fn views_go_with_their_database(source: &str, target: &str) {
    let (a, b) = (
        Client::with_uri_str(source).await.unwrap(),
        Client::with_uri_str(target).await.unwrap(),
    );
    for db in ["dropped", "emptied", "again"] {
        insert(&a, db, "c", [doc! {"x": 1}]).await;
        run(&a, db, doc! {"create": "v", "viewOn": "c", "pipeline": []}).await;
        run(
            &a,
            db,
            doc! {"create": "w", "viewOn": "v", "pipeline": [{"$match": {"x": 1}}]},
        )
        .await;
    }
    let mut engine = Engine::start(source, target, &[]).await;
    engine.until_ready().await;
    assert_eq!(names(&b, "dropped").await, ["c", "v", "w"]);
    a.database("dropped").drop().await.unwrap();
    run(&a, "emptied", doc! {"drop": "system.views"}).await;
    // The names of views may pass to collections.
    a.database("again").drop().await.unwrap();
    insert(&a, "again", "v", [doc! {"x": 2}]).await;
    let gone = async {
        while !(names(&b, "dropped").await.is_empty() && names(&b, "again").await == ["v"]) {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), gone)
        .await
        .expect("by following, without a cutover");
    engine.cut_over().await;
    assert_eq!(
        (names(&b, "emptied").await, names(&b, "again").await),
        (vec!["c".to_owned()], vec!["v".to_owned()])
    );
    expect_equal(source, target).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn views_go_with_their_database_on_a_replica_set() {
    let (source, target) = tokio::join!(
        fixture::replica_set("a", &[]),
        fixture::replica_set("b", &[])
    );
    views_go_with_their_database(&source.uri(), &target.uri()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn views_go_with_their_database_on_a_sharded_cluster() {
    let (source, target) = tokio::join!(fixture::cluster(2), fixture::cluster_of_other_names(2));
    views_go_with_their_database(&source.uri(), &target.uri()).await;
}

/// Users write to a range that somebody moved on the target: what goes to its old shard
/// is lost there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chunk_that_somebody_moves_on_the_target_is_never_done() {
    let (source, target) = tokio::join!(fixture::cluster(2), fixture::cluster_of_other_names(2));
    let (a, b) = (
        source.client().await.unwrap(),
        target.client().await.unwrap(),
    );
    run(
        &a,
        "admin",
        doc! {"shardCollection": "shop.c", "key": {"k": 1}},
    )
    .await;
    run(&a, "admin", doc! {"split": "shop.c", "middle": {"k": 500}}).await;
    run(
        &a,
        "admin",
        doc! {"moveChunk": "shop.c", "find": {"k": 600}, "to": "shard1"},
    )
    .await;
    insert(&a, "shop", "c", (0..1_000).map(|k| doc! {"k": k})).await;
    let mut engine = Engine::start(&source.uri(), &target.uri(), &[]).await;
    // From then on the cutover reads only what is written to.
    engine
        .until("verified", |now| {
            !now.pairs.is_empty() && now.pairs.iter().all(|pair| pair.verified)
        })
        .await;
    let low = b
        .database("config")
        .collection::<Document>("chunks")
        .find_one(doc! {})
        .sort(doc! {"min": 1})
        .await;
    let owner = low.unwrap().unwrap().get_str("shard").unwrap().to_owned();
    let to = if owner == "other0" {
        "other1"
    } else {
        "other0"
    };
    target
        .admin(doc! {"moveChunk": "shop.c", "find": {"k": 10}, "to": to})
        .await
        .unwrap();
    insert(&a, "shop", "c", [doc! {"k": 10, "late": true}]).await;
    a.database("shop")
        .collection::<Document>("c")
        .delete_one(doc! {"k": 20})
        .await
        .unwrap();
    never_done(&mut engine, "shop.c").await;
}

/// As `createIndexes` on members outside the set makes them, one after the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn indexes_that_no_oplog_entry_tells_of_are_alike_after_the_cutover() {
    let (mut source, target) = tokio::join!(
        fixture::replica_set("a", &[]),
        fixture::replica_set("b", &[])
    );
    let a = source.client().await.unwrap();
    insert(&a, "shop", "c", (0..200).map(|k| doc! {"k": k, "u": k})).await;
    let index = |name: &str| doc! {"key": {name: 1}, "name": name};
    run(
        &a,
        "shop",
        doc! {"createIndexes": "c", "indexes": [index("k"), index("gone")]},
    )
    .await;
    let mut engine = Engine::start(&source.uri(), &target.uri(), &[]).await;
    engine.until_ready().await;
    let mut ttl = index("ttl");
    ttl.insert("expireAfterSeconds", 3_600);
    let mut unique = index("u");
    unique.insert("unique", true);
    let member = source.member_mut(0);
    let mut alone = member.restart_alone().await.unwrap();
    alone
        .command(
            "shop",
            doc! {"createIndexes": "c", "indexes": [ttl, unique]},
        )
        .await
        .unwrap();
    alone
        .command("shop", doc! {"dropIndexes": "c", "index": "gone"})
        .await
        .unwrap();
    member.terminate();
    member.restart().await.unwrap();
    engine.until_ready().await;
    engine.cut_over().await;
    expect_equal(&source.uri(), &target.uri()).await;
    let target = target.client().await.unwrap();
    let there: Vec<String> = target
        .database("shop")
        .collection::<Document>("c")
        .list_index_names()
        .await
        .unwrap();
    assert_eq!(there.len(), 4, "{there:?}");
}

/// Indexes and views that somebody changes on the target are ours to mend; all else is
/// named, with what to do.
async fn what_somebody_changes_on_the_target_is_mended_or_named(source: &str, target: &str) {
    let (a, b) = (
        Client::with_uri_str(source).await.unwrap(),
        Client::with_uri_str(target).await.unwrap(),
    );
    let validator = |k: i32| doc! {"k": {"$gte": k}};
    // Both are stored where a validator is changed alone.
    let how = doc! {"validationLevel": "strict", "validationAction": "error"};
    let mut create = doc! {"create": "c", "validator": validator(0)};
    create.extend(how);
    run(&a, "shop", create).await;
    insert(&a, "shop", "c", (0..50).map(|k| doc! {"k": k})).await;
    run(
        &a,
        "shop",
        doc! {"createIndexes": "c", "indexes": [{"key": {"k": 1}, "name": "k"}]},
    )
    .await;
    run(
        &a,
        "shop",
        doc! {"create": "v", "viewOn": "c", "pipeline": []},
    )
    .await;
    run(
        &a,
        "shop",
        doc! {"create": "w", "viewOn": "c", "pipeline": []},
    )
    .await;
    let clustered = doc! {"key": {"_id": 1}, "unique": true};
    run(
        &a,
        "shop",
        doc! {"create": "clustered", "clusteredIndex": &clustered, "expireAfterSeconds": 3_600},
    )
    .await;
    let mut engine = Engine::start(source, target, &[]).await;
    engine.until_ready().await;
    run(
        &a,
        "shop",
        doc! {"create": "during", "clusteredIndex": &clustered, "expireAfterSeconds": 7_200},
    )
    .await;
    run(&b, "shop", doc! {"collMod": "c", "validator": validator(1)}).await;
    let now = never_done(&mut engine, "shop.c has options").await;
    assert!(
        now.phase != Phase::Ready || now.cutovers_given_up > 0,
        "{now:?}"
    );
    run(&b, "shop", doc! {"collMod": "c", "validator": validator(0)}).await;
    run(
        &b,
        "shop",
        doc! {"collMod": "clustered", "expireAfterSeconds": 3_600},
    )
    .await;
    never_done(
        &mut engine,
        "shop.clustered of the target already deletes documents",
    )
    .await;
    run(
        &b,
        "shop",
        doc! {"collMod": "clustered", "expireAfterSeconds": "off"},
    )
    .await;
    run(&b, "other", doc! {"create": "mine"}).await;
    never_done(&mut engine, "other.mine is on target").await;
    b.database("other").drop().await.unwrap();
    run(&b, "shop", doc! {"dropIndexes": "c", "index": "k"}).await;
    run(
        &b,
        "shop",
        doc! {"createIndexes": "c", "indexes": [{"key": {"z": 1}, "name": "z"}]},
    )
    .await;
    run(&b, "shop", doc! {"drop": "v"}).await;
    run(
        &b,
        "shop",
        doc! {"collMod": "w", "viewOn": "c", "pipeline": [{"$limit": 1}]},
    )
    .await;
    run(
        &b,
        "shop",
        doc! {"create": "x", "viewOn": "c", "pipeline": []},
    )
    .await;
    engine.until_ready().await;
    engine.request_cutover().await;
    assert_eq!(engine.end().await.code, 0);
    expect_equal(source, target).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_somebody_changes_on_the_target_is_mended_or_named_on_a_replica_set() {
    let (source, target) = tokio::join!(
        fixture::replica_set("a", &[]),
        fixture::replica_set("b", &[])
    );
    what_somebody_changes_on_the_target_is_mended_or_named(&source.uri(), &target.uri()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_somebody_changes_on_the_target_is_mended_or_named_on_a_sharded_cluster() {
    let (source, target) = tokio::join!(fixture::cluster(2), fixture::cluster_of_other_names(2));
    what_somebody_changes_on_the_target_is_mended_or_named(&source.uri(), &target.uri()).await;
}

/// Users' collections in the servers' own databases stay behind: they are named before
/// the run and in its outcome, whenever they were made.
async fn what_stays_behind_is_named(source: &str, target: &str, db: &str) {
    let a = Client::with_uri_str(source).await.unwrap();
    let (users, later) = (format!("{db}.users"), format!("{db}.later"));
    insert(&a, db, "users", [doc! {"x": 1}]).await;
    insert(&a, "shop", "c", [doc! {"x": 1}]).await;
    let mut engine = Engine::start(source, target, &[]).await;
    engine.until_ready().await;
    engine
        .until("told", |now| {
            now.warnings.iter().any(|warning| warning.contains(&users))
        })
        .await;
    insert(&a, db, "later", [doc! {"x": 1}]).await;
    let outcome = engine.cut_over().await;
    let warnings = outcome.summary["warnings"].to_string();
    assert!(
        warnings.contains(&users) && warnings.contains(&later),
        "{warnings}"
    );
    assert_eq!(warnings.matches(&users).count(), 1, "{warnings}");
    let log = outcome.log.text();
    let validated = log
        .lines()
        .find(|line| line.contains(" no users' collections"))
        .expect("it is a check");
    assert!(
        validated.contains(&format!("{users} stay behind"))
            && !validated.replace(&users, "").contains("config."),
        "{validated}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stays_behind_is_named_on_a_replica_set() {
    let (source, target) = tokio::join!(
        fixture::replica_set("a", &[]),
        fixture::replica_set("b", &[])
    );
    what_stays_behind_is_named(&source.uri(), &target.uri(), "config").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stays_behind_is_named_on_a_sharded_cluster() {
    let (source, target) = tokio::join!(fixture::cluster(2), fixture::cluster_of_other_names(2));
    what_stays_behind_is_named(&source.uri(), &target.uri(), "admin").await;
}
