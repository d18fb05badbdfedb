//! Brings collections to an exact state (R3): held at a position past the horizon, with
//! empty lanes, and with their doubtful documents read again as of that position. Whoever
//! needs such a state (unique builds) asks for it here.
//!
//! Knows nothing about why a write was refused.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::time::{Duration, Instant};

use bson::Uuid;
use parking_lot::Mutex;

use crate::bson::identity::IdKey;
use crate::cluster::deployment::Shard;
use crate::error::{Error, Kind, Result};
use crate::observe::counters::PairMetrics;
use crate::pair::budget::Share;
use crate::pair::chores::Chores;
use crate::pair::collection::Tracked;
use crate::pair::gate::Gate;
use crate::pair::gate::replay::Replayer;
use crate::pair::mend::reread::{Reread, Source, Stop};
use crate::pair::mend::stale_indexes::drop_stale;
use crate::pair::oplog::proven::Lister;
use crate::pair::write::bulk::Writer;
use crate::position::Position;

/// Reads documents of one pair again.
#[derive(Debug)]
pub struct Doubtful {
    /// The lister of the source shard.
    pub lister: Arc<Lister>,
    /// By the data plane's connections.
    pub target_shard: Shard,
    pub source: Source,
    pub writer: Writer,
    /// A share of its own: rereading must go on while tail and scans wait for memory.
    pub share: Share,
    pub gate: Arc<Mutex<Gate>>,
    pub replayer: Arc<Replayer>,
    pub metrics: Arc<PairMetrics>,
    /// More documents than this are not tried in one transaction at first.
    pub documents_max: usize,
    /// How long the source may not show a position.
    pub away_max: Duration,
    /// Collections whose documents could not be read again yet, and why.
    pub stuck: Mutex<BTreeMap<Uuid, String>>,
}

/// A collection whose ops wait until it is released, or the attempt ends.
#[derive(Debug)]
#[must_use]
pub struct Hold<'a> {
    replayer: &'a Replayer,
    uuid: Uuid,
}

impl Hold<'_> {
    /// Lets its ops through again.
    ///
    /// # Errors
    /// Those of `Replayer::release`: the attempt is over.
    pub async fn release(self) -> Result<()> {
        self.replayer.release(&self.uuid).await
    }
}

/// Interval between looks while waiting for the tail or the lanes.
const POLL: Duration = Duration::from_millis(5);
/// How long refusals gather before their documents are read again.
const GATHER: Duration = Duration::from_millis(25);

/// Most documents in one transaction. At about 40 µs each this is far from the 60 s that
/// a server allows. Where it is too much for the server's cache the server says so (6.0.5
/// with 0.25 GB took 16 000 documents of 500 bytes, but not 45 000).
pub const DOCUMENTS_MAX: usize = 100_000;
const BYTES_MAX: usize = 128 * 1024 * 1024;
/// Where one transaction is too much: documents of a part. Few, since each that
/// collides with another part costs its own part some tries.
const PART_DOCUMENTS: usize = 200;

/// Pauses between tries, and how many the target may refuse before we give up.
const PAUSE: Duration = Duration::from_millis(25);
const PAUSE_MAX: Duration = Duration::from_secs(1);
const REFUSED_MAX: u32 = 120;
/// Documents that cannot be read again are reported after this time. Exchanged values of
/// a unique index resolve sooner.
const TELL: Duration = Duration::from_secs(5);

impl Doubtful {
    /// Watches for collections with doubtful documents; each is a chore on its
    /// name, so that its index builds and DDL do not come between.
    pub async fn run(self: Arc<Self>, chores: Chores) -> Result<()> {
        let under_way: Arc<Mutex<HashSet<Uuid>>> = Arc::default();
        let (mut refused_seen, mut left) = (0, false);
        loop {
            tokio::time::sleep(GATHER).await;
            let refused =
                self.metrics.ops_refused.load(SeqCst) + self.metrics.ops_unclear.load(SeqCst);
            if refused == refused_seen && !left {
                continue;
            }
            refused_seen = refused;
            let doubtful = self.gate.lock().doubtful();
            left = !doubtful.is_empty();
            let documents: usize = doubtful.iter().map(|tracked| tracked.doubts.len()).sum();
            self.metrics
                .documents_doubtful
                .store(documents as u64, Relaxed);
            for tracked in doubtful {
                let can_be_exact = self.gate.lock().is_past_horizon(&tracked);
                if can_be_exact && under_way.lock().insert(tracked.uuid) {
                    self.read_again_aside(tracked, &chores, under_way.clone());
                }
            }
        }
    }

    fn read_again_aside(
        self: &Arc<Self>,
        tracked: Arc<Tracked>,
        chores: &Chores,
        under_way: Arc<Mutex<HashSet<Uuid>>>,
    ) {
        let (this, of) = (self.clone(), tracked.clone());
        let doing = "reading refused documents again of";
        let read = async move {
            if let Some(hold) = this.exact(&of).await? {
                hold.release().await?;
            }
            under_way.lock().remove(&of.uuid);
            Ok(())
        };
        tracked.as_logged(|ns| chores.add_aside(doing, ns, read));
    }

    /// Waits until the collection is held and equals the source at the position it is
    /// held at. None if the collection is gone. To be called only by chores on its name.
    ///
    /// A prepared transaction may be visible on the source before its commit entry is
    /// reached. The documents read again are then ahead. The horizon says so, and at
    /// worst a unique build fails.
    pub async fn exact(&self, tracked: &Tracked) -> Result<Option<Hold<'_>>> {
        let exact = self.try_exact(tracked).await;
        self.tell(tracked, None);
        exact
    }

    async fn try_exact(&self, tracked: &Tracked) -> Result<Option<Hold<'_>>> {
        let (mut pause, mut refused, since) = (PAUSE, 0, Instant::now());
        loop {
            let Some((hold, position)) = self.hold(tracked).await else {
                return Ok(None);
            };
            let stop = match self.resolve(tracked, position).await {
                Ok(()) => return Ok(Some(hold)),
                Err(stop) => stop,
            };
            hold.release().await?;
            match stop {
                _ if is_gone(tracked) => return Ok(None),
                Stop::HistoryGone(e) if self.away_max < since.elapsed() => {
                    let parameter = self.source.forms.history_parameter;
                    return Err(parked(tracked, parameter, &e, since));
                }
                Stop::Fault(e) => {
                    return Err(
                        e.context(format_args!("reading documents of {} again", tracked.ns()))
                    );
                }
                Stop::HistoryGone(e) if TELL < since.elapsed() => {
                    let parameter = self.source.forms.history_parameter;
                    let why = history_gone(&self.lister.shard.id, parameter, &e);
                    self.tell(tracked, Some(why));
                }
                Stop::Refused(e) => {
                    if TELL < since.elapsed() {
                        self.tell(tracked, Some(e.message.clone()));
                    }
                    refused += 1;
                    if refused == REFUSED_MAX {
                        return Err(given_up(tracked, &e));
                    }
                    tracing::debug!(ns = %tracked.ns(), %position, "not read again: {}", e.message);
                    // The collection may have broken an index that it lost since.
                    drop_stale(&self.lister, &self.target_shard, tracked).await?;
                }
                Stop::HistoryGone(_) | Stop::TooLarge => {}
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Why documents of the collection still wait to be read again; None if they no longer do.
    fn tell(&self, tracked: &Tracked, why: Option<String>) {
        let mut stuck = self.stuck.lock();
        match why {
            Some(why) => {
                let (count, ns) = (tracked.doubts.len(), &tracked.ns());
                let found = format!(
                    "{count} documents of {ns} cannot be read again from the source yet: {why}"
                );
                stuck.insert(tracked.uuid, found)
            }
            None => stuck.remove(&tracked.uuid),
        };
        let told =
            (!stuck.is_empty()).then(|| stuck.values().cloned().collect::<Vec<_>>().join("; "));
        self.metrics.obstacles.put("refused documents", told);
    }

    /// Waits until the tail is past the collection's horizon, or it is gone.
    pub async fn past_horizon(&self, tracked: &Tracked) {
        while !is_gone(tracked) && !self.gate.lock().is_past_horizon(tracked) {
            tokio::time::sleep(POLL).await;
        }
    }

    /// Holds the collection between two entries, past its horizon, with nothing
    /// of it left in the lanes.
    async fn hold(&self, tracked: &Tracked) -> Option<(Hold<'_>, Position)> {
        let (hold, position) = loop {
            if is_gone(tracked) {
                return None;
            }
            if let Some(position) = self.try_hold(tracked) {
                break (
                    Hold {
                        replayer: &self.replayer,
                        uuid: tracked.uuid,
                    },
                    position,
                );
            }
            tokio::time::sleep(POLL).await;
        };
        while tracked.in_lanes.load(SeqCst) > 0 {
            if is_gone(tracked) {
                return None;
            }
            tokio::time::sleep(POLL).await;
        }
        Some((hold, position))
    }

    fn try_hold(&self, tracked: &Tracked) -> Option<Position> {
        let mut gate = self.gate.lock();
        (gate.is_past_horizon(tracked) && gate.hold(&tracked.uuid)).then(|| gate.passed())
    }

    /// No document of the held collection is doubtful after it.
    async fn resolve(
        &self,
        tracked: &Tracked,
        position: Position,
    ) -> std::result::Result<(), Stop> {
        let ids = tracked.doubts.ids();
        if ids.is_empty() || is_gone(tracked) {
            return Ok(());
        }
        let (source, writer, share) = (&self.source, &self.writer, &self.share);
        let reread = Reread {
            source,
            writer,
            share,
            tracked,
            position,
        };
        if tracked.traits.capped {
            return self.resolve_capped(&reread, &ids).await;
        }
        if ids.len() <= self.documents_max {
            match reread.run(&ids, BYTES_MAX).await {
                Err(stop) if stop.is_too_large() && ids.len() > 1 => {}
                result => return result.map(|()| self.resolved(tracked, position, &ids)),
            }
        }
        let rest = self.resolve_parts(&reread, &ids).await?;
        // These depend on each other: all or none, whether the server likes it.
        reread.run(&rest, usize::MAX).await?;
        self.resolved(tracked, position, &rest);
        Ok(())
    }

    /// Reads the documents again in parts, where they are too many for one transaction. A
    /// committed part needs no second look: its documents are whole, and the rest are
    /// still doubtful. A part that collides with the rest is halved, down to single
    /// documents. Returns the documents that collide even by themselves.
    async fn resolve_parts(
        &self,
        reread: &Reread<'_>,
        ids: &[IdKey],
    ) -> std::result::Result<Vec<IdKey>, Stop> {
        let mut parts: Vec<&[IdKey]> = ids.chunks(PART_DOCUMENTS).collect();
        let mut rest = Vec::new();
        while let Some(part) = parts.pop() {
            match reread.run(part, BYTES_MAX).await {
                Ok(()) => self.resolved(reread.tracked, reread.position, part),
                Err(Stop::Refused(_) | Stop::TooLarge) if part.len() > 1 => {
                    let (first, second) = part.split_at(part.len() / 2);
                    parts.extend([first, second]);
                }
                Err(Stop::Refused(_)) => rest.extend_from_slice(part),
                Err(stop) => return Err(stop),
            }
        }
        Ok(rest)
    }

    pub(super) fn resolved(&self, tracked: &Tracked, position: Position, ids: &[IdKey]) {
        tracing::debug!(ns = %tracked.ns(), %position, documents = ids.len(), "read again after refused writes");
        tracked.doubts.forget(ids);
        self.metrics
            .documents_resolved
            .fetch_add(ids.len() as u64, Relaxed);
    }
}

fn history_gone(shard: &str, parameter: &str, last: &Error) -> String {
    format!(
        "source shard {shard} does not keep its history for long enough ({}): set {parameter} to 300 on each of its \
         members (`db.adminCommand({{setParameter: 1, {parameter}: 300}})`), or stop the writes",
        last.message
    )
}

fn is_gone(tracked: &Tracked) -> bool {
    !tracked.counts()
}

fn given_up(tracked: &Tracked, last: &Error) -> Error {
    let found = format!(
        "the target refused {} documents of {}, and also the transaction that was to write them: {}",
        tracked.doubts.len(),
        tracked.ns(),
        last.message
    );
    let error = Error::new(Kind::Server, found).remedy(
        "read the server's text: an index that the source does not have, too small a cache, or a transaction \
         lifetime that is too short on the target; then run the same command again",
    );
    Error {
        code: last.code,
        ..error
    }
}

fn parked(tracked: &Tracked, parameter: &str, last: &Error, since: Instant) -> Error {
    let found = format!(
        "documents of {} could not be read again from the source for {} s: {}",
        tracked.ns(),
        since.elapsed().as_secs(),
        last.message
    );
    let error = Error::new(Kind::Parked, found).remedy(format!(
        "read the server's text (`{parameter}` of the source must be a few seconds at least); then run the same command to resume"
    ));
    Error {
        code: last.code,
        ..error
    }
}
