//! The tail: follows the source's oplog from the resume position, hands every
//! op to the gate and every DDL to the pair's chores, in oplog order.
//!
//! One task per pair. It waits only for memory (its share) and for the server.

pub mod view;
mod scoped;
pub mod plain;
pub mod quiet;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use bson::{RawDocument, Uuid};
use parking_lot::Mutex;

use crate::error::Result;
use crate::observe::counters::PairMetrics;
use crate::pair::budget::{Permit, REPLY_BYTES_MAX, Share};
use crate::pair::collection::Tracked;
use crate::pair::ddl::entry::Ddl;
use crate::pair::ddl::sink::DdlSink;
use crate::pair::gate::Gate;
use crate::pair::oplog::block;
use crate::pair::oplog::entry::{COPY_COLLECTION, Entry};
use crate::pair::oplog::feed::{Feed, FeedReader};
use crate::pair::oplog::meaning::Meaning;
use crate::pair::oplog::transactions::Transactions;
use crate::pair::oplog::walk::{Command, Holder, Walk};
use crate::pair::origin::{self, Origin};
use crate::pair::tail::plain::{Next, Plain, Unseen, classify, counts};
use crate::pair::tail::scoped::Crossing;
use crate::pair::tail::view::{Change, TailView};
use crate::position::Position;
use crate::scope::Scope;

pub struct Tail {
    pub feed: Arc<Feed>,
    /// The newest entry that was passed.
    pub at: Position,
    pub reader: FeedReader,
    pub share: Share,
    pub gate: Arc<Mutex<Gate>>,
    pub view: Arc<Mutex<TailView>>,
    pub ddl: DdlSink,
    pub metrics: Arc<PairMetrics>,
    /// Position at which the catalog was read. A collection that is unknown up to here
    /// was dropped before it could be seen.
    pub catalog_position: Position,
    /// The source's clock as the attempt began.
    pub begun: Position,
    /// The source's.
    pub scope: Scope,
    pub transactions: Transactions,
    pub open_builds: HashSet<Uuid>,
}

impl Tail {
    /// Follows until an error; ends by being dropped.
    pub async fn run(mut self) -> Result<()> {
        loop {
            // Half of the share stays for what is held.
            let mut permit = self.room(REPLY_BYTES_MAX, self.share.total() / 2).await;
            let block = self.reader.next().await?;
            permit.shrink_to(origin::bytes_max(block.payload.len()));
            let is_holding = self.gate.lock().is_holding();
            let mut origin = if is_holding {
                Origin::copied(permit)
            } else {
                Origin::shared(block.payload.clone(), permit)
            };
            let mut entries = block::entries(&block);
            loop {
                match self.plain().pass(&mut entries, &mut origin)? {
                    Next::Plain => {}
                    Next::Other(entry, raw) => self.entry(&entry, raw, &mut origin).await?,
                    Next::Nothing => break,
                }
            }
        }
    }

    fn plain(&mut self) -> Plain<'_> {
        Plain {
            gate: &self.gate,
            view: &self.view,
            metrics: &self.metrics,
            unseen: Unseen {
                scope: &self.scope,
                catalog_position: self.catalog_position,
                begun: self.begun,
            },
            transactions: &mut self.transactions,
            at: &mut self.at,
        }
    }

    /// Waits for `bytes` of the share. Where they are not free, held ops beyond
    /// `held_max` bytes are left to the spool: what they wait for may itself wait
    /// for this tail.
    async fn room(&self, bytes: usize, held_max: usize) -> Permit {
        if !self.share.has(bytes) {
            let left = self.gate.lock().leave(held_max as u64);
            if 0 < left {
                tracing::debug!(ops = left, "held ops are left to the spool");
            }
        }
        self.share.reserve(bytes).await
    }

    async fn entry(
        &mut self,
        entry: &Entry<'_>,
        raw: &RawDocument,
        origin: &mut Origin,
    ) -> Result<()> {
        self.gate.lock().begin(entry.position);
        match entry.op {
            "c" => self.command(entry, raw, origin).await?,
            _ if entry.is_of_views() => {
                self.transactions.ended(entry);
                self.views_changed(entry)?;
            }
            _ => return Err(entry.unsupported("an entry of unknown kind")),
        }
        self.gate.lock().pass(entry.mark());
        self.at = entry.position;
        self.view.lock().walls.passed(entry.position, entry.wall_ms);
        self.metrics.entries_read.fetch_add(1, Relaxed);
        Ok(())
    }

    async fn command(
        &mut self,
        entry: &Entry<'_>,
        raw: &RawDocument,
        origin: &mut Origin,
    ) -> Result<()> {
        match Walk::begin(entry, raw, &mut self.transactions, &self.feed).await? {
            Command::Operations(walk) => self.walk(walk, entry, origin).await?,
            Command::Nothing => {}
            Command::Other(meaning) => self.ddl(entry, meaning)?,
        }
        self.view.lock().open_transactions = self.transactions.open_count();
        Ok(())
    }

    /// Brings what takes effect at `entry` into effect. What is in the entry itself is in
    /// `origin`.
    async fn walk(&mut self, mut walk: Walk, entry: &Entry<'_>, origin: &mut Origin) -> Result<()> {
        let mut crossing = Crossing::default();
        while let Some(holder) = walk.next(&self.transactions, &self.feed).await? {
            let Holder::Part(raw) = holder else {
                self.operations(entry, entry.position, origin, &mut crossing)?;
                continue;
            };
            // The part's own bytes come on top of the reply's. Waiting for them while
            // holding the reply's permit is sound: no op is held in memory then, but those
            // that wait for a read in the order of the disk. Lanes and such reads give back
            // the rest of the share without the tail.
            let mut part = Origin::copied(self.room(raw.as_bytes().len(), 0).await);
            self.operations(&walk.part(&raw)?, entry.position, &mut part, &mut crossing)?;
        }
        if crossing.crosses() {
            let position = entry.position.raw();
            let counted_to = self.metrics.crossed_to.fetch_max(position, Relaxed);
            let is_new = u64::from(counted_to < position);
            self.metrics.transactions_crossed.fetch_add(is_new, Relaxed);
        }
        Ok(())
    }

    /// The operations inside an `applyOps`. Commands among them only create
    /// collections and indexes, and later operations may be on those: first the
    /// commands, then all the rest under one lock.
    fn operations(
        &mut self,
        entry: &Entry<'_>,
        position: Position,
        origin: &mut Origin,
        crossing: &mut Crossing,
    ) -> Result<()> {
        let mut crud = Vec::new();
        for inner in entry.operations(position)? {
            let inner = inner?;
            match inner.op {
                _ if inner.is_of_views() => self.views_changed(&inner)?,
                "i" | "u" | "d" => crud.push(inner),
                "n" => {}
                _ => self.ddl(&inner, inner.meaning()?)?,
            }
        }
        let unseen = Unseen {
            scope: &self.scope,
            catalog_position: self.catalog_position,
            begun: self.begun,
        };
        if !self.scope.filters().are_none() {
            crossing.note(&self.scope, crud.iter().filter(|inner| counts(inner)));
        }
        let mut change = None;
        let mut gate = self.gate.lock();
        for inner in crud.iter().filter(|inner| counts(inner)) {
            self.metrics.ops_read.fetch_add(1, Relaxed);
            let next = classify(&mut gate, inner, position, unseen, origin)?;
            let Some(next) = next else { continue };
            // One that is certainly a user's counts before one that may be an expiry.
            if change
                .as_ref()
                .is_none_or(|noted: &Change<'_>| noted.expiry && !next.expiry)
            {
                change = Some(next);
            }
        }
        self.view.lock().note(change);
        Ok(())
    }

    fn ddl(&mut self, entry: &Entry<'_>, meaning: Meaning<'_>) -> Result<()> {
        if entry.is_internal() || matches!(meaning, Meaning::Nothing) {
            return Ok(());
        }
        let tracked = |uuid| self.gate.lock().tracked(&uuid).cloned();
        let tracked = entry.uuid.and_then(tracked);
        let dropped = dropped_by(&meaning);
        let is_in_its_name = scoped::is_in_its_name(&meaning, tracked.as_deref(), entry.position);
        let is_past = tracked
            .as_ref()
            .is_some_and(|tracked| tracked.is_past(entry.position));
        let ddl = match self.asked_for(entry, meaning, tracked.as_deref()) {
            // What cannot be followed stops nothing where the copy has it. What else it did counts.
            Err(_) if is_past => {
                let position = entry.position;
                dropped.map(|uuid| Ddl::Drop { uuid, position })
            }
            // Out of the filters it went then, and it has come back since.
            Ok(Some(Ddl::Drop { .. })) if is_in_its_name => None,
            ddl => ddl?,
        };
        if let Some(ddl) = ddl {
            self.accept(entry, ddl);
        }
        Ok(())
    }

    /// The DDL of a command on a collection; None if there is nothing to carry over.
    fn asked_for(
        &mut self,
        entry: &Entry<'_>,
        meaning: Meaning<'_>,
        tracked: Option<&Tracked>,
    ) -> Result<Option<Ddl>> {
        let is_ours = tracked.is_some_and(|tracked| !tracked.is_dead());
        let Some(meaning) = scoped::meaning_to(&self.scope, entry, is_ours, meaning)? else {
            return Ok(None);
        };
        // Whatever made it, that was passed over.
        let is_unknown = tracked.is_none() && self.catalog_position < entry.position;
        if is_unknown && matches!(meaning, Meaning::Rename { .. }) {
            let found = "a rename of a collection this shard does not hold";
            return Err(entry.unsupported(found).remedy(COPY_COLLECTION));
        }
        self.builds(&meaning);
        if matches!(meaning, Meaning::StartIndexBuild { .. }) {
            return Ok(None);
        }
        Ddl::of(&self.scope, entry, meaning)
    }

    /// Index builds that are under way.
    fn builds(&mut self, meaning: &Meaning<'_>) {
        match meaning {
            Meaning::StartIndexBuild { build } => {
                self.open_builds.insert(*build);
            }
            Meaning::CommitIndexBuild { build, .. } | Meaning::AbortIndexBuild { build, .. } => {
                self.open_builds.remove(build);
            }
            _ => return,
        }
        self.view.lock().open_builds = self.open_builds.len();
    }

    /// Nothing for a view that is out of scope, or a time series.
    fn views_changed(&self, entry: &Entry<'_>) -> Result<()> {
        let (db, view) = (entry.database(), scoped::changed_view(entry));
        let is_out =
            !self.scope.may_have_in(db) || view.is_some_and(|view| !self.scope.has(db, view));
        if !is_out && !scoped::is_of_a_series(&self.gate.lock(), &self.scope, entry) {
            self.accept(entry, Ddl::of_views(&self.scope, entry, view)?);
        }
        Ok(())
    }

    fn accept(&self, entry: &Entry<'_>, ddl: Ddl) {
        let gate = self.gate.lock();
        // On other shards than the primary DDL is marked as a migration's too,
        // and a balancer that is on again makes collections by itself.
        if !entry.from_migrate {
            self.view.lock().note(Some(Change {
                position: entry.position,
                ns: entry.ns,
                expiry: false,
            }));
        }
        let closed = gate.is_closed();
        drop(gate);
        if !closed {
            self.ddl.accept(ddl);
        }
    }
}

/// What had the new name of a collection.
fn dropped_by(meaning: &Meaning<'_>) -> Option<Uuid> {
    match meaning {
        Meaning::Rename { dropped, .. } => *dropped,
        _ => None,
    }
}
