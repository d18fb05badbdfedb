//! A stop costs what it concerns: one collection is copied again, or one shard, whatever else
//! was changed while nobody followed.

use super::*;

/// The error that a run ends with once this was done.
async fn stopped_by(engine: Engine, what: impl Future<Output = ()>) -> String {
    what.await;
    let outcome = engine.end().await;
    let log = outcome.log.text();
    assert_eq!(outcome.code, 6, "{log}");
    log.split_once("error: ").expect("it says why").1.to_owned()
}

async fn emptycapped(client: &Client) {
    run(client, "d", doc! {"emptycapped": "ring"}).await;
}

async fn updated_by_apply_ops(client: &Client) {
    let update = doc! {"op": "u", "ns": "d.ring", "o": {"$set": {"k": -1}}, "o2": {"_id": 8}};
    run(client, "admin", doc! {"applyOps": [update]}).await;
}

async fn rename(client: &Client, from: &str, to: &str) {
    let rename = doc! {"renameCollection": from, "to": to, "dropTarget": true};
    run(client, "admin", rename).await;
}

/// `$out` of `d.rows`, as a server makes it: by a collection of another name.
async fn out(client: &Client, to: &str) {
    let out = doc! {"aggregate": "rows", "pipeline": [{"$out": to}], "cursor": {}};
    run(client, "d", out).await;
}

/// How many ranges have begun, by what is recorded on the target.
async fn begun(target: &Client) -> u64 {
    let units = target
        .database("__shardlift")
        .collection::<Document>("units");
    let begun = doc! {"$or": [{"settled": true}, {"fence": {"$exists": true}}]};
    units.count_documents(begun).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_at_one_collection_costs_that_collection_and_no_other() {
    let tests = ["--setParameter", "enableTestCommands=1"];
    let (source, target) = tokio::join!(
        fixture::replica_set("a", &tests),
        fixture::replica_set("b", &[])
    );
    let (a, b) = (
        source.client().await.unwrap(),
        target.client().await.unwrap(),
    );
    let (source, target) = (source.uri(), target.uri());
    let ring = doc! {"create": "ring", "capped": true, "size": 1 << 20};
    run(&a, "d", ring).await;
    for coll in ["ring", "rows", "came", "goes", "out", "other"] {
        insert(&a, ("d", coll), 500).await;
    }
    let recopy = async |coll: &str, place: Option<&str>| {
        let ns = format!("d.{coll}");
        let of = ["recopy", "--shard", "a", "--ns", &ns];
        let sides = ["--source", &source, "--target", &target];
        shardlift(&[&of[..], &sides].concat(), place).await
    };
    let start = || Engine::start(&source, &target, &["--exclude", "/^d\\.out/"]);
    let mut engine = start().await;
    engine.until_ready().await;

    let error = stopped_by(engine, emptycapped(&a)).await;
    assert!(error.contains("`emptycapped`"), "{error}");
    insert(&a, ("d", "fresh"), 10).await;
    delete(&a, ("d", "rows"), 7).await;
    insert(&a, ("d", "ring"), 200).await;
    let before = begun(&b).await;
    assert_eq!(before, 5, "one of each collection");
    for place in ["anew-marked", "anew-emptied", "anew-listed"] {
        let (code, text) = recopy("ring", Some(place)).await;
        assert_eq!(code, None, "{place}: {text}");
    }
    let (code, text) = recopy("ring", None).await;
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(begun(&b).await, before - 1, "of that collection alone");
    // Its name is another's first, who is still to get it.
    insert(&a, ("d", "early"), 10).await;
    rename(&a, "d.early", "d.late").await;
    insert(&a, ("d", "early"), 20).await;
    let (code, text) = recopy("early", None).await;
    let why = "d.late was d.early before";
    assert!(code == Some(4) && text.contains(why), "{code:?} {text}");
    let mut engine = start().await;
    engine.until_ready().await;

    let error = stopped_by(engine, updated_by_apply_ops(&a)).await;
    assert!(error.contains("applyOps"), "{error}");
    delete(&a, ("d", "rows"), 8).await;
    let (code, text) = recopy("ring", None).await;
    assert_eq!(code, Some(0), "{text}");
    let mut engine = start().await;
    engine.until_ready().await;

    // Into the filters, over what is in them; then one goes out.
    let error = stopped_by(engine, rename(&a, "d.out", "d.came")).await;
    assert!(error.contains("of which only one is in the run"), "{error}");
    delete(&a, ("d", "came"), 9).await;
    let (code, text) = recopy("came", None).await;
    let emptied = "emptied on the target: 0, made anew: 0, new: 1, gone from the source: 1";
    assert!(code == Some(0) && text.contains(emptied), "{text}");
    let mut engine = start().await;
    engine.until_ready().await;

    let error = stopped_by(engine, rename(&a, "d.goes", "d.out")).await;
    assert!(error.contains("of which only one is in the run"), "{error}");
    delete(&a, ("d", "out"), 9).await;
    let (code, text) = recopy("goes", None).await;
    assert!(
        code == Some(0) && text.contains("gone from the source: 1"),
        "{text}"
    );
    let there = b.database("d").list_collection_names().await.unwrap();
    assert!(!there.contains(&"goes".to_owned()), "{there:?}");

    // And comes back, another size by then; so does one that a server made for a name that is out.
    let engine = start().await;
    let error = stopped_by(engine, rename(&a, "d.out", "d.goes")).await;
    assert!(error.contains("of which only one is in the run"), "{error}");
    let (code, text) = recopy("goes", None).await;
    assert!(code == Some(0) && text.contains("new: 1"), "{text}");
    out(&a, "out_of_rows").await;
    rename(&a, "d.out_of_rows", "d.made").await;
    let error = stopped_by(start().await, async {}).await;
    assert!(error.contains("of which only one is in the run"), "{error}");
    let (code, text) = recopy("made", None).await;
    assert!(code == Some(0) && text.contains("new: 1"), "{text}");
    let mut engine = start().await;
    engine.until_ready().await;
    for coll in ["came", "ring", "goes", "made"] {
        delete(&a, ("d", coll), 10).await;
    }
    engine.until_ready().await;
    engine.cut_over().await;
    expect_equal(&source, &target).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_starts_over_whatever_became_of_its_views_and_options() {
    let (source, target) = tokio::join!(
        fixture::replica_set("a", &[]),
        fixture::replica_set("b", &[])
    );
    let a = source.client().await.unwrap();
    let (source, target) = (source.uri(), target.uri());
    let ring = doc! {"create": "ring", "capped": true, "size": 1 << 20};
    let clustered =
        doc! {"create": "clustered", "clusteredIndex": {"key": {"_id": 1}, "unique": true}};
    let view = |name: &str, on: &str| doc! {"create": name, "viewOn": on, "pipeline": []};
    for command in [ring, clustered] {
        run(&a, "d", command).await;
    }
    for coll in ["ring", "clustered", "rows", "becomes"] {
        insert(&a, ("d", coll), 200).await;
    }
    for name in ["changed", "dropped", "was_a_view"] {
        run(&a, "d", view(name, "rows")).await;
    }
    let mut engine = Engine::start(&source, &target, &[]).await;
    engine.until_ready().await;
    engine.kill();
    for command in [
        doc! {"collMod": "ring", "cappedSize": 2 << 20},
        doc! {"collMod": "clustered", "expireAfterSeconds": 630_720_000},
        doc! {"collMod": "rows", "validator": {"k": {"$gte": 0}}},
        doc! {"collMod": "changed", "viewOn": "clustered", "pipeline": [{"$match": {"k": 1}}]},
        doc! {"drop": "dropped"},
        doc! {"drop": "was_a_view"},
        doc! {"drop": "becomes"},
        view("becomes", "changed"),
        view("new", "becomes"),
    ] {
        run(&a, "d", command).await;
    }
    insert(&a, ("d", "was_a_view"), 50).await;
    let recopy = [
        "recopy", "--shard", "a", "--source", &source, "--target", &target,
    ];
    let (code, text) = shardlift(&recopy, None).await;
    assert!(
        code == Some(0) && text.contains("3 are made anew"),
        "{text}"
    );
    let mut engine = Engine::start(&source, &target, &[]).await;
    delete(&a, ("d", "was_a_view"), 1).await;
    delete(&a, ("d", "rows"), 1).await;
    engine.until_ready().await;
    engine.cut_over().await;
    expect_equal(&source, &target).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_somebody_does_to_one_collection_of_the_target_costs_that_collection() {
    let (source, target) = tokio::join!(
        fixture::replica_set("a", &[]),
        fixture::replica_set("b", &[])
    );
    let (a, b) = (
        source.client().await.unwrap(),
        target.client().await.unwrap(),
    );
    let (source, target) = (source.uri(), target.uri());
    for coll in ["dropped", "remade", "changed", "kept"] {
        insert(&a, ("d", coll), 300).await;
    }
    let recopy = async |coll: &str, place: Option<&str>| {
        let ns = format!("d.{coll}");
        let of = ["recopy", "--shard", "a", "--ns", &ns];
        let sides = ["--source", &source, "--target", &target];
        shardlift(&[&of[..], &sides].concat(), place).await
    };
    let made_anew = async |coll: &str| {
        let (code, text) = recopy(coll, None).await;
        let one = "emptied on the target: 1, made anew: 1, new: 0";
        assert!(code == Some(0) && text.contains(one), "{coll}: {text}");
    };
    let stops = async |coll: &str| {
        let outcome = Engine::start(&source, &target, &[]).await.end().await;
        let log = outcome.log.text();
        let found = format!("d.{coll} was dropped or recreated on the target by somebody else");
        let remedy = format!("`shardlift recopy --ns d.{coll}`");
        let is_told = log.contains(&found) && log.contains(&remedy);
        assert!(outcome.code == 6 && is_told, "{log}");
    };
    let mut engine = Engine::start(&source, &target, &[]).await;
    engine.until_ready().await;
    engine.kill();

    let before = begun(&b).await;
    run(&b, "d", doc! {"drop": "dropped"}).await;
    let validator = doc! {"k": {"$gte": 1_000}};
    run(&b, "d", doc! {"collMod": "changed", "validator": validator}).await;
    stops("dropped").await;
    for place in ["anew-marked", "anew-emptied"] {
        let (code, text) = recopy("dropped", Some(place)).await;
        assert_eq!(code, None, "{place}: {text}");
    }
    made_anew("dropped").await;
    made_anew("changed").await;
    assert_eq!(begun(&b).await, before - 2, "of these alone");

    // The documents of somebody else stay, until they are dropped by hand.
    run(&b, "d", doc! {"drop": "remade"}).await;
    insert(&b, ("d", "remade"), 5).await;
    stops("remade").await;
    let (code, text) = recopy("remade", None).await;
    let why = "d.remade of the target was made by somebody else, and holds documents";
    assert!(code == Some(4) && text.contains(why), "{code:?} {text}");
    run(&b, "d", doc! {"drop": "remade"}).await;
    run(&b, "d", doc! {"create": "remade"}).await;
    made_anew("remade").await;

    let mut engine = Engine::start(&source, &target, &[]).await;
    for coll in ["dropped", "remade", "changed", "kept"] {
        delete(&a, ("d", coll), 7).await;
    }
    engine.until_ready().await;
    engine.cut_over().await;
    expect_equal(&source, &target).await;
}
