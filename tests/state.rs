//! The durable state on real servers: what is stored comes back byte for byte,
//! what cannot be read is refused, one process works on a target, and nothing
//! is forgotten in the wrong order.

use std::process::Command;
use std::time::Duration;

use bson::oid::ObjectId;
use bson::{DateTime, Document, RawBson, RawDocumentBuf, Timestamp, Uuid, doc, rawdoc};
use shardlift::bson::element::{Element, document, kind, string_value};
use shardlift::cluster::catalog::{Chunk, MapVersion, Namespace, Sharded, Zone};
use shardlift::cluster::deployment::{Deployment, Shard};
use shardlift::cluster::probe::Identity;
use shardlift::error::{Error, Kind};
use shardlift::position::{Mark, Position};
use shardlift::scope::Scope;
use shardlift::scope::filters::Filters;
use shardlift::scope::renames::Renames;
use shardlift::state::lease::{Holder, Lease};
use shardlift::state::pair_store::PairStore;
use shardlift::state::run_store::RunStore;
use shardlift::state::{
    CollectionState, DATABASE, HeldBack, OptionsOf, PairState, Recorded, Reverse, RunState,
    ScanOrder, Stage, UnitState,
};

use crate::fixture::{self, run};

mod pairs;
mod form;
mod incarnation;
mod lease;
mod maps;
#[allow(dead_code, unreachable_pub)]
#[path = "../src/bson/samples.rs"]
mod samples;

pub(crate) const RUN: &str = "0123456789abcdef";

pub(crate) fn ns(name: &str) -> Namespace {
    let (db, coll) = name.split_once('.').unwrap();
    Namespace {
        db: db.to_owned(),
        coll: coll.to_owned(),
    }
}

pub(crate) fn at(time: u32, increment: u32) -> Position {
    Timestamp { time, increment }.into()
}

pub(crate) fn run_state(stage: Stage, deployment: &Deployment) -> RunState {
    let ids: Vec<String> = deployment.shards.iter().map(|s| s.id.clone()).collect();
    RunState {
        id: RUN.to_owned(),
        stage,
        source_shards: ids.iter().map(|id| format!("s-{id}")).collect(),
        pairs: (0..ids.len()).collect(),
        target_shards: ids,
        source_identity: None,
        target_identity: Some(Identity {
            cluster: None,
            sets: vec![Some(ObjectId::new()), None],
        }),
        source_balancer: Some(true),
        target_balancer: None,
        source_settings: Some(vec![
            rawdoc! {"_id": "balancer", "mode": "full", "stopped": false},
        ]),
        target_settings: None,
        views: vec![ns("d.view"), ns("d.with.dots")],
        scope: Scope::default(),
        reverse: Reverse::No,
    }
}

/// An unsharded collection with these units, one bound between each two.
pub(crate) fn collection(name: &str, units: Vec<UnitState>) -> CollectionState {
    CollectionState {
        uuid: Uuid::new(),
        target_uuid: None,
        target_version: None,
        ns: ns(name),
        renamed_at: at(7, 1),
        planned_at: at(8, 2),
        options: RawDocumentBuf::new(),
        primary: 0,
        sharded: None,
        key_index: None,
        dead: false,
        wiping: false,
        duplicate_names: false,
        order: ScanOrder::Natural,
        whole_reads: 2,
        bounds: (1..units.len() as i32).map(RawBson::Int32).collect(),
        units,
    }
}

pub(crate) fn pair_state(collections: Vec<CollectionState>) -> PairState {
    let resume = Mark {
        position: at(100, 1),
        term: 3,
    };
    PairState {
        resume,
        applied: resume,
        catalog_position: at(101, 0),
        collections,
    }
}

/// All of it in one text; raw values as their bytes.
pub(crate) fn text(state: &PairState) -> String {
    let mut collections = state.collections.clone();
    collections.sort_by_key(|c| c.uuid.bytes());
    let bytes = |bounds: &[RawBson]| {
        bounds
            .iter()
            .map(|b| rawdoc! {"b": b.clone()}.into_bytes())
            .collect::<Vec<_>>()
    };
    let one = |c: &CollectionState| format!("{c:?} {:?}", bytes(&c.bounds));
    let collections: Vec<String> = collections.iter().map(one).collect();
    format!(
        "{:?} {:?} {:?} {}",
        state.resume,
        state.applied,
        state.catalog_position,
        collections.join("\n")
    )
}

pub(crate) async fn one_shard(name: &str) -> (loadgen::cluster::ReplicaSet, Deployment) {
    let set = fixture::replica_set(name, &[]).await;
    let target = fixture::target(&set.uri()).await;
    (set, target)
}

pub(crate) async fn set(shard: &Shard, collection: &str, q: Document, u: Document) {
    let updates = [doc! {"q": q, "u": u, "multi": true}];
    let reply = run(
        &shard.client,
        DATABASE,
        doc! {"update": collection, "updates": updates, "writeConcern": {"w": "majority"}},
    )
    .await;
    assert!(0 < reply.get_i32("n").unwrap(), "{reply}");
}

#[tokio::test]
async fn a_run_comes_back_and_its_stage_only_advances() {
    let (_set, target) = one_shard("rs").await;
    let shard = &target.shards[0];
    let store = RunStore::new(shard);
    assert_eq!(store.load().await.unwrap(), None);
    assert!(
        store
            .set_stage(Stage::Moving)
            .await
            .unwrap_err()
            .message
            .contains("no run is recorded")
    );
    let mut state = run_state(Stage::Planning, &target);
    let filters = Filters {
        include: vec!["d.*".parse().unwrap()],
        exclude: vec!["/x$/".parse().unwrap(), "d.c".parse().unwrap()],
    };
    let renames = ["a=c", "d.x=d.y"].map(|text| text.parse().unwrap());
    state.scope = Scope::new(filters, Renames::new(renames.into()).unwrap(), true);
    for _ in 0..2 {
        store.create(&state).await.unwrap();
        assert_eq!(store.load().await.unwrap().as_ref(), Some(&state));
    }
    let other = RunState {
        id: "other".to_owned(),
        ..state.clone()
    };
    assert_eq!(store.create(&other).await.unwrap_err().kind, Kind::Refused);
    for stage in [
        Stage::Layout,
        Stage::Moving,
        Stage::Moving,
        Stage::Finishing,
    ] {
        store.set_stage(stage).await.unwrap();
        state.stage = stage;
        assert_eq!(store.load().await.unwrap().as_ref(), Some(&state));
    }
    for stage in [Stage::Layout, Stage::Cancelled] {
        let error = store.set_stage(stage).await.unwrap_err();
        assert!(
            error.kind == Kind::Refused && error.message.contains("already finishing"),
            "{error}"
        );
    }

    // A name that is not UTF-8, and numbers of every type, as they are.
    let name = string_value(b"\xff");
    let options = [
        rawdoc! {"expireAfterSeconds": f64::NAN},
        document([Element {
            kind: kind::STRING,
            name: b"name",
            value: &name,
        }]),
        rawdoc! {"name": "n", "expireAfterSeconds": 7i64, "prepareUnique": true},
    ];
    let held_back = |i: usize| HeldBack {
        ns: ns("d.c"),
        of: if i.is_multiple_of(3) {
            OptionsOf::Collection
        } else {
            OptionsOf::Index
        },
        options: options[i % 3].clone(),
    };
    assert!(store.load_held_back().await.unwrap().is_empty());
    for count in [2_500, 3] {
        let all: Vec<HeldBack> = (0..count).map(held_back).collect();
        store.save_held_back(&all).await.unwrap();
        assert_eq!(store.load_held_back().await.unwrap(), all);
    }
    assert_eq!(
        store.load().await.unwrap(),
        Some(state),
        "saving what waits keeps the run as it is"
    );
}

fn held_back() -> HeldBack {
    HeldBack {
        ns: ns("d.c"),
        of: OptionsOf::Collection,
        options: rawdoc! {"expireAfterSeconds": 1},
    }
}

/// Who holds it, as another process would have left it, valid for `valid`.
pub(crate) async fn leave_lease(shard: &Shard, holder: &Holder, valid: Duration) {
    let until =
        DateTime::from_millis(DateTime::now().timestamp_millis() + valid.as_millis() as i64);
    let holder = Document::try_from(holder.document().as_ref()).unwrap();
    let lease = doc! {
        "_id": "lease", "format": 1, "token": ObjectId::new(), "run": "theirs", "holder": holder,
        "since": DateTime::now(), "until": until,
    };
    let updates = [doc! {"q": {"_id": "lease"}, "u": lease, "upsert": true}];
    let concern = doc! {"w": "majority"};
    run(
        &shard.client,
        DATABASE,
        doc! {"update": "lease", "updates": updates, "writeConcern": concern},
    )
    .await;
}

pub(crate) async fn collections_left(shard: &Shard) -> Vec<String> {
    let mut names = shard
        .client
        .database(DATABASE)
        .list_collection_names()
        .await
        .unwrap();
    names.sort();
    names
}

#[tokio::test]
async fn the_run_goes_last_and_leaves_nothing() {
    let (_set, target) = one_shard("rs").await;
    let shard = &target.shards[0];
    let (runs, pairs) = (RunStore::new(shard), PairStore::new(shard, RUN, 0));
    let lease = Lease::take(shard, RUN).await.unwrap();
    runs.create(&run_state(Stage::Finishing, &target))
        .await
        .unwrap();
    runs.save_held_back(&[held_back()]).await.unwrap();
    pairs
        .create(&pair_state(vec![collection(
            "d.c",
            vec![UnitState::Settled],
        )]))
        .await
        .unwrap();
    assert_eq!(
        collections_left(shard).await,
        ["collections", "expiries", "lease", "pairs", "run", "units"]
    );

    let before = newest(shard).await;
    runs.remove().await.unwrap();
    let dropped = drops_since(shard, before).await;
    assert_eq!(
        dropped.last().map(String::as_str),
        Some("run"),
        "{dropped:?}"
    );
    assert_eq!(collections_left(shard).await, ["lease"]);
    runs.remove().await.unwrap();

    lease.release().await.unwrap();
    assert!(collections_left(shard).await.is_empty());
    let databases = shard.client.list_database_names().await.unwrap();
    assert!(!databases.contains(&DATABASE.to_owned()), "{databases:?}");
    // Removed by others: the next renewal puts it back.
    lease.renew().await.unwrap();
    assert_eq!(collections_left(shard).await, ["lease"]);
    // A recorded run keeps the collection.
    runs.create(&run_state(Stage::Moving, &target))
        .await
        .unwrap();
    lease.release().await.unwrap();
    assert_eq!(collections_left(shard).await, ["lease", "run"]);
}

async fn newest(shard: &Shard) -> Timestamp {
    let oplog = shard
        .client
        .database("local")
        .collection::<Document>("oplog.rs");
    let newest = oplog
        .find_one(doc! {})
        .sort(doc! {"$natural": -1})
        .await
        .unwrap()
        .unwrap();
    newest.get_timestamp("ts").unwrap()
}

/// Names of the collections dropped since, in order, as the server logged it.
async fn drops_since(shard: &Shard, since: Timestamp) -> Vec<String> {
    use futures_util::TryStreamExt;
    let oplog = shard
        .client
        .database("local")
        .collection::<Document>("oplog.rs");
    let drops = doc! {"ts": {"$gt": since}, "op": "c", "o.drop": {"$exists": true}};
    let entries: Vec<Document> = oplog
        .find(drops)
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    let name = |entry: &Document| {
        entry
            .get_document("o")
            .unwrap()
            .get_str("drop")
            .unwrap()
            .to_owned()
    };
    entries.iter().map(name).collect()
}

#[tokio::test]
async fn a_shard_of_a_cluster_tells_terms_too_and_elections_show() {
    let cluster = fixture::cluster(2).await;
    let target = fixture::target(&cluster.uri()).await;
    let shard = &target.shards[1];
    let store = PairStore::new(shard, RUN, 1);
    let plan = pair_state(vec![collection("d.c", vec![UnitState::Waiting])]);
    store.create(&plan).await.unwrap();
    let begun = store.begin_incarnation().await.unwrap();
    let uuid = plan.collections[0].uuid;
    let terms = [
        store.start_unit(uuid, 0, at(5, 5)).await.unwrap(),
        store
            .add(&collection("d.d", vec![UnitState::Settled]))
            .await
            .unwrap(),
        store.bind(&[(uuid, uuid)]).await.unwrap(),
        store.kill(uuid).await.unwrap(),
        store.clear_units(Some(&[uuid])).await.unwrap(),
        store.clear_units(Some(&[])).await.unwrap(),
        store.checkpoint(None).await.unwrap(),
    ];
    assert_eq!(terms, [begun.term; 7]);

    // A single member that steps down is elected again, in a later term.
    let command = doc! {"replSetStepDown": 1, "force": true};
    let _ = shard.client.database("admin").run_command(command).await;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    let term = loop {
        match store.checkpoint(None).await {
            Ok(term) => break term,
            Err(e) => assert!(
                e.kind == Kind::Transient && tokio::time::Instant::now() < deadline,
                "{e}"
            ),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert!(begun.term < term, "{term}");
}
