//! Every kind of collection.

use loadgen::abilities::Abilities;
use loadgen::server::version;

use super::*;

/// Kinds of collections by the options they are created with, as far as servers have them.
fn kinds(abilities: Abilities) -> Vec<(&'static str, Document)> {
    let clustered = doc! {"clusteredIndex": {"key": {"_id": 1}, "unique": true}};
    let mut expiring = clustered.clone();
    expiring.insert("expireAfterSeconds", 864_000i64);
    let validator = doc! {"validator": {"n": {"$exists": true}}, "validationLevel": "strict"};
    let mut kinds = vec![
        ("empty", doc! {}),
        ("plain", doc! {}),
        ("dots.and spaces. in it", doc! {}),
        ("größe ✓ 大", doc! {}),
        ("capped", doc! {"capped": true, "size": 65_536, "max": 300}),
        ("small capped", doc! {"capped": true, "size": 4_096}),
        (
            "collated",
            doc! {"collation": {"locale": "de", "strength": 1}},
        ),
        ("clustered", clustered),
        ("clustered expiring", expiring),
        ("validated", validator),
        (
            "storage",
            doc! {"storageEngine": {"wiredTiger": {"configString": "block_compressor=zlib"}}},
        ),
    ];
    kinds.retain(|(name, _)| abilities.clustered_collections || !name.starts_with("clustered"));
    kinds
}

pub(crate) async fn make_kinds(client: &Client, abilities: Abilities) {
    let db = client.database("kinds");
    for (name, options) in kinds(abilities) {
        let mut command = doc! {"create": name};
        command.extend(options);
        run(client, "kinds", command).await;
        if name != "empty" {
            let rows = (0..400)
                .map(|n| doc! {"_id": format!("id {n:04}"), "n": n, "at": bson::DateTime::now()});
            db.collection::<Document>(name)
                .insert_many(rows)
                .await
                .unwrap();
        }
    }
    run(client, "lonely", doc! {"create": "nothing"}).await;
    let expiring = doc! {"key": {"at": 1}, "name": "at_1", "expireAfterSeconds": 86_400};
    let unique = doc! {"key": {"n": -1}, "name": "n_-1", "unique": true, "partialFilterExpression": {"n": {"$gte": 0}}};
    let text = doc! {"key": {"words": "text"}, "name": "words", "default_language": "german"};
    let wildcard = doc! {"key": {"$**": 1}, "name": "all", "wildcardProjection": {"at": 0}};
    let hidden = doc! {"key": {"x": 1, "y": "2dsphere"}, "name": "hidden", "hidden": true};
    let indexed = ["plain", "collated", "clustered", "dots.and spaces. in it"];
    for (name, _) in kinds(abilities) {
        if !indexed.contains(&name) {
            continue;
        }
        // Neither a collation nor the simple one can be had for text otherwise.
        let mut indexes = vec![expiring.clone(), unique.clone(), wildcard.clone()];
        if name != "collated" {
            indexes.extend([text.clone(), hidden.clone()]);
        }
        if name == "plain" {
            indexes.push(doc! {"key": {"_id": "hashed"}, "name": "hashed"});
            // With that on `_id`, as many as there may be.
            let more = indexes.len()..63;
            indexes
                .extend(more.map(|i| doc! {"key": {format!("f{i}"): 1}, "name": format!("f{i}")}));
        }
        run(
            client,
            "kinds",
            doc! {"createIndexes": name, "indexes": indexes},
        )
        .await;
    }
    for (name, on) in [
        ("view", "plain"),
        ("view on view", "view"),
        ("view on nothing", "not there"),
    ] {
        let pipeline = [doc! {"$match": {"n": {"$gt": 10}}}];
        run(
            client,
            "kinds",
            doc! {"create": name, "viewOn": on, "pipeline": pipeline.to_vec()},
        )
        .await;
    }
}

/// One round of inserts, updates, and a delete with a new insert of the same
/// `_id` and unique value.
pub(crate) async fn write_kinds(client: &Client, abilities: Abilities, round: u32) {
    for (name, options) in kinds(abilities) {
        let rows: Collection<Document> = client.database("kinds").collection(name);
        let n = 1_000 + round as i32;
        rows.insert_one(doc! {"_id": format!("new {n}"), "n": n, "at": bson::DateTime::now()})
            .await
            .unwrap();
        if options.contains_key("capped") {
            continue;
        }
        let id = doc! {"_id": format!("id {:04}", round % 400)};
        rows.update_one(
            id.clone(),
            doc! {"$set": {"words": format!("wort {round}")}},
        )
        .await
        .unwrap();
        if let Some(old) = rows.find_one_and_delete(id).await.unwrap() {
            rows.insert_one(old).await.unwrap();
        }
    }
}

async fn every_kind_arrives(source: &str, target: &str) {
    let client = Client::with_uri_str(source).await.unwrap();
    let abilities = version::DEFAULT.into();
    make_kinds(&client, abilities).await;
    let writer = Writer::start(move |round| {
        let client = client.clone();
        async move { write_kinds(&client, abilities, round).await }
    });
    move_while(writer, source, target).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_of_collection_arrives_on_a_replica_set() {
    let (source, target) = tokio::join!(
        fixture::loaded_replica_set("a"),
        fixture::loaded_replica_set("b")
    );
    every_kind_arrives(&source.uri(), &target.uri()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_of_collection_arrives_on_a_sharded_cluster() {
    let (source, target) = tokio::join!(fixture::loaded_cluster(2), fixture::loaded_cluster(2));
    every_kind_arrives(&source.uri(), &target.uri()).await;
}
