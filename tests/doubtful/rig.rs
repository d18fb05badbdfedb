//! Two sides, and a log that is replayed from one to the other.

use loadgen::server::version::{self, Release};

use super::*;

pub(crate) struct Sides {
    // Servers live as long as this.
    _sets: (ReplicaSet, ReplicaSet),
    pub(super) uris: (String, String),
    pub(crate) source: Client,
    pub(crate) target: Client,
    pub(crate) deployments: (Deployment, Deployment),
}

impl Sides {
    pub(crate) async fn start() -> Sides {
        Sides::of(version::DEFAULT, version::DEFAULT).await
    }

    pub(crate) async fn of(source: Release, target: Release) -> Sides {
        let sets = tokio::join!(
            fixture::loaded_replica_set_of("a", source),
            fixture::loaded_replica_set_of("b", target)
        );
        let uris = (sets.0.uri(), sets.1.uri());
        let deployments = tokio::join!(fixture::source(&uris.0), fixture::target(&uris.1));
        let (source, target) = (
            sets.0.client().await.unwrap(),
            sets.1.client().await.unwrap(),
        );
        Sides {
            _sets: sets,
            uris,
            source,
            target,
            deployments,
        }
    }

    pub(crate) async fn on_both(&self, command: Document) {
        run(&self.source, DB, command.clone()).await;
        run(&self.target, DB, command).await;
    }

    /// The newest entry of the source, once it is majority-committed.
    pub(crate) async fn newest(&self) -> Mark {
        let note = doc! { "appendOplogNote": 1, "data": { "test": 1 } };
        let reply = run(&self.source, "admin", note).await;
        let wanted = Position::from(reply.get_timestamp("operationTime").unwrap());
        let oplog = Oplog::new(self.source.clone(), "a", Duration::from_secs(10));
        loop {
            let newest = oplog.newest().await.unwrap().mark;
            if wanted <= newest.position {
                return newest;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub(crate) async fn replay(
        &self,
        ns: &Namespace,
        traits: Traits,
        limits: FlushLimits,
    ) -> Replay<'_> {
        self.replay_in(LANES, ns, traits, limits).await
    }

    pub(crate) async fn replay_in(
        &self,
        lanes: usize,
        ns: &Namespace,
        traits: Traits,
        limits: FlushLimits,
    ) -> Replay<'_> {
        let uuid_of = |shard| async move {
            catalog::local_uuid(shard, ns)
                .await
                .unwrap()
                .expect("it is there")
        };
        let (source, target) = (&self.deployments.0.shards[0], &self.deployments.1.shards[0]);
        let tracked = Arc::new(Tracked::new(uuid_of(source).await, ns.clone(), traits));
        tracked.bind(uuid_of(target).await);
        tracked.raise_horizon(self.newest().await.position);
        let lanes: Vec<Arc<Inbox>> = (0..lanes).map(|_| Arc::default()).collect();
        let gate = Arc::new(Mutex::new(Gate::new(
            Mark {
                position: Position::default(),
                term: 0,
            },
            lanes.clone(),
        )));
        gate.lock().admit_new(tracked.clone());
        let metrics: Arc<PairMetrics> = Arc::default();
        let term = Oplog::new(self.target.clone(), "b", Duration::from_secs(10))
            .newest()
            .await
            .unwrap()
            .mark
            .term;
        let client = target.data_client("test", 16).unwrap();
        let at_once = Arc::default();
        let writer = Writer {
            target: Target {
                direct: target.direct(&client, "test", 16),
                incarnation: Incarnation { number: 1, term },
                forms: target.writes,
                patience: Duration::from_secs(60),
            },
            limits,
            at_once,
            majority: Arc::default(),
            anew: None,
            metrics: metrics.clone(),
        };
        let spool = tempfile::tempdir().unwrap();
        let mut tasks = JoinSet::new();
        for lane in lanes {
            tasks.spawn(lane::run(
                lane,
                writer.clone(),
                writer.limits.bytes_max,
                metrics.clone(),
                Arc::default(),
            ));
        }
        let doubtful = Doubtful {
            lister: Lister::new(source, "test", Duration::from_secs(10)),
            target_shard: target.clone(),
            source: Source {
                direct: source.direct(&source.client, "test", 16),
                forms: self.deployments.0.dialect.reads,
            },
            writer,
            share: Share::new(0),
            gate: gate.clone(),
            replayer: Arc::new(Replayer::new(
                gate.clone(),
                feed(source, spool.path()),
                metrics.clone(),
            )),
            metrics,
            documents_max: DOCUMENTS_MAX,
            away_max: Duration::from_secs(1_800),
            stuck: Default::default(),
        };
        Replay {
            sides: self,
            tracked,
            gate,
            doubtful,
            lanes: tasks,
            _spool: spool,
        }
    }
}

/// Nothing is ever left to its spool here.
fn feed(source: &Shard, spool: &Path) -> Arc<Feed> {
    let limits = Limits {
        bytes_max: 1 << 20,
        segment_bytes: 1 << 20,
        cache_bytes: 0,
        stored_bytes: 0,
    };
    let log = OplogLog::open(spool, limits, Arc::new(Quota::new(1 << 20))).unwrap();
    let (away_max, patience) = (Duration::from_secs(10), Duration::from_secs(60));
    let direct = source.direct(&source.client, "test", 2);
    Arc::new(Feed::new(
        Oplog::new(source.client.clone(), "a", away_max),
        direct,
        log,
        away_max,
        patience,
    ))
}

/// One collection on its way, held.
pub(crate) struct Replay<'a> {
    sides: &'a Sides,
    pub(crate) tracked: Arc<Tracked>,
    pub(crate) gate: Arc<Mutex<Gate>>,
    pub(crate) doubtful: Doubtful,
    pub(crate) lanes: JoinSet<shardlift::error::Result<()>>,
    _spool: tempfile::TempDir,
}

impl Replay<'_> {
    /// Hands the log after `start` to the lanes: all of it at once, so that what
    /// can be coalesced is.
    pub(super) async fn log_since(&self, start: Position) {
        self.more_since(start, Verdict::Held).await;
        self.gate.lock().release(&self.tracked.uuid);
    }

    /// The tail passes the log after `start`.
    pub(crate) async fn more_since(&self, start: Position, expect: Verdict) {
        let share = Share::new(0);
        let mut origin = Origin::copied(share.reserve_reply().await);
        let log = self
            .sides
            .source
            .database("local")
            .collection::<RawDocumentBuf>("oplog.rs");
        let wanted = doc! { "ts": { "$gt": Timestamp::from(start) }, "ui": self.tracked.uuid, "op": { "$in": ["i", "u", "d"] } };
        let mut entries = log.find(wanted).await.unwrap();
        while let Some(raw) = entries.next().await {
            let raw = raw.unwrap();
            let entry = Entry::read(&raw).unwrap();
            let mut gate = self.gate.lock();
            gate.begin(entry.position);
            let verdict = gate.classify(entry.crud(entry.position).unwrap(), &mut origin);
            assert_eq!(verdict, expect);
            gate.pass(entry.mark());
        }
        let newest = self.sides.newest().await;
        let mut gate = self.gate.lock();
        gate.begin(newest.position);
        gate.pass(newest);
    }

    pub(crate) async fn flushed(&self) {
        while self.tracked.in_lanes.load(SeqCst) > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Replays, reads again what was refused; returns how many documents that were.
    pub(crate) async fn to_the_end(&self, start: Position) -> u64 {
        self.log_since(start).await;
        self.flushed().await;
        let refused = self.tracked.doubts.len() as u64;
        if refused > 0 {
            assert!(self.gate.lock().watermark() < self.tracked.doubts.oldest());
        }
        self.resolve().await.unwrap();
        assert_eq!(
            self.doubtful.metrics.documents_resolved.load(Relaxed),
            refused
        );
        refused
    }

    pub(super) async fn resolve(&self) -> Result<(), Error> {
        let held =
            tokio::time::timeout(Duration::from_secs(300), self.doubtful.exact(&self.tracked))
                .await;
        if let Some(hold) = held.expect("it comes to an end")? {
            hold.release().await?;
        }
        assert!(self.tracked.doubts.is_empty());
        let gate = self.gate.lock();
        assert_eq!(gate.watermark(), gate.passed());
        Ok(())
    }

    pub(crate) async fn expect_equal(&self) {
        let ns = &self.tracked.ns();
        let (source, target) = (&self.sides.source, &self.sides.target);
        let (source, target) = (all(source, ns).await, all(target, ns).await);
        assert!(source == target, "{source:?}\n{target:?}");
    }
}
