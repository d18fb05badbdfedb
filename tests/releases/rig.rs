//! A collection of one release, and a writer of statements to it.

use std::sync::Arc;
use std::time::Duration;

use bson::{Document, RawDocumentBuf, doc, rawdoc};
use bytes::Bytes;
use loadgen::cluster::{ReplicaSet, ReplicaSetOptions};
use loadgen::server::version::Release;
use shardlift::bson::identity::IdKey;
use shardlift::cluster::catalog::{self, Namespace};
use shardlift::pair::collection::{Tracked, Traits};
use shardlift::pair::write::bulk::Writer;
use shardlift::pair::write::statement::{CollectionWrites, FlushLimits, Statement};
use shardlift::pair::write::target::Target;
use shardlift::position::Position;
use shardlift::state::Incarnation;

use crate::bson_order::find;
use crate::fixture::{self, run};

pub(crate) const RELEASES: [Release; 4] = [of(4, 2), of(4, 4), of(5, 0), of(6, 0)];

const LIMITS: FlushLimits = FlushLimits {
    statements_max: 1_000,
    bytes_max: 40 << 20,
};

pub(crate) const fn of(major: u32, minor: u32) -> Release {
    Release {
        major,
        minor,
        patch: None,
    }
}

pub(crate) async fn set(name: &str, release: Release) -> ReplicaSet {
    set_with(name, release, &[]).await
}

pub(crate) async fn set_with(name: &str, release: Release, args: &[&str]) -> ReplicaSet {
    let options = ReplicaSetOptions {
        name: name.to_owned(),
        release,
        cache_gb: 0.25,
        oplog_mb: Some(256),
        extra_args: args.iter().map(ToString::to_string).collect(),
        ..ReplicaSetOptions::default()
    };
    ReplicaSet::start(options)
        .await
        .expect("a replica set starts")
}

/// `{d: c}` on a set of its own.
pub(crate) struct Rig {
    set: ReplicaSet,
    writer: Writer,
    pub(crate) tracked: Arc<Tracked>,
}

impl Rig {
    pub(crate) async fn start(release: Release) -> Rig {
        Rig::with(release, doc! {"create": "c"}, Traits::default()).await
    }

    pub(crate) async fn with(release: Release, create: Document, traits: Traits) -> Rig {
        let set = set("target", release).await;
        run(&set.client().await.unwrap(), "t", create).await;
        let target = fixture::target(&set.uri()).await;
        let shard = &target.shards[0];
        let ns = Namespace {
            db: "t".to_owned(),
            coll: "c".to_owned(),
        };
        let uuid = catalog::local_uuid(shard, &ns).await.unwrap().unwrap();
        let status = run(&shard.client, "admin", doc! {"replSetGetStatus": 1}).await;
        let client = shard.data_client("test", 4).unwrap();
        let writer = Writer {
            target: Target {
                direct: shard.direct(&client, "test", 4),
                incarnation: Incarnation {
                    number: 1,
                    term: status.get_i64("term").unwrap(),
                },
                forms: shard.writes,
                patience: Duration::from_secs(60),
            },
            limits: LIMITS,
            at_once: Arc::default(),
            majority: Arc::default(),
            anew: None,
            metrics: Arc::default(),
        };
        let tracked = Tracked::new(bson::Uuid::new(), ns, traits);
        tracked.bind(uuid);
        Rig {
            set,
            writer,
            tracked: Arc::new(tracked),
        }
    }

    pub(crate) async fn index(&self, key: Document, unique: bool) {
        let client = self.set.client().await.unwrap();
        let name = key.keys().next().unwrap().clone();
        let index = doc! {"key": key, "name": name, "unique": unique};
        run(
            &client,
            "t",
            doc! {"createIndexes": "c", "indexes": [index]},
        )
        .await;
    }

    /// As a scan writes them.
    pub(crate) async fn write(&self, documents: &[RawDocumentBuf]) {
        let bytes: Vec<&[u8]> = documents.iter().map(|d| d.as_bytes()).collect();
        self.writer
            .copy(&self.tracked, &bytes, Position::default())
            .await
            .unwrap();
    }

    pub(crate) async fn flush(&self, statements: Vec<Statement>) {
        let mut statements = statements.into_iter();
        let first = statements.next().unwrap();
        let mut writes = CollectionWrites::one(self.tracked.clone(), first);
        writes.statements.extend(statements);
        self.writer.flush(&[writes]).await.unwrap();
    }

    pub(crate) fn doubtful(&self) -> Vec<i32> {
        let id = |id: &IdKey| match id.value().readable() {
            Some(bson::RawBson::Int32(id)) => id,
            other => panic!("{other:?}"),
        };
        self.tracked.doubts.ids().iter().map(id).collect()
    }

    pub(crate) async fn empty(&self) {
        self.writer.empty(&self.tracked).await.unwrap();
    }

    pub(crate) async fn stored(&self) -> Vec<RawDocumentBuf> {
        find(&self.set.client().await.unwrap(), "c", &rawdoc! {}).await
    }

    pub(crate) async fn count(&self, filter: Document) -> u64 {
        let client = self.set.client().await.unwrap();
        let collection = client.database("t").collection::<Document>("c");
        collection.count_documents(filter).await.unwrap()
    }
}

/// Deltas on whatever is there.
pub(crate) fn unknown(id: i32, deltas: Vec<RawDocumentBuf>) -> Statement {
    let id = IdKey::of(bson::RawBsonRef::Int32(id));
    let mut statement = Statement::unknown(id, Position::from_raw(1));
    statement.deltas = deltas.into_iter().map(bytes_of).collect();
    statement
}

pub(crate) fn bytes_of(document: RawDocumentBuf) -> Bytes {
    document.into_bytes().into()
}

/// As a server of this release logs that these fields were set.
pub(crate) fn delta_for(release: Release, fields: RawDocumentBuf) -> RawDocumentBuf {
    if release.major < 5 {
        rawdoc! {"$v": 1, "$set": fields}
    } else {
        rawdoc! {"$v": 2, "diff": {"u": fields}}
    }
}
