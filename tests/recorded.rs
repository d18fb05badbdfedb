//! Commands on a recorded run that no process works on: wipe, cancel, restart.

use std::time::{Duration, Instant};

use bson::oid::ObjectId;
use bson::{Bson, Document, RawArrayBuf, RawBson, RawDocumentBuf, Uuid, doc, rawdoc};
use futures_util::TryStreamExt;
use loadgen::cluster::ReplicaSet;
use mongodb::Client;
use shardlift::cluster::admin;
use shardlift::cluster::catalog::{self, Namespace};
use shardlift::cluster::deployment::{Deployment, Shard};
use shardlift::cluster::probe::{self, Identity};
use shardlift::control::balancer;
use shardlift::control::recorded::{cancel, emptying, restart, wipe};
use shardlift::error::{Error, Kind};
use shardlift::pair::copy::units::Cut;
use shardlift::pair::incarnation;
use shardlift::state::lease::{Holder, Lease};
use shardlift::state::pair_store::PairStore;
use shardlift::state::run_store::RunStore;
use shardlift::state::{CollectionState, DATABASE, RunState, ScanOrder, Stage, UnitState};

use crate::engine::Engine;
use crate::fixture::{self, run};
use crate::state::{
    RUN, at, collection, collections_left, leave_lease, ns, one_shard, pair_state, run_state, set,
};

mod whole;
mod restarted;
mod foreign;
mod wiped;

async fn uuid_of(target: &Deployment, name: &str) -> Uuid {
    catalog::read_one(target, &ns(name))
        .await
        .unwrap()
        .unwrap()
        .uuid
        .unwrap()
}

async fn names(target: &Deployment) -> Vec<String> {
    let catalog = catalog::read(target).await.unwrap();
    catalog
        .collections
        .iter()
        .map(|c| c.ns.to_string())
        .collect()
}

fn bound(name: &str, target_uuid: Uuid) -> CollectionState {
    CollectionState {
        target_uuid: Some(target_uuid),
        ..collection(name, vec![UnitState::Settled])
    }
}

/// As a run of these two would have recorded itself.
fn run_of(source: &Deployment, target: &Deployment, stage: Stage) -> RunState {
    let source_shards = source.shards.iter().map(|s| s.id.clone()).collect();
    RunState {
        source_shards,
        target_identity: None,
        ..run_state(stage, target)
    }
}

#[tokio::test]
async fn cancelling_a_recorded_run_puts_the_balancers_back_and_keeps_the_rest() {
    let cluster = fixture::cluster(1).await;
    let source = fixture::source(&cluster.uri()).await;
    let (set, target) = one_shard("t").await;
    let shard = &target.shards[0];
    let runs = RunStore::new(shard);
    let refused =
        |e: Error, part: &str| assert!(e.kind == Kind::Refused && e.message.contains(part), "{e}");
    refused(
        cancel::cancel(&source, &target, None).await.unwrap_err(),
        "no run is recorded",
    );

    balancer::stop(&source).await.unwrap();
    fixture::insert(&target.entry, "d", "copied").await;
    let identity = probe::identity(&source).await.unwrap();
    assert!(identity.cluster.is_some());
    let recorded = run_of(&source, &target, Stage::Moving);
    // Another cluster whose shards have the same names.
    let stranger = Identity {
        cluster: Some(ObjectId::new()),
        ..identity.clone()
    };
    runs.create(&RunState {
        source_identity: Some(stranger),
        ..recorded.clone()
    })
    .await
    .unwrap();
    refused(
        cancel::cancel(&source, &target, None).await.unwrap_err(),
        "its cluster id was",
    );
    runs.create(&RunState {
        source_identity: Some(identity),
        ..recorded
    })
    .await
    .unwrap();
    // Of other deployments.
    let other = fixture::source(&set.uri()).await;
    refused(
        cancel::cancel(&other, &target, None).await.unwrap_err(),
        "the source is not that of run",
    );

    // While a process works on it.
    leave_lease(
        shard,
        &Holder {
            host: "elsewhere".to_owned(),
            ..Holder::me()
        },
        Duration::from_secs(60),
    )
    .await;
    refused(
        cancel::cancel(&source, &target, None).await.unwrap_err(),
        "elsewhere works on this target",
    );
    assert_eq!(runs.load().await.unwrap().unwrap().stage, Stage::Moving);
    assert!(
        admin::balancer_status(&source.entry)
            .await
            .unwrap()
            .is_off()
    );
    run(&shard.client, DATABASE, doc! {"drop": "lease"}).await;

    for _ in 0..2 {
        let told = cancel::cancel(&source, &target, None)
            .await
            .unwrap()
            .unwrap();
        assert!(told.contains(RUN) && told.contains("--restart"), "{told}");
        assert_eq!(runs.load().await.unwrap().unwrap().stage, Stage::Cancelled);
        assert!(
            !admin::balancer_status(&source.entry)
                .await
                .unwrap()
                .is_off()
        );
        assert_eq!(names(&target).await, ["d.copied"]);
    }
    // The lease is free again.
    Lease::take(shard, RUN)
        .await
        .unwrap()
        .release()
        .await
        .unwrap();

    runs.remove().await.unwrap();
    runs.create(&run_of(&source, &target, Stage::Finishing))
        .await
        .unwrap();
    refused(
        cancel::cancel(&source, &target, None).await.unwrap_err(),
        "past the point of no return",
    );
}

struct Recorded {
    _sets: [ReplicaSet; 2],
    source: Deployment,
    target: Deployment,
    store: PairStore,
    a: CollectionState,
    b: CollectionState,
}

/// Two copied collections with indexes, one that is gone from the target, and a
/// dead one.
async fn recorded() -> Recorded {
    let (source_set, set) = tokio::join!(
        fixture::replica_set("s", &[]),
        fixture::replica_set("t", &[])
    );
    let (source, target) = (
        fixture::source(&source_set.uri()).await,
        fixture::target(&set.uri()).await,
    );
    // As `run_state` says.
    for view in ["view", "with.dots"] {
        for side in [&source, &target] {
            run(&side.entry, "d", doc! {"create": view, "viewOn": "a"}).await;
        }
    }
    for coll in ["a", "b"] {
        fixture::insert(&source.entry, "d", coll).await;
        fixture::insert(&target.entry, "d", coll).await;
        let index = |key: &str, unique: bool| doc! {"name": key, "key": {key: 1}, "unique": unique};
        let indexes = [index("x", true), index("y", false), index("k", true)];
        run(
            &target.entry,
            "d",
            doc! {"createIndexes": coll, "indexes": indexes.to_vec()},
        )
        .await;
    }
    let units = vec![
        UnitState::Settled,
        UnitState::Copying(at(5, 5)),
        UnitState::Waiting,
    ];
    let mut a = collection("d.a", units.clone());
    let mut b = collection("d.b", units);
    for c in [&mut a, &mut b] {
        c.uuid = uuid_of(&source, &c.ns.to_string()).await;
        c.target_uuid = Some(uuid_of(&target, &c.ns.to_string()).await);
    }
    a.key_index = Some(bson::rawdoc! {"name": "k", "key": {"k": 1}});
    let dead = CollectionState {
        dead: true,
        ..bound("d.b", b.target_uuid.unwrap())
    };
    let store = PairStore::new(&target.shards[0], RUN, 0);
    store
        .create(&pair_state(vec![
            a.clone(),
            b.clone(),
            bound("d.gone", Uuid::new()),
            dead,
        ]))
        .await
        .unwrap();
    RunStore::new(&target.shards[0])
        .create(&run_of(&source, &target, Stage::Moving))
        .await
        .unwrap();
    Recorded {
        _sets: [source_set, set],
        source,
        target,
        store,
        a,
        b,
    }
}

impl Recorded {
    async fn count(&self, coll: &str) -> usize {
        let documents = self.target.entry.database("d").collection::<Document>(coll);
        documents
            .find(doc! {})
            .await
            .unwrap()
            .try_collect::<Vec<_>>()
            .await
            .unwrap()
            .len()
    }

    async fn indexes(&self, name: &str) -> Vec<String> {
        let specs = catalog::indexes(&self.target.shards[0], &ns(name))
            .await
            .unwrap();
        specs
            .iter()
            .map(|spec| spec.get_str("name").unwrap().to_owned())
            .collect()
    }

    async fn stored(&self, uuid: Uuid) -> CollectionState {
        let state = self.store.load().await.unwrap().unwrap();
        state
            .collections
            .into_iter()
            .find(|c| c.uuid == uuid)
            .unwrap()
    }

    async fn restart(&self, shard: &str, only: Option<&Namespace>) -> Result<String, Error> {
        let cut = Cut {
            range_bytes: 1 << 20,
            order: Some(ScanOrder::Id),
        };
        restart::restart(&self.source, &self.target, (Some(shard), only), cut).await
    }
}

/// `_id`s of the collection, as the index orders them.
async fn ids(target: &Deployment, coll: &str) -> Vec<Bson> {
    let documents = target.entry.database("d").collection::<Document>(coll);
    let all: Vec<Document> = documents
        .find(doc! {})
        .sort(doc! {"_id": 1})
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    all.into_iter()
        .map(|mut document| document.remove("_id").unwrap())
        .collect()
}

/// Exit code (None: it crashed at `place`) and both outputs of `shardlift`.
pub(crate) async fn shardlift(arguments: &[&str], place: Option<&str>) -> (Option<i32>, String) {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_shardlift"));
    command.args(arguments);
    if let Some(place) = place {
        command.env("SHARDLIFT_FAILPOINT", format!("{place}:1"));
    }
    let output = tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap();
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code(),
        text(&output.stdout) + &text(&output.stderr),
    )
}

#[tokio::test]
async fn the_commands_work_without_a_running_process() {
    let (source_set, source) = one_shard("s").await;
    let (target_set, target) = one_shard("t").await;
    let (source_uri, target_uri) = (source_set.uri(), target_set.uri());
    let uris = [
        "--source",
        source_uri.as_str(),
        "--target",
        target_uri.as_str(),
    ];
    let with = |words: &[&'static str]| words.iter().copied().chain(uris).collect::<Vec<&str>>();

    for side in [&source, &target] {
        fixture::insert(&side.entry, "d", "a").await;
    }
    let a = CollectionState {
        uuid: uuid_of(&source, "d.a").await,
        ..bound("d.a", uuid_of(&target, "d.a").await)
    };
    let store = PairStore::new(&target.shards[0], RUN, 0);
    store.create(&pair_state(vec![a.clone()])).await.unwrap();
    let runs = RunStore::new(&target.shards[0]);
    let run = RunState {
        source_balancer: None,
        ..run_of(&source, &target, Stage::Moving)
    };
    runs.create(&run).await.unwrap();

    for (arguments, code, found) in [
        (
            with(&["recopy", "--shard", "x"]),
            4,
            "its source shards are: s",
        ),
        (
            with(&["recopy", "--shard", "s", "--ns", "d"]),
            2,
            "give --ns as db.coll",
        ),
        (
            with(&["recopy", "--shard", "s", "--ns", "d.a"]),
            0,
            "collections of source shard s emptied on the target: 1",
        ),
        // Nobody listens on port 1.
        (
            vec!["cancel", "--api-port", "1"],
            8,
            "give --source and --target to cancel",
        ),
        (
            with(&["cancel", "--api-port", "1"]),
            0,
            "is cancelled and both balancers are as it found them",
        ),
        (
            with(&["recopy", "--shard", "s"]),
            4,
            "does not move documents",
        ),
    ] {
        let (ended, text) = shardlift(&arguments, None).await;
        assert!(
            ended == Some(code) && text.contains(found),
            "{arguments:?}: {ended:?} {text}"
        );
    }
    assert_eq!(runs.load().await.unwrap().unwrap().stage, Stage::Cancelled);
    assert_eq!(
        store.load().await.unwrap().unwrap().collections[0].units,
        [UnitState::Waiting]
    );
    assert_eq!(names(&target).await, ["d.a"]);
}
