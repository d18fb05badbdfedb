//! What a run is about: users' collections in `admin`, and filters.

use std::time::Duration;

use bson::{Document, doc};
use loadgen::check::{self, CheckOptions};
use mongodb::Client;
use shardlift::config::Config;
use shardlift::control;

use crate::engine::Engine;
use crate::fixture::{self, run};
use crate::migrate::expect_equal;

mod out;

async fn insert(client: &Client, ns: &str, ids: std::ops::Range<i32>) {
    let (db, coll) = ns.split_once('.').unwrap();
    let documents: Vec<Document> = ids.map(|id| doc! {"_id": id, "u": id, "n": 0}).collect();
    run(client, db, doc! {"insert": coll, "documents": documents}).await;
}

async fn set_all(client: &Client, ns: &str, to: i32) {
    let (db, coll) = ns.split_once('.').unwrap();
    let all = doc! {"q": {}, "u": {"$set": {"n": to}}, "multi": true};
    run(client, db, doc! {"update": coll, "updates": [all]}).await;
    let one = doc! {"q": {"_id": to}, "limit": 1};
    run(client, db, doc! {"delete": coll, "deletes": [one]}).await;
}

async fn index(client: &Client, ns: &str, unique: bool) {
    let (db, coll) = ns.split_once('.').unwrap();
    let index = doc! {"key": {"u": 1}, "name": "u", "unique": unique};
    run(client, db, doc! {"createIndexes": coll, "indexes": [index]}).await;
}

async fn names(client: &Client, db: &str) -> Vec<String> {
    let mut names = client.database(db).list_collection_names().await.unwrap();
    names.retain(|name| !name.starts_with("system."));
    names.sort();
    names
}

/// What is there already, what is created, and what is dropped.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_collections_in_admin_of_a_replica_set_arrive() {
    for release in ["4.2", "6.0"] {
        let of = |name| fixture::loaded_replica_set_of(name, release.parse().unwrap());
        let (a, b) = tokio::join!(of("a"), of("b"));
        let (source, target) = (a.uri(), b.uri());
        let (from, to) = (a.client().await.unwrap(), b.client().await.unwrap());
        insert(&from, "admin.mine", 0..500).await;
        index(&from, "admin.mine", true).await;
        insert(&from, "admin.gone", 0..10).await;
        insert(&from, "shop.c", 0..10).await;
        let mut engine = Engine::start(&source, &target, &[]).await;
        engine.until_ready().await;
        set_all(&from, "admin.mine", 1).await;
        insert(&from, "admin.later", 0..100).await;
        index(&from, "admin.later", false).await;
        run(&from, "admin", doc! {"drop": "gone"}).await;
        engine.kill();
        set_all(&from, "admin.mine", 2).await;
        insert(&from, "admin.last", 0..100).await;
        let mut engine = Engine::start(&source, &target, &[]).await;
        engine.until_ready().await;
        set_all(&from, "admin.later", 3).await;
        engine.until_ready().await;
        engine.cut_over().await;
        expect_equal(&source, &target).await;
        assert_eq!(
            names(&to, "admin").await,
            ["last", "later", "mine"],
            "{release}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_collections_in_admin_of_the_target_are_in_the_way() {
    let (a, b) = tokio::join!(
        fixture::replica_set("a", &[]),
        fixture::replica_set("b", &[])
    );
    insert(&a.client().await.unwrap(), "shop.c", 0..10).await;
    insert(&b.client().await.unwrap(), "admin.theirs", 0..10).await;
    let outcome = Engine::start(&a.uri(), &b.uri(), &[]).await.end().await;
    assert_eq!(outcome.code, 4);
    let text = outcome.log.text();
    assert!(text.contains("the target holds admin.theirs"), "{text}");
}

/// What an earlier shardlift recorded did not have `admin` in it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_began_without_admin_goes_on_without_it() {
    let (a, b) = tokio::join!(
        fixture::replica_set("a", &[]),
        fixture::replica_set("b", &[])
    );
    let (source, target) = (a.uri(), b.uri());
    let (from, to) = (a.client().await.unwrap(), b.client().await.unwrap());
    insert(&from, "shop.c", 0..10).await;
    let mut engine = Engine::start(&source, &target, &[]).await;
    engine.until_ready().await;
    engine.kill();
    let earlier = doc! {"$set": {"format": 3}, "$unset": {"admin": 1}};
    let runs = to.database("__shardlift").collection::<Document>("run");
    let updated = runs.update_one(doc! {"_id": "run"}, earlier).await.unwrap();
    assert_eq!(updated.modified_count, 1);
    insert(&from, "admin.mine", 0..10).await;
    insert(&from, "shop.c", 10..20).await;
    let mut engine = Engine::start(&source, &target, &[]).await;
    engine.until_ready().await;
    insert(&from, "admin.mine", 10..20).await;
    engine.until_ready().await;
    engine.cut_over().await;
    assert_eq!(names(&to, "admin").await, [""; 0]);
    let count = to.database("shop").collection::<Document>("c");
    assert_eq!(count.count_documents(doc! {}).await.unwrap(), 20);
}

const FILTERS: [&str; 8] = [
    "--include",
    "shop.*",
    "--include",
    "/^log_/",
    "--exclude",
    "shop.secret",
    "--exclude",
    "/\\.tmp_/",
];
const OTHERS: [&str; 4] = ["--include", "shop.*", "--exclude", "shop.secret"];

fn filtered() -> CheckOptions {
    let own = |texts: &[&str]| texts.iter().map(ToString::to_string).collect();
    CheckOptions {
        include: own(&["shop.*", "/^log_/"]),
        exclude: own(&["shop.secret", "/\\.tmp_/"]),
        ..CheckOptions::default()
    }
}

async fn view(client: &Client, name: &str) {
    run(
        client,
        "shop",
        doc! {"create": name, "viewOn": "orders", "pipeline": []},
    )
    .await;
}

/// Writes, creations, drops and changes of what is out, which a run that is about it would
/// follow or stop at.
async fn change_what_is_out(from: &Client, turn: i32) {
    set_all(from, "shop.secret", turn).await;
    set_all(from, "other.c", turn).await;
    insert(from, &format!("shop.tmp_{turn}"), 0..10).await;
    insert(from, &format!("other.new_{turn}"), 0..10).await;
    index(from, &format!("other.new_{turn}"), true).await;
    run(from, "other", doc! {"drop": format!("new_{turn}")}).await;
    run(
        from,
        "other",
        doc! {"collMod": "c", "validator": {"n": {"$lt": 100 + turn}}},
    )
    .await;
    run(
        from,
        "other",
        doc! {"create": format!("v_{turn}"), "viewOn": "c", "pipeline": []},
    )
    .await;
    view(from, &format!("tmp_view_{turn}")).await;
}

/// One transaction a turn: within the filters, across them and aborted, across them, and out
/// of them.
async fn transactions_meet_the_filters(from: &Client) {
    let mut session = from.start_session().await.unwrap();
    let turns = [
        (["shop.orders", "log_2.c"], true),
        (["shop.orders", "shop.secret"], false),
        (["shop.orders", "other.c"], true),
        (["shop.secret", "other.c"], true),
    ];
    for (turn, (names, commit)) in turns.into_iter().enumerate() {
        session.start_transaction().await.unwrap();
        for ns in names {
            let (db, coll) = ns.split_once('.').unwrap();
            let rows = from.database(db).collection::<Document>(coll);
            let id = 1_000 + turn as i32;
            let insert = rows
                .insert_one(doc! {"_id": id, "u": id, "n": 0})
                .session(&mut session);
            insert.await.unwrap();
        }
        if commit {
            session.commit_transaction().await.unwrap();
        } else {
            session.abort_transaction().await.unwrap();
        }
    }
}

async fn only_what_the_filters_let_through_arrives(source: &str, target: &str, is_set: bool) {
    let (from, to) = (
        Client::with_uri_str(source).await.unwrap(),
        Client::with_uri_str(target).await.unwrap(),
    );
    for ns in [
        "shop.orders",
        "shop.secret",
        "shop.tmp_0",
        "log_1.c",
        "other.c",
        "other.log_1",
    ] {
        insert(&from, ns, 0..300).await;
        index(&from, ns, true).await;
    }
    view(&from, "open").await;
    view(&from, "tmp_view").await;
    // Not in the way: no filter lets it through.
    insert(&to, "other.theirs", 0..5).await;
    if is_set {
        // A cluster may have the database on another shard.
        insert(&to, "shop.secret", 0..5).await;
    }

    let mut engine = Engine::start(source, target, &FILTERS).await;
    engine.until_ready().await;
    let log = engine.log().text();
    let shown = log
        .lines()
        .find(|line| line.contains("validated filters"))
        .expect("it is a check");
    assert!(
        shown.contains("in are 3: log_1.c, shop.open, shop.orders; out are 5: "),
        "{shown}"
    );
    assert!(
        log.contains("of a transaction that also writes what is out only the rest arrives"),
        "{log}"
    );
    set_all(&from, "shop.orders", 1).await;
    change_what_is_out(&from, 1).await;
    insert(&from, "log_2.c", 0..10).await;
    insert(&from, "log_2.tmp_x", 0..10).await;
    engine.until_ready().await;
    engine.kill();
    change_what_is_out(&from, 2).await;
    set_all(&from, "log_1.c", 2).await;

    let outcome = Engine::start(source, target, &OTHERS).await.end().await;
    assert_eq!(outcome.code, 4);
    let text = outcome.log.text();
    for filters in [
        "begun with include shop.*, include /^log_/, exclude shop.secret, exclude /\\.tmp_/",
        "given include shop.*, exclude shop.secret",
    ] {
        assert!(text.contains(filters), "{text}");
    }

    let mut engine = Engine::start(source, target, &FILTERS).await;
    engine.until_ready().await;
    change_what_is_out(&from, 3).await;
    set_all(&from, "log_2.c", 3).await;
    if is_set {
        transactions_meet_the_filters(&from).await;
        let now = engine
            .until("one counts", |now| {
                now.sum().transactions_crossed == 1 && !now.warnings.is_empty()
            })
            .await;
        let told = now.warnings.concat();
        assert!(
            told.contains("1 transactions wrote what the filters leave out"),
            "{told}"
        );
    }
    from.database("other").drop().await.unwrap();
    engine.until_ready().await;
    engine.cut_over().await;
    let report = check::compare(source, target, &filtered()).await.unwrap();
    assert!(report.equal, "{report}");
    let mut shop = vec!["open", "orders"];
    shop.extend(is_set.then_some("secret"));
    assert_eq!(names(&to, "shop").await, shop);
    assert_eq!(names(&to, "other").await, ["theirs"]);
    assert_eq!(names(&to, "log_2").await, ["c"]);

    let mut config = Config::new(source, target).unwrap();
    let compared = control::verify_command(config.clone()).await.unwrap();
    assert!(!compared.equal, "shop.secret is not alike");
    (config.include, config.exclude) = (
        vec!["shop.*".parse().unwrap(), "/^log_/".parse().unwrap()],
        vec!["shop.secret".parse().unwrap(), "/\\.tmp_/".parse().unwrap()],
    );
    let compared = control::verify_command(config).await.unwrap();
    assert!(compared.equal && compared.collections == 3, "{compared:?}");
    if is_set {
        a_rename_across_the_filters_stops_the_run(source, target, &from, &to).await;
    }
}

async fn a_rename_across_the_filters_stops_the_run(
    source: &str,
    target: &str,
    from: &Client,
    to: &Client,
) {
    for db in ["shop", "log_1", "log_2"] {
        to.database(db).drop().await.unwrap();
    }
    let mut engine = Engine::start(source, target, &FILTERS).await;
    engine.until_ready().await;
    let rename = |a: &str, b: &str| doc! {"renameCollection": a, "to": b};
    run(from, "admin", rename("shop.secret", "other.secret")).await;
    insert(from, "shop.secret", 0..1).await;
    run(from, "admin", rename("shop.secret", "shop.tmp_secret")).await;
    set_all(from, "shop.orders", 4).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    engine.until_ready().await;
    run(from, "admin", rename("shop.orders", "shop.tmp_orders")).await;
    let outcome = engine.end().await;
    assert_eq!(outcome.code, 6);
    let text = outcome.log.text();
    assert!(
        text.contains(
            "a rename of shop.orders to shop.tmp_orders, of which only one is in the run"
        ),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_the_filters_let_through_arrives_on_a_replica_set() {
    let (source, target) = tokio::join!(
        fixture::replica_set("a", &[]),
        fixture::replica_set("b", &[])
    );
    only_what_the_filters_let_through_arrives(&source.uri(), &target.uri(), true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_the_filters_let_through_arrives_on_a_sharded_cluster() {
    let (source, target) = tokio::join!(fixture::cluster(2), fixture::cluster(2));
    only_what_the_filters_let_through_arrives(&source.uri(), &target.uri(), false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_filter_is_refused() {
    let uri = "mongodb://127.0.0.1:1/";
    let outcome = Engine::start(uri, uri, &["--include", "shop"])
        .await
        .end()
        .await;
    assert_eq!(outcome.code, 2);
    let text = outcome.log.text();
    assert!(text.contains("`shop` is no filter"), "{text}");
}
