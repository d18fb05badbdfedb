//! Statements → write commands → the target, and what its answers mean.
//!
//! Every command is sent once. A connection that is lost while one is under way
//! ends the attempt: whether it took effect is not known, and sending it again on
//! another connection could let it run twice, late (R7). A refused statement is sent
//! once more after the rest of its flush: where values of a unique index go round, it
//! came before the one that frees its value. Refused again, it makes its document
//! doubtful, and nothing waits for it (R3).

use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bson::{RawDocument, rawdoc};
use futures_util::future::try_join_all;
use futures_util::{StreamExt, TryStreamExt, stream};

use crate::bson::identity::{self, IdKey};
use crate::cluster::direct::Direct;
use crate::cluster::retry::{while_stale, within};
use crate::error::{self, Error, Kind, Result};
use crate::observe::counters::PairMetrics;
use crate::pair::at_once::{AtOnce, pays_at_once};
use crate::pair::checkpoint::same_term;
use crate::pair::collection::Tracked;
use crate::pair::compile::{Base, CollectionWrites, FlushLimits, Statement};
use crate::pair::delicate;
use crate::pair::majority::Majority;
use crate::pair::position::Position;
use crate::pair::render::{render, render_in_transaction, render_inserts};
use crate::pair::reply::{
    CODE_COLLECTION_UUID_MISMATCH, Refusal, Said, found, is_stale, refusals, refused_error,
};
use crate::wire::message::{Reply, Request, number};

/// Writes to one target shard.
#[derive(Debug, Clone)]
pub struct Writer {
    pub direct: Direct,
    pub limits: FlushLimits,
    /// Whether flushes go in one transaction.
    pub at_once: Arc<AtOnce>,
    pub majority: Arc<Majority>,
    /// The target's term all writes must be acknowledged in (R7).
    pub term: i64,
    /// How long a command may stay unanswered.
    pub patience: Duration,
    pub metrics: Arc<PairMetrics>,
}

/// Inserts of one lane, other commands of it, and batches of one unit: each under way at a
/// time.
pub const WRITES_IN_FLIGHT: usize = 2;

/// The statements of a collection of one flush, by how they are sent. A document
/// is in one of them once.
struct Sorted<'a> {
    collection: &'a Tracked,
    delicate: Vec<&'a Statement>,
    inserts: Vec<&'a Statement>,
    /// Updates and deletes.
    changes: Vec<&'a Statement>,
    /// Not sent: the source must be asked.
    unclear: Vec<&'a Statement>,
}

impl<'a> Sorted<'a> {
    fn of(writes: &'a CollectionWrites) -> Self {
        let collection: &Tracked = &writes.collection;
        let (delicate, rest): (Vec<_>, Vec<_>) = writes
            .statements
            .iter()
            .partition(|s| delicate::is(collection, s));
        let (inserts, mut changes): (Vec<_>, Vec<_>) =
            rest.into_iter().partition(|s| s.is_insert());
        let unclear = changes
            .extract_if(.., |s| s.base == Base::Unclear)
            .collect();
        Sorted {
            collection,
            delicate,
            inserts,
            changes,
            unclear,
        }
    }
}

/// Statements of one collection that are sent together.
type Bulk<'s, 'a> = (&'a Tracked, &'s [&'a Statement]);

/// One that the target refused.
type Refused<'a> = (&'a Tracked, &'a Statement);

impl Writer {
    /// Sends one flush; returns how many statements it took when all are
    /// acknowledged. The documents of refused ones are doubtful then.
    pub async fn flush(&self, writes: &[CollectionWrites]) -> Result<u64> {
        let (in_order, free): (Vec<_>, Vec<_>) =
            writes.iter().partition(|w| w.collection.in_order());
        let free: Vec<Sorted<'_>> = free.into_iter().map(Sorted::of).collect();
        for Sorted {
            collection,
            unclear,
            ..
        } in &free
        {
            unclear
                .iter()
                .for_each(|statement| self.ask_source(collection, statement));
        }
        let in_order = in_order.iter().map(|w| async {
            self.send_in_order(&w.collection, &w.statements.iter().collect::<Vec<_>>())
                .await
        });
        let free = async {
            let (inserts, changes) =
                tokio::try_join!(self.send_inserts(&free), self.send_changes(&free))?;
            self.send_again([inserts, changes].concat()).await
        };
        tokio::try_join!(try_join_all(in_order), free)?;
        Ok(writes.iter().map(|w| w.statements.len() as u64).sum())
    }

    /// One document by itself.
    pub(super) async fn write_one(
        &self,
        collection: &Arc<Tracked>,
        statement: Statement,
    ) -> Result<()> {
        self.flush(&[CollectionWrites::one(collection.clone(), statement)])
            .await
            .map(drop)
    }

    async fn send_inserts<'a>(&self, sorted: &[Sorted<'a>]) -> Result<Vec<Refused<'a>>> {
        let bulks = self.bulks_of(sorted.iter().map(|s| (s.collection, &s.inserts[..])));
        side_by_side(
            bulks
                .into_iter()
                .map(|(collection, bulk)| self.send_insert(collection, bulk))
                .collect(),
        )
        .await
    }

    /// Whole documents, as if none was there: where one is, it is replaced (R3).
    async fn send_insert<'a>(
        &self,
        collection: &'a Tracked,
        batch: &[&'a Statement],
    ) -> Result<Vec<Refused<'a>>> {
        let refused = self
            .run(collection, || render_inserts(collection, batch))
            .await?
            .refused;
        let there: Vec<&Statement> = refused.iter().map(|refusal| batch[refusal.index]).collect();
        if there.is_empty() {
            Ok(Vec::new())
        } else {
            self.send(collection, &there).await
        }
    }

    /// All else.
    async fn send_changes<'a>(&self, sorted: &[Sorted<'a>]) -> Result<Vec<Refused<'a>>> {
        let bulks = self.bulks_of(sorted.iter().map(|s| (s.collection, &s.changes[..])));
        let size = |(_, bulk): &Bulk<'_, '_>| (bulk.len(), bulk.iter().map(|s| s.weight()).sum());
        let mut refused = Vec::new();
        // Small ones of several collections go together.
        for bulks in self.limits.split(&bulks, size) {
            refused.extend(self.send_together(bulks).await?);
        }
        for Sorted {
            collection,
            delicate,
            ..
        } in sorted
        {
            for statement in delicate {
                self.write_delicate(collection, statement).await?;
            }
        }
        Ok(refused)
    }

    /// In one transaction if there is enough of it, else side by side.
    async fn send_together<'a>(&self, bulks: &[Bulk<'_, 'a>]) -> Result<Vec<Refused<'a>>> {
        let weights = bulks
            .iter()
            .flat_map(|(_, bulk)| *bulk)
            .map(|statement| statement.weight());
        let pays = pays_at_once(weights);
        let commands: Vec<(&Tracked, Vec<&Statement>)> = bulks.iter().flat_map(by_kind).collect();
        if pays && self.all_at_once(&commands).await? {
            return Ok(Vec::new());
        }
        side_by_side(
            commands
                .iter()
                .map(|(collection, command)| self.send(collection, command))
                .collect(),
        )
        .await
    }

    /// Those that were refused, in the order of their ops. No other statement of the
    /// flush is on their documents.
    async fn send_again(&self, mut refused: Vec<Refused<'_>>) -> Result<()> {
        refused
            .sort_by_key(|(collection, statement)| (collection.uuid.bytes(), statement.position));
        for same in refused.chunk_by(|(a, _), (b, _)| a.uuid == b.uuid) {
            let (collection, _) = same[0];
            let statements: Vec<&Statement> =
                same.iter().map(|(_, statement)| *statement).collect();
            let bulks = self.bulks_of(std::iter::once((collection, &statements[..])));
            let commands: Vec<(&Tracked, Vec<&Statement>)> =
                bulks.iter().flat_map(by_kind).collect();
            for (collection, command) in commands {
                self.send_or_doubt(collection, &command, false).await?;
            }
        }
        Ok(())
    }

    async fn all_at_once(&self, commands: &[(&Tracked, Vec<&Statement>)]) -> Result<bool> {
        if !self.at_once.is_due() {
            return Ok(false);
        }
        let requests = commands
            .iter()
            .map(|(collection, command)| render_in_transaction(collection, command));
        let found = self.in_one_transaction(requests).await?;
        self.at_once.note(found.is_some());
        let Some(found) = found else { return Ok(false) };
        for ((collection, command), found) in commands.iter().zip(found) {
            self.note_found(collection, command, 0, found);
        }
        Ok(true)
    }

    /// Runs of updates and of deletes, one after the other. A document may come
    /// again: once it is doubtful, what follows of it is dropped.
    async fn send_in_order(&self, collection: &Tracked, statements: &[&Statement]) -> Result<()> {
        let kind = |s: &Statement| {
            (
                s.base == Base::Gone,
                s.base == Base::Unclear || delicate::is(collection, s),
            )
        };
        let mut rest = statements;
        while let Some((first, after)) = rest.split_first().filter(|_| !collection.is_dead()) {
            if collection.doubts.contains(&first.id) {
                rest = after;
                continue;
            }
            if first.base == Base::Unclear {
                self.ask_source(collection, first);
                rest = after;
                continue;
            }
            if delicate::is(collection, first) {
                self.write_delicate(collection, first).await?;
                rest = after;
                continue;
            }
            let alike =
                |s: &&&Statement| kind(s) == kind(first) && !collection.doubts.contains(&s.id);
            let run: Vec<&Statement> = rest
                .iter()
                .take(self.limits.ops_max)
                .take_while(alike)
                .copied()
                .collect();
            let batch = self.bulks(&run).swap_remove(0);
            // Ordered: nothing after the refused one was tried.
            let tried = self
                .send_or_doubt(collection, batch, true)
                .await?
                .map_or(batch.len(), |refused| refused + 1);
            rest = &rest[tried..];
        }
        Ok(())
    }

    /// Splits statements into what fits one command each.
    fn bulks<'s, 'a>(&self, statements: &'s [&'a Statement]) -> Vec<&'s [&'a Statement]> {
        self.limits
            .split(statements, |statement| (1, statement.weight()))
    }

    fn bulks_of<'s, 'a: 's>(&self, all: impl Iterator<Item = Bulk<'s, 'a>>) -> Vec<Bulk<'s, 'a>> {
        all.flat_map(|(collection, all)| {
            self.bulks(all)
                .into_iter()
                .map(move |bulk| (collection, bulk))
        })
        .collect()
    }

    /// Returns those that were refused.
    async fn send<'a>(
        &self,
        collection: &'a Tracked,
        batch: &[&'a Statement],
    ) -> Result<Vec<Refused<'a>>> {
        let Said { refused, found } = self
            .run(collection, || render(collection, batch, false))
            .await?;
        found
            .into_iter()
            .for_each(|found| self.note_found(collection, batch, refused.len(), found));
        Ok(refused
            .iter()
            .map(|refusal| (collection, batch[refusal.index]))
            .collect())
    }

    /// Returns the index of the last refused statement, if one was. The documents of
    /// such are doubtful.
    async fn send_or_doubt(
        &self,
        collection: &Tracked,
        batch: &[&Statement],
        ordered: bool,
    ) -> Result<Option<usize>> {
        let refused = self
            .run(collection, || render(collection, batch, ordered))
            .await?
            .refused;
        for refusal in &refused {
            let Statement { id, position, .. } = batch[refusal.index];
            self.doubt(collection, id, *position, refusal)?;
        }
        Ok(refused.last().map(|refusal| refusal.index))
    }

    /// What a refusal means: its document is doubtful from now on. It must be so
    /// before its op leaves the lane, or the watermark would pass it.
    pub(super) fn doubt(
        &self,
        collection: &Tracked,
        id: &IdKey,
        position: Position,
        refusal: &Refusal,
    ) -> Result<()> {
        if collection.is_dead() {
            return Ok(());
        }
        if refusal.code == CODE_COLLECTION_UUID_MISMATCH || error::is_passing(refusal.code) {
            return Err(refused_error(collection, refusal));
        }
        tracing::debug!(ns = %collection.ns, code = refusal.code, %position, "the target refused a write");
        collection.doubts.add(id, position);
        self.metrics.ops_refused.fetch_add(1, Relaxed);
        Ok(())
    }

    /// Only the source knows the document: it is doubtful, as one that was refused.
    fn ask_source(&self, collection: &Tracked, statement: &Statement) {
        if !collection.is_dead() {
            collection.doubts.add(&statement.id, statement.position);
            self.metrics.ops_unclear.fetch_add(1, Relaxed);
        }
    }

    /// Sends one write command. On a collection that is gone, every statement is
    /// refused by itself (code 361, seen on 6.0.5). Where the shard does not know what
    /// it owns the command is sent again.
    pub(super) async fn run(
        &self,
        collection: &Tracked,
        command: impl Fn() -> Request,
    ) -> Result<Said> {
        let sent = AtomicU32::new(0);
        let failed =
            |e: Error| e.context(format_args!("writing to {} on the target", collection.ns));
        let send = || async {
            let command = command();
            let ordered = command.head().get_bool("ordered").unwrap_or(true);
            let again = 0 < sent.fetch_add(1, Relaxed);
            let reply = self.command(command).await?;
            let refused = refusals(reply.body())?;
            match refused.iter().find(|refusal| is_stale(refusal, ordered)) {
                Some(stale) => Err(refused_error(collection, stale)),
                None => Ok(Said {
                    refused,
                    found: (!again).then(|| found(reply.body())),
                }),
            }
        };
        while_stale(self.patience, send).await.map_err(failed)
    }

    /// One command, sent once. Its reply tells the term it was acknowledged in.
    ///
    /// # Errors
    /// `Transient` if the answer was lost, is late, or is of another term: the
    /// pair goes back to its last checkpoint.
    pub(super) async fn command(&self, request: Request) -> Result<Reply> {
        let reply = within(self.patience, "the target", self.direct.run(request)).await;
        let reply = reply.inspect_err(|e| self.direct.learn(e))?;
        self.check_term(reply.body())?;
        Ok(reply)
    }

    /// # Errors
    /// `Transient` if a reply is of another term.
    pub(super) fn check_term(&self, reply: &RawDocument) -> Result<()> {
        match reply
            .get_document("opTime")
            .ok()
            .and_then(|time| number(time, "t"))
        {
            Some(term) => same_term(self.term, term),
            // Not every command tells one; the next checkpoint does.
            None => Ok(()),
        }
    }

    /// Writes one statement that a pipeline update could abort the server with.
    async fn write_delicate(&self, collection: &Tracked, statement: &Statement) -> Result<()> {
        let Statement { id, position, .. } = statement;
        let Some(commands) = delicate::commands(collection, statement) else {
            return self.doubt(collection, id, *position, &Refusal::ours());
        };
        for command in commands {
            let may_miss = command.may_miss;
            match self.command(command.request).await {
                Ok(reply) => {
                    if let Some(refusal) = refusals(reply.body())?.first() {
                        return self.doubt(collection, id, *position, refusal);
                    }
                }
                Err(e)
                    if may_miss
                        && e.kind == Kind::Server
                        && !self.has_any(collection, std::slice::from_ref(id)).await? => {}
                // `applyOps` tells of a refused op as of its own failure.
                Err(Error {
                    kind: Kind::Server,
                    code: Some(code),
                    message,
                    ..
                }) if may_miss => {
                    return self.doubt(
                        collection,
                        id,
                        *position,
                        &Refusal {
                            index: 0,
                            code,
                            message,
                            on_id: false,
                        },
                    );
                }
                Err(e) => {
                    return Err(
                        e.context(format_args!("writing to {} on the target", collection.ns))
                    );
                }
            }
        }
        Ok(())
    }

    /// True if the target has any of these documents, whatever they hold.
    pub(super) async fn has_any(&self, collection: &Tracked, ids: &[IdKey]) -> Result<bool> {
        let find = rawdoc! {
            "find": &*collection.ns.coll, "filter": { "_id": identity::any_of(ids) }, "hint": { "_id": 1 }, "limit": 1,
            "singleBatch": true,
        };
        let reply = self.command(Request::new(&collection.ns.db, find)).await?;
        let batch = reply
            .body()
            .get_document("cursor")
            .and_then(|cursor| cursor.get_array("firstBatch"));
        let batch = batch.map_err(|_| {
            Error::new(Kind::Server, "the target answered a find without documents")
        })?;
        Ok(!batch.is_empty())
    }
}

/// Updates, and deletes: a command each.
fn by_kind<'a>(
    (collection, bulk): &Bulk<'_, 'a>,
) -> impl Iterator<Item = (&'a Tracked, Vec<&'a Statement>)> + use<'a> {
    let (deletes, updates): (Vec<_>, Vec<_>) = bulk.iter().partition(|s| s.base == Base::Gone);
    let commands = [updates, deletes]
        .into_iter()
        .filter(|command| !command.is_empty());
    let collection = *collection;
    commands.map(move |command| (collection, command))
}

/// Not all at once: each holds its command in memory. Returns those that were refused.
async fn side_by_side<'a>(
    writes: Vec<impl Future<Output = Result<Vec<Refused<'a>>>>>,
) -> Result<Vec<Refused<'a>>> {
    stream::iter(writes)
        .buffer_unordered(WRITES_IN_FLIGHT)
        .try_concat()
        .await
}

pub(super) fn without_id(collection: &Tracked) -> Error {
    Error::new(
        Kind::Server,
        format!("a document of {} came without `_id`", collection.ns),
    )
}
