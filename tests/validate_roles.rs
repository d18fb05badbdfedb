//! What the users of both sides may do: what is missing is named, with what grants it.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use bson::{Bson, doc};
use loadgen::server::data_dir::DataDir;
use mongodb::Client;
use shardlift::cluster::connect;
use shardlift::cluster::deployment::{Deployment, Side};
use shardlift::error::Kind;

use crate::fixture;
use crate::validate::{checks, failed, found};
use crate::validate_verdicts::told;

#[tokio::test]
async fn a_user_s_missing_roles_are_named() {
    let (secured, open) = tokio::join!(secured(), fixture::replica_set("open", &[]));
    let target = fixture::target(&open.uri()).await;
    let host = &secured.host;
    let uri = |user: &str, password: &str| format!("mongodb://{user}:{password}@{host}/");
    let source = fixture::source(&uri("root", "p%40ss")).await;
    assert_eq!(failed(&source, &target).await, [""; 0]);

    let users = [
        ("blind", vec!["readAnyDatabase"]),
        ("reader", vec!["readAnyDatabase", "clusterMonitor"]),
        ("fit", vec!["readAnyDatabase", "clusterMonitor", "backup"]),
        (
            "writer",
            vec!["readWriteAnyDatabase", "clusterMonitor", "restore"],
        ),
        ("poor", vec!["readWriteAnyDatabase", "clusterMonitor"]),
    ];
    for (user, roles) in users {
        fixture::run(
            &source.entry,
            "admin",
            doc! {"createUser": user, "pwd": "x", "roles": roles},
        )
        .await;
    }
    let fit = fixture::source(&uri("fit", "x")).await;
    assert_eq!(failed(&fit, &target).await, [""; 0]);
    let reader = fixture::source(&uri("reader", "x")).await;
    let lacks = found(&reader, &target, "source privileges").await;
    assert!(
        lacks.starts_with("secured lacks backup (appendOplogNote") && !lacks.contains("; "),
        "{lacks}"
    );

    let source = fixture::source(&open.uri()).await;
    let writer = fixture::target(&uri("writer", "x")).await;
    assert_eq!(
        found(&source, &writer, "target privileges").await,
        "sufficient on router and shards"
    );
    let poor = fixture::target(&uri("poor", "x")).await;
    let lacks = found(&source, &poor, "target privileges").await;
    let restores = [
        "lacks restore (",
        "collMod",
        "bypassDocumentValidation",
        "applyOps",
    ];
    assert!(
        restores.iter().all(|part| lacks.contains(part)) && !lacks.contains("readWrite"),
        "{lacks}"
    );

    a_role_of_its_own_is_enough(&open.uri(), &uri).await;
    a_user_of_another_database_is_granted_what_is_missing(host, &target).await;

    for (uri, part) in [
        (uri("root", "wrong"), "authSource"),
        (uri("blind", "x"), "clusterMonitor"),
    ] {
        let error = connect::connect(Side::Source, &uri, fixture::TIMEOUT)
            .await
            .unwrap_err();
        assert_eq!(error.kind, Kind::Connect, "{error}");
        assert!(
            error.remedy.unwrap().contains(part) && !error.message.contains("wrong"),
            "{}",
            error.message
        );
    }
}

/// The role that validation says, made as it says, is all that was missing; and the way back
/// asks for the rights of the other side.
async fn a_role_of_its_own_is_enough(open: &str, uri: &impl Fn(&str, &str) -> String) {
    let root = fixture::source(&uri("root", "p%40ss")).await.entry;
    let none: Vec<Bson> = Vec::new();
    let bare = doc! {"createUser": "bare", "pwd": "x", "roles": none};
    fixture::run(&root, "admin", bare).await;
    let (source, target) = (fixture::source(open).await, uri("poor", "x"));
    let remedy = async || {
        let target = fixture::target(&target).await;
        let checks = checks(&source, &target).await;
        let mut checks = checks.into_iter();
        let check = checks.find(|check| check.name == "target privileges");
        check.expect("there is such a check").remedy
    };
    let remedy_text = remedy().await.expect("rights are missing");
    let (_, role) = remedy_text.split_once("db.adminCommand(").unwrap();
    let (role, then) = role.split_once("), then ").unwrap();
    let role: serde_json::Value = serde_json::from_str(role).unwrap();
    fixture::run(&root, "admin", bson::serialize_to_document(&role).unwrap()).await;
    run_grant(&root, then).await;
    assert_eq!(remedy().await, None);

    what_a_login_is_not_told(&root, open, uri).await;

    let flags = ["--reverse"];
    told(&uri("fit", "x"), open, &flags).is(
        "way back: write to the source",
        "failed",
        "lacks restore",
    );
    told(open, &uri("writer", "x"), &flags).is(
        "way back: follow the target",
        "failed",
        "lacks backup",
    );
    let rows = [("fit", "warning"), ("root", "ok")];
    for (user, verdict) in rows {
        let password = if user == "root" { "p%40ss" } else { "x" };
        told(&uri(user, password), open, &flags).is(
            "way back: source closed to users",
            verdict,
            "",
        );
    }
}

/// By the command that is printed, as it is.
async fn a_user_of_another_database_is_granted_what_is_missing(host: &str, target: &Deployment) {
    let root = fixture::source(&format!("mongodb://root:p%40ss@{host}/")).await;
    let roles =
        ["readAnyDatabase", "clusterMonitor"].map(|role| doc! {"role": role, "db": "admin"});
    let seller = doc! {"createUser": "seller", "pwd": "x", "roles": roles.to_vec()};
    fixture::run(&root.entry, "app", seller).await;
    let checked = async || {
        let seller = format!("mongodb://seller:x@{host}/?authSource=app");
        let seller = fixture::source(&seller).await;
        let mut checks = checks(&seller, target).await.into_iter();
        let check = checks.find(|check| check.name == "source privileges");
        check.expect("there is such a check").remedy
    };
    let remedy = checked().await.expect("backup is missing");
    let (_, grants) = remedy.split_once("run on secured ").unwrap();
    let (grant, _) = grants.split_once("; or, ").unwrap();
    run_grant(&root.entry, grant).await;
    assert_eq!(checked().await, None);
}

/// Runs a `db.getSiblingDB(…).grantRolesToUser(…)`.
async fn run_grant(root: &Client, grant: &str) {
    let call = grant.strip_prefix("db.getSiblingDB(").unwrap();
    let (db, roles) = call.split_once(").grantRolesToUser(").unwrap();
    let roles = roles.strip_suffix(')').unwrap();
    let db: String = serde_json::from_str(db).unwrap();
    let (user, roles): (String, serde_json::Value) =
        serde_json::from_str(&format!("[{roles}]")).unwrap();
    let roles = bson::serialize_to_bson(&roles).unwrap();
    let grant = doc! {"grantRolesToUser": user, "roles": roles};
    fixture::run(root, &db, grant).await;
}

/// A login with all that a run needs, and no more.
async fn what_a_login_is_not_told(root: &Client, open: &str, uri: &impl Fn(&str, &str) -> String) {
    let about = [
        "inprog",
        "replSetGetStatus",
        "replSetGetConfig",
        "serverStatus",
        "getParameter",
        "appendOplogNote",
        "useUUID",
    ];
    let about = doc! {"resource": {"cluster": true}, "actions": about.to_vec()};
    let oplog = doc! {"resource": {"db": "local", "collection": "oplog.rs"}, "actions": ["find"]};
    let role = doc! {
        "createRole": "narrow", "privileges": [about, oplog], "roles": ["readAnyDatabase"],
    };
    fixture::run(root, "admin", role).await;
    let user = doc! {"createUser": "narrow", "pwd": "x", "roles": ["narrow"]};
    fixture::run(root, "admin", user).await;
    let narrow = told(&uri("narrow", "x"), open, &[]);
    narrow.is("source privileges", "ok", "sufficient");
    const FILES: &str = "open files of the source";
    narrow.is(FILES, "warning", "secured does not tell (`getLog`)");
    let users = "the source's are not known: the login may not read them";
    narrow.is("users and roles on the target", "warning", users);
    let asked = told(&uri("root", "p%40ss"), open, &[]);
    assert!(!asked.found(FILES).contains("does not tell"));
    // The users made here are not on the other side.
    asked.is(
        "users and roles on the target",
        "warning",
        "role narrow@admin",
    );
}

/// A replica set of one that asks for a login, with the user `root`.
async fn secured() -> fixture::Server {
    let dir = DataDir::create("secured").unwrap();
    let key = dir.path().join("keyfile");
    std::fs::write(&key, "c2hhcmRsaWZ0LXRlc3Q=").unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    let args = [
        "--replSet",
        "secured",
        "--oplogSize",
        "64",
        "--keyFile",
        key.to_str().unwrap(),
    ];
    let server = fixture::Server::start_in(dir, "secured", &args).await;
    let client = server.client().await;
    let members = doc! {"_id": "secured", "members": [{"_id": 0, "host": &server.host}]};
    fixture::run(&client, "admin", doc! {"replSetInitiate": members}).await;
    while !fixture::run(&client, "admin", doc! {"hello": 1})
        .await
        .get_bool("isWritablePrimary")
        .unwrap()
    {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    fixture::run(
        &client,
        "admin",
        doc! {"createUser": "root", "pwd": "p@ss", "roles": ["root"]},
    )
    .await;
    server
}
