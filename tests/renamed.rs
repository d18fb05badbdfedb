//! Other names on the target (`--rename`): collections, views, time series and whole databases
//! arrive under them, and are followed, on either topology. What cannot be is refused.

mod later;
mod usage;

use bson::{Document, doc};
use loadgen::check::{self, CheckOptions};
use loadgen::cluster::{ShardedCluster, ShardedOptions};
use mongodb::Client;
use shardlift::cluster::catalog;
use shardlift::config::Config;
use shardlift::control;
use shardlift::scope::filters::Filters;
use shardlift::scope::renames::Renames;

use self::usage::{change, grown, insert, measure, names, populate, rename, series, transact};
use crate::engine::Engine;
use crate::fixture::{self, run};
use crate::recorded::shardlift;

const RENAMES: [&str; 8] = [
    "a=c",
    "gone=went",
    "x.orders=x.bills",
    "x.swap=x.other",
    "x.other=x.swap",
    "x.moved=y.kept",
    "w.part=v.part",
    "x.wind=x.storm",
];

fn flags<'f>(renames: &[&'f str]) -> Vec<&'f str> {
    renames
        .iter()
        .flat_map(|rename| ["--rename", rename])
        .collect()
}

pub(crate) fn asked(renames: &[&str]) -> Renames {
    let all = renames.iter().map(|text| text.parse().unwrap());
    Renames::new(all.collect()).unwrap()
}

pub(crate) async fn expect_equal(source: &str, target: &str, renames: &[&str]) {
    let options = CheckOptions {
        rename: renames.iter().map(ToString::to_string).collect(),
        ..CheckOptions::default()
    };
    let report = check::compare(source, target, &options).await.unwrap();
    assert!(report.equal, "{report}");
    let report = check::compare(source, target, &CheckOptions::default()).await;
    assert!(!report.unwrap().equal, "the names are other ones");
    let mut config = Config::new(source, target).unwrap();
    config.rename = asked(renames);
    let compared = control::verify_command(config).await.unwrap();
    assert!(compared.equal, "{compared:?}");
}

/// It ends so, and says all of this.
async fn refused(source: &str, target: &str, flags: &[&str], texts: &[&str]) {
    let outcome = Engine::start(source, target, flags).await.end().await;
    let text = outcome.log.text();
    assert_eq!(outcome.code, 4, "{flags:?}");
    for part in texts {
        assert!(text.contains(part), "{part} is missing: {text}");
    }
}

/// `shard`: of a set its id, where one collection is copied again meanwhile.
async fn arrives_under_other_names(source: &str, target: &str, more: &[&str], shard: Option<&str>) {
    let (from, to) = (
        Client::with_uri_str(source).await.unwrap(),
        Client::with_uri_str(target).await.unwrap(),
    );
    // Not in the way: what is in `a` goes to `c`.
    insert(&to, "a.theirs", 0..5).await;
    insert(&to, "c.in_the_way", 0..5).await;
    let flags = [&flags(&RENAMES)[..], more].concat();
    refused(source, target, &flags, &["the target holds c.in_the_way"]).await;
    to.database("c").drop().await.unwrap();

    let mut engine = Engine::start(source, target, &flags).await;
    engine.until_ready().await;
    let log = engine.log().text();
    // A warning where the release has no time series: one of the names is nobody's then.
    let shown = log.lines().find(|line| line.contains(" renames: "));
    let shown = shown.expect("it is a check");
    assert!(shown.contains("x.orders as x.bills"), "{shown}");
    change(&from, 1).await;
    engine.until_ready().await;
    change(&from, 2).await;
    if shard.is_some() {
        transact(&from, 2).await;
    }
    engine.kill();
    if let Some(shard) = shard {
        copy_again(source, target, shard).await;
        transact(&from, 3).await;
    }
    change(&from, 3).await;

    let others = [&flags[..2], &["--rename", "x.orders=x.accounts"]].concat();
    let texts = [
        "was begun with rename a=c, rename gone=went, rename x.orders=x.bills",
        "and is given rename a=c, rename x.orders=x.accounts",
    ];
    refused(source, target, &others, &texts).await;

    let mut engine = Engine::start(source, target, &flags).await;
    engine.until_ready().await;
    change(&from, 4).await;
    from.database("gone").drop().await.unwrap();
    from.database("w").drop().await.unwrap();
    engine.until_ready().await;
    engine.cut_over().await;
    expect_equal(source, target, &RENAMES).await;
    assert_eq!(names(&to, "a").await, ["theirs"]);
    assert_eq!(names(&to, "went").await, [""; 0]);
    for db in ["v", "w"] {
        assert_eq!(names(&to, db).await, [""; 0]);
    }
    assert_eq!(names(&to, "y").await, ["kept", "own"]);
    assert!(!names(&to, "x").await.contains(&"orders".to_owned()));
}

async fn copy_again(source: &str, target: &str, shard: &str) {
    for (ns, expect, part) in [
        ("x.orders", 4, "check --ns, which is a name on the target"),
        ("x.bills", 0, "emptied on the target: 1"),
    ] {
        let arguments = [
            "recopy", "--source", source, "--target", target, "--shard", shard, "--ns", ns,
        ];
        let (code, text) = shardlift(&arguments, None).await;
        assert!(code == Some(expect) && text.contains(part), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_set_arrives_under_other_names() {
    let (a, b) = tokio::join!(
        fixture::replica_set("a", &[]),
        fixture::replica_set("b", &[])
    );
    let (source, target) = (a.uri(), b.uri());
    let from = a.client().await.unwrap();
    populate(&from, "u").await;
    series(&from, "a", "weather").await;
    series(&from, "x", "wind").await;
    grown(&from, "a.grown").await;
    what_has_been_renamed_is_found(&source).await;
    what_cannot_be_is_refused(&source, &target).await;
    arrives_under_other_names(&source, &target, &[], Some("a")).await;
    what_crosses_stops_the_run(&source, &target).await;
}

/// Two of the source trade their names.
async fn trade(source: &Client) {
    for (from, to) in [("x.swap", "x.t"), ("x.other", "x.swap"), ("x.t", "x.other")] {
        rename(source, from, to).await;
    }
}

/// By the source's own names, whatever its name of the plan is by now.
async fn what_has_been_renamed_is_found(source: &str) {
    let from = Client::with_uri_str(source).await.unwrap();
    let side = fixture::source(source).await;
    let side = side.asked(&Filters::default(), &asked(&RENAMES));
    let planned = catalog::read(&side).await.unwrap().collections;
    let called = async |name: &str| {
        let mut planned = planned.iter();
        let planned = planned.find(|c| c.ns.to_string() == name).unwrap();
        let now = catalog::called_now(&side.shards[0], &planned.ns, planned.uuid.unwrap()).await;
        now.map(|now| now.map(|now| now.to_string()))
    };
    trade(&from).await;
    rename(&from, "a.plain", "a.plain_2").await;
    for (name, now) in [
        ("c.plain", "c.plain_2"),
        ("c.dropped", "c.dropped"),
        ("x.other", "x.swap"),
        ("x.swap", "x.other"),
        ("x.bills", "x.bills"),
        ("y.kept", "y.kept"),
    ] {
        assert_eq!(called(name).await.unwrap().as_deref(), Some(now), "{name}");
    }
    rename(&from, "a.plain_2", "a.plain").await;
    trade(&from).await;
    rename(&from, "x.stays", "x.bills").await;
    let taken = called("x.stays").await.unwrap_err();
    assert!(taken.message.contains("has a name that another"), "{taken}");
    rename(&from, "x.bills", "x.stays").await;
    assert_eq!(called("x.stays").await.unwrap().as_deref(), Some("x.stays"));
}

async fn what_cannot_be_is_refused(source: &str, target: &str) {
    let rows: [(&[&str], &str); 7] = [
        (
            &["--rename", "x.orders=x.stays"],
            "x.stays of the source has a name that another",
        ),
        (
            &["--rename", "a=y"],
            "y.own of the source has a name that another is to have",
        ),
        (
            &["--rename", "x.orders=z.orders"],
            "a view reads its own database only",
        ),
        (
            &["--rename", "x.moved=x.orders", "--exclude", "x.orders"],
            "of the source reads x.orders, whose name another",
        ),
        (
            &["--rename", "a=c", "--rename", "x=c"],
            "are about one name",
        ),
        (&["--rename", "a.plain=c"], "is no rename"),
        (
            &["--rename", "a=c", "--reverse"],
            "the way back cannot undo them yet",
        ),
    ];
    for (flags, text) in rows {
        let code = Engine::start(source, target, flags).await.end().await;
        let log = code.log.text();
        assert!(code.code != 0 && log.contains(text), "{flags:?}: {log}");
    }
}

/// By a rename of the source, or by a name that came since.
async fn what_crosses_stops_the_run(source: &str, target: &str) {
    let (from, to) = (
        Client::with_uri_str(source).await.unwrap(),
        Client::with_uri_str(target).await.unwrap(),
    );
    // The second wipes what the first made under other names.
    let rows = [
        ("storm", "one", "another database, on the target"),
        ("gale", "uno", "has a name that another"),
    ];
    for (wind, one, text) in rows {
        for db in ["d", "e"] {
            from.database(db).drop().await.unwrap();
        }
        insert(&from, "d.one", 0..10).await;
        series(&from, "d", "wind").await;
        let (one, wind) = (format!("d.one=e.{one}"), format!("d.wind=d.{wind}"));
        let flags = flags(&[&one, &wind, "d.two=d.three"]);
        let flags = [&flags[..], &["--include", "d.*", "--restart"]].concat();
        let mut engine = Engine::start(source, target, &flags).await;
        engine.until_ready().await;
        measure(&from, "d", "wind", 400).await;
        for (rename, db) in [(&wind, "d"), (&one, "e")] {
            let name = rename.rsplit_once('.').unwrap().1;
            assert_eq!(names(&to, db).await, [name]);
        }
        if text.starts_with("another") {
            rename(&from, "d.one", "d.four").await;
        } else {
            insert(&from, "d.three", 0..1).await;
        }
        let outcome = engine.end().await;
        let log = outcome.log.text();
        assert!(
            [4, 6].contains(&outcome.code) && log.contains(text),
            "{log}"
        );
    }
}

async fn shard(client: &Client, ns: &str, key: Document) {
    run(client, "admin", doc! {"shardCollection": ns, "key": key}).await;
}

/// With zones, chunks on both shards, and collections that come sharded.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sharded_cluster_arrives_under_other_names() {
    let [source, target] = on_clusters("6.0", &["a.weather", "x.wind"]).await;
    later::a_moved_primary_stops_the_run(&source, &target).await;
}

/// Chunks by names, and no command by UUID.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sharded_cluster_of_an_earlier_release_arrives_under_other_names() {
    on_clusters("4.2", &[]).await;
}

async fn cluster(release: &str) -> ShardedCluster {
    let options = ShardedOptions {
        shards: 2,
        release: release.parse().unwrap(),
        cache_gb: 0.25,
        oplog_mb: Some(64),
        ..ShardedOptions::default()
    };
    let cluster = ShardedCluster::start(options).await.unwrap();
    let client = Client::with_uri_str(cluster.uri()).await.unwrap();
    run(&client, "admin", doc! {"balancerStop": 1}).await;
    cluster
}

/// `series`: time series that are sharded.
async fn on_clusters(release: &str, series: &[&str]) -> [ShardedCluster; 2] {
    let (a, b) = tokio::join!(cluster(release), cluster(release));
    let (source, target) = (a.uri(), b.uri());
    let from = Client::with_uri_str(&source).await.unwrap();
    for (db, primary) in [
        ("a", "shard1"),
        ("gone", "shard0"),
        ("x", "shard0"),
        ("y", "shard0"),
        ("w", "shard0"),
        ("far", "shard1"),
    ] {
        run(
            &from,
            "admin",
            doc! {"enableSharding": db, "primaryShard": primary},
        )
        .await;
    }
    shard(&from, "a.dropped", doc! {"_id": "hashed"}).await;
    shard(&from, "x.orders", doc! {"_id": "hashed"}).await;
    shard(&from, "x.moved", doc! {"_id": 1}).await;
    shard(&from, "a.zoned", doc! {"_id": 1}).await;
    run(
        &from,
        "admin",
        doc! {"addShardToZone": "shard0", "zone": "z"},
    )
    .await;
    run(
        &from,
        "admin",
        doc! {"updateZoneKeyRange": "a.zoned", "min": {"_id": 0}, "max": {"_id": 100}, "zone": "z"},
    )
    .await;
    for ns in series {
        let of = doc! {"timeField": "at", "metaField": "s"};
        let sharded = doc! {"shardCollection": ns, "key": {"s": "hashed"}, "timeseries": of};
        run(&from, "admin", sharded).await;
        let (db, name) = ns.split_once('.').unwrap();
        measure(&from, db, name, 0).await;
    }
    spread(&from).await;
    populate(&from, "n").await;
    insert(&from, "a.zoned", 0..200).await;
    insert(&from, "far.rows", 0..10).await;
    let apart = ["--rename", "far.rows=x.rows"];
    refused(
        &source,
        &target,
        &apart,
        &["of different primary shards: far on shard1 and x on shard0"],
    )
    .await;
    arrives_under_other_names(&source, &target, &["--renames", "follow"], None).await;
    [a, b]
}

/// Chunks of one collection on either shard. It is empty yet: nobody's documents are left.
async fn spread(from: &Client) {
    let split = doc! {"split": "x.moved", "middle": {"_id": 200}};
    run(from, "admin", split).await;
    let moved = doc! {"moveChunk": "x.moved", "find": {"_id": 300}, "to": "shard1"};
    run(from, "admin", moved).await;
}
