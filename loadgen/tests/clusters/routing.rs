//! The stand-in as a driver sees it.

use bson::{Bson, Document, doc};
use futures_util::TryStreamExt;
use loadgen::cluster::shared;
use mongodb::IndexModel;
use mongodb::options::{FindOneAndUpdateOptions, ReturnDocument};

use crate::{admin, fill, shard};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_are_written_found_and_counted() {
    let cluster = shared::sharded().await.unwrap();
    let client = cluster.client().await.unwrap();
    shard(&cluster, "crud", doc! { "k": "hashed" }).await;
    fill(&client, "crud", 500).await;
    let c = client.database("crud").collection::<Document>("c");
    let all: Vec<Document> = c
        .find(doc! {})
        .sort(doc! { "k": 1 })
        .batch_size(50)
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    assert!(
        all.iter().map(|d| d.get_i32("k").unwrap()).eq(0..500),
        "getMore lost or mixed something"
    );
    let update = c
        .update_many(
            doc! { "k": { "$lt": 10 } },
            doc! { "$set": { "tag": ["a", "b"] } },
        )
        .await
        .unwrap();
    assert_eq!(update.modified_count, 10);
    c.update_one(doc! { "k": 3 }, doc! { "$set": { "tag": null } })
        .await
        .unwrap();
    c.delete_one(doc! { "k": 4 }).await.unwrap();
    assert_eq!(c.count_documents(doc! {}).await.unwrap(), 499);
    assert_eq!(c.estimated_document_count().await.unwrap(), 499);
    let mut tags = c.distinct("tag", doc! {}).await.unwrap();
    tags.sort_by_key(Bson::to_string);
    assert_eq!(tags, [Bson::from("a"), Bson::from("b"), Bson::Null]);
    let pipeline = [doc! { "$group": { "_id": null, "sum": { "$sum": "$k" } } }];
    let sums: Vec<Document> = c
        .aggregate(pipeline)
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    assert_eq!(sums[0].get_i32("sum").unwrap(), 499 * 500 / 2 - 4);
    let duplicate = c.insert_one(doc! { "_id": 7, "k": 7 }).await.unwrap_err();
    assert!(duplicate.to_string().contains("11000"), "{duplicate}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn find_and_modify_works_on_sharded_collections() {
    let cluster = shared::sharded().await.unwrap();
    let client = cluster.client().await.unwrap();
    shard(&cluster, "fam", doc! { "k": "hashed" }).await;
    fill(&client, "fam", 20).await;
    let c = client.database("fam").collection::<Document>("c");
    let after = FindOneAndUpdateOptions::builder()
        .return_document(ReturnDocument::After)
        .build();
    let found = c.find_one_and_update(doc! { "k": { "$gt": 17 } }, doc! { "$inc": { "n": 1 } });
    let found = found
        .sort(doc! { "k": -1 })
        .with_options(after.clone())
        .await
        .unwrap();
    assert!(found.is_some_and(|d| d.get_i32("n").unwrap() == 1));
    let upsert = c
        .find_one_and_update(doc! { "k": 99 }, doc! { "$set": { "n": 5 } })
        .with_options(after);
    let upserted = upsert.upsert(true).await.unwrap().unwrap();
    assert_eq!(
        (
            upserted.get_i32("k").unwrap(),
            upserted.get_i32("n").unwrap()
        ),
        (99, 5)
    );
    assert!(
        c.find_one_and_delete(doc! { "k": 99 })
            .await
            .unwrap()
            .is_some()
    );
    assert!(
        c.find_one_and_delete(doc! { "k": 99 })
            .await
            .unwrap()
            .is_none()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn schema_changes_reach_every_shard() {
    let cluster = shared::sharded().await.unwrap();
    let client = cluster.client().await.unwrap();
    shard(&cluster, "ddl", doc! { "k": "hashed" }).await;
    let db = client.database("ddl");
    let index = IndexModel::builder().keys(doc! { "x": 1 }).build();
    db.collection::<Document>("c")
        .create_index(index)
        .await
        .unwrap();
    for shard in cluster.shard_clients().await.unwrap() {
        let names = shard
            .database("ddl")
            .collection::<Document>("c")
            .list_index_names()
            .await
            .unwrap();
        assert!(names.contains(&"x_1".to_owned()), "{names:?}");
    }
    db.collection::<Document>("c")
        .drop_index("x_1")
        .await
        .unwrap();
    db.create_collection("capped")
        .capped(true)
        .size(65536)
        .await
        .unwrap();
    admin(
        &cluster,
        doc! { "renameCollection": "ddl.capped", "to": "ddl.round" },
    )
    .await;
    let mut names = db.list_collection_names().await.unwrap();
    names.sort();
    assert_eq!(names, ["c", "round"]);
    db.collection::<Document>("c").drop().await.unwrap();
    db.drop().await.unwrap();
    assert!(
        !client
            .list_database_names()
            .await
            .unwrap()
            .contains(&"ddl".to_owned())
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cluster_is_managed_by_public_commands() {
    let cluster = shared::sharded().await.unwrap();
    let hello = admin(&cluster, doc! { "hello": 1 }).await;
    assert_eq!(hello.get_str("msg").unwrap(), "isdbgrid");
    let shards = admin(&cluster, doc! { "listShards": 1 }).await;
    assert_eq!(shards.get_array("shards").unwrap().len(), 2);
    let mode = async || {
        let status = admin(&cluster, doc! { "balancerStatus": 1 }).await;
        status.get_str("mode").unwrap().to_owned()
    };
    assert_eq!(mode().await, "off");
    admin(&cluster, doc! { "balancerStart": 1 }).await;
    assert_eq!(mode().await, "full");
    admin(&cluster, doc! { "balancerStop": 1 }).await;
    assert_eq!(mode().await, "off");
    admin(
        &cluster,
        doc! { "appendOplogNote": 1, "data": { "mark": "routing" } },
    )
    .await;
    for shard in cluster.shard_clients().await.unwrap() {
        let oplog = shard.database("local").collection::<Document>("oplog.rs");
        assert!(
            oplog
                .find_one(doc! { "op": "n", "o.mark": "routing" })
                .await
                .unwrap()
                .is_some()
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_it_cannot_do_is_refused_by_name() {
    let cluster = shared::sharded().await.unwrap();
    let client = cluster.client().await.unwrap();
    let refused = async |command: Document| {
        client
            .database("admin")
            .run_command(command)
            .await
            .unwrap_err()
            .to_string()
    };
    assert!(
        refused(doc! { "replSetGetStatus": 1 })
            .await
            .contains("stand-in")
    );
    assert!(
        refused(doc! { "getParameter": 1, "featureCompatibilityVersion": 1 })
            .await
            .contains("72")
    );
    let stream = client
        .database("d")
        .collection::<Document>("c")
        .watch()
        .await;
    assert!(stream.is_err_and(|e| e.to_string().contains("change streams")));
}
