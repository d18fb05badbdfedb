//! What validation warns of and what it fails on, each found on real servers and gone
//! again; and the command as its users see it.

use std::collections::BTreeSet;
use std::process::{Command, Output};
use std::time::Duration;

use bson::{RawDocumentBuf, doc};
use loadgen::cluster::{ReplicaSet, ReplicaSetOptions};
use mongodb::Client;
use mongodb::options::ClientOptions;
use shardlift::cluster::catalog;
use shardlift::cluster::deployment::Deployment;
use shardlift::cluster::reach::{self, Step};
use shardlift::control::validate::{self, Check, Group, Verdict};
use shardlift::wire::way::Way;

use crate::fixture::{self, run};
use crate::validate_verdicts::told;

pub(crate) async fn check(source: &Deployment, target: &Deployment, name: &str) -> Check {
    let catalog = catalog::read(source).await.unwrap();
    let checks = validate::run(source, target, &catalog, &BTreeSet::new()).await;
    for check in &checks {
        let is_ok = check.verdict == Verdict::Ok;
        assert_eq!(check.remedy.is_none(), is_ok, "{check:?}");
    }
    assert!(checks.is_sorted_by_key(|check| check.group), "{checks:#?}");
    let mut named = checks.into_iter().filter(|check| check.name == name);
    named.next().expect("there is such a check")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_operator_should_know_is_a_warning_until_it_is_so_no_more() {
    let (a, b) = tokio::join!(
        fixture::replica_set("a", &[]),
        fixture::replica_set("b", &[])
    );
    let (from, to) = (a.client().await.unwrap(), b.client().await.unwrap());
    let source = fixture::source(&a.uri()).await;
    let target = fixture::target(&b.uri()).await;

    let open = check(&source, &target, "source connections encrypted").await;
    assert_eq!(
        (open.verdict, open.group),
        (Verdict::Warning, Group::Connect)
    );
    let clocks = check(&source, &target, "clocks agree").await;
    assert_eq!(clocks.verdict, Verdict::Ok, "one host: {clocks:?}");
    let young = check(&source, &target, "source oplog window").await;
    assert_eq!(
        (young.verdict, young.group),
        (Verdict::Warning, Group::Capacity)
    );
    assert!(young.found.contains("h of oplog"), "{young:?}");

    for (name, group, found) in [
        (
            "source members reached",
            Group::Connect,
            "all 1, by their names",
        ),
        (
            "target members reached",
            Group::Connect,
            "all 1, by their names",
        ),
        (
            "target disk",
            Group::Capacity,
            "GB free on the fullest shard",
        ),
        (
            "open files of the source",
            Group::Capacity,
            "no server has complained",
        ),
        (
            "open files of this host",
            Group::Capacity,
            "files may be open",
        ),
    ] {
        let fine = check(&source, &target, name).await;
        assert_eq!(fine.group, group, "{fine:?}");
        // How this host is set is not ours.
        let of_host = name.starts_with("open files");
        assert!(of_host || fine.found.contains(found), "{fine:?}");
    }
    const USERS: &str = "users and roles on the target";
    let none = check(&source, &target, USERS).await;
    assert_eq!(none.verdict, Verdict::Ok, "{none:?}");
    let user = doc! {"createUser": "shop", "pwd": "x", "roles": ["readWrite"]};
    let role = doc! {"createRole": "seller", "privileges": [], "roles": []};
    run(&from, "shop", user.clone()).await;
    run(&from, "shop", role.clone()).await;
    let missing = check(&source, &target, USERS).await;
    assert_eq!(missing.verdict, Verdict::Warning);
    assert_eq!(missing.found, "role seller@shop, user shop@shop");
    run(&to, "shop", user).await;
    run(&to, "shop", role).await;
    let there = check(&source, &target, USERS).await;
    assert_eq!(there.verdict, Verdict::Ok, "{there:?}");

    for (client, name) in [
        (&from, "source allows collection scans"),
        (&to, "target allows collection scans"),
    ] {
        for (on, verdict) in [(true, Verdict::Warning), (false, Verdict::Ok)] {
            let set = doc! {"setParameter": 1, "notablescan": on};
            run(client, "admin", set).await;
            let scans = check(&source, &target, name).await;
            assert_eq!(scans.verdict, verdict, "{scans:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_is_not_reached_is_named_with_the_step_that_failed() {
    let options = ReplicaSetOptions {
        name: "a".to_owned(),
        members: 3,
        cache_gb: 0.25,
        oplog_mb: Some(64),
        ..ReplicaSetOptions::default()
    };
    let (a, b) = tokio::join!(ReplicaSet::start(options), fixture::replica_set("b", &[]));
    let a = a.unwrap();
    let source = fixture::source(&a.uri()).await;
    let target = fixture::target(&b.uri()).await;
    const NAME: &str = "source members reached";
    let all = check(&source, &target, NAME).await;
    assert_eq!(
        (all.verdict, all.found.as_str()),
        (Verdict::Ok, "all 3, by their names")
    );

    let host = b.member_hosts()[0].clone();
    let way = async |options: &str, host: &str| {
        let uri = format!("mongodb://{options}");
        let options = ClientOptions::parse(uri).await.unwrap();
        reach::enter(&Way::new(&options).unwrap(), host).await.err()
    };
    let plain = "h:1/?";
    let rows = [
        (plain, host.as_str(), None),
        (plain, "no-such-host.invalid:27017", Some(Step::Name)),
        (plain, "127.0.0.1:1", Some(Step::Port)),
        ("h:1/?tls=true&tlsInsecure=true", &host, Some(Step::Tls)),
        (
            "nobody:secret@h:1/?authSource=admin",
            &host,
            Some(Step::Login),
        ),
    ];
    for (options, host, expect) in rows {
        let found = way(options, host).await;
        let step = found.as_ref().map(|(step, _)| *step);
        assert_eq!(step, expect, "{options} {host}: {found:?}");
        assert!(!format!("{found:?}").contains("secret"));
    }

    // What is reached now need not be after an election.
    let secondary = (a.primary().await.unwrap() + 1) % 3;
    const HEALTHY: &str = "source shards healthy";
    let sound = check(&source, &target, HEALTHY).await;
    assert_eq!(sound.verdict, Verdict::Ok, "{sound:?}");
    let strict = || told(&a.uri(), &b.uri(), &["--profile", "atlas"]);
    strict().is(NAME, "ok", "all 3, by their names");
    a.members()[secondary].freeze();
    let frozen = check(&source, &target, NAME).await;
    strict().is(NAME, "failed", &a.member_hosts()[secondary]);
    told(&a.uri(), &b.uri(), &[]).is(NAME, "warning", &a.member_hosts()[secondary]);
    // Its set notices after some heartbeats.
    let weak = loop {
        let now = check(&source, &target, HEALTHY).await;
        if now.verdict != Verdict::Ok {
            break now;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    a.members()[secondary].thaw();
    assert_eq!(weak.verdict, Verdict::Warning, "{weak:?}");
    assert!(
        weak.found.contains("no data-bearing member to spare"),
        "{weak:?}"
    );
    assert_eq!(frozen.verdict, Verdict::Warning, "{frozen:?}");
    assert!(
        frozen.found.contains(&a.member_hosts()[secondary]),
        "{frozen:?}"
    );
}

fn validate_command(source: &str, target: &str, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shardlift"));
    command.args(["validate", "--source", source, "--target", target]);
    command.args(["--server-timeout-s", "2"]).args(more);
    command.output().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_shows_every_check_by_group_also_where_one_side_is_away() {
    let (a, b) = tokio::join!(
        fixture::replica_set("a", &[]),
        fixture::replica_set("b", &[])
    );
    fixture::insert(&b.client().await.unwrap(), "left", "over").await;
    let told = validate_command(&a.uri(), &b.uri(), &[]);
    let table = String::from_utf8(told.stdout).unwrap();
    assert_eq!(told.status.code(), Some(4), "{table}");
    let groups = [
        "connect",
        "topology",
        "release",
        "privileges",
        "source state",
        "target state",
        "content",
        "capacity",
    ];
    let shown: Vec<&str> = table.lines().filter(|line| groups.contains(line)).collect();
    assert_eq!(shown, groups, "{table}");
    assert!(table.contains("  FAILED     target is empty: "), "{table}");
    assert!(table.contains(", 1 failed"), "{table}");
    let mut lines = table.lines().peekable();
    while let Some(line) = lines.next() {
        let has_remedy = lines
            .peek()
            .is_some_and(|next| next.contains("what to do:"));
        assert!(!(line.starts_with("  ok ") && has_remedy), "{table}");
    }

    let told = validate_command(&a.uri(), &b.uri(), &["--json"]);
    let checks: serde_json::Value = serde_json::from_slice(&told.stdout).unwrap();
    let failed = checks.as_array().unwrap().iter();
    let failed: Vec<_> = failed
        .filter(|check| check["verdict"] == "failed")
        .collect();
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0]["group"], "target state");

    let nobody = "mongodb://127.0.0.1:1/";
    let told = validate_command(&a.uri(), nobody, &[]);
    let table = String::from_utf8(told.stdout).unwrap();
    assert_eq!(told.status.code(), Some(3), "{table}");
    assert!(table.contains("  ok         source reached: "), "{table}");
    assert!(table.contains("  FAILED     target reached: "), "{table}");
    // What the other side is asked for by itself is told all the same.
    let told_of = |table: &str, told: &[&str], untold: &[&str]| {
        let is_told = |name: &&str| table.contains(&format!(" {name}: "));
        assert!(told.iter().all(is_told), "{table}");
        assert!(!untold.iter().any(is_told), "{table}");
    };
    let of_source = [
        "source members reached",
        "source privileges",
        "source shards healthy",
        "source oplog readable",
        "source keeps its history",
        "source oplog window",
        "open files of the source",
        "open files of this host",
        "clocks agree",
        "collections supported",
        "names are UTF-8",
        "order of the copy",
        "spool disk",
    ];
    let of_target = [
        "target members reached",
        "target privileges",
        "target shards healthy",
        "target takes writes",
        "open files of the target",
        "target is empty",
    ];
    told_of(&table, &of_source, &of_target);
    let told = validate_command(nobody, &b.uri(), &[]);
    let table = String::from_utf8(told.stdout).unwrap();
    assert_eq!(told.status.code(), Some(3), "{table}");
    told_of(&table, &of_target, &of_source[..5]);
    assert!(
        table.contains("  FAILED     target is empty: the target holds left.over"),
        "{table}"
    );
    let told = validate_command(nobody, "mongodb://127.0.0.1:2/", &[]);
    let table = String::from_utf8(told.stdout).unwrap();
    assert_eq!(told.status.code(), Some(3), "{table}");
    told_of(&table, &["spool disk"], &["clocks agree"]);
    assert!(table.contains(", 2 failed"), "{table}");
}

/// Makes a collection with a name of these bytes. The driver would read that of `create`.
pub(crate) async fn create_named(client: &Client, name: &[u8]) {
    let create = doc! {"op": "c", "ns": "shop.$cmd", "o": {"create": "x".repeat(name.len())}};
    let apply = RawDocumentBuf::try_from(&doc! {"applyOps": [create]}).unwrap();
    let mut bytes = apply.into_bytes();
    let at = bytes.windows(2).position(|pair| pair == b"xx");
    let at = at.expect("the name");
    bytes[at..at + name.len()].copy_from_slice(name);
    let apply = RawDocumentBuf::from_bytes(bytes).unwrap();
    let made = client.database("admin").run_raw_command(apply).await;
    made.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_is_told_at_once_beside_names_that_cannot_be_read_and_lists_are_whole_in_json() {
    let (a, b) = tokio::join!(
        fixture::replica_set("a", &[]),
        fixture::replica_set("b", &[])
    );
    let (from, to) = (a.client().await.unwrap(), b.client().await.unwrap());
    for name in [&b"\xffone"[..], b"two\xfe"] {
        create_named(&from, name).await;
    }
    let measured =
        doc! {"timeField": "at", "granularity": "seconds", "bucketMaxSpanSeconds": 3_600};
    let buckets =
        doc! {"create": "system.buckets.alone", "clusteredIndex": true, "timeseries": measured};
    fixture::run(&from, "shop", buckets).await;
    for number in 0..12 {
        fixture::insert(&to, "left", &format!("c{number}")).await;
    }
    let told = validate_command(&a.uri(), &b.uri(), &["--json"]);
    assert_eq!(told.status.code(), Some(4));
    let checks: serde_json::Value = serde_json::from_slice(&told.stdout).unwrap();
    let of = |name: &str| {
        let mut checks = checks.as_array().unwrap().iter();
        let check = checks.find(|check| check["name"] == name);
        check
            .unwrap_or_else(|| panic!("{name}: {checks:?}"))
            .clone()
    };
    let counts = [
        "names are UTF-8",
        "collections supported",
        "target is empty",
    ]
    .map(|name| {
        let check = of(name);
        assert!(
            check["verdict"] == "failed" && check["remedy"].is_string(),
            "{check}"
        );
        check["names"].as_array().unwrap().len()
    });
    assert_eq!(counts, [2, 1, 12], "{checks}");
    let names = of("names are UTF-8")["found"].to_string();
    assert!(names.contains("xffone") && names.contains("two"), "{names}");
}
