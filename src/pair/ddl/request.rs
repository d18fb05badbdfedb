//! What a pair asks of control, which knows all pairs: to make and to drop what several of
//! them may hold. And what control answers.
//!
//! Decides nothing.

use std::sync::Arc;

use bson::{RawDocumentBuf, Uuid};
use tokio::sync::oneshot;

use crate::cluster::catalog::MapVersion;
use crate::cluster::catalog::{Collection, Namespace};
use crate::error::Result;
use crate::pair::collection::Tracked;
use crate::state::pair_store::bound::Versions;

/// A request of a pair to control. It is answered once it is done on the target.
#[derive(Debug)]
pub enum Request {
    /// Make the collection of this UUID on the target.
    Create {
        pair: usize,
        ns: Namespace,
        uuid: Uuid,
        reply: oneshot::Sender<Result<Creation>>,
    },
    /// This pair has reached the drop of this UUID.
    Drop {
        pair: usize,
        ns: Namespace,
        uuid: Uuid,
        reply: oneshot::Sender<Result<()>>,
    },
    /// This pair's collection has this name from here on.
    Rename {
        pair: usize,
        tracked: Arc<Tracked>,
        to: Namespace,
        reply: oneshot::Sender<Result<Renamed>>,
    },
    /// The source's collection has these options by now; the shard's own follow them.
    Modified {
        uuid: Uuid,
        options: RawDocumentBuf,
        reply: oneshot::Sender<Result<()>>,
    },
    /// Make the views of this database on the target the source's.
    Views {
        db: String,
        reply: oneshot::Sender<Result<()>>,
    },
}

/// The outcome of a rename.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renamed {
    /// The target's collection has the name, and had it before perhaps. Versions of both chunk
    /// maps since, of a sharded one, as far as they are known.
    Done(Versions),
    /// Its drop was met, or it was never made.
    Gone,
}

/// The outcome of a creation.
#[derive(Debug)]
pub enum Creation {
    Made(Box<Created>),
    /// The source shard shows it no longer: until its drop is met it may be back.
    Gone,
    /// Pairs met its drop: this one will, though its shard may still show it.
    Dropped,
}

#[derive(Debug, Clone)]
pub struct Created {
    /// The collection as the source's catalog has it.
    pub collection: Collection,
    /// UUID of the collection on this pair's target shard; None if that has none.
    pub target_uuid: Option<Uuid>,
    /// Version of the target's chunk map, if the collection is sharded.
    pub target_version: Option<MapVersion>,
}
