//! Deltas merged by us against the same deltas applied by a server, one by one,
//! on any base document: what was there when they were made does not matter.

use bson::raw::cstr;
use bson::{RawArrayBuf, RawBson, RawDocumentBuf, rawdoc};
use mongodb::Client;
use shardlift::bson::element::{elements_of, kind};
use shardlift::bson::locate;
use shardlift::pair::write::overlay::{delta_of, fields_set, overlay, set_alike};

use crate::bson_order::{find, insert};
use crate::bson_values::{Random, Value, document, int};
use crate::fixture;

const DOCUMENTS: i32 = 2_000;
const NAMES: [&str; 6] = ["a", "b", "a.b", "$c", "", "d"];

/// Some of the names, each once, in any order. Nowhere does a name occur twice:
/// 6.0.5 aborts on pipeline updates of such documents.
fn fields(random: &mut Random) -> Vec<(&'static str, Value)> {
    let mut names = NAMES.to_vec();
    let count = random.below(5);
    let mut value = || {
        std::iter::repeat_with(|| random.value(2))
            .find(|v| !locate::look(&document(&[("v", v.clone())])).duplicate_names)
            .unwrap()
    };
    let values: Vec<Value> = (0..count).map(|_| value()).collect();
    values
        .into_iter()
        .map(|value| {
            (
                names.remove(random.below(names.len() as u64) as usize),
                value,
            )
        })
        .collect()
}

fn with_id(at: i32, fields: Vec<(&'static str, Value)>) -> RawDocumentBuf {
    let id = std::iter::once(("_id", int(at)));
    document(
        &id.chain(fields.into_iter().filter(|(name, _)| *name != "$c"))
            .collect::<Vec<_>>(),
    )
}

/// `{$v: 2, diff: {u: …}}`, never empty.
fn delta(random: &mut Random) -> Vec<u8> {
    let fields = std::iter::repeat_with(|| fields(random))
        .find(|fields| !fields.is_empty())
        .unwrap();
    delta_of(document(&fields).as_bytes()).to_vec()
}

fn raw(bytes: &[u8]) -> RawDocumentBuf {
    RawDocumentBuf::from_bytes(bytes.to_vec()).unwrap()
}

async fn apply(client: &Client, coll: &str, chains: &[Vec<Vec<u8>>]) {
    let stages = |chain: &Vec<Vec<u8>>| {
        let stage = |delta: &Vec<u8>| rawdoc! { "$_internalApplyOplogUpdate": { "oplogUpdate": raw(delta) } };
        RawBson::Array(chain.iter().map(stage).collect())
    };
    update(client, coll, chains.iter().map(stages)).await;
}

async fn update(client: &Client, coll: &str, changes: impl Iterator<Item = RawBson>) {
    let mut updates = RawArrayBuf::new();
    for (at, change) in changes.enumerate() {
        let mut update = rawdoc! { "q": { "_id": at as i32 } };
        update.append(cstr!("u"), change);
        updates.push(update);
    }
    let mut command = rawdoc! { "update": coll };
    command.append(cstr!("updates"), updates);
    let reply = client.database("t").run_raw_command(command).await.unwrap();
    assert!(!reply.contains_key("writeErrors"), "{reply}");
}

#[tokio::test]
async fn merged_deltas_are_the_chain_on_any_base() {
    let set = fixture::replica_set("overlay", &[]).await;
    let client = set.client().await.unwrap();
    let mut random = Random(31);
    let bases: Vec<RawDocumentBuf> = (0..DOCUMENTS)
        .map(|at| with_id(at, fields(&mut random)))
        .collect();
    let chains: Vec<Vec<Vec<u8>>> = bases
        .iter()
        .map(|_| {
            (0..2 + random.below(3))
                .map(|_| delta(&mut random))
                .collect()
        })
        .collect();
    for coll in ["chained", "merged"] {
        assert_eq!(insert(&client, coll, &bases).await, []);
    }
    apply(&client, "chained", &chains).await;
    let merge = |chain: &Vec<Vec<u8>>| {
        let merged = chain.iter().skip(1).fold(chain[0].clone(), |merged, next| {
            let fields = overlay(fields_set(&merged).unwrap(), fields_set(next).unwrap())
                .expect("no name occurs twice");
            delta_of(&fields).to_vec()
        });
        vec![merged]
    };
    apply(
        &client,
        "merged",
        &chains.iter().map(merge).collect::<Vec<_>>(),
    )
    .await;

    let expect = find(&client, "chained", &rawdoc! { "hint": { "_id": 1 } }).await;
    assert_eq!(expect.len(), bases.len());
    assert_eq!(
        find(&client, "merged", &rawdoc! { "hint": { "_id": 1 } }).await,
        expect
    );
    let changed = expect
        .iter()
        .zip(&bases)
        .filter(|(after, before)| after != before)
        .count();
    assert!(
        bases.len() / 2 < changed,
        "only {changed} documents were changed: nothing is proven"
    );

    // A whole document takes the same deltas without a server.
    for ((base, chain), expect) in bases.iter().zip(&chains).zip(&expect) {
        let whole = chain
            .iter()
            .fold(base.as_bytes().to_vec(), |document, delta| {
                overlay(&document, fields_set(delta).unwrap())
                    .expect("no name occurs twice")
                    .to_vec()
            });
        assert_eq!(whole, expect.as_bytes());
    }
    assert!(
        expect.iter().any(|d| d.as_bytes()[4] == kind::INT32),
        "documents begin with their `_id`"
    );
}

#[tokio::test]
async fn set_does_what_the_delta_does_on_any_base() {
    let set = fixture::replica_set("set", &[]).await;
    let client = set.client().await.unwrap();
    let mut random = Random(32);
    let bases: Vec<RawDocumentBuf> = (0..2 * DOCUMENTS)
        .map(|at| with_id(at, fields(&mut random)))
        .collect();
    let mut alike = || {
        std::iter::repeat_with(|| delta(&mut random))
            .find(|d| set_alike(d).is_some())
            .unwrap()
    };
    let deltas: Vec<Vec<u8>> = bases.iter().map(|_| alike()).collect();
    for coll in ["delta", "set"] {
        assert_eq!(insert(&client, coll, &bases).await, []);
    }
    apply(
        &client,
        "delta",
        &deltas
            .iter()
            .map(|delta| vec![delta.clone()])
            .collect::<Vec<_>>(),
    )
    .await;
    let sets = deltas
        .iter()
        .map(|delta| rawdoc! { "$set": raw(set_alike(delta).unwrap()) });
    update(&client, "set", sets.map(RawBson::Document)).await;

    let expect = find(&client, "delta", &rawdoc! { "hint": { "_id": 1 } }).await;
    assert_eq!(expect.len(), bases.len());
    assert_eq!(
        find(&client, "set", &rawdoc! { "hint": { "_id": 1 } }).await,
        expect
    );
    let changed = expect
        .iter()
        .zip(&bases)
        .filter(|(after, before)| after != before)
        .count();
    let several = deltas
        .iter()
        .filter(|delta| 1 < elements_of(set_alike(delta).unwrap()).count())
        .count();
    assert!(
        bases.len() / 2 < changed && 0 < several,
        "only {changed} documents were changed: nothing is proven"
    );
}
