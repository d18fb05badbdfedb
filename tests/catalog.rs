//! One source with everything that a catalog can hold, moved while all of it changes, by three
//! processes, with an election of the source. Each kind is a case of its own elsewhere, which names what fails.

use std::time::Duration;

use bson::spec::BinarySubtype;
use bson::{Binary, Document, doc};
use loadgen::abilities::Abilities;
use loadgen::entry::Entry;
use loadgen::populate::types;
use loadgen::server::version::Release;
use mongodb::Client;

use crate::ddl_changes::{options, renames, views};
use crate::engine::Engine;
use crate::fixture::{self, run};
use crate::migrate::expect_equal;
use crate::migrate_content::kinds::{make_kinds, write_kinds};
use crate::migrate_content::{Writer, encrypted};
use crate::migrate_indexes::odd::make_odd;
use crate::releases::rig::of;
use crate::{migrate_ddl, not_utf8, stored_functions, time_series};

/// Between two rounds of one worker.
const PAUSE: Duration = Duration::from_millis(40);

/// A file as drivers keep it.
async fn make_file(client: &Client, name: &str) {
    let unique = doc! {"key": {"files_id": 1, "n": 1}, "name": "files_id_1_n_1", "unique": true};
    run(
        client,
        "files",
        doc! {"createIndexes": "fs.chunks", "indexes": [unique]},
    )
    .await;
    let part = |n: i32| {
        let (subtype, bytes) = (BinarySubtype::Generic, vec![n as u8; 255 * 1024]);
        doc! {"files_id": name, "n": n, "data": Binary { subtype, bytes }}
    };
    let parts: Vec<Document> = (0..4).map(part).collect();
    run(
        client,
        "files",
        doc! {"insert": "fs.chunks", "documents": parts},
    )
    .await;
    let file =
        doc! {"_id": name, "length": 4 * 255 * 1024, "chunkSize": 255 * 1024, "filename": name};
    run(
        client,
        "files",
        doc! {"insert": "fs.files", "documents": [file]},
    )
    .await;
}

/// What servers take for a name. The longest has 255 bytes with its database.
async fn make_names(client: &Client) {
    let long = "ü".repeat(125);
    let odd = [
        "line\nbreak",
        "quote\"'`",
        " ",
        "a..b",
        "per%cent",
        "back\\slash",
        &long,
    ];
    for name in odd {
        run(
            client,
            "odd",
            doc! {"insert": name, "documents": [{"_id": name}]},
        )
        .await;
        let index = doc! {"key": {"a": 1}, "name": format!("of {name}")};
        run(
            client,
            "odd",
            doc! {"createIndexes": name, "indexes": [index]},
        )
        .await;
    }
}

const WORKED: &str = "worked";

async fn make_worked(client: &Client) {
    for name in ["a", "b", "applied"] {
        run(client, WORKED, doc! {"create": name}).await;
    }
    let ring = doc! {"create": "ring", "capped": true, "size": 20_000};
    run(client, WORKED, ring).await;
}

/// A transaction on three collections, committed or not.
async fn transact(client: &Client, round: i32) -> mongodb::error::Result<()> {
    let rows = |name: &str| client.database(WORKED).collection::<Document>(name);
    let mut session = client.start_session().await?;
    session.start_transaction().await?;
    for rows in ["a", "b"].map(rows) {
        let row = doc! {"_id": round, "n": round, "note": "x".repeat(100)};
        rows.insert_one(row).session(&mut session).await?;
        let last = doc! {"_id": round - 1};
        let changed = rows.update_one(last, doc! {"$inc": {"n": 1}});
        changed.session(&mut session).await?;
    }
    let applied = rows("applied");
    let gone = applied.delete_one(doc! {"_id": round - 3});
    gone.session(&mut session).await?;
    if round % 4 == 3 {
        session.abort_transaction().await
    } else {
        session.commit_transaction().await
    }
}

/// What a user's own `applyOps` does, and what is done to capped collections.
async fn work(client: &Client, knows: Abilities, round: i32) -> mongodb::error::Result<()> {
    transact(client, round).await?;
    let ns = format!("{WORKED}.applied");
    let delta = if knows.deltas {
        doc! {"$v": 2, "diff": {"u": {"by": "delta"}}}
    } else {
        doc! {"$v": 1, "$set": {"by": "delta"}}
    };
    let ops = [
        doc! {"op": "i", "ns": &ns, "o": {"_id": round, "by": "insert"}},
        doc! {"op": "u", "ns": &ns, "o2": {"_id": round - 1}, "o": delta},
    ];
    let apply = doc! {"applyOps": ops.to_vec()};
    client.database("admin").run_command(apply).await?;
    let worked = client.database(WORKED);
    let ring = worked.collection::<Document>("ring");
    ring.insert_one(doc! {"n": round, "note": "x".repeat(500)})
        .await?;
    if round % 8 == 0 {
        if has_newest(knows) {
            let size = 10_000 + 5_000 * (round / 8 % 3);
            let resized = doc! {"collMod": "ring", "cappedSize": size};
            worked.run_command(resized).await?;
        }
        worked.run_command(doc! {"drop": "clone"}).await?;
        // Where nobody logs what a clone lets go, it is never full.
        let size = if knows.refused_inserts_trim_nothing {
            30_000
        } else {
            10_000_000
        };
        let cloned = doc! {"cloneCollectionAsCapped": "a", "toCollection": "clone", "size": size};
        worked.run_command(cloned).await?;
    }
    Ok(())
}

/// What only 6.0 has, of what is made and done here: other sizes of capped collections,
/// clustered and encrypted ones, indexes of which no text is UTF-8, and all that is done to
/// time series.
fn has_newest(knows: Abilities) -> bool {
    knows.clustered_collections
}

async fn before(client: &Client, knows: Abilities, uri: &str) {
    make_worked(client).await;
    types::create(&Entry::connect(uri, 4).await.unwrap())
        .await
        .unwrap();
    make_kinds(client, knows).await;
    make_names(client).await;
    make_file(client, "first").await;
    not_utf8::insert(client, "bytes", 0..600).await;
    stored_functions::insert(client, "files", "system.js", &["f"]).await;
    stored_functions::insert(client, "admin", "mine", &["f"]).await;
    migrate_ddl::before(client, false).await;
    renames::before(client).await;
    views::before(client).await;
    if !has_newest(knows) {
        return options::earlier::before(client, knows.hidden_indexes).await;
    }
    make_odd(client).await;
    options::before(client).await;
    time_series::populate(client).await;
    encrypted::create(client, "first").await;
    encrypted::insert(client, "first", 0..50).await;
}

/// While no process follows.
async fn change_options_and_series(client: &Client, knows: Abilities) {
    if !has_newest(knows) {
        return options::earlier::changes(client, knows.hidden_indexes).await;
    }
    options::changes(client).await;
    time_series::change(client, "first", true).await;
    encrypted::change(client, "first").await;
}

async fn arrives_while_it_changes(source: Release, target: Release) {
    let knows = Abilities::from(source);
    let (a, b) = tokio::join!(
        fixture::loaded_replica_set_of("a", source),
        fixture::loaded_replica_set_of("b", target)
    );
    let (source, target) = (a.uri(), b.uri());
    let client = a.client().await.unwrap();
    let other = a.client().await.unwrap();
    before(&client, knows, &source).await;
    let writes = client.clone();
    let writer = Writer::start(move |round| {
        let writes = writes.clone();
        async move {
            write_kinds(&writes, knows, round).await;
            not_utf8::round(&writes, "bytes", round as i32, false).await;
        }
    });

    let works = other.clone();
    let worker = Writer::start(move |round| {
        let works = works.clone();
        async move {
            // What an election interrupts is left out.
            let _ = work(&works, knows, round as i32).await;
            tokio::time::sleep(PAUSE).await;
        }
    });

    let mut engine = Engine::start(&source, &target, &[]).await;
    engine.until("copying", renames::begun).await;
    migrate_ddl::changes(&client, &other, "copying", false).await;
    renames::changes(&client).await;
    engine.kill();
    change_options_and_series(&client, knows).await;
    let mut engine = Engine::start(&source, &target, &[]).await;
    engine.until_ready().await;
    views::changes(&client).await;
    renames::rebuilt(&client).await;
    make_file(&client, "second").await;
    if has_newest(knows) {
        encrypted::create(&client, "second").await;
        encrypted::insert(&client, "second", 0..20).await;
    }
    engine.kill();
    if has_newest(knows) {
        time_series::swap(&client).await;
    }
    renames::swaps(&client).await;
    let mut engine = Engine::start(&source, &target, &[]).await;
    engine.until_ready().await;
    migrate_ddl::changes(&client, &other, "following", false).await;
    stored_functions::insert(&client, "files", "system.js", &["g"]).await;
    stored_functions::insert(&client, "admin", "mine", &["g"]).await;
    writer.stop().await;
    a.elect().await.unwrap();
    worker.stop().await;
    let of = |name: &str| client.database(WORKED).collection::<Document>(name);
    for name in ["a", "b", "applied", "ring"] {
        assert!(
            of(name).find_one(doc! {}).await.unwrap().is_some(),
            "{name}"
        );
    }
    engine.until_ready().await;
    engine.cut_over().await;
    expect_equal(&source, &target).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_a_catalog_can_hold_arrives_while_it_changes() {
    arrives_while_it_changes(of(6, 0), of(6, 0)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_a_catalog_of_4_4_can_hold_arrives_on_6_0_while_it_changes() {
    arrives_while_it_changes(of(4, 4), of(6, 0)).await;
}
