//! What the source holds, with positions around it: what whoever begins to follow
//! begins with.
//!
//! IMPORTANT: a listing shows what the primary has, a majority or not: a drop or a
//! creation in it may be rolled back, and no oplog would tell. So a listing counts
//! only if a majority took a note after it in the term that was there before it.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use bson::Uuid;
use futures_util::future::try_join_all;

use crate::cluster::catalog::{self, Catalog};
use crate::cluster::connect::Deployment;
use crate::cluster::note;
use crate::control::ddl;
use crate::error::{Error, Kind, Result};
use crate::pair::oplog::{Newest, Oplog};
use crate::pair::position::{Mark, Position};

/// How long a majority may take to acknowledge the note.
const NOTE_WAIT: Duration = Duration::from_secs(60);
/// Listings between which a shard held an election, before the error is told.
const TRIES_MAX: u32 = 5;

pub struct Listing {
    pub catalog: Catalog,
    /// UUIDs that each source shard has.
    pub local: Vec<HashSet<Uuid>>,
    /// Of each source shard: newest majority-committed entry before the listing.
    pub starts: Vec<Mark>,
    /// The same after it: what is created later is seen being created.
    pub catalog_positions: Vec<Position>,
}

/// Reads both positions and the catalog.
///
/// # Errors
/// `Transient` if a source shard keeps holding elections, or has no majority.
pub async fn read(source: &Deployment, run_id: &str) -> Result<Listing> {
    for _ in 0..TRIES_MAX {
        // IMPORTANT: positions first, then the catalog: what changes between the
        // two is in the oplog after the positions (R1).
        let starts = newest(source).await?;
        let catalog = catalog::read(source).await?;
        let local = try_join_all(source.shards.iter().map(|shard| ddl::local_uuids(shard, &catalog))).await?;
        prove(source, run_id).await?;
        // IMPORTANT: after both: a collection that no pair tracks and that is
        // written to later must have been seen being created.
        let after = newest(source).await?;
        if same_terms(&starts, &after) {
            let starts = starts.iter().map(|newest| newest.mark).collect();
            let catalog_positions = after.iter().map(|newest| newest.mark.position).collect();
            return Ok(Listing { catalog, local, starts, catalog_positions });
        }
        tracing::info!("a source shard held an election while its collections were listed: listing them again");
    }
    Err(Error::new(Kind::Transient, "source shards keep holding elections while their collections are listed"))
}

/// What was listed is durable if no shard held an election since it was.
async fn prove(source: &Deployment, run_id: &str) -> Result<()> {
    notes(source, run_id, NOTE_WAIT).await.map(drop)
}

/// A note in the oplog of every source shard: all that was listed before is at or
/// below these positions.
pub async fn notes(source: &Deployment, run_id: &str, wait: Duration) -> Result<Vec<Position>> {
    let deadline = Instant::now() + wait;
    let notes = source.shards.iter().map(|shard| note::write(shard, "listing", run_id, deadline));
    Ok(try_join_all(notes).await?.into_iter().map(Position::from).collect())
}

/// No source shard held an election between two looks.
pub fn same_terms(before: &[Newest], after: &[Newest]) -> bool {
    let terms = |newest: &[Newest]| newest.iter().map(|newest| newest.mark.term).collect::<Vec<_>>();
    terms(before) == terms(after)
}

/// The newest majority-committed entry of every source shard.
pub async fn newest(source: &Deployment) -> Result<Vec<Newest>> {
    // Single reads: nothing is waited for.
    let oplogs = source.shards.iter().map(|s| Oplog::new(s.client.clone(), &s.id, Duration::ZERO));
    try_join_all(oplogs.map(|oplog| async move { oplog.newest().await })).await
}
