//! Lists read from a source shard, believed only once they are durable.
//!
//! IMPORTANT: a list shows the primary's data, whether a majority has it or not. A drop,
//! a creation or an index in it may be rolled back, and no oplog would say so. So a list
//! counts only if afterwards a majority took a note, in the term that was current before
//! it.
//!
//! Knows nothing about what is listed, or what for.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;

use crate::cluster::deployment::{Deployment, Shard};
use crate::cluster::note;
use crate::error::{Error, Kind, Result};
use crate::pair::oplog::cursor::{Newest, Oplog};
use crate::pair::oplog::namings::Namings;
use crate::position::Position;

/// Attempts to list without an election of a shard in between, before an error is
/// returned.
const TRIES_MAX: u32 = 5;

/// Proves lists of one source shard. All that wait for a note at a time share it.
#[derive(Debug)]
pub struct Lister {
    /// IMPORTANT: read every list with this client. It has seen the primary that gave the
    /// position before, and no longer asks an older one.
    pub shard: Shard,
    oplog: Oplog,
    run_id: String,
    /// How long a majority may take to acknowledge a note.
    pub patience: Duration,
    begun: AtomicU64,
    /// Number of the newest note that is acknowledged; held while one is written.
    written: tokio::sync::Mutex<u64>,
}

/// A list, with the positions before and after it in the order of the listers.
#[derive(Debug)]
pub struct Proven<T> {
    pub value: T,
    /// Newest majority-committed entry before the list: all up to there is in it.
    pub before: Vec<Newest>,
    /// The same after the list. Nothing later is in it.
    pub after: Vec<Newest>,
}

impl Lister {
    pub fn new(shard: &Shard, run_id: &str, patience: Duration) -> Arc<Self> {
        // Single reads: nothing is waited for.
        let oplog = Oplog::new(shard.client.clone(), &shard.id, Duration::ZERO);
        let (run_id, begun, written) = (
            run_id.to_owned(),
            AtomicU64::default(),
            tokio::sync::Mutex::default(),
        );
        Arc::new(Lister {
            shard: shard.clone(),
            oplog,
            run_id,
            patience,
            begun,
            written,
        })
    }

    /// Makes a lister for each shard.
    pub fn of_all(source: &Deployment, run_id: &str, patience: Duration) -> Vec<Arc<Self>> {
        source
            .shards
            .iter()
            .map(|shard| Lister::new(shard, run_id, patience))
            .collect()
    }

    /// The newest majority-committed entry.
    pub async fn newest(&self) -> Result<Newest> {
        self.oplog.newest().await
    }

    /// Adds what entries after the first position, up to the second, say of names.
    pub async fn note_namings(
        &self,
        namings: &mut Namings,
        after: Position,
        upto: Position,
    ) -> Result<()> {
        self.oplog.note_namings(namings, after, upto).await
    }

    /// A majority has a note that was begun after the call.
    async fn note(&self) -> Result<()> {
        let wanted = self.begun.load(SeqCst) + 1;
        let mut written = self.written.lock().await;
        if wanted <= *written {
            return Ok(());
        }
        let number = self.begun.fetch_add(1, SeqCst) + 1;
        note::write(
            &self.shard,
            "listing",
            &self.run_id,
            Instant::now() + self.patience,
        )
        .await?;
        *written = number;
        Ok(())
    }
}

/// Reads a list again until no shard held an election around it. `what`: for the log.
///
/// # Errors
/// `Transient` if a shard keeps holding elections, or has no majority; else the list's own.
pub async fn read<T, F>(
    listers: &[Arc<Lister>],
    what: impl fmt::Display,
    list: impl Fn() -> F,
) -> Result<Proven<T>>
where
    F: Future<Output = Result<T>>,
{
    for _ in 0..TRIES_MAX {
        // IMPORTANT: positions first, then the list: what changes between the two is in
        // the oplog after the positions (R1).
        let before = newest(listers).await?;
        let value = list().await?;
        try_join_all(listers.iter().map(|lister| lister.note())).await?;
        let after = newest(listers).await?;
        if same_terms(&before, &after) {
            return Ok(Proven {
                value,
                before,
                after,
            });
        }
        tracing::info!("a source shard held an election while {what} was listed: listing again");
    }
    Err(Error::new(
        Kind::Transient,
        format!("source shards keep holding elections while {what} is listed"),
    ))
}

/// The newest majority-committed entry of every shard.
pub async fn newest(listers: &[Arc<Lister>]) -> Result<Vec<Newest>> {
    try_join_all(listers.iter().map(|lister| lister.newest())).await
}

/// No shard held an election between two looks.
pub fn same_terms(before: &[Newest], after: &[Newest]) -> bool {
    before
        .iter()
        .map(|newest| newest.mark.term)
        .eq(after.iter().map(|newest| newest.mark.term))
}
