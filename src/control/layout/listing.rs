//! The contents of the source with positions around the listing: the starting point for
//! whoever begins to follow.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bson::Uuid;
use futures_util::future::try_join_all;

use crate::cluster::catalog::{self, Catalog};
use crate::cluster::deployment::Deployment;
use crate::cluster::note;
use crate::error::{Error, Kind, Result};
use crate::pair::oplog::cursor::Newest;
use crate::pair::oplog::proven::{self, Lister};
use crate::position::{Mark, Position};

/// How long a majority may take to acknowledge the note.
const NOTE_WAIT: Duration = Duration::from_secs(60);
/// How often the source is listed while it renames, and the pause in between.
const TRIES_MAX: usize = 100;
const PAUSE: Duration = Duration::from_millis(100);

pub struct Listing {
    pub catalog: Catalog,
    /// UUIDs that each source shard has.
    pub local: Vec<HashSet<Uuid>>,
    /// Newest majority-committed entry of each source shard before the listing.
    pub starts: Vec<Mark>,
    /// The same after the listing: collections created later are seen being created.
    pub catalog_positions: Vec<Position>,
}

/// Reads both positions and the catalog, again while collections are renamed: each has its
/// name as of the position before, and every rename after that is still to be met.
///
/// # Errors
/// `Transient` if a source shard keeps holding elections, has no majority, or keeps renaming.
pub async fn read(source: &Deployment, run_id: &str) -> Result<Listing> {
    let listers = Lister::of_all(source, run_id, NOTE_WAIT);
    for _ in 0..TRIES_MAX {
        let listing = once(source, &listers).await?;
        if !has_rename(&listers, &listing).await? {
            return Ok(listing);
        }
        tracing::info!("a collection was renamed while the source was listed: listing again");
        tokio::time::sleep(PAUSE).await;
    }
    let found = "the source keeps renaming collections while it is listed";
    Err(Error::new(Kind::Transient, found)
        .remedy("try again when it renames fewer (`$out` and `mapReduce` rename, too)"))
}

/// What of it was renamed meanwhile may have either name.
pub async fn read_whatever_is_renamed(source: &Deployment, run_id: &str) -> Result<Listing> {
    once(source, &Lister::of_all(source, run_id, NOTE_WAIT)).await
}

async fn has_rename(listers: &[Arc<Lister>], listing: &Listing) -> Result<bool> {
    let between = listing.starts.iter().zip(&listing.catalog_positions);
    for (lister, (start, end)) in listers.iter().zip(between) {
        if lister.has_rename(start.position, *end).await? {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn once(source: &Deployment, listers: &[Arc<Lister>]) -> Result<Listing> {
    let list = || async {
        let catalog = catalog::read(source).await?;
        let local = source
            .shards
            .iter()
            .map(|shard| catalog::local_uuids(shard, catalog.names()));
        let local = try_join_all(local).await?;
        Ok((catalog, local))
    };
    let listed = proven::read(listers, "the source's catalog", list).await?;
    let (catalog, local) = listed.value;
    let starts = listed.before.iter().map(|newest| newest.mark).collect();
    // A collection that no pair tracks and that is written to later than this must
    // have been seen being created.
    let catalog_positions = listed
        .after
        .iter()
        .map(|newest| newest.mark.position)
        .collect();
    Ok(Listing {
        catalog,
        local,
        starts,
        catalog_positions,
    })
}

/// The newest majority-committed entry of every source shard.
pub async fn newest(source: &Deployment) -> Result<Vec<Newest>> {
    proven::newest(&Lister::of_all(source, "", NOTE_WAIT)).await
}

/// Writes a note to the oplog of every source shard. Everything listed before is at or
/// below the returned positions.
pub async fn notes(source: &Deployment, run_id: &str, wait: Duration) -> Result<Vec<Position>> {
    let deadline = Instant::now() + wait;
    let notes = source
        .shards
        .iter()
        .map(|shard| note::write(shard, "listing", run_id, deadline));
    Ok(try_join_all(notes)
        .await?
        .into_iter()
        .map(Position::from)
        .collect())
}
