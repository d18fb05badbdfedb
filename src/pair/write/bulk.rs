//! Statements → the target: sends what `flush` plans, and what the answers mean.
//!
//! A refused statement is sent once more after the rest of its flush: where values of a
//! unique index go round, it came before the one that frees its value. Refused again, it
//! makes its document doubtful, and nothing waits for it (R3).

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use futures_util::future::try_join_all;
use futures_util::{StreamExt, TryStreamExt, stream};

use crate::bson::identity::IdKey;
use crate::codes;
use crate::error::{self, Result};
use crate::observe::counters::PairMetrics;
use crate::pair::collection::under_way::until_answered;
use crate::pair::collection::{Tracked, begin_writes};
use crate::pair::write::at_once::AtOnce;
use crate::pair::write::delicate;
use crate::pair::write::flush::{FlushPlan, Group, One, once_more};
use crate::pair::write::form::Form;
use crate::pair::write::majority::Majority;
use crate::pair::write::missed;
use crate::pair::write::parts::{Bulk, push_by_form};
use crate::pair::write::render::{render, render_in_transaction, render_inserts};
use crate::pair::write::reply::{Refusal, Said, refused_error};
use crate::pair::write::statement::{CollectionWrites, FlushLimits, Statement};
use crate::pair::write::target::Target;
use crate::position::Position;
use crate::state::pair_store::PairStore;

/// Writes to one target shard.
#[derive(Debug, Clone)]
pub struct Writer {
    pub target: Target,
    /// Of one command.
    pub limits: FlushLimits,
    /// Whether groups go in one transaction.
    pub at_once: Arc<AtOnce>,
    pub majority: Arc<Majority>,
    /// Where it is told which collections are to be copied anew (`mend::anew`). None on the way
    /// back, where nothing is emptied.
    pub anew: Option<PairStore>,
    pub metrics: Arc<PairMetrics>,
}

/// How many writes may be under way at a time. It bounds three things separately: the
/// inserts of a lane, its other commands, and the batches of a unit.
pub const WRITES_IN_FLIGHT: usize = 2;

/// A flush.
impl Writer {
    /// Sends one flush; returns how many statements it took when all are
    /// acknowledged. The documents of refused ones are doubtful then.
    pub async fn flush(&self, writes: &[CollectionWrites]) -> Result<u64> {
        let plan = FlushPlan::of(writes, self.limits, self.target.forms);
        for one in &plan.unclear {
            self.ask_source(*one);
        }
        let in_order = plan
            .in_order
            .iter()
            .map(|writes| self.write_in_order(writes));
        tokio::try_join!(try_join_all(in_order), self.write_unordered(&plan))?;
        Ok(writes.iter().map(|w| w.statements.len() as u64).sum())
    }

    /// One document by itself.
    pub(in crate::pair) async fn write_one(
        &self,
        collection: &Arc<Tracked>,
        statement: Statement,
    ) -> Result<()> {
        let writes = CollectionWrites::one(collection.clone(), statement);
        self.flush(&[writes]).await?;
        Ok(())
    }
}

/// The parts of a flush. What is returned was refused.
impl Writer {
    /// All that is not in order.
    async fn write_unordered(&self, plan: &FlushPlan<'_>) -> Result<()> {
        let (mut refused, of_changes) =
            tokio::try_join!(self.insert_all(&plan.inserts), self.change_all(plan))?;
        refused.extend(of_changes);
        // Some deltas of these may be applied already: once more they could move fields (R3).
        let (unclear, refused): (Vec<_>, Vec<_>) = refused
            .into_iter()
            .partition(|(_, statement)| statement.may_move_fields_again());
        for one in unclear {
            self.ask_source(one);
        }
        for bulk in once_more(refused, self.limits, self.target.forms) {
            self.change_or_doubt(&bulk, false).await?;
        }
        Ok(())
    }

    async fn insert_all<'a>(&self, bulks: &[Bulk<'a>]) -> Result<Vec<One<'a>>> {
        side_by_side(bulks.iter().map(|bulk| self.insert(bulk)).collect()).await
    }

    async fn change_all<'a>(&self, plan: &FlushPlan<'a>) -> Result<Vec<One<'a>>> {
        let mut refused = Vec::new();
        for group in &plan.changes {
            if !self.transact(group).await? {
                refused.extend(self.change_some(&group.bulks).await?);
            }
        }
        refused.extend(self.change_some(&plan.ops).await?);
        for one in &plan.delicate {
            self.write_delicate(*one).await?;
        }
        Ok(refused)
    }
}

/// A group of a flush.
impl Writer {
    /// False if nothing of it took effect.
    async fn transact(&self, group: &Group<'_>) -> Result<bool> {
        if !group.pays_at_once {
            return Ok(false);
        }
        let forms = self.target.forms;
        let collections = group.bulks.iter().map(|b| b.collection).collect();
        let Some(under_way) = begin_writes(collections).await else {
            return Ok(false);
        };
        let commands = group
            .bulks
            .iter()
            .map(|bulk| render_in_transaction(bulk.collection, forms, &bulk.statements));
        let sent = self.at_once.transact(&self.target, commands);
        let Some(found) = until_answered(under_way, sent).await? else {
            return Ok(false);
        };
        for (bulk, found) in group.bulks.iter().zip(found) {
            self.note_found(bulk, 0, found);
        }
        Ok(true)
    }

    async fn change_some<'a>(&self, bulks: &[Bulk<'a>]) -> Result<Vec<One<'a>>> {
        side_by_side(bulks.iter().map(|bulk| self.change(bulk)).collect()).await
    }
}

/// One command of a flush.
impl Writer {
    /// What was refused is sent as a change: mostly a document is there already.
    async fn insert<'a>(&self, bulk: &Bulk<'a>) -> Result<Vec<One<'a>>> {
        let forms = self.target.forms;
        let command = || render_inserts(bulk.collection, forms, &bulk.statements);
        let refused = self.target.write(bulk.collection, command).await?.refused;
        if refused.is_empty() {
            return Ok(Vec::new());
        }
        let there = refused.iter().map(|refusal| bulk.statements[refusal.index]);
        let there: Vec<&Statement> = there.collect();
        let (mut bulks, mut refused) = (Vec::new(), Vec::new());
        push_by_form(&mut bulks, bulk.collection, &there, self.limits, forms);
        for bulk in &bulks {
            refused.extend(self.change(bulk).await?);
        }
        Ok(refused)
    }

    pub(super) async fn send(&self, bulk: &Bulk<'_>, ordered: bool) -> Result<Said> {
        let (target, statements) = (&self.target, &bulk.statements);
        if bulk.form == Form::Ops {
            return target.apply(bulk.collection, statements, ordered).await;
        }
        let command = || render(bulk.collection, target.forms, statements, ordered);
        target.write(bulk.collection, command).await
    }

    /// Returns those that were refused.
    async fn change<'a>(&self, bulk: &Bulk<'a>) -> Result<Vec<One<'a>>> {
        let said = self.send(bulk, false).await?;
        if let Some(found) = said.found {
            self.note_found(bulk, said.refused.len(), found);
        }
        let mut refused = Vec::new();
        for refusal in said.refused {
            refused.push((bulk.collection, bulk.statements[refusal.index]));
        }
        Ok(refused)
    }

    /// Returns the index of the last refused statement, if one was. The documents of
    /// such are doubtful.
    pub(super) async fn change_or_doubt(
        &self,
        bulk: &Bulk<'_>,
        ordered: bool,
    ) -> Result<Option<usize>> {
        let refused = self.send(bulk, ordered).await?.refused;
        for refusal in &refused {
            let statement = bulk.statements[refusal.index];
            self.doubt(bulk.collection, &statement.id, statement.position, refusal)?;
        }
        Ok(refused.last().map(|refusal| refusal.index))
    }

    /// Writes one statement that a pipeline update could abort the server with.
    pub(super) async fn write_delicate(&self, (collection, statement): One<'_>) -> Result<()> {
        let refused = delicate::write(&self.target, collection, statement).await?;
        match refused {
            Some(refusal) => self.doubt(collection, &statement.id, statement.position, &refusal),
            None => Ok(()),
        }
    }
}

/// What answers mean.
impl Writer {
    /// Makes the document of a refused statement doubtful. This must happen before its op
    /// leaves the lane, or the watermark would pass the op.
    pub(in crate::pair) fn doubt(
        &self,
        collection: &Tracked,
        id: &IdKey,
        position: Position,
        refusal: &Refusal,
    ) -> Result<()> {
        if collection.is_dead() {
            return Ok(());
        }
        let is_gone = [codes::COLLECTION_UUID_MISMATCH, codes::NAMESPACE_NOT_FOUND];
        if is_gone.contains(&refusal.code) || error::is_passing(refusal.code) {
            return Err(refused_error(collection, refusal));
        }
        tracing::debug!(ns = %collection.ns(), code = refusal.code, %position, "the target refused a write");
        collection.doubts.add(id, position);
        self.metrics.ops_refused.fetch_add(1, Relaxed);
        Ok(())
    }

    /// Only the source knows the document: it is doubtful, as one that was refused.
    pub(super) fn ask_source(&self, (collection, statement): One<'_>) {
        if !collection.is_dead() {
            collection.doubts.add(&statement.id, statement.position);
            self.metrics.ops_unclear.fetch_add(1, Relaxed);
        }
    }

    fn note_found(&self, bulk: &Bulk<'_>, refused: usize, found: u64) {
        missed::note(
            &self.metrics,
            bulk.collection,
            &bulk.statements,
            refused,
            found,
        );
    }
}

/// A few at a time: each holds its command in memory. Returns those that were refused.
async fn side_by_side<'a>(
    writes: Vec<impl Future<Output = Result<Vec<One<'a>>>>>,
) -> Result<Vec<One<'a>>> {
    stream::iter(writes)
        .buffer_unordered(WRITES_IN_FLIGHT)
        .try_concat()
        .await
}
