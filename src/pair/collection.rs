//! What every stage of a pair knows of one source collection: its UUIDs on
//! both sides, and the counters that let stages wait for each other.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use bson::{RawDocument, Uuid};

use crate::cluster::catalog::Namespace;
use crate::cluster::ownership::Ownership;
use crate::pair::position::Position;

/// What is special about a collection.
#[derive(Debug, Clone, Copy, Default)]
pub struct Traits {
    pub capped: bool,
    /// Has a collation of its own.
    pub collated: bool,
    /// Stored in the order of `_id`, without an index on it.
    pub clustered: bool,
}

impl Traits {
    /// Reads the options of `create` or `listCollections`.
    pub fn of(options: &RawDocument) -> Self {
        let collation = options.get_document("collation").and_then(|c| c.get_str("locale"));
        Traits {
            capped: options.get_bool("capped").unwrap_or(false),
            collated: collation.is_ok_and(|locale| locale != "simple"),
            clustered: options.get("clusteredIndex").is_ok_and(|index| index.is_some()),
        }
    }
}

/// A source collection as one pair tracks it. The catalog of a pair maps its
/// source UUID to this; names are for people and for the target's commands.
#[derive(Debug)]
pub struct Tracked {
    pub uuid: Uuid,
    pub ns: Namespace,
    pub traits: Traits,
    /// Set on sharded collections.
    ownership: OnceLock<Ownership>,
    /// The shard has the collection but no chunk of it: nothing of it counts
    /// here, save that it takes part in its drop (R4).
    passive: AtomicBool,
    /// Set once the target's collection exists, before the first write.
    target_uuid: OnceLock<Uuid>,
    /// Ops handed to lanes and not yet applied.
    pub in_lanes: AtomicU64,
    /// Newest source position any copied document may show (R3).
    horizon: AtomicU64,
    /// Dropped on the source: ops, scans and refusals are discarded.
    dead: AtomicBool,
    /// Has an index with an expiry: deletes may come from the source itself.
    pub expires: AtomicBool,
}

impl Tracked {
    pub fn new(uuid: Uuid, ns: Namespace, traits: Traits) -> Self {
        Tracked {
            uuid,
            ns,
            traits,
            ownership: OnceLock::new(),
            passive: AtomicBool::new(false),
            target_uuid: OnceLock::new(),
            in_lanes: AtomicU64::new(0),
            horizon: AtomicU64::new(0),
            dead: AtomicBool::new(false),
            expires: AtomicBool::new(false),
        }
    }

    /// One lane, op order, nothing coalesced: capped collections, and those
    /// whose own collation decides what `_id`s are equal (R4).
    pub fn in_order(&self) -> bool {
        self.traits.capped || self.traits.collated
    }

    /// Copied as one unit in natural order.
    pub fn one_unit(&self) -> bool {
        self.in_order() || self.traits.clustered
    }

    /// Binds the collection to the one on the target that takes its writes.
    pub fn bind(&self, target_uuid: Uuid) {
        let _ = self.target_uuid.set(target_uuid);
    }

    pub fn target_uuid(&self) -> Uuid {
        *self.target_uuid.get().expect("a collection is bound before its gate opens")
    }

    /// Only documents that this shard owns count from now on.
    pub fn own(&self, ownership: Ownership) {
        let _ = self.ownership.set(ownership);
    }

    pub fn owns(&self, document: &RawDocument) -> bool {
        self.ownership.get().is_none_or(|ownership| ownership.owns(document))
    }

    pub fn is_sharded(&self) -> bool {
        self.ownership.get().is_some()
    }

    pub fn set_passive(&self) {
        self.passive.store(true, SeqCst);
    }

    pub fn is_passive(&self) -> bool {
        self.passive.load(SeqCst)
    }

    /// A scan reply showed the source at `position`.
    pub fn saw(&self, position: Position) {
        self.horizon.fetch_max(position.raw(), SeqCst);
    }

    pub fn horizon(&self) -> Position {
        Position::from_raw(self.horizon.load(SeqCst))
    }

    pub fn kill(&self) {
        self.dead.store(true, SeqCst);
    }

    pub fn is_dead(&self) -> bool {
        self.dead.load(SeqCst)
    }
}
