//! Each check of `shardlift validate` as its users see it: ok, warning and failed on real
//! servers, wherever these can be brought to it. The neighbours have the checks that need
//! members, logins or releases of their own.

use std::process::Command;
use std::time::Duration;

use bson::{Document, doc};
use loadgen::cluster::{ShardedCluster, orphans};
use mongodb::options::{CollectionOptions, WriteConcern};
use serde_json::Value;

use crate::engine::Engine;
use crate::fixture::{self, run};
use crate::recorded::shardlift;
use crate::releases::rig;

/// What `validate --json` printed.
pub(crate) struct Told(Vec<Value>);

pub(crate) fn told(source: &str, target: &str, flags: &[&str]) -> Told {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shardlift"));
    command.args(["validate", "--json", "--source", source, "--target", target]);
    Told::by(command.args(flags))
}

impl Told {
    fn by(command: &mut Command) -> Told {
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        Told(serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {text}")))
    }

    /// Name, what was found and what to do of each check that failed.
    pub(crate) fn failed(&self) -> Vec<[&str; 3]> {
        fn text<'a>(check: &'a Value, of: &str) -> &'a str {
            check[of].as_str().unwrap_or_default()
        }
        let failed = self.0.iter().filter(|check| check["verdict"] == "failed");
        let of = |check| ["name", "found", "remedy"].map(|of| text(check, of));
        failed.map(of).collect()
    }

    /// That the check has this verdict, and found something like that.
    pub(crate) fn is(&self, name: &str, verdict: &str, found: &str) {
        let check = self.check(name);
        assert_eq!(check["verdict"], verdict, "{check}");
        assert!(self.found(name).contains(found), "{check}");
        assert_eq!(check["remedy"].is_null(), verdict == "ok", "{check}");
    }

    fn check(&self, name: &str) -> &Value {
        let check = self.0.iter().find(|check| check["name"] == name);
        check.unwrap_or_else(|| panic!("there is no check {name}"))
    }

    pub(crate) fn found(&self, name: &str) -> &str {
        self.check(name)["found"].as_str().unwrap()
    }
}

/// Clock of the newest entry of a set's oplog.
async fn newest(client: &mongodb::Client) -> bson::Timestamp {
    let oplog = client.database("local").collection::<Document>("oplog.rs");
    let newest = oplog.find_one(doc! {}).sort(doc! {"$natural": -1});
    let newest = newest.await.unwrap().unwrap();
    newest.get_timestamp("ts").unwrap()
}

/// That nobody but the server itself wrote since then.
async fn nothing_was_written(client: &mongodb::Client, since: bson::Timestamp) {
    let oplog = client.database("local").collection::<Document>("oplog.rs");
    let own = doc! {"$nin": ["config.system.sessions", "config.transactions"]};
    let of_keys = ["create", "createIndexes"]
        .map(|made| doc! {format!("o.{made}"): "external_validation_keys"});
    let written =
        doc! {"ts": {"$gt": since}, "op": {"$ne": "n"}, "ns": own, "$nor": of_keys.to_vec()};
    let written = oplog.find_one(written).await.unwrap();
    assert_eq!(written, None);
}

async fn history(client: &mongodb::Client, seconds: i32) {
    let set = doc! {"setParameter": 1, "minSnapshotHistoryWindowInSeconds": seconds};
    run(client, "admin", set).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_asked_of_replica_sets_and_of_this_host() {
    let (source, target) = tokio::join!(
        fixture::replica_set("a", &[]),
        fixture::replica_set("b", &[])
    );
    let (from, to) = (source.uri(), target.uri());
    let (a, b) = (
        source.client().await.unwrap(),
        target.client().await.unwrap(),
    );
    fixture::insert(&a, "shop", "orders").await;
    let of = |flags: &[&str]| told(&from, &to, flags);
    const HISTORY: &str = "source keeps its history";
    const LEFT: &str = "no users' collections in admin, config, local";
    const SAME_NAMES: &str = "way back: the same names on both sides";
    let since = (newest(&a).await, newest(&b).await);
    let fine = of(&["--spool-mb", "64", "--include", "shop.*", "--reverse"]);
    nothing_was_written(&a, since.0).await;
    nothing_was_written(&b, since.1).await;
    for (name, found) in [
        ("spool disk", "spool_mb is 64"),
        (HISTORY, "long enough"),
        ("source collections may be renamed", "yes"),
        ("order of the copy", "`_id`"),
        ("filters", "in are 1: shop.orders"),
        ("same or newer release", "runs 6.0"),
        ("release supported", "runs 6.0"),
        (LEFT, "none"),
    ] {
        fine.is(name, "ok", found);
    }
    for (flags, name, verdict, found) in [
        (
            ["--spool-mb", "16777216"],
            "spool disk",
            "warning",
            "MiB free",
        ),
        (
            ["--renames", "stop"],
            "source collections may be renamed",
            "warning",
            "a rename stops the run",
        ),
        (
            ["--profile", "atlas"],
            "profile atlas",
            "failed",
            "is a replica set",
        ),
        (
            ["--include", "nothing.*"],
            "filters",
            "warning",
            "in are none",
        ),
        (
            ["--rename", "nothing=other"],
            "renames",
            "warning",
            "nothing has the name in nothing=other",
        ),
    ] {
        of(&flags).is(name, verdict, found);
    }
    let limited =
        format!("ulimit -n 512; exec \"$0\" validate --json --source '{from}' --target '{to}'");
    let mut shell = Command::new("sh");
    let shell = shell.args(["-c", &limited, env!("CARGO_BIN_EXE_shardlift")]);
    Told::by(shell).is("open files of this host", "warning", "512 files");

    history(&a, 5).await;
    let mine = doc! {"insert": "mine", "documents": [{"x": 1}]};
    run(&a, "local", mine).await;
    let warned = of(&[]);
    warned.is(HISTORY, "warning", "a for 5 s");
    warned.is(LEFT, "warning", "local.mine");
    run(&a, "local", doc! {"drop": "mine"}).await;
    history(&a, 300).await;

    let back = of(&["--reverse"]);
    for (name, verdict, found) in [
        ("way back: same release", "ok", "runs 6.0"),
        (
            "way back: source closed to users",
            "warning",
            "cannot refuse",
        ),
        ("way back: follow the target", "ok", "no authentication"),
        ("way back: write to the source", "ok", "no authentication"),
        ("way back: target oplog readable", "ok", "majority"),
        ("way back: target keeps its history", "ok", "long enough"),
        (SAME_NAMES, "ok", "no renames"),
    ] {
        back.is(name, verdict, found);
    }
    history(&b, 5).await;
    let back = of(&["--reverse", "--rename", "shop=store"]);
    back.is("way back: target keeps its history", "warning", "b for 5 s");
    back.is(SAME_NAMES, "failed", "rename shop=store");
    back.is("renames", "ok", "shop.orders as store.orders");
    history(&b, 300).await;

    others_are_told(&from, &to).await;
}

/// Another migration of the same two, or of one of them.
async fn others_are_told(from: &str, to: &str) {
    const NAME: &str = "no other migration";
    told(from, to, &[]).is(NAME, "ok", "none is recorded");
    let mut engine = Engine::start(from, to, &[]).await;
    engine.until_ready().await;
    told(from, to, &[]).is(NAME, "failed", "works on this target");
    engine.signal("TERM");
    assert_eq!(engine.end().await.code, 130);
    told(from, to, &[]).is(NAME, "warning", "of these two is recorded");
    told(to, from, &[]).is(NAME, "warning", "of which the source is the target");
    told(to, from, &["--reverse"]).is(NAME, "failed", "of which the source is the target");
    let cancel = [
        "cancel",
        "--source",
        from,
        "--target",
        to,
        "--api-port",
        "1",
    ];
    let (code, text) = shardlift(&cancel, None).await;
    assert_eq!(code, Some(0), "{text}");
    told(from, to, &[]).is(NAME, "warning", "was cancelled");
    let other = fixture::replica_set("c", &[]).await;
    told(&other.uri(), to, &[]).is(NAME, "failed", "is not that of run");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_asked_of_clusters() {
    let (source, target) = tokio::join!(fixture::cluster(2), fixture::cluster(2));
    let (from, to) = (source.uri(), target.uri());
    let (a, b) = (
        source.client().await.unwrap(),
        target.client().await.unwrap(),
    );
    let sharded = doc! {"shardCollection": "shop.c", "key": {"k": 1}};
    run(&a, "admin", sharded).await;
    let documents: Vec<Document> = (0..100).map(|k| doc! {"k": k}).collect();
    run(&a, "shop", doc! {"insert": "c", "documents": documents}).await;
    const ORPHANS: &str = "source orphans";
    const ALIKE: &str = "indexes alike on every shard";
    const SETTINGS: &str = "balancer settings that travel";
    const REMOVED: &str = "no source shard is being removed";
    const RESTS: &str = "source chunks at rest";
    const LEFT: &str = "no users' collections in admin, config, local";
    const EMPTY: &str = "target is empty";
    let fine = told(&from, &to, &[]);
    for name in [ORPHANS, ALIKE, SETTINGS, REMOVED, RESTS, LEFT, EMPTY] {
        fine.is(name, "ok", "");
    }
    fine.is("source config servers", "ok", "replica set");

    let range = (doc! {"k": 20}, Some(doc! {"k": 50}));
    let made = orphans::make(&source, "shop.c", range.0, range.1, "shard1").await;
    let made = match made {
        Ok(made) => made,
        // Its primary may be either shard.
        Err(_) => {
            let range = (doc! {"k": 20}, Some(doc! {"k": 50}));
            orphans::make(&source, "shop.c", range.0, range.1, "shard0")
                .await
                .unwrap()
        }
    };
    assert_eq!(made, 30);
    let shard = &source.shard_clients().await.unwrap()[1];
    let index = doc! {"key": {"x": 1}, "name": "x"};
    run(
        shard,
        "shop",
        doc! {"createIndexes": "c", "indexes": [index]},
    )
    .await;
    let config = source.config().client().await.unwrap();
    // As a router writes them: it reads what a majority has.
    let majority = CollectionOptions::builder()
        .write_concern(WriteConcern::majority())
        .build();
    let rows = |name: &str| {
        let config = config.database("config");
        config.collection_with_options::<Document>(name, majority.clone())
    };
    let size = doc! {"_id": "chunksize", "value": 32};
    rows("settings").insert_one(size).await.unwrap();
    let one = doc! {"_id": "shard1"};
    let leaving = doc! {"$set": {"draining": true}};
    rows("shards")
        .update_one(one.clone(), leaving)
        .await
        .unwrap();
    let moving = doc! {"_id": "m", "ns": "shop.c", "fromShard": "shard0", "toShard": "shard1"};
    rows("migrations").insert_one(moving).await.unwrap();
    rows("mine").insert_one(doc! {}).await.unwrap();
    run(&b, "admin", doc! {"enableSharding": "SHOP"}).await;
    let noted = told(&from, &to, &[]);
    for (name, verdict, found) in [
        (ORPHANS, "warning", "1 ranges of shop.c on shard"),
        (ALIKE, "warning", "x of shop.c"),
        (SETTINGS, "warning", "chunksize.value"),
        (REMOVED, "failed", "shard1"),
        (RESTS, "warning", "shop.c"),
        (LEFT, "warning", "config.mine"),
        (EMPTY, "warning", "SHOP (shop on the source)"),
    ] {
        noted.is(name, verdict, found);
    }
    // What is to be changed on the source has its name there.
    told(&from, &to, &["--rename", "shop.c=shop.d"]).is(ALIKE, "warning", "x of shop.c");

    let stays = doc! {"$unset": {"draining": 1}};
    rows("shards").update_one(one, stays).await.unwrap();
    run(shard, "shop", doc! {"dropIndexes": "c", "index": "x"}).await;
    rows("migrations").delete_many(doc! {}).await.unwrap();
    let again = told(&from, &to, &[]);
    for name in [ALIKE, REMOVED, RESTS] {
        again.is(name, "ok", "");
    }
    again.is("source balancer", "ok", "");
    run(&a, "admin", doc! {"balancerStart": 1}).await;
    told(&from, &to, &[]).is("source balancer", "ok", "on; it is stopped for the run");
    others_are_reached(&source, &to).await;
}

/// Routers and config servers, also one of either that nobody runs.
async fn others_are_reached(source: &ShardedCluster, to: &str) {
    const NAME: &str = "source members reached";
    let from = source.uri();
    told(&from, to, &[]).is(NAME, "ok", "all 4, by their names");
    let more = format!("{0},127.0.0.1:1", source.router_host());
    let more = from.replace(&source.router_host(), &more);
    let one = "127.0.0.1:1 of the routers: its port does not answer";
    told(&more, to, &[]).is(NAME, "warning", one);
    let config = source.config().client().await.unwrap();
    let found = run(&config, "admin", doc! {"replSetGetConfig": 1}).await;
    let mut set = found.get_document("config").unwrap().clone();
    let version = set.get_i32("version").unwrap();
    set.insert("version", version + 1);
    let away = doc! {"_id": 7, "host": "127.0.0.1:2", "priority": 0, "votes": 0};
    set.get_array_mut("members").unwrap().push(away.into());
    run(
        &config,
        "admin",
        doc! {"replSetReconfig": set, "force": true},
    )
    .await;
    // The shards hear of it by and by.
    let one = "127.0.0.1:2 of the config servers: its port does not answer";
    while !told(&from, to, &[]).found(NAME).contains(one) {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_asked_of_older_releases() {
    let args = ["--enableMajorityReadConcern", "false"];
    let (source, target) = tokio::join!(
        rig::set_with("a", rig::of(4, 4), &args),
        fixture::replica_set("b", &[])
    );
    let (from, to) = (source.uri(), target.uri());
    told(&from, &to, &[]).is(
        "source oplog readable",
        "failed",
        "majority reads are switched off",
    );
    told(&to, &from, &[]).is("same or newer release", "failed", "source runs 6.0");
    const SOURCE: &str = "source allows majority reads";
    const TARGET: &str = "target allows majority reads";
    told(&from, &to, &[]).is(SOURCE, "failed", "a has them switched off");
    told(&from, &to, &[]).is(TARGET, "ok", "yes");
    const LATER: &str = "what is made while it runs";
    told(&from, &to, &[]).is(LATER, "warning", "that the target's release refuses");

    // As a target, too; and a start says so, with all else that is wrong.
    let other = rig::set("c", rig::of(4, 4)).await;
    let other_uri = other.uri();
    let [there, here] = [told(&other_uri, &from, &[]), told(&from, &other_uri, &[])];
    there.is(TARGET, "failed", "a has them switched off");
    there.is(SOURCE, "ok", "yes");
    here.is(SOURCE, "failed", "a has them switched off");
    fixture::insert(&source.client().await.unwrap(), "left", "over").await;
    for (side, source, target, beside) in [
        (TARGET, other_uri.as_str(), from.as_str(), "left.over"),
        (SOURCE, &from, &other_uri, "source oplog readable"),
    ] {
        let migrate = ["migrate", "--source", source, "--target", target];
        let flags = ["--api-port", "0", "--progress", "none"];
        let (code, text) = shardlift(&[&migrate[..], &flags[..]].concat(), None).await;
        assert_eq!(code, Some(4), "{text}");
        assert!(text.contains(side) && text.contains(beside), "{text}");
    }
}
