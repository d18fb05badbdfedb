//! The stand-in says what a real router says where it is easily done better.

use bson::{Bson, Document, Uuid, doc};
use loadgen::cluster::shared;
use loadgen::wire::link::Link;

use crate::{admin, shard};

/// The whole reply, whatever it says.
async fn ask(link: &mut Link, db: &str, mut command: Document) -> Document {
    command.insert("$db", db);
    let body = bson::RawDocumentBuf::try_from(&command).unwrap();
    Document::try_from(link.call(&body, &[]).await.unwrap().as_ref()).unwrap()
}

fn code(reply: &Document) -> i32 {
    reply.get_i32("code").unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_there_alike_is_as_good_as_created() {
    let cluster = shared::sharded().await.unwrap();
    let mut link = cluster.router_link().await.unwrap();
    let capped = |size: i64| doc! { "create": "ring", "capped": true, "size": size };
    for (command, expect) in [
        (capped(4096), 0),
        (capped(4096), 0),
        (capped(8192), 48),
        (doc! { "create": "left", "temp": true }, 72),
    ] {
        let text = command.to_string();
        assert_eq!(
            code(&ask(&mut link, "strict_create", command).await),
            expect,
            "{text}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drop_is_bound_to_the_uuid_it_names() {
    let cluster = shared::sharded().await.unwrap();
    let mut link = cluster.router_link().await.unwrap();
    shard(&cluster, "strict_drop", doc! { "k": 1 }).await;
    let other = doc! { "drop": "c", "collectionUUID": Uuid::new() };
    let refused = ask(&mut link, "strict_drop", other.clone()).await;
    assert_eq!(code(&refused), 361, "{refused}");
    assert_eq!(refused.get_str("expectedCollection").unwrap(), "c");
    assert_eq!(code(&ask(&mut link, "strict_nowhere", other).await), 361);
    let gone = ask(&mut link, "strict_nowhere", doc! { "drop": "c" }).await;
    assert_eq!(gone.get_str("info").unwrap(), "database does not exist");
    assert_eq!(
        code(&ask(&mut link, "strict_drop", doc! { "drop": "c" }).await),
        0
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rename_is_bound_to_the_uuid_it_names() {
    let cluster = shared::sharded().await.unwrap();
    let mut link = cluster.router_link().await.unwrap();
    let db = "strict_rename";
    shard(&cluster, db, doc! { "k": 1 }).await;
    let list = ask(&mut link, db, doc! { "listCollections": 1 }).await;
    let listed = list.get_document("cursor").unwrap();
    let listed = listed.get_array("firstBatch").unwrap();
    let info = listed[0].as_document().unwrap().get_document("info");
    let its = info.unwrap().get("uuid").unwrap().clone();
    let other = Bson::from(Uuid::new());
    for (from, uuid, expect) in [
        ("c", &other, 361),
        ("nowhere", &other, 361),
        ("nowhere", &its, 361),
        ("c", &its, 0),
        // It has another name by now.
        ("c", &its, 361),
    ] {
        let rename = doc! {
            "renameCollection": format!("{db}.{from}"), "to": format!("{db}.d"),
            "collectionUUID": uuid.clone(),
        };
        let told = ask(&mut link, "admin", rename).await;
        assert_eq!(code(&told), expect, "{from}: {told}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_split_that_is_made_is_refused_without_a_code() {
    let cluster = shared::sharded().await.unwrap();
    shard(&cluster, "strict_split", doc! { "k": 1 }).await;
    let split = doc! { "split": "strict_split.c", "middle": { "k": 5 } };
    admin(&cluster, split.clone()).await;
    let again = ask(&mut cluster.router_link().await.unwrap(), "admin", split).await;
    assert!(
        !again.contains_key("code") && !again.contains_key("codeName"),
        "{again}"
    );
    assert!(
        again
            .get_str("errmsg")
            .unwrap()
            .contains("is a boundary key"),
        "{again}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_are_offered_and_a_cursor_lives_in_one_router() {
    let cluster = shared::sharded().await.unwrap();
    let hello = admin(&cluster, doc! { "hello": 1 }).await;
    assert!(
        hello.contains_key("topologyVersion") && hello.contains_key("logicalSessionTimeoutMinutes"),
        "{hello}"
    );
    let other = cluster.another_router().await.unwrap();
    let find = doc! { "find": "shards", "batchSize": 1 };
    let first = ask(&mut cluster.router_link().await.unwrap(), "config", find).await;
    let id = first.get_document("cursor").unwrap().get_i64("id").unwrap();
    let more = doc! { "getMore": id, "collection": "shards" };
    let mut elsewhere = Link::connect(&other.host()).await.unwrap();
    assert_eq!(code(&ask(&mut elsewhere, "config", more.clone()).await), 43);
    let here = ask(&mut cluster.router_link().await.unwrap(), "config", more).await;
    assert_eq!(
        here.get_document("cursor")
            .unwrap()
            .get_array("nextBatch")
            .unwrap()
            .len(),
        1,
        "{here}"
    );
}
