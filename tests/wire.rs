//! The data plane's own connections, on a real server: what a broken one leaves behind.

use std::time::Duration;

use bson::{doc, rawdoc};
use mongodb::Client;
use shardlift::cluster::direct::Direct;
use shardlift::error::Kind;
use shardlift::wire::cursor::{Cursor, Next};
use shardlift::wire::message::{Request, number};

use crate::fixture::{self, run};

const NAME: &str = "wire-test";
const NEXT: Next = Next {
    batch_size: 2,
    await_ms: None,
};

async fn direct(uri: &str, links_max: usize) -> Direct {
    let source = fixture::source(uri).await;
    let shard = &source.shards[0];
    // The driver's own connections come and go: they have another name.
    let client = shard.data_client("wire-test-driver", 4).unwrap();
    shard.direct(&client, NAME, links_max)
}

fn ping() -> Request {
    Request::new("admin", rawdoc! {"ping": 1})
}

/// Connections of the test's name that the server lists.
async fn listed(client: &Client) -> usize {
    let pipeline = [
        doc! {"$currentOp": {"allUsers": true, "idleConnections": true}},
        doc! {"$match": {"appName": NAME, "command.hello": {"$exists": false}}},
    ];
    let mut cursor = client.database("admin").aggregate(pipeline).await.unwrap();
    let mut count = 0;
    while cursor.advance().await.unwrap() {
        count += 1;
    }
    count
}

async fn until(what: &str, mut is: impl AsyncFnMut() -> bool) {
    for _ in 0..200 {
        if is().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{what}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_was_given_up_leaves_no_connection_behind() {
    let set = fixture::replica_set("wire", &["--setParameter", "enableTestCommands=1"]).await;
    let client = set.client().await.unwrap();
    let direct = direct(&set.uri(), 1).await;
    direct.run(ping()).await.unwrap();
    let before = listed(&client).await;
    let sleep = Request::new(
        "admin",
        rawdoc! {"sleep": 1, "millis": 3_000, "lock": "none"},
    );
    let given_up = tokio::time::timeout(Duration::from_millis(200), direct.run(sleep)).await;
    assert!(given_up.is_err(), "{given_up:?}");
    // On a connection of its own: the other's answer is still to come. The server notices
    // that its client is gone when it wants to send it.
    let reply = direct.run(ping()).await.unwrap();
    assert_eq!(number(reply.body(), "ok"), Some(1));
    until("the connection is closed", async || {
        listed(&client).await <= before
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cursor_reads_all_and_one_that_is_dropped_is_closed() {
    let set = fixture::replica_set("wire", &[]).await;
    let client = set.client().await.unwrap();
    let documents: Vec<_> = (0..7)
        .map(|i| doc! {"_id": i, "x": "y".repeat(1 << i)})
        .collect();
    client
        .database("d")
        .collection::<bson::Document>("c")
        .insert_many(&documents)
        .await
        .unwrap();
    let direct = direct(&set.uri(), 2).await;
    let find =
        || rawdoc! {"find": "c", "batchSize": 2, "sort": {"_id": 1}, "noCursorTimeout": true};
    let open = async || {
        Cursor::open(direct.primary().await.unwrap(), "d", find(), NEXT)
            .await
            .unwrap()
    };
    let mut cursor = open().await;
    let mut read = Vec::new();
    while let Some(batch) = cursor.next().await.unwrap() {
        read.extend(
            batch
                .iter()
                .map(|document| bson::Document::try_from(document.unwrap()).unwrap()),
        );
    }
    assert_eq!(read, documents);
    drop(cursor);

    let opened = async || {
        let status = run(&client, "admin", doc! {"serverStatus": 1}).await;
        status
            .get_document("metrics")
            .unwrap()
            .get_document("cursor")
            .unwrap()
            .clone()
    };
    let of_no_timeout = async || {
        opened()
            .await
            .get_document("open")
            .unwrap()
            .get_i64("noTimeout")
            .unwrap()
    };
    let mut cursor = open().await;
    cursor.next().await.unwrap();
    assert_eq!(of_no_timeout().await, 1);
    drop(cursor);
    until("the cursor is closed", async || of_no_timeout().await == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_started_again_is_found_again() {
    let mut set = fixture::replica_set("wire", &[]).await;
    let direct = direct(&set.uri(), 2).await;
    let sequence = || {
        let mut documents = shardlift::wire::message::Sequence::new("documents", 0);
        documents
            .documents()
            .extend_from_slice(rawdoc! {"_id": 1}.as_bytes());
        Request::new("d", rawdoc! {"insert": "c"}).with(documents.finish())
    };
    assert_eq!(
        number(direct.run(sequence()).await.unwrap().body(), "n"),
        Some(1)
    );
    set.member_mut(0).kill();
    assert_eq!(direct.run(ping()).await.unwrap_err().kind, Kind::Transient);
    set.member_mut(0).restart().await.unwrap();
    // It answers before it is primary again.
    until("the server takes writes", async || {
        direct.run(sequence()).await.is_ok()
    })
    .await;
    // A refused statement is no failed command; an unknown command is one.
    let reply = direct.run(sequence()).await.unwrap();
    assert!(
        reply.body().get_array("writeErrors").is_ok(),
        "{:?}",
        reply.body()
    );
    let unknown = direct
        .run(Request::new("admin", rawdoc! {"noSuchCommand": 1}))
        .await
        .unwrap_err();
    assert_eq!((unknown.kind, unknown.code), (Kind::Server, Some(59)));
}
