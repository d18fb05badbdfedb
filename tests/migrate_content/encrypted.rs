//! Collections of queryable encryption: nothing of them needs a key.
//!
//! What a client with keys writes is written here by hand, in the forms that a driver and a
//! server of 6.0.5 were seen to make of it.

use bson::spec::BinarySubtype;
use bson::{Binary, Uuid};

use super::*;

const DB: &str = "vault";

fn bytes(subtype: BinarySubtype, bytes: Vec<u8>) -> Binary {
    Binary { subtype, bytes }
}

/// An encrypted value of an indexed field.
fn secret(i: i32) -> Binary {
    let mut value = vec![7];
    value.extend(i.to_le_bytes().repeat(25));
    bytes(BinarySubtype::Encrypted, value)
}

fn tag(i: i32) -> Binary {
    bytes(BinarySubtype::Generic, i.to_le_bytes().repeat(8))
}

fn state(name: &str, which: &str) -> String {
    format!("enxcol_.{name}.{which}")
}

/// As a driver makes it.
pub(crate) async fn create(client: &Client, name: &str) {
    for which in ["esc", "ecc", "ecoc"] {
        let clustered = doc! {"key": {"_id": 1}, "unique": true};
        let create = doc! {"create": state(name, which), "clusteredIndex": clustered};
        run(client, DB, create).await;
    }
    let field = |path: &str| doc! {"path": path, "bsonType": "string", "keyId": Uuid::new()};
    let mut searched = field("ssn");
    searched.insert("queries", vec![doc! {"queryType": "equality"}]);
    let fields = doc! {"fields": [searched, field("note")]};
    let create = doc! {"create": name, "encryptedFields": fields};
    run(client, DB, create).await;
    let index = doc! {"key": {"__safeContent__": 1}, "name": "__safeContent___1"};
    run(client, DB, doc! {"createIndexes": name, "indexes": [index]}).await;
}

/// Some documents, each with its state in one transaction.
pub(crate) async fn insert(client: &Client, name: &str, ids: std::ops::Range<i32>) {
    let db = client.database(DB);
    let mut session = client.start_session().await.unwrap();
    for i in ids {
        session.start_transaction().await.unwrap();
        for which in ["esc", "ecoc"] {
            let of = doc! {"_id": tag(i), "fieldName": "ssn", "value": tag(-i)};
            let rows = db.collection::<Document>(&state(name, which));
            rows.insert_one(of).session(&mut session).await.unwrap();
        }
        let row = doc! {"_id": i, "ssn": secret(i), "note": secret(-i), "n": i, "__safeContent__": [tag(i)]};
        let rows = db.collection::<Document>(name);
        let insert = rows.insert_one(row).bypass_document_validation(true);
        insert.session(&mut session).await.unwrap();
        session.commit_transaction().await.unwrap();
    }
}

pub(crate) async fn change(client: &Client, name: &str) {
    let rows = client.database(DB).collection::<Document>(name);
    // As anybody may.
    rows.insert_one(doc! {"_id": "plain", "n": 0})
        .await
        .unwrap();
    let counted = rows.update_many(doc! {"_id": {"$lt": 20}}, doc! {"$inc": {"n": 1}});
    counted.bypass_document_validation(true).await.unwrap();
    for i in 0..20 {
        let update = match i % 4 {
            0 => {
                doc! {"$set": {"ssn": secret(i + 1_000)}, "$push": {"__safeContent__": tag(i + 1_000)}}
            }
            1 => doc! {"$pull": {"__safeContent__": tag(i)}},
            2 => doc! {"$set": {"__safeContent__.0": tag(-i)}},
            _ => doc! {"$unset": {"ssn": 1, "__safeContent__": 1}},
        };
        let update = rows.update_one(doc! {"_id": i}, update);
        update.bypass_document_validation(true).await.unwrap();
    }
    let replaced = doc! {"_id": 20, "ssn": secret(7), "__safeContent__": [tag(7), tag(8)]};
    let replace = rows.replace_one(doc! {"_id": 20}, replaced);
    replace.bypass_document_validation(true).await.unwrap();
    rows.delete_one(doc! {"_id": 21}).await.unwrap();
    let validator = doc! {"collMod": name, "validator": {"n": {"$gte": 0}}};
    run(client, DB, validator).await;
    // Compacting its state.
    let (log, old) = (state(name, "ecoc"), state(name, "ecoc.compact"));
    let rename = doc! {"renameCollection": format!("{DB}.{log}"), "to": format!("{DB}.{old}")};
    run(client, "admin", rename).await;
    let clustered = doc! {"key": {"_id": 1}, "unique": true};
    run(
        client,
        DB,
        doc! {"create": &log, "clusteredIndex": clustered},
    )
    .await;
    insert(client, name, 5_000..5_010).await;
    run(client, DB, doc! {"drop": old}).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn collections_of_queryable_encryption_move_without_a_key() {
    let (source, target) = tokio::join!(
        fixture::replica_set("a", &[]),
        fixture::replica_set("b", &[])
    );
    let (a, b) = (
        source.client().await.unwrap(),
        target.client().await.unwrap(),
    );
    let (source, target) = (source.uri(), target.uri());
    create(&a, "old").await;
    insert(&a, "old", 0..200).await;
    let mut engine = Engine::start(&source, &target, &[]).await;
    engine.until_ready().await;
    change(&a, "old").await;
    engine.kill();
    create(&a, "new").await;
    insert(&a, "new", 0..50).await;
    change(&a, "new").await;
    let mut engine = Engine::start(&source, &target, &[]).await;
    engine.until_ready().await;
    engine.cut_over().await;
    expect_equal(&source, &target).await;
    for name in ["old", "new"] {
        let rows = b.database(DB).collection::<Document>(name);
        let open = rows.insert_one(doc! {"_id": "open", "ssn": "123"}).await;
        let refused = open.unwrap_err().to_string();
        assert!(refused.contains("121"), "still encrypted: {refused}");
    }
}
