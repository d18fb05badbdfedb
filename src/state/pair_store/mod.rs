//! The state of one pair, on its target shard: resume mark, collections, units. Every
//! write is majority-acknowledged and may be repeated.
//!
//! | write         | order that makes it sound |
//! |---------------|---------------------------|
//! | `create`      | the pair's document becomes `whole` last |
//! | `start_unit`  | durable before the unit's first document (R2) |
//! | `checkpoint`  | settled units before the mark that passes their fences (R6) |
//! | `add`         | units, and parts of its chunk map, before the collection that names them |
//! | `clear_units` | after `mark_wiping` or `replan`, before the documents are deleted |
//! | `forget_units` | after `mark_units_wiping` and after their documents are deleted |
//! | `go_on_at`    | before the attempt's first write; after `forget_units` |
//!
//! Knows nothing about gates, tasks, or who may write.

mod anew;
pub mod bound;
pub mod checkpoint;
mod forget;
mod maps;
mod units;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::SeqCst};
use std::time::Duration;

use bson::{RawBson, RawDocumentBuf, Uuid, rawdoc};

use crate::cluster::deployment::Shard;
use crate::error::{Error, Kind, Result};
use crate::position::{Mark, Position};
use crate::state::database::{StateDatabase, statement};
use crate::state::pair_store::maps::Maps;
use crate::state::{
    CollectionState, DATABASE, FORMAT, Incarnation, PairState, UnitState, documents,
};
use crate::wire::pool::Admission;

const PAIRS: &str = "pairs";
const COLLECTIONS_OF_PAIR: &str = "collections";
const CHUNKS: &str = "chunks";
const UNITS: &str = "units";

/// All of a pair store.
pub(super) const COLLECTIONS: [&str; 4] = [PAIRS, COLLECTIONS_OF_PAIR, CHUNKS, UNITS];

/// Cheap to clone; clones share the incarnation.
#[derive(Debug, Clone)]
pub struct PairStore {
    database: StateDatabase,
    run: String,
    pair: usize,
    /// The one this store began; 0 before.
    incarnation: Arc<AtomicI64>,
}

impl PairStore {
    /// `shard` is the pair's target shard. Give one whose client carries a data
    /// plane's app name where a late duplicate of a write would do harm.
    pub fn new(shard: &Shard, run: &str, pair: usize) -> Self {
        let database = StateDatabase::new(shard);
        PairStore {
            database,
            run: run.to_owned(),
            pair,
            incarnation: Arc::default(),
        }
    }

    /// The same store over another client of the shard: that of the data plane whose end
    /// the next incarnation waits for, so that no write comes after it.
    pub fn over(&self, shard: &Shard) -> Self {
        PairStore {
            database: StateDatabase::new(shard),
            ..self.clone()
        }
    }

    /// The same, which waits for the target's majority for as long.
    pub fn waiting(self, patience: Duration) -> Self {
        PairStore {
            database: self.database.waiting(patience),
            ..self
        }
    }

    /// Stores a plan, in place of any earlier one. Incarnations count on.
    pub async fn create(&self, state: &PairState) -> Result<()> {
        // By `_id` of any kind: `notablescan` refuses it otherwise, and 4.2 takes no hint.
        let others = rawdoc! {"q": {"_id": {"$gte": RawBson::MinKey}, "run": {"$ne": self.run.as_str()}}, "limit": 0};
        self.database
            .write(rawdoc! {"delete": PAIRS, "deletes": [others]})
            .await?;
        let torn = statement(self.me(), rawdoc! {"$set": {"whole": false}}, false);
        self.database.update_all(PAIRS, [Ok(torn)]).await?;
        self.database.drop(UNITS).await?;
        let started = state.collections.iter().flat_map(|c| {
            let units = c.units.iter().copied().enumerate();
            units
                .filter(|(_, unit)| *unit != UnitState::Waiting)
                .map(|(index, unit)| (c.uuid, index, unit))
        });
        self.database
            .update_all(
                UNITS,
                started.map(|(uuid, index, unit)| Ok(self.unit(uuid, index, unit))),
            )
            .await?;
        let maps = self.save_maps(&state.collections).await?;
        let collections = state.collections.iter().map(|c| self.collection(c, &maps));
        self.database
            .update_all(COLLECTIONS_OF_PAIR, collections)
            .await?;
        // An earlier plan's collections are removed only now, so that at all times a
        // stored collection accounts for whatever is on the target.
        self.forget_all_but(&state.collections).await?;
        // IMPORTANT: last: `whole` says that all of the plan is there.
        let whole = rawdoc! {
            "$set": {
                "format": FORMAT, "whole": true,
                "resume": documents::mark_document(state.resume),
                "applied": documents::mark_document(state.applied),
                "catalog": documents::position_document(state.catalog_position),
            },
            "$setOnInsert": {"incarnation": 0_i64, "beat": 0_i64},
        };
        self.database
            .update_all(PAIRS, [Ok(statement(self.me(), whole, true))])
            .await
            .map(drop)
    }

    /// None if no whole plan of this run is stored.
    ///
    /// # Errors
    /// `Unsupported` for documents of another format.
    pub async fn load(&self) -> Result<Option<PairState>> {
        let pairs = self.database.find(PAIRS, self.me()).await?;
        // One of a newer format is refused even if it knows no `whole`.
        let is_whole = |raw: &&RawDocumentBuf| {
            raw.get_bool("whole").unwrap_or(false)
                || raw.get_i32("format").is_ok_and(|format| FORMAT < format)
        };
        let Some(raw) = pairs.first().filter(is_whole) else {
            return Ok(None);
        };
        let mut state = documents::pair(self.pair, raw)?;
        let stored = self.stored().await?;
        state.collections = self.with_maps(&stored).await?;
        let units = self
            .database
            .find(UNITS, rawdoc! {"run": self.run.as_str()})
            .await?;
        self.place(&mut state, &units)?;
        Ok(Some(state))
    }

    /// Every collection stored for this run, of a whole plan or not. Units are left out
    /// (all waiting), and so are chunk maps that are apart.
    pub async fn collections(&self) -> Result<Vec<CollectionState>> {
        self.stored()
            .await?
            .iter()
            .map(|raw| documents::collection(raw))
            .collect()
    }

    async fn stored(&self) -> Result<Vec<RawDocumentBuf>> {
        self.database
            .find(COLLECTIONS_OF_PAIR, rawdoc! {"run": self.run.as_str()})
            .await
    }

    /// Begins the next incarnation. From here on this store's writes to the
    /// pair's document fail once another process has begun one.
    ///
    /// # Errors
    /// `Refused` if nothing of this pair is stored.
    pub async fn begin_incarnation(&self) -> Result<Incarnation> {
        let command = rawdoc! {
            "findAndModify": PAIRS, "query": self.me(), "update": {"$inc": {"incarnation": 1_i64}}, "new": true,
        };
        let reply = self.database.run(command).await?;
        let number = reply
            .get_document("value")
            .ok()
            .and_then(|value| value.get_i64("incarnation").ok());
        let number = number.ok_or_else(|| self.gone(Kind::Refused))?;
        self.incarnation.store(number, SeqCst);
        // The reply of `findAndModify` has no term. Nothing is written before this
        // answer, so its term is the one to compare later ones with.
        let term = self.checkpoint(None).await?;
        Ok(Incarnation { number, term })
    }

    /// Refuses connections that are opened once another incarnation has begun.
    ///
    /// IMPORTANT: the next one waits for those it sees. A process that was frozen may
    /// open more when it wakes up (R7).
    pub fn admission(&self) -> Admission {
        let filter = self.me_now();
        let find = rawdoc! {"find": PAIRS, "filter": filter, "limit": 1, "singleBatch": true};
        Admission {
            database: DATABASE,
            find,
            refused: self.gone(Kind::Transient),
        }
    }

    /// Records where this incarnation resumes. It replays from there, so documents go
    /// back to earlier states, and what an older incarnation applied beyond no longer
    /// counts.
    pub async fn go_on_at(&self, mark: Mark) -> Result<i64> {
        let at = documents::mark_document(mark);
        self.touch(
            rawdoc! {"$set": {"format": FORMAT, "applied": at.clone()}, "$max": {"resume": at}},
        )
        .await
    }

    /// The pair starts over: everything it holds waits for its scan.
    pub async fn begin_anew(&self, start: Mark, catalog_position: Position) -> Result<i64> {
        let (at, catalog) = (
            documents::mark_document(start),
            documents::position_document(catalog_position),
        );
        let set =
            rawdoc! {"format": FORMAT, "resume": at.clone(), "applied": at, "catalog": catalog};
        self.touch(rawdoc! {"$set": set}).await
    }

    /// Stores a collection, or replaces what was stored of it.
    pub async fn add(&self, collection: &CollectionState) -> Result<i64> {
        let units = collection.units.iter().enumerate();
        let units: Vec<_> = units
            .map(|(index, unit)| Ok(self.unit(collection.uuid, index, *unit)))
            .collect();
        self.database.update_all(UNITS, units).await?;
        let maps = self.save_maps(std::slice::from_ref(collection)).await?;
        self.update(COLLECTIONS_OF_PAIR, [self.collection(collection, &maps)])
            .await
    }

    /// Records that the collection is dropped on both sides. Does nothing if it is
    /// forgotten by now: a pair that learned of the drop before meeting it may meet it
    /// later.
    pub async fn kill(&self, uuid: Uuid) -> Result<i64> {
        self.update(
            COLLECTIONS_OF_PAIR,
            [self.change_of(uuid, &rawdoc! {"$set": {"dead": true}})],
        )
        .await
    }

    /// The documents of these collections are about to be deleted on the target
    /// (`true`), or they are gone (`false`).
    pub async fn mark_wiping(&self, uuids: &[Uuid], wiping: bool) -> Result<i64> {
        let updates: Vec<_> = uuids
            .iter()
            .map(|uuid| (*uuid, rawdoc! {"$set": {"wiping": wiping}}))
            .collect();
        self.change(&updates).await
    }

    /// Forgets all of this pair. May be repeated.
    pub async fn remove(&self) -> Result<()> {
        for collection in COLLECTIONS {
            self.database.drop(collection).await?;
        }
        Ok(())
    }

    fn me(&self) -> RawDocumentBuf {
        rawdoc! {"_id": self.pair as i64, "run": self.run.as_str()}
    }

    /// Matches the pair's document while this incarnation, if one was begun, is the
    /// newest.
    fn me_now(&self) -> RawDocumentBuf {
        let mut key = self.me();
        match self.incarnation.load(SeqCst) {
            0 => {}
            number => key.append(bson::cstr!("incarnation"), number),
        }
        key
    }

    fn collection(&self, collection: &CollectionState, maps: &Maps) -> Result<RawDocumentBuf> {
        let key = rawdoc! {"_id": documents::uuid_value(collection.uuid), "run": self.run.as_str()};
        let apart = maps.get(&collection.uuid).copied();
        Ok(statement(
            key,
            documents::collection_document(&self.run, collection, apart)?,
            true,
        ))
    }

    /// Changes the pair's document, if this incarnation is the newest.
    async fn touch(&self, update: RawDocumentBuf) -> Result<i64> {
        let written = self
            .database
            .update_all(PAIRS, [Ok(statement(self.me_now(), update, false))])
            .await?;
        match written {
            Some(written) if 0 < written.count => Ok(written.term),
            _ => Err(self.gone(Kind::Transient)),
        }
    }

    /// # Errors
    /// `Internal` if one of them is not stored.
    async fn change(&self, updates: &[(Uuid, RawDocumentBuf)]) -> Result<i64> {
        let statements: Vec<_> = updates
            .iter()
            .map(|(uuid, update)| self.change_of(*uuid, update))
            .collect();
        match self
            .database
            .update_all(COLLECTIONS_OF_PAIR, statements)
            .await?
        {
            None => self.touch(rawdoc! {"$inc": {"beat": 1_i64}}).await,
            Some(written) if written.count == updates.len() as i64 => Ok(written.term),
            Some(_) => Err(Error::internal(format!(
                "the stored state of pair {} does not know a collection that is to change",
                self.pair
            ))),
        }
    }

    fn change_of(&self, uuid: Uuid, update: &RawDocumentBuf) -> Result<RawDocumentBuf> {
        let key = rawdoc! {"_id": documents::uuid_value(uuid), "run": self.run.as_str()};
        Ok(statement(key, update.clone(), false))
    }

    async fn update(
        &self,
        collection: &str,
        statements: impl IntoIterator<Item = Result<RawDocumentBuf>>,
    ) -> Result<i64> {
        let written = self.database.update_all(collection, statements).await?;
        written
            .map(|w| w.term)
            .ok_or_else(|| Error::internal("a state update without a statement"))
    }

    fn gone(&self, kind: Kind) -> Error {
        let found = format!(
            "the state of pair {} on target shard {} was taken over by another process or removed",
            self.pair, self.database.shard
        );
        Error::new(kind, found).remedy(
            "let only one process work on this target; run `shardlift migrate` again to resume",
        )
    }
}

/// Delete statements of one command.
const DELETED_AT_ONCE: usize = 1_000;
