//! The state of a run, kept on the target so that any host that reaches it can resume the
//! run. This file has plain data. `documents` has the documents; `run_store`,
//! `pair_store` and `lease` talk to the servers.
//!
//! Knows nothing about gates or tasks. All writes are acknowledged by a majority. They
//! return the term they were acknowledged in, so that the caller can notice an election
//! (R7).
//!
//! | collection    | on                   | holds |
//! |---------------|----------------------|-------|
//! | `run`         | first target shard   | the run, one document; goes last |
//! | `lease`       | first target shard   | who works on this target now |
//! | `expiries`    | first target shard   | what the finish gives back |
//! | `making`      | first target shard   | names of collections made while the run is on |
//! | `pairs`       | each target shard    | resume mark, incarnation, beats |
//! | `collections` | each target shard    | one document per source collection |
//! | `chunks`      | each target shard    | chunk maps too large for their collection's document, in parts |
//! | `units`       | each target shard    | one document per unit that was started |

pub mod lease;
pub mod pair_store;
pub mod run_store;
mod database;
mod documents;

use bson::{RawBson, RawDocumentBuf, Uuid};

use crate::cluster::catalog::{Chunk, Collection, CollectionKind, MapVersion, Namespace, Sharded};
use crate::cluster::ownership::joined;
use crate::cluster::probe::Identity;
use crate::error::{Error, Kind, Result};
use crate::position::{Mark, Position};
use crate::scope::Scope;

/// Database of the state, on every target shard.
pub const DATABASE: &str = "__shardlift";

/// Version of the documents written. An unknown one is refused, never guessed at. Whatever a
/// run is, it is written in the newest form: once a release has taken it up, no earlier one can.
///
/// | form | what is new in it |
/// |------|-------------------|
/// | 2    | `applied` of a pair, `wiping` of a unit, what the deployments of a run are |
/// | 3    | parts of a chunk map, names of what is being made: documents of their own |
/// | 4    | what a run is about: its filters, and whether `admin` is in it; the order in which a collection is scanned |
/// | 5    | whether a run is to be reversed, or is the reverse of another: that is never wiped |
/// | 6    | other names on the target: the renames of a run; all else that is recorded has those. Where a collection was planned anew |
pub const FORMAT: i32 = 6;

/// The oldest form that is still read.
const FORMAT_OLDEST: i32 = 1;

/// The progress of a run, as far as a restart must know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Nothing is made on the target yet. A restart plans again.
    Planning,
    /// The plan is stored whole; the layout is being made from it.
    Layout,
    /// Every collection is bound; documents move.
    Moving,
    /// Proven equal, gates closed for good: only the finish is left.
    Finishing,
    /// Given up by the operator; what was copied stays.
    Cancelled,
}

/// Whether a run is followed back (`control::reverse`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Reverse {
    #[default]
    No,
    /// After its cutover, the target is followed back to the source.
    Wanted,
    /// It was wanted, and could not be begun: the cutover went on without.
    GivenUp,
    /// It is the reverse of another run, which is done. Its target was there before it.
    Itself,
}

/// The state shared by all pairs, on the first target shard.
#[derive(Debug, Clone, PartialEq)]
pub struct RunState {
    pub id: String,
    pub stage: Stage,
    /// Ids of the source's shards, sorted.
    pub source_shards: Vec<String>,
    pub target_shards: Vec<String>,
    /// Identity of each side, since another deployment may have shards of the same names.
    /// None in form 1.
    pub source_identity: Option<Identity>,
    pub target_identity: Option<Identity>,
    /// `pairs[i]` is the target shard of source shard i.
    pub pairs: Vec<usize>,
    /// Whether each balancer was on before the run; None for replica sets.
    pub source_balancer: Option<bool>,
    pub target_balancer: Option<bool>,
    /// The rows of `config.settings` that stopping a balancer changes, as they were. None
    /// for replica sets, and in what an older release recorded.
    pub source_settings: Option<Vec<RawDocumentBuf>>,
    pub target_settings: Option<Vec<RawDocumentBuf>>,
    /// Views of the plan: they have no UUID and so no place in a pair's state.
    pub views: Vec<Namespace>,
    /// What the run is about, as the source's. In forms before 4 no filters, and not `admin`; in
    /// forms before 6 no renames.
    pub scope: Scope,
    /// `No` in forms before 5.
    pub reverse: Reverse,
}

/// Options that are set by the finish (R10).
#[derive(Debug, Clone, PartialEq)]
pub struct HeldBack {
    pub ns: Namespace,
    pub of: OptionsOf,
    /// The options as the source has them, byte for byte, with the name of the index.
    pub options: RawDocumentBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OptionsOf {
    Index,
    /// A clustered collection.
    Collection,
}

/// The state of one pair, on its target shard.
#[derive(Debug, Clone)]
pub struct PairState {
    /// The entry of the source's oplog at which the tail resumes.
    pub resume: Mark,
    /// The position at which the tail can resume if the units started before it are given
    /// up: everything else up to there is applied. At or after `resume`.
    pub applied: Mark,
    /// Position at which the catalog was read. A collection that is unknown up to here
    /// was dropped before it could be seen.
    pub catalog_position: Position,
    pub collections: Vec<CollectionState>,
}

/// One source collection as a pair knows it.
#[derive(Debug, Clone)]
pub struct CollectionState {
    pub uuid: Uuid,
    /// None until the layout is made.
    pub target_uuid: Option<Uuid>,
    /// Version of the target's chunk map as it was laid out. None if the collection is
    /// not sharded, or if an older release recorded it.
    pub target_version: Option<MapVersion>,
    /// On the target.
    pub ns: Namespace,
    /// Position of the newest rename that made it `ns`: older ones are not made again. Zero if
    /// it never was renamed since it is known.
    pub renamed_at: Position,
    /// Position at which it was planned anew: its copy has all up to there, and entries up to
    /// there are passed. Zero if it is of the plan, or was created since.
    pub planned_at: Position,
    /// The options that `listCollections` gives, without `uuid`.
    pub options: RawDocumentBuf,
    /// Index of the database's primary source shard.
    pub primary: usize,
    /// Chunks joined per owner.
    pub sharded: Option<Sharded>,
    pub key_index: Option<RawDocumentBuf>,
    /// Dropped on source and target: entries of its UUID are discarded.
    pub dead: bool,
    /// Its documents are being deleted on the target so that it is copied again;
    /// that is completed before anything else (`control::recorded::restart`).
    pub wiping: bool,
    /// Documents of it were seen with a field name twice (`pair::write::delicate`).
    pub duplicate_names: bool,
    /// How it is scanned. `Id` in what an older release recorded.
    pub order: ScanOrder,
    /// How often it was read from its first document in the order of the disk.
    pub whole_reads: usize,
    /// Lower bounds of all units but the first, ascending.
    pub bounds: Vec<RawBson>,
    /// `bounds.len() + 1` of them.
    pub units: Vec<UnitState>,
}

/// The order in which a collection is scanned, as it was planned.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ScanOrder {
    /// In ranges of `_id`; what the disk has in that order anyway, as one.
    #[default]
    Id,
    /// That of the disk, as one, with a rolling hold (R2).
    Natural,
}

/// A unit as a restart finds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnitState {
    Waiting,
    /// Something of it may be on the target: it is scanned again with this fence.
    Copying(Position),
    /// Its last held op is applied, and proven durable.
    Settled,
}

/// What a checkpoint records once it is proven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    pub resume: Mark,
    /// The resume position if the units in flight are given up: see `PairState`.
    pub applied: Mark,
    /// Units settled since the last one.
    pub settled: Vec<(Uuid, usize)>,
    /// Collections of which documents with a field name twice were seen since the last
    /// checkpoint.
    pub duplicate_names: Vec<Uuid>,
}

/// A new incarnation of a pair: its number, and the target's term it writes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Incarnation {
    pub number: i64,
    pub term: i64,
}

/// What was acknowledged counts only in the incarnation's own term (R7).
///
/// # Errors
/// `Transient`: the pair goes back to its last checkpoint.
pub fn same_term(ours: i64, theirs: i64) -> Result<()> {
    if ours == theirs {
        return Ok(());
    }
    let found = format!(
        "the target held an election (term {ours} → {theirs}): going back to the last checkpoint"
    );
    Err(Error::new(Kind::Transient, found))
}

impl CollectionState {
    /// A planned collection: nothing is made, all units wait.
    ///
    /// # Errors
    /// `Internal` for a view.
    pub fn planned(collection: &Collection, bounds: Vec<RawBson>) -> Result<Self> {
        let uuid = collection
            .uuid
            .ok_or_else(|| Error::internal(format!("{} has no UUID", collection.ns)))?;
        Ok(CollectionState {
            uuid,
            target_uuid: None,
            target_version: None,
            ns: collection.ns.clone(),
            renamed_at: Position::default(),
            planned_at: Position::default(),
            options: collection.options.clone(),
            primary: collection.primary,
            sharded: collection.sharded.as_ref().map(per_owner),
            key_index: collection.key_index.clone(),
            dead: false,
            wiping: false,
            duplicate_names: false,
            order: ScanOrder::Id,
            whole_reads: 0,
            units: vec![UnitState::Waiting; bounds.len() + 1],
            bounds,
        })
    }

    /// Seen being created: complete by its ops alone.
    ///
    /// # Errors
    /// `Internal` for a view.
    pub fn created(
        collection: &Collection,
        target_uuid: Option<Uuid>,
        target_version: Option<MapVersion>,
    ) -> Result<Self> {
        let planned = Self::planned(collection, Vec::new())?;
        Ok(CollectionState {
            target_uuid,
            target_version,
            units: vec![UnitState::Settled],
            ..planned
        })
    }

    /// Created and dropped again before anything was made of it.
    pub fn dead(uuid: Uuid, ns: &Namespace) -> Self {
        CollectionState {
            uuid,
            target_uuid: None,
            target_version: None,
            ns: ns.clone(),
            renamed_at: Position::default(),
            planned_at: Position::default(),
            options: RawDocumentBuf::new(),
            primary: 0,
            sharded: None,
            key_index: None,
            dead: true,
            wiping: false,
            duplicate_names: false,
            order: ScanOrder::Id,
            whole_reads: 0,
            bounds: Vec::new(),
            units: vec![UnitState::Settled],
        }
    }

    /// The collection as the source's catalog had it when it was planned.
    pub fn collection(&self) -> Collection {
        Collection {
            ns: self.ns.clone(),
            kind: CollectionKind::Plain,
            uuid: Some(self.uuid),
            options: self.options.clone(),
            primary: self.primary,
            sharded: self.sharded.clone(),
            key_index: self.key_index.clone(),
        }
    }
}

/// Neighbouring chunks of one owner joined: all that ownership needs.
fn per_owner(sharded: &Sharded) -> Sharded {
    let chunks = joined(sharded)
        .into_iter()
        .map(|(min, max, shard)| Chunk { min, max, shard })
        .collect();
    Sharded {
        chunks,
        ..sharded.clone()
    }
}
