//! Secondary indexes of one pair's target shard (R10): built after a
//! collection is copied, unique ones while its ops are held at an exact
//! position; later changes carried over as they come. Expiries wait for cutover.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::time::Duration;

use bson::{Bson, Document, RawDocumentBuf, doc};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::cluster::catalog::{self, EXPIRY, Namespace};
use crate::cluster::connect::Shard;
use crate::error::{Error, Kind, Result};
use crate::failpoint;
use crate::observe::metrics::PairMetrics;
use crate::pair::capped;
use crate::pair::collection::Tracked;
use crate::pair::doubtful::Doubtful;
use crate::pair::oplog::Oplog;
use crate::pair::position::Position;
use crate::pair::vanished;

/// Between two builds in an exact state.
const POLL: Duration = Duration::from_millis(50);
const EXACT_TRIES_MAX: usize = 10;

const CODE_INDEX_NOT_FOUND: i32 = 27;
const CODE_NAMESPACE_NOT_FOUND: i32 = 26;
const CODES_CONFLICT: [i32; 2] = [85, 86];
const CODE_DUPLICATE_KEY: i32 = 11000;

/// Expiries held back until cutover: (collection, index) → `expireAfterSeconds`.
pub type Expiries = HashMap<(Namespace, String), Bson>;

#[derive(Debug)]
pub struct Indexer {
    pub source: Shard,
    /// By the data plane's connections.
    pub target: Shard,
    pub doubtful: Arc<Doubtful>,
    /// The source shard's.
    pub oplog: Oplog,
    pub metrics: Arc<PairMetrics>,
    pub expiries: Mutex<Expiries>,
    /// Builds under way at a time: each takes the target's memory and disk.
    pub builds: Semaphore,
}

impl Indexer {
    /// Builds every index the source has.
    pub async fn build_all(&self, tracked: &Tracked) -> Result<()> {
        if tracked.is_dead() {
            return Ok(());
        }
        // IMPORTANT: a position on either side of the list. Index DDL up to the
        // first is in it; what the list shows may be as new as the second, and a
        // unique index of it may be built only past that.
        tracked.list_indexes_at(self.oplog.newest().await?.mark.position);
        let Some(specs) = self.on_source(tracked).await? else {
            return vanished::until_dropped(&self.source.client, tracked).await;
        };
        tracked.saw_by(self.oplog.newest().await?.clock);
        self.create(tracked, specs).await?;
        failpoint::hit("index-built");
        Ok(())
    }

    /// When the last unit is copied, or after a restart: what the source dropped
    /// while nobody followed goes, and what is missing is built. Index DDL up to
    /// there is in the list, and is not met again.
    pub async fn reconcile(&self, tracked: &Tracked) -> Result<()> {
        if tracked.traits.capped {
            capped::fit(&self.doubtful, tracked).await?;
        }
        drop_stale(&self.source, &self.target, tracked).await?;
        self.build_all(tracked).await
    }

    /// Index DDL of the oplog at `position`; nothing if the list had it.
    pub async fn create_at(&self, tracked: &Tracked, specs: Vec<RawDocumentBuf>, position: Position) -> Result<()> {
        if position <= tracked.indexes_listed_at() {
            return Ok(());
        }
        self.create(tracked, specs).await
    }

    pub async fn remove_at(&self, tracked: &Tracked, names: Vec<String>, position: Position) -> Result<()> {
        if position <= tracked.indexes_listed_at() {
            return Ok(());
        }
        for name in names {
            self.expiries.lock().remove(&(tracked.ns.clone(), name.clone()));
            drop_index(&self.target, tracked, &name).await?;
        }
        Ok(())
    }

    /// Builds those of `specs` that the target does not have yet.
    async fn create(&self, tracked: &Tracked, specs: Vec<RawDocumentBuf>) -> Result<()> {
        if tracked.is_dead() || tracked.is_passive() {
            return Ok(());
        }
        let wanted = specs.into_iter().filter(|spec| !is_implicit(spec));
        let wanted: Vec<RawDocumentBuf> = wanted.map(|spec| self.to_create(tracked, &spec)).collect::<Result<_>>()?;
        let count = wanted.len() as u64;
        self.metrics.indexes_total.fetch_add(count, Relaxed);
        let (unique, plain): (Vec<_>, Vec<_>) = wanted.into_iter().partition(|s| s.get_bool("unique").unwrap_or(false));
        match self.build(tracked, &plain).await {
            // A document of an overlap may be what it never was on the source.
            Err(e) if e.kind == Kind::Server && e.code.is_some() => self.build_exact(tracked, &plain).await?,
            built => built?,
        }
        self.build_exact(tracked, &unique).await?;
        self.metrics.indexes_built.fetch_add(count, Relaxed);
        Ok(())
    }

    /// The collection is gone: so are its expiries.
    pub fn forget(&self, tracked: &Tracked) {
        self.expiries.lock().retain(|(ns, _), _| *ns != tracked.ns);
    }

    /// Held in an exact state the collection is what the source was: no build,
    /// not even a unique one, can fail.
    async fn build_exact(&self, tracked: &Tracked, specs: &[RawDocumentBuf]) -> Result<()> {
        if specs.is_empty() {
            return Ok(());
        }
        for _ in 1..EXACT_TRIES_MAX {
            match self.build_held(tracked, specs).await {
                Err(e) if e.code == Some(CODE_DUPLICATE_KEY) => {}
                built => return built,
            }
            // Dropped on the source before this position, with duplicates since.
            if !self.still_on_source(tracked, specs).await? {
                return Ok(());
            }
            // Or a document read again was ahead of its transaction.
            tokio::time::sleep(POLL).await;
        }
        self.build_held(tracked, specs).await
    }

    /// IMPORTANT: the turn first, then the hold: what is held fills memory, and
    /// builds of others may take hours. What waits for the tail as a rule does so
    /// before it has either; and no turn is waited for once the collection is gone,
    /// or the tail might need what waits behind this chore.
    async fn build_held(&self, tracked: &Tracked, specs: &[RawDocumentBuf]) -> Result<()> {
        self.doubtful.past_horizon(tracked).await;
        let Some(_turn) = self.turn(tracked).await? else { return Ok(()) };
        let Some(hold) = self.doubtful.exact(tracked).await? else { return Ok(()) };
        let built = self.build_now(tracked, specs).await;
        hold.release().await?;
        built
    }

    /// One of the builds under way at a time; None if the collection is gone.
    async fn turn(&self, tracked: &Tracked) -> Result<Option<SemaphorePermit<'_>>> {
        tokio::select! {
            turn = self.builds.acquire() => turn.map(Some).map_err(|_| Error::internal("index builds are closed")),
            () = vanished::died(tracked) => Ok(None),
        }
    }

    async fn still_on_source(&self, tracked: &Tracked, specs: &[RawDocumentBuf]) -> Result<bool> {
        // Not listed: the tail will tell, if it is so.
        let Some(there) = self.on_source(tracked).await? else { return Ok(true) };
        let named = |name: &str| there.iter().any(|s| s.get_str("name").is_ok_and(|n| n == name));
        Ok(specs.iter().all(|spec| spec.get_str("name").is_ok_and(named)))
    }

    async fn on_source(&self, tracked: &Tracked) -> Result<Option<Vec<RawDocumentBuf>>> {
        catalog::indexes_of(&self.source, &tracked.ns.db, tracked.uuid).await
    }

    async fn build(&self, tracked: &Tracked, specs: &[RawDocumentBuf]) -> Result<()> {
        if specs.is_empty() {
            return Ok(());
        }
        let Some(_turn) = self.turn(tracked).await? else { return Ok(()) };
        self.build_now(tracked, specs).await
    }

    async fn build_now(&self, tracked: &Tracked, specs: &[RawDocumentBuf]) -> Result<()> {
        match self.create_indexes(tracked, specs).await {
            Err(e) if e.code.is_some_and(|code| CODES_CONFLICT.contains(&code)) => self.replace(tracked, specs).await,
            result => result,
        }
    }

    async fn create_indexes(&self, tracked: &Tracked, specs: &[RawDocumentBuf]) -> Result<()> {
        let specs = specs.iter().map(Document::try_from).collect::<std::result::Result<Vec<_>, _>>()?;
        // With a member down the default quorum waits for ever.
        let command = doc! {
            "createIndexes": &tracked.ns.coll, "indexes": specs, "commitQuorum": "majority", "writeConcern": { "w": 1 },
            "collectionUUID": tracked.target_uuid(),
        };
        run(&self.target, tracked, command).await
    }

    /// One of that name, or of that key under another name, is an older one that
    /// the source dropped since.
    async fn replace(&self, tracked: &Tracked, specs: &[RawDocumentBuf]) -> Result<()> {
        for spec in specs {
            match self.create_indexes(tracked, std::slice::from_ref(spec)).await {
                Err(e) if e.code.is_some_and(|code| CODES_CONFLICT.contains(&code)) => {
                    for name in self.in_the_way(tracked, spec).await? {
                        drop_index(&self.target, tracked, &name).await?;
                    }
                    self.create_indexes(tracked, std::slice::from_ref(spec)).await?;
                }
                result => result?,
            }
        }
        Ok(())
    }

    /// Names of the target's indexes with the name, or the key, of `spec`.
    async fn in_the_way(&self, tracked: &Tracked, spec: &RawDocumentBuf) -> Result<Vec<String>> {
        let name_of = |spec: &RawDocumentBuf| spec.get_str("name").unwrap_or_default().to_owned();
        let there = catalog::indexes(&self.target, &tracked.ns).await?;
        let key = spec.get_document("key")?;
        let same = |other: &&RawDocumentBuf| {
            name_of(other) == name_of(spec) || other.get_document("key").is_ok_and(|other| other == key)
        };
        Ok(there.iter().filter(same).map(name_of).collect())
    }

    /// The specification to build now; its expiry is kept for the cutover.
    fn to_create(&self, tracked: &Tracked, spec: &RawDocumentBuf) -> Result<RawDocumentBuf> {
        if let Some(seconds) = spec.get(EXPIRY)? {
            let name = spec.get_str("name").unwrap_or_default().to_owned();
            tracked.expires.store(true, SeqCst);
            self.expiries.lock().insert((tracked.ns.clone(), name), Bson::try_from(seconds)?);
        }
        catalog::index::to_create(tracked.traits.collated, spec)
    }
}

async fn drop_index(target: &Shard, tracked: &Tracked, name: &str) -> Result<()> {
    let command = doc! {
        "dropIndexes": &tracked.ns.coll, "index": name, "writeConcern": { "w": 1 },
        "collectionUUID": tracked.target_uuid(),
    };
    match run(target, tracked, command).await {
        Err(e) if matches!(e.code, Some(CODE_INDEX_NOT_FOUND | CODE_NAMESPACE_NOT_FOUND)) => Ok(()),
        result => result,
    }
}

async fn run(target: &Shard, tracked: &Tracked, command: Document) -> Result<()> {
    let result = target.client.database(&tracked.ns.db).run_command(command).await;
    let result = result.map(drop).map_err(|e| {
        Error::from(e).context(format_args!("changing indexes of {} on target shard {}", tracked.ns, target.id))
    });
    if tracked.is_dead() { Ok(()) } else { result }
}

/// Made with the collection itself.
fn is_implicit(spec: &RawDocumentBuf) -> bool {
    spec.get_str("name").is_ok_and(|n| n == "_id_") || spec.get_bool("clustered").unwrap_or(false)
}

/// Drops indexes of the target that the source has no longer, or has another
/// way: the log will say so later, but until then they refuse what is right.
pub(super) async fn drop_stale(source: &Shard, target: &Shard, tracked: &Tracked) -> Result<()> {
    // Not listed: the tail will tell.
    let listed = catalog::indexes_of(source, &tracked.ns.db, tracked.uuid).await?;
    let Some(there) = listed else { return Ok(()) };
    for spec in catalog::indexes(target, &tracked.ns).await? {
        if is_implicit(&spec) || there.iter().any(|other| refuses_alike(other, &spec)) {
            continue;
        }
        let name = spec.get_str("name")?;
        tracing::info!(ns = %tracked.ns, index = name, "dropped ahead of the log: the source has it no longer");
        drop_index(target, tracked, name).await?;
    }
    Ok(())
}

/// Two specifications of one name that refuse the same documents.
fn refuses_alike(a: &RawDocumentBuf, b: &RawDocumentBuf) -> bool {
    let fields = ["name", "key", "unique", "sparse", "partialFilterExpression"];
    fields.iter().all(|field| a.get(field).ok().flatten() == b.get(field).ok().flatten())
}
