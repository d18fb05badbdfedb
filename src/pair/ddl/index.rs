//! Secondary indexes of one pair's target shard (R10). They are built after a collection
//! is copied, unique ones while its ops are held at an exact position; later changes are
//! carried over as they come. Options that wait for the cutover (expiries,
//! `prepareUnique`) are kept with the collection.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bson::RawDocumentBuf;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::cluster::catalog::index::{self, IndexName, IndexPlan};
use crate::cluster::deployment::Shard;
use crate::codes;
use crate::error::{Error, Kind, Result};
use crate::failpoint;
use crate::observe::counters::PairMetrics;
use crate::pair::collection::Tracked;
use crate::pair::ddl::options;
use crate::pair::ddl::refused::unless_taken;
use crate::pair::ddl::vanished;
use crate::pair::mend::doubtful::Doubtful;
use crate::pair::mend::source_indexes::{list, to_create};
use crate::pair::mend::stale_indexes::shown;
use crate::pair::mend::target_indexes::TargetIndexes;
use crate::pair::oplog::proven::Lister;
use crate::position::Position;

/// Between two builds in an exact state.
const POLL: Duration = Duration::from_millis(50);
const EXACT_TRIES_MAX: usize = 10;
/// How often indexes are listed again where the target's changed meanwhile: a build that
/// an earlier attempt began may have come to its end.
const ROUNDS_MAX: usize = 5;

/// IndexOptionsConflict, IndexKeySpecsConflict.
const CODES_CONFLICT: [i32; 2] = [85, 86];

#[derive(Debug)]
pub struct Indexer {
    /// The lister of the source shard.
    pub lister: Arc<Lister>,
    /// By the data plane's connections.
    pub target: Shard,
    pub doubtful: Arc<Doubtful>,
    pub metrics: Arc<PairMetrics>,
    /// Builds under way at a time: each takes the target's memory and disk.
    pub builds: Semaphore,
}

impl Indexer {
    /// Gives the target exactly the source's indexes. Used when the last unit is copied,
    /// after a restart, and where the target's indexes are not what the oplog expects.
    /// Index DDL up to the position of the list is included in it and is skipped later.
    pub async fn reconcile(&self, tracked: &Tracked) -> Result<()> {
        for _ in 0..ROUNDS_MAX {
            let Some(target) = TargetIndexes::of(&self.target, tracked) else {
                return Ok(());
            };
            let Some(listed) = list(&self.lister, tracked).await? else {
                return vanished::until_dropped(&self.lister.shard, tracked).await;
            };
            // IMPORTANT: there is a position on either side of the list. Index DDL up to
            // the first is in the list. What the list shows may be as new as the second,
            // so a unique index in it may be built only past that.
            tracked.set_indexes_listed_at(listed.before);
            tracked.raise_horizon(listed.clock);
            tracked.indexes_are(&listed.specs);
            let wanted = to_create(tracked, self.target.writes, &listed.specs);
            let plan = index::plan(&wanted, &target.list().await?);
            let there = (wanted.len() - plan.build.len()) as u64;
            if self.carry_out(&target, plan).await? {
                self.metrics.indexes_total.fetch_add(there, Relaxed);
                self.metrics.indexes_built.fetch_add(there, Relaxed);
                tracked.copied.built(there);
                failpoint::hit("index-built");
                return Ok(());
            }
        }
        Err(in_the_way(tracked))
    }

    /// The same, and gives it the source's options: a change of an index may have switched
    /// off one. Options that the target does not take stay as they are: that ends no run, but
    /// holds the cutover back.
    pub async fn mend(&self, tracked: &Tracked) -> Result<()> {
        self.reconcile(tracked).await?;
        match options::align(&self.lister, &self.target, tracked).await {
            Err(e) if matches!(e.kind, Kind::Server | Kind::Unsupported) => {
                tracing::warn!("options of {} stay as they are: {e}", tracked.ns());
                Ok(())
            }
            aligned => aligned.map(drop),
        }
    }

    /// Carries out a plan. Returns false if something unlisted was in the way.
    async fn carry_out(&self, target: &TargetIndexes<'_>, plan: IndexPlan) -> Result<bool> {
        for hidden in &plan.hide {
            if !target.hide(hidden).await? {
                return Ok(false);
            }
        }
        if !plan.hide.is_empty() {
            // It may have switched off pre-images.
            options::align(&self.lister, &self.target, target.tracked).await?;
        }
        let mut carrying = Vec::new();
        for names in &plan.drop {
            tracing::info!(ns = %target.tracked.ns(), indexes = %shown(names), "dropped: the source has no such index");
            match target.drop(names).await {
                // The source's key was refined since: the index of the refined one is built
                // first, and carries this one, too.
                Err(e) if e.code == Some(codes::CARRIES_SHARD_KEY) => carrying.push(names),
                Ok(false) => return Ok(false),
                dropped => {
                    dropped?;
                }
            }
        }
        match self.create(target, plan.build).await {
            Err(e) if is_conflict(&e) => return Ok(false),
            created => created?,
        }
        for names in carrying {
            if !target.drop(names).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Index DDL of the oplog at `position`; nothing if the list had it.
    pub async fn create_at(
        &self,
        tracked: &Tracked,
        specs: Vec<RawDocumentBuf>,
        position: Position,
    ) -> Result<()> {
        let Some(target) = TargetIndexes::of(&self.target, tracked) else {
            return Ok(());
        };
        if position <= tracked.indexes_listed_at() {
            return Ok(());
        }
        tracked.gets_indexes(&specs);
        let specs = to_create(tracked, self.target.writes, &specs);
        match self.create(&target, specs).await {
            // The index in the way is not on the source at this position: the list was
            // ahead.
            Err(e) if is_conflict(&e) => self.reconcile(tracked).await,
            created => created,
        }
    }

    pub async fn remove_at(
        &self,
        tracked: &Tracked,
        names: Vec<IndexName>,
        position: Position,
    ) -> Result<()> {
        let Some(target) = TargetIndexes::of(&self.target, tracked) else {
            return Ok(());
        };
        if position <= tracked.indexes_listed_at() {
            return Ok(());
        }
        tracked.held_back.remove(&names);
        for names in index::named(&names, &target.list().await?) {
            target.drop(&names).await?;
        }
        Ok(())
    }

    /// Options of indexes were changed at `position`; nothing if the list had that.
    pub async fn modify_at(&self, tracked: &Tracked, position: Position) -> Result<()> {
        if position <= tracked.indexes_listed_at() {
            return Ok(());
        }
        self.reconcile(tracked).await
    }

    /// Builds those of `specs` that the target does not have yet.
    async fn create(&self, target: &TargetIndexes<'_>, specs: Vec<RawDocumentBuf>) -> Result<()> {
        let count = specs.len() as u64;
        let are_changed = target.are_changed(&specs);
        let names: Vec<IndexName> = specs.iter().map(|spec| IndexName::of(spec)).collect();
        let (unique, plain): (Vec<_>, Vec<_>) =
            specs.into_iter().partition(|spec| index::is_unique(spec));
        self.metrics.indexes_total.fetch_add(count, Relaxed);
        let built = self.build_all(target, plain, unique).await;
        let built = built.map_err(|e| {
            let ns = target.tracked.ns().own(&self.lister.shard.scope);
            let names = shown(&names);
            unless_taken(
                e,
                format_args!("of the indexes {names} of {ns} drop there what it does not take"),
            )
        });
        if built.is_ok() {
            self.metrics.indexes_built.fetch_add(count, Relaxed);
            target.tracked.copied.built(count);
        } else {
            self.metrics.indexes_total.fetch_sub(count, Relaxed);
        }
        if built.is_ok() && are_changed {
            // It may have switched off pre-images.
            options::align(&self.lister, &self.target, target.tracked).await?;
        }
        built
    }

    async fn build_all(
        &self,
        target: &TargetIndexes<'_>,
        plain: Vec<RawDocumentBuf>,
        unique: Vec<RawDocumentBuf>,
    ) -> Result<()> {
        match self.build(target, &plain).await {
            // A document of an overlap may be what it never was on the source.
            Err(e) if e.kind == Kind::Server && e.code.is_some() && !is_conflict(&e) => {
                self.build_exact(target, plain).await?;
            }
            built => built?,
        }
        self.build_exact(target, unique).await
    }

    /// Held in an exact state the collection is what the source was: no build,
    /// not even a unique one, can fail.
    async fn build_exact(
        &self,
        target: &TargetIndexes<'_>,
        mut specs: Vec<RawDocumentBuf>,
    ) -> Result<()> {
        for _ in 1..EXACT_TRIES_MAX {
            match self.build_held(target, &specs).await {
                Err(e) if e.code == Some(codes::DUPLICATE_KEY) => {}
                built => return built,
            }
            // Perhaps the source dropped the index before this position and has had
            // duplicates since: the oplog will bring the drop. If the collection is not
            // listed at all, the tail will find out.
            if let Some(listed) = list(&self.lister, target.tracked).await? {
                let there = to_create(target.tracked, self.target.writes, &listed.specs);
                specs.retain(|spec| there.iter().any(|there| index::same(there, spec)));
            }
            // Or a document read again was ahead of its transaction.
            tokio::time::sleep(POLL).await;
        }
        self.build_held(target, &specs).await
    }

    /// Builds indexes while the collection is held.
    ///
    /// IMPORTANT: take the turn first, then the hold: held ops fill memory, and builds of
    /// others may take hours. Waits for the tail mostly happen before either is taken. No
    /// turn is waited for once the collection is gone, or the tail might need what waits
    /// behind this chore.
    async fn build_held(&self, target: &TargetIndexes<'_>, specs: &[RawDocumentBuf]) -> Result<()> {
        if specs.is_empty() {
            return Ok(());
        }
        self.doubtful.past_horizon(target.tracked).await;
        let Some(_turn) = self.turn(target.tracked).await? else {
            return Ok(());
        };
        let Some(hold) = self.doubtful.exact(target.tracked).await? else {
            return Ok(());
        };
        let built = target.create(specs).await;
        hold.release().await?;
        built
    }

    async fn build(&self, target: &TargetIndexes<'_>, specs: &[RawDocumentBuf]) -> Result<()> {
        if specs.is_empty() {
            return Ok(());
        }
        let Some(_turn) = self.turn(target.tracked).await? else {
            return Ok(());
        };
        target.create(specs).await
    }

    /// One of the builds under way at a time; None if the collection is gone.
    async fn turn(&self, tracked: &Tracked) -> Result<Option<SemaphorePermit<'_>>> {
        tokio::select! {
            turn = self.builds.acquire() => turn.map(Some).map_err(|_| Error::internal("index builds are closed")),
            () = vanished::died(tracked) => Ok(None),
        }
    }
}

fn is_conflict(e: &Error) -> bool {
    e.code.is_some_and(|code| CODES_CONFLICT.contains(&code))
}

fn in_the_way(tracked: &Tracked) -> Error {
    let found = format!(
        "indexes of {} on the target keep changing and are in the way",
        tracked.ns()
    );
    Error::new(Kind::Server, found)
        .remedy("make sure that nobody else changes indexes there; then run the same command again")
}
