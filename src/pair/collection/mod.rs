//! What every stage of a pair knows of one source collection: its UUIDs on
//! both sides, whether it still matters, and the numbers that let stages wait for
//! each other.

pub mod life;
pub mod names;
mod past;
pub mod doubts;
pub mod duplicate_names;
pub mod capped;
pub mod copied;
pub mod held_back;
pub mod under_way;

use std::sync::OnceLock;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicU64};

use bson::{RawDocument, RawDocumentBuf, Uuid};
use parking_lot::Mutex;

use crate::cluster::catalog::{Namespace, index};
use crate::cluster::ownership::Ownership;
use crate::pair::collection::capped::Capped;
use crate::pair::collection::copied::Copied;
use crate::pair::collection::doubts::Doubts;
use crate::pair::collection::duplicate_names::DuplicateNames;
use crate::pair::collection::held_back::HeldBack;
use crate::pair::collection::life::{Life, LifeNow};
use crate::pair::collection::names::Names;
use crate::pair::collection::under_way::{Closed, Count, UnderWay};
use crate::position::Position;
use crate::state::ScanOrder;

/// What is special about a collection.
#[derive(Debug, Clone, Copy, Default)]
pub struct Traits {
    pub capped: bool,
    /// The collection has its own collation.
    pub collated: bool,
    /// Stored in the order of `_id`, without an index on it.
    pub clustered: bool,
    /// Of a time series: clustered by ObjectIds.
    pub buckets: bool,
}

impl Traits {
    /// Reads the options of `create` or `listCollections`.
    pub fn of(options: &RawDocument) -> Self {
        let collation = options
            .get_document("collation")
            .and_then(|c| c.get_str("locale"));
        let has = |name| options.get(name).is_ok_and(|option| option.is_some());
        Traits {
            capped: options.get_bool("capped").unwrap_or(false),
            collated: collation.is_ok_and(|locale| locale != "simple"),
            clustered: has("clusteredIndex"),
            buckets: has("timeseries"),
        }
    }

    /// Its ops go through one lane in op order, and none are coalesced. True for capped
    /// collections, and for those whose own collation decides which `_id`s are equal
    /// (R4).
    pub fn in_order(&self) -> bool {
        self.capped || self.collated
    }

    /// Copied as one unit in natural order.
    pub fn one_unit(&self) -> bool {
        self.in_order() || self.clustered && !self.buckets
    }
}

/// Whether documents of a collection may belong to another shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharding {
    /// The collection was just seen being created, and is still being looked up. Its ops
    /// are held.
    Unknown,
    Unsharded,
    Sharded,
}

/// A source collection as one pair tracks it in one attempt. The UUID is the collection: the
/// catalog of a pair maps that to this, and ops, units, state and chores are kept by it. A name
/// is what it is called until its next rename ([`names`]): for people, for commands of the
/// target, and for the order of DDL on one name. The source may call it otherwise by now.
///
/// What changes is atomic: every stage holds it, and mostly without the gate's lock. Each
/// number is read by its own name.
#[derive(Debug)]
pub struct Tracked {
    pub uuid: Uuid,
    /// The source's database, in which it stays: its UUID is looked for there.
    pub source_db: String,
    names: Mutex<Names>,
    pub traits: Traits,
    pub order: ScanOrder,
    /// What it was up to there is in its copy, whatever an entry up to there says. Zero if the
    /// run began with it.
    planned_at: Position,
    /// Of sharded collections. Set once, before anything of it is let through.
    ownership: OnceLock<Ownership>,
    /// Set once, when the target's collection exists, before the first write.
    target_uuid: OnceLock<Uuid>,
    /// Whether it still matters here. Only goes forward.
    life: LifeNow,
    /// Newest source position any document of the target may show (R3). Only rises: with
    /// each reply of a scan or of a read again, and each list of its indexes.
    horizon: AtomicU64,
    /// It is copied, or is to be, in the order of the disk (`horizon`).
    rolls: AtomicBool,
    /// Index DDL up to here was in the list of indexes that was last reconciled with.
    indexes_listed_at: AtomicU64,
    /// Ops handed to lanes and not yet applied: the gate adds, lanes take off.
    pub in_lanes: AtomicU64,
    pub capped: Capped,
    pub copied: Copied,
    /// Commands on the target's collection that nobody has answered yet.
    under_way: Count,
    /// Documents that are written one by one.
    pub duplicate_names: DuplicateNames,
    /// Documents the target refused a write of.
    pub doubts: Doubts,
    /// A write found no document where one must be: that was told, once and for all.
    pub missed_told: AtomicBool,
    /// Has, or had, an index with an expiry: deletes may come from the source itself. Never
    /// taken back.
    pub expires: AtomicBool,
    /// Index options that are set at the cutover.
    pub held_back: HeldBack,
}

/// Like `Tracked::begin_write`, of all that one command is on: until what it returns is
/// dropped, none of them is dropped or renamed. None if one of them is dead.
pub async fn begin_writes(mut collections: Vec<&Tracked>) -> Option<Vec<UnderWay<'_>>> {
    // IMPORTANT: each once, and in one order for all: a rename in between lets none begin, and
    // waits for those that have.
    collections.sort_by_key(|collection| collection.uuid.bytes());
    collections.dedup_by_key(|collection| collection.uuid);
    let mut under_way = Vec::new();
    for collection in collections {
        under_way.push(collection.begin_write().await?);
    }
    Some(under_way)
}

impl Tracked {
    pub fn new(uuid: Uuid, ns: Namespace, traits: Traits) -> Self {
        Tracked::called(uuid, Names::new(ns, Position::default()), traits)
    }

    pub fn called(uuid: Uuid, names: Names, traits: Traits) -> Self {
        Tracked {
            uuid,
            source_db: names.log.db.clone(),
            names: Mutex::new(names),
            traits,
            order: ScanOrder::Id,
            planned_at: Position::default(),
            ownership: OnceLock::new(),
            target_uuid: OnceLock::new(),
            life: LifeNow::default(),
            horizon: AtomicU64::new(0),
            rolls: AtomicBool::new(false),
            indexes_listed_at: AtomicU64::new(0),
            in_lanes: AtomicU64::new(0),
            capped: Capped::default(),
            copied: Copied::default(),
            under_way: Count::default(),
            duplicate_names: DuplicateNames::default(),
            doubts: Doubts::default(),
            missed_told: AtomicBool::new(false),
            expires: AtomicBool::new(false),
            held_back: HeldBack::default(),
        }
    }

    /// It is scanned in this order.
    pub fn scanned(self, order: ScanOrder) -> Self {
        Tracked { order, ..self }
    }

    /// The source has it in this database.
    pub fn in_database(self, source_db: String) -> Self {
        Tracked { source_db, ..self }
    }

    /// Its name on the target.
    pub fn ns(&self) -> Namespace {
        self.names.lock().target.clone()
    }

    /// Its name by the log, as it is now; as the target would have it.
    pub fn logged_ns(&self) -> Namespace {
        self.names.lock().log.clone()
    }

    /// Hands over its name by the log, to queue a chore by: chores on one name are in the order
    /// of the log.
    ///
    /// IMPORTANT: under the lock of its names. Queued after a rename of it, and by its name from
    /// before, a chore would be in no order with those after the rename.
    pub fn as_logged(&self, queue: impl FnOnce(&Namespace)) {
        queue(&self.names.lock().log);
    }

    /// Its name on the target is this one, and no rename of it is under way.
    pub fn is_called(&self, ns: &Namespace) -> bool {
        self.names.lock().are(ns)
    }

    /// The tail has met its rename at `position`. Hands over its name by the log before that,
    /// as `as_logged` does, unless the rename is recorded already.
    pub fn renamed_in_log(
        &self,
        position: Position,
        to: &Namespace,
        queue: impl FnOnce(&Namespace),
    ) {
        let mut names = self.names.lock();
        if let Some(before) = names.renamed_in_log(position, to) {
            queue(&before);
        }
    }

    /// It has this name on the target. To be called while its writes are closed.
    pub fn renamed(&self, to: &Namespace) {
        self.names.lock().target = to.clone();
    }

    pub fn in_order(&self) -> bool {
        self.traits.in_order()
    }

    pub fn one_unit(&self) -> bool {
        self.traits.one_unit()
    }

    /// Binds the collection to the one on the target that takes its writes.
    pub fn bind(&self, target_uuid: Uuid) {
        let _ = self.target_uuid.set(target_uuid);
    }

    pub fn target_uuid(&self) -> Uuid {
        self.bound_to()
            .expect("a collection is bound before its gate opens")
    }

    /// The target's collection, once it is bound.
    pub fn bound_to(&self) -> Option<Uuid> {
        self.target_uuid.get().copied()
    }

    /// Only documents that this shard owns count from now on.
    pub fn own(&self, ownership: Ownership) {
        let _ = self.ownership.set(ownership);
    }

    pub fn owns(&self, document: &RawDocument) -> bool {
        self.ownership
            .get()
            .is_none_or(|ownership| ownership.owns(document))
    }

    pub fn sharding(&self) -> Sharding {
        match (self.ownership.get(), self.bound_to()) {
            (Some(_), _) => Sharding::Sharded,
            (None, Some(_)) => Sharding::Unsharded,
            (None, None) => Sharding::Unknown,
        }
    }

    /// Raises the horizon to `clock`: the source's clock when it gave documents that are,
    /// or will be, on the target. Its `operationTime` would be too low: changes of a
    /// prepared transaction are visible before its commit entry, whose position is
    /// already taken by then.
    pub fn raise_horizon(&self, clock: Position) {
        self.horizon.fetch_max(clock.raw(), SeqCst);
    }

    /// No op beyond the horizon shows in what was copied, or in what an earlier attempt
    /// applied. A quiet shard writes nothing beyond it by itself (`quiet`).
    ///
    /// While it is copied in the order of the disk no position is beyond it: any op may find
    /// its document missing, or newer than itself.
    pub fn horizon(&self) -> Position {
        // IMPORTANT: first: whoever finds that it no longer rolls sees all that its reads raised.
        if self.rolls.load(SeqCst) {
            return Position::MAX;
        }
        Position::from_raw(self.horizon.load(SeqCst))
    }

    /// Its copy in the order of the disk is to be made, or has ended. The gate's.
    pub(in crate::pair) fn roll(&self, rolls: bool) {
        self.rolls.store(rolls, SeqCst);
    }

    pub fn set_indexes_listed_at(&self, position: Position) {
        self.indexes_listed_at.store(position.raw(), SeqCst);
    }

    pub fn indexes_listed_at(&self) -> Position {
        Position::from_raw(self.indexes_listed_at.load(SeqCst))
    }

    /// The source has these indexes, and no others.
    pub fn indexes_are(&self, specs: &[RawDocumentBuf]) {
        self.held_back.clear();
        self.gets_indexes(specs);
    }

    pub fn gets_indexes(&self, specs: &[RawDocumentBuf]) {
        self.held_back.add(specs);
        if specs.iter().any(|spec| index::expires(spec)) {
            self.expires.store(true, SeqCst);
        }
    }

    /// Position of the oldest refused op that still counts; `MAX` if there is none. The
    /// watermark stays below it (R6).
    pub fn doubtful_oldest(&self) -> Position {
        if self.counts() {
            self.doubts.oldest()
        } else {
            Position::MAX
        }
    }

    /// A document of it must be read again before its state is exact.
    pub fn is_doubtful(&self) -> bool {
        self.doubtful_oldest() != Position::MAX
    }

    pub fn life(&self) -> Life {
        self.life.get()
    }

    /// Its data matters here.
    pub fn counts(&self) -> bool {
        self.life() == Life::Ours
    }

    /// Ops, scans and refusals of it are discarded.
    pub fn is_dead(&self) -> bool {
        self.life() == Life::Dead
    }

    /// Before a command on the collection is written and sent to the target. Until it is
    /// answered, and this dropped, the collection keeps its name. Waits while it is renamed.
    /// None if the collection is dead (R8).
    ///
    /// IMPORTANT: not by one who holds such already: a rename in between would wait for it.
    pub async fn begin_write(&self) -> Option<UnderWay<'_>> {
        loop {
            // IMPORTANT: counted first: whoever killed it either is seen here, or sees this.
            let under_way = self.under_way.one_more();
            if self.is_dead() {
                return None;
            }
            if !self.under_way.is_closed() {
                return Some(under_way);
            }
            drop(under_way);
            self.under_way.opened().await;
        }
    }

    /// Waits until no command on it is under way on the target. None is begun until this is
    /// opened.
    pub async fn close_writes(&self) -> Closed<'_> {
        self.under_way.close().await
    }

    /// Waits until no command on it is under way on the target. To be called once it is dead
    /// and before it is dropped there: another collection may then take its name.
    pub async fn written_out(&self) {
        self.under_way.none_left().await;
    }

    pub fn leave_to_other_shards(&self) {
        self.life.advance(Life::OtherShards);
    }

    pub fn expect_drop(&self) {
        self.life.advance(Life::DropExpected);
    }

    pub fn kill(&self) {
        self.held_back.clear();
        self.life.advance(Life::Dead);
    }
}

#[cfg(test)]
mod tests;
