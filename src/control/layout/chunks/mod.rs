//! Arranges chunks of the target into the wanted intervals, where they were not made so:
//! first splits where an interval begins, then moves of chunks that are on another shard.
//! The answers to commands decide nothing: the map is read again until both agree.
//!
//! Invariant: chunks of a collection move only while no shard holds a document of it, and
//! while no zone says otherwise. The donor's range deleter deletes by range, a quarter of
//! an hour later, whatever is there then. A shard takes part in one migration at a time:
//! moves of different collections wait for each other here instead of being refused
//! there.

use std::cmp::Ordering;
use std::time::{Duration, Instant};

use bson::{RawDocument, RawDocumentBuf};
use tokio::sync::Mutex;

use crate::bson::order::compare_keys;
use crate::cluster::admin;
use crate::cluster::catalog::{self, Chunk, Namespace, Sharded};
use crate::cluster::deployment::Deployment;
use crate::cluster::dialect::CatalogForms;
use crate::cluster::ownership;
use crate::control::layout;
use crate::control::layout::zones;
use crate::error::{Error, Kind, Result};

/// Rounds that change nothing though nothing was refused: somebody else works on the
/// same collection.
const ROUNDS_MAX: u32 = 5;
/// How long refusals may go on without progress, and the kind of error returned then, if
/// it is not the router's own.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limit {
    refused_max: Duration,
    kind: Option<Kind>,
}

/// A range that a shard gave away a while ago is taken again only when it is deleted there,
/// which begins after 15 minutes.
pub(super) const AT_START: Limit = Limit {
    refused_max: Duration::from_secs(20 * 60),
    kind: None,
};
/// All other DDL waits meanwhile. The next attempt goes on with it.
pub(super) const ON_THE_FLY: Limit = Limit {
    refused_max: Duration::from_secs(2 * 60),
    kind: Some(Kind::Transient),
};
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// `(min, max, owner)` in key order.
pub(super) type Interval = (RawDocumentBuf, RawDocumentBuf, usize);

/// State that all moves of chunks share.
pub(super) struct Moves {
    /// One per target shard, held by a migration on donor and recipient.
    locks: Vec<Mutex<()>>,
    limit: Limit,
}

impl Moves {
    pub(super) fn new(shard_count: usize, limit: Limit) -> Self {
        Moves {
            locks: (0..shard_count).map(|_| Mutex::new(())).collect(),
            limit,
        }
    }
}

/// The source's intervals, owned by the target's shards; where the balancer counts chunks,
/// every chunk is one.
pub(super) fn mapped(sharded: &Sharded, pairs: &[usize], target: &CatalogForms) -> Vec<Interval> {
    let mut sharded = sharded.clone();
    for chunk in &mut sharded.chunks {
        chunk.shard = pairs[chunk.shard];
    }
    if target.balancer_counts_chunks {
        let chunks = sharded.chunks.into_iter();
        return chunks.map(|c| (c.min, c.max, c.shard)).collect();
    }
    ownership::joined(&sharded)
}

/// Splits and moves until a chunk begins with each interval of `wanted`, and all of it is on
/// the interval's shard.
///
/// # Errors
/// `Refused` if chunks would have to move while there are documents; a refusal that is
/// final; the last refusal, or `Server`, if there is no more progress.
pub(super) async fn arrange(
    target: &Deployment,
    ns: &Namespace,
    wanted: &[Interval],
    shared: &Moves,
) -> Result<()> {
    let mut patience = Patience::new(shared.limit);
    loop {
        let now = read(target, ns).await?;
        let left = splits(wanted, &now.chunks).len() + moves(wanted, &now.chunks).len();
        if left == 0 {
            return Ok(());
        }
        // A router refuses to move a chunk out of its zone.
        zones::set(target, ns, &[]).await?;
        let refused = round(target, ns, wanted, &now, shared).await?;
        patience.after(ns, left, refused).await?;
    }
}

/// Sends what the map lacks, up to the first refusal, and returns that.
async fn round(
    target: &Deployment,
    ns: &Namespace,
    wanted: &[Interval],
    now: &Sharded,
    shared: &Moves,
) -> Result<Option<Error>> {
    for middle in splits(wanted, &now.chunks) {
        if let Some(refused) = refusal(admin::split(&target.entry, ns, middle).await)? {
            return Ok(Some(refused));
        }
    }
    let moves = moves(wanted, &read(target, ns).await?.chunks);
    if !moves.is_empty() {
        holds_nothing(target, ns).await?;
    }
    for chunk in moves {
        if let Some(refused) = refusal(move_chunk(target, ns, &chunk, shared).await)? {
            return Ok(Some(refused));
        }
    }
    Ok(None)
}

fn refusal(answer: Result<()>) -> Result<Option<Error>> {
    match answer {
        Ok(()) => Ok(None),
        Err(e) if admin::may_come_right(&e) => Ok(Some(e)),
        Err(e) => Err(e),
    }
}

async fn holds_nothing(target: &Deployment, ns: &Namespace) -> Result<()> {
    let Some(shard) = layout::holding(target, ns).await? else {
        return Ok(());
    };
    let found = format!(
        "{ns} is on the target with other chunks, and target shard {} holds documents of it",
        shard.id
    );
    Err(Error::new(Kind::Refused, found).remedy(
        "chunks that hold documents are never moved: keep the target's balancer off and start over with `shardlift migrate --restart`",
    ))
}

/// How long a map that does not become the wanted one is worked on.
struct Patience {
    limit: Limit,
    /// The least work that was ever left, and since when.
    least: Option<(usize, Instant)>,
    rounds: u32,
    pause: Duration,
}

impl Patience {
    fn new(limit: Limit) -> Self {
        Patience {
            limit,
            least: None,
            rounds: 0,
            pause: PAUSE_MIN,
        }
    }

    /// A round that began with `left` to do is over; waits before the next one.
    async fn after(&mut self, ns: &Namespace, left: usize, refused: Option<Error>) -> Result<()> {
        let since = match self.least {
            Some((least, since)) if least <= left => since,
            _ => {
                *self = Patience {
                    least: Some((left, Instant::now())),
                    ..Patience::new(self.limit)
                };
                return Ok(());
            }
        };
        self.rounds += 1;
        let Some(refused) = refused else {
            if self.rounds <= ROUNDS_MAX {
                return Ok(());
            }
            return Err(Error::new(Kind::Server, format!("the chunks of {ns} on the target keep changing"))
                .remedy("check that the target's balancer is off and nobody else shards or moves chunks there"));
        };
        if self.limit.refused_max < since.elapsed() {
            let refused = Error {
                kind: self.limit.kind.unwrap_or(refused.kind),
                ..refused
            };
            return Err(refused.context(format_args!(
                "the target's chunks of {ns} cannot be arranged"
            )));
        }
        let told = format!(
            "arranging the target's chunks of {ns}: {left} changes are left, the next is refused"
        );
        match self.rounds {
            1 => tracing::warn!("{told}, and tried again: {}", refused.message),
            _ => tracing::debug!("{told}: {}", refused.message),
        }
        tokio::time::sleep(self.pause).await;
        self.pause = PAUSE_MAX.min(self.pause * 2);
        Ok(())
    }
}

/// A chunk and the shard it has to go to.
#[derive(Debug, PartialEq)]
struct Move {
    min: RawDocumentBuf,
    max: RawDocumentBuf,
    from: usize,
    to: usize,
}

async fn move_chunk(
    target: &Deployment,
    ns: &Namespace,
    chunk: &Move,
    shared: &Moves,
) -> Result<()> {
    // In order of index, so that no two moves wait for each other.
    let _first = shared.locks[chunk.from.min(chunk.to)].lock().await;
    let _second = shared.locks[chunk.from.max(chunk.to)].lock().await;
    admin::move_chunk(
        &target.entry,
        ns,
        &chunk.min,
        &chunk.max,
        &target.shards[chunk.to].id,
    )
    .await
}

async fn read(target: &Deployment, ns: &Namespace) -> Result<Sharded> {
    let there = catalog::read_one(target, ns).await?;
    there.and_then(|c| c.sharded).ok_or_else(|| {
        Error::new(
            Kind::Server,
            format!("{ns} was sharded on the target and no longer is"),
        )
        .remedy("nothing else may work on the target during a migration")
    })
}

/// Where an interval begins inside a chunk. Chunks cover the whole key space.
fn splits<'a>(wanted: &'a [Interval], chunks: &[Chunk]) -> Vec<&'a RawDocument> {
    let begins = |min: &RawDocument| {
        chunks
            .binary_search_by(|c| compare_keys(&c.min, min))
            .is_ok()
    };
    wanted
        .iter()
        .map(|(min, ..)| min.as_ref())
        .filter(|min| !begins(min))
        .collect()
}

/// Chunks that lie with another shard than the interval they begin in wants.
fn moves(wanted: &[Interval], chunks: &[Chunk]) -> Vec<Move> {
    let owner = |chunk: &Chunk| {
        let after =
            wanted.partition_point(|(min, ..)| compare_keys(min, &chunk.min) != Ordering::Greater);
        wanted
            .get(after.saturating_sub(1))
            .map_or(chunk.shard, |(.., shard)| *shard)
    };
    let wrong = chunks.iter().filter(|c| owner(c) != c.shard);
    wrong
        .map(|c| Move {
            min: c.min.clone(),
            max: c.max.clone(),
            from: c.shard,
            to: owner(c),
        })
        .collect()
}

#[cfg(test)]
mod tests;
