//! The background work of a run that is ready: verifies range by range, and keeps the
//! number of touched documents small. Takes about a quarter of one connection's time on
//! either side, and steps back when following is behind.
//!
//! Its errors end nothing: what could not be read is retried later, or left to the
//! cutover.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use bson::Uuid;
use tokio::time::{sleep, timeout};

use super::{Ahead, Key};
use crate::control::across::ddl::Coordinator;
use crate::control::run::Run;
use crate::control::sides::Sides;
use crate::error::{Error, Kind, Result};
use crate::observe::phase::Phase;
use crate::pair::gate::Gate;
use crate::pair::run::Pair;
use crate::position::Position;
use crate::verify::part::{self, Part, Readers};
use crate::verify::{cut, sweep};

/// How often it checks for work, and at least between two rounds of bookkeeping.
pub(super) const POLL: Duration = Duration::from_millis(100);
/// How often a wait for the watermark, or for the end of the phase, looks again.
const WAIT_POLL: Duration = Duration::from_millis(10);
/// How long the watermark may take to reach a position.
const APPLIED_WITHIN: Duration = Duration::from_secs(30);
/// How long one look may take: a prepared document on the source, whose coordinator
/// hangs, keeps a reader waiting for ever.
pub(super) const LOOK_MAX: Duration = Duration::from_secs(300);
/// How often the collections are listed again.
pub(super) const LIST_EVERY: Duration = Duration::from_secs(2);
/// A lag from which on the follow needs the servers more.
const LAG_MAX_MS: u64 = 2_000;

/// After work comes a pause of so many times its length, within bounds.
const PAUSE_PER_WORK: u32 = 3;
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// How long a collection that gave trouble is left alone: at first, then twice as
/// long each time.
const REST_MIN: Duration = Duration::from_secs(30);
const REST_MAX: Duration = Duration::from_secs(300);

pub struct Sweeper {
    pub sides: Sides,
    pub pairs: Vec<Arc<Pair>>,
    pub coordinator: Arc<Coordinator>,
    pub run: Arc<Run>,
    pub ahead: Arc<Ahead>,
    /// Documents that may be kept as touched, per pair.
    pub touched_max: usize,
}

/// The state that it carries from step to step.
pub(super) struct Sweep {
    pub(super) of: Sweeper,
    pub(super) readers: Readers,
    pub(super) parts: Vec<Arc<Part>>,
    /// When the collections are listed again; None if they never were.
    pub(super) list_at: Option<Instant>,
    /// When the books are kept again.
    pub(super) books_at: Instant,
    /// Parts that were open as the books were kept, the next one last.
    pub(super) todo: Vec<Arc<Part>>,
    pub(super) resting: HashMap<Key, Rest>,
    /// Parts that could not be read when they were looked at last, and why: the cutover
    /// could not read them either.
    pub(super) unread: BTreeMap<Key, String>,
    pub(super) recheck_after: Instant,
    /// When the step in hand began to read.
    reading: Instant,
}

pub(super) struct Rest {
    until: Instant,
    pause: Duration,
}

impl Sweeper {
    /// Goes on for as long as the attempt does.
    pub async fn run(self) {
        let Sides {
            source,
            target,
            pairs,
        } = &self.sides;
        // One range at a time.
        let readers = loop {
            match Readers::open(source, target, pairs, 1).await {
                Ok(readers) => break readers,
                Err(e) => tracing::warn!("nothing can be verified ahead yet: {e}"),
            }
            sleep(REST_MIN).await;
        };
        let now = Instant::now();
        let sweep = Sweep {
            of: self,
            readers,
            parts: Vec::new(),
            list_at: None,
            books_at: now,
            todo: Vec::new(),
            resting: HashMap::new(),
            unread: BTreeMap::new(),
            recheck_after: now,
            reading: now,
        };
        sweep.run().await;
    }
}

impl Sweep {
    async fn run(mut self) {
        let run = self.of.run.clone();
        // Pauses not made yet: of many short steps, one.
        let mut owed = Duration::ZERO;
        loop {
            self.keep_books();
            // If only unread parts keep the run from being ready, this must go on with
            // them.
            let may_look = run.phase() == Phase::Ready
                || run.phase() == Phase::Following && !self.unread.is_empty();
            if !may_look || LAG_MAX_MS < run.max(|m| m.lag_ms.load(Relaxed)) {
                sleep(POLL).await;
                continue;
            }
            if let Err(e) = self.list() {
                tracing::warn!("verifying ahead resumes later: {e}");
                sleep(REST_MIN).await;
                continue;
            }
            self.reading = Instant::now();
            // DDL may go on meanwhile, a cutover needs the servers for itself.
            let worked = tokio::select! {
                worked = self.step() => worked,
                () = until_cutover(&run) => continue,
            };
            if !worked {
                sleep(POLL).await;
                continue;
            }
            if self.is_short_of_room() {
                sleep(PAUSE_MIN).await;
                continue;
            }
            owed += self.reading.elapsed() * PAUSE_PER_WORK;
            if PAUSE_MIN <= owed {
                sleep(std::mem::take(&mut owed).min(PAUSE_MAX)).await;
            }
        }
    }

    /// One piece of work; false if there is none.
    async fn step(&mut self) -> bool {
        if self.recheck_after <= Instant::now() && self.recheck_touched().await {
            return true;
        }
        let Some(part) = self.next() else {
            return false;
        };
        let verified = timeout(LOOK_MAX, self.verify(&part)).await;
        let (key, were_unread) = (key_of(&part), self.unread.len());
        self.unread.remove(&key);
        match verified {
            Ok(Ok(())) => {}
            Ok(Err(_)) if !self.is_called(&part) => self.was_renamed(key),
            Ok(Err(e)) => {
                self.unread.insert(
                    key,
                    format!("{} cannot be read for verification: {}", part.ns, e.message),
                );
                self.later(&part, &e);
            }
            Err(_) => self.later(&part, &late(&part)),
        }
        // "Ready" waits for this, so it is reported at once.
        if self.unread.len() != were_unread {
            self.books_at = Instant::now();
        }
        true
    }

    pub(super) fn is_open(&self, key: &Key) -> bool {
        !self.is_resting(key) && !self.of.ahead.is_covered(key)
    }

    pub(super) fn is_resting(&self, key: &Key) -> bool {
        self.resting
            .get(key)
            .is_some_and(|rest| Instant::now() < rest.until)
    }

    /// The next part that is not covered. It is the next one again until it is.
    fn next(&mut self) -> Option<Arc<Part>> {
        while self
            .todo
            .last()
            .is_some_and(|part| !self.is_open(&key_of(part)))
        {
            self.todo.pop();
        }
        self.todo.last().cloned()
    }

    /// Verifies one range of a part; begins it first where it is not.
    async fn verify(&mut self, part: &Part) -> Result<()> {
        let (key, pair) = (key_of(part), self.of.pairs[part.shard].clone());
        if self.of.ahead.round(&key).is_none() {
            self.begin(part).await?;
        }
        let Some((round, index, range)) = self.of.ahead.first_open(&key) else {
            return Ok(());
        };
        let Some(position) = pair.with_gate(|gate| gate.look_at(&key.1, round)) else {
            // The round is over. The bookkeeping drops it; nothing is tried until then.
            self.books_at = Instant::now();
            return Ok(());
        };
        let Some(part) = self.at(part, position).await? else {
            return Ok(());
        };
        let Some(mut swept) = sweep::sweep(&part, &range, self.of.touched_max / 4).await? else {
            pair.with_gate(|gate| gate.untrack(&key.1));
            return Ok(());
        };
        // IMPORTANT: first the touched ones, then verified: a cutover reads them the
        // other way round.
        let different = std::mem::take(&mut swept.different);
        if pair.with_gate(|gate| gate.touch(&key.1, round, different)) {
            self.of.ahead.verified(&key, round, index, &swept);
        }
        Ok(())
    }

    async fn begin(&mut self, part: &Part) -> Result<()> {
        let (key, pair) = (key_of(part), &self.of.pairs[part.shard]);
        let ranges = cut::ranges(part).await?;
        match pair.with_gate(|gate| gate.track(&key.1, self.of.touched_max)) {
            Some(round) => self.of.ahead.begin(key, round, ranges),
            // Dropped; or this pair is still to come to its creation.
            None => self.wait(key),
        }
        Ok(())
    }

    /// The part as it has to be read for a look that is good for `position`. None if that
    /// is not applied in time, or the collection is called otherwise: then it rests.
    pub(super) async fn at(&mut self, part: &Part, position: Position) -> Result<Option<Part>> {
        let pair = self.of.pairs[part.shard].clone();
        // IMPORTANT: after the look at its round: a rename ends that.
        if !self.is_called(part) {
            self.was_renamed(key_of(part));
            return Ok(None);
        }
        let since = Instant::now();
        if timeout(APPLIED_WITHIN, until_applied(&pair, position))
            .await
            .is_err()
        {
            self.later(part, &late(part));
            return Ok(None);
        }
        // Nothing was read meanwhile.
        self.reading += since.elapsed();
        let mut part = part.clone();
        let newest = part::newest(&part.target.client).await?;
        let untold = || {
            Error::new(
                Kind::Server,
                format!(
                    "target shard {} returned no operation time",
                    part.target.shard.id
                ),
            )
        };
        part.target.after = Some(newest.ok_or_else(untold)?);
        part.source.after = Some(position.into());
        Ok(Some(part))
    }

    /// A pair has more than half of the touched documents that it may keep.
    pub(super) fn is_short_of_room(&self) -> bool {
        self.of
            .pairs
            .iter()
            .any(|pair| self.of.touched_max / 2 < pair.with_gate(|gate| gate.touched_count()))
    }

    /// The collection has the part's name on both sides, and keeps it as far as is known.
    pub(super) fn is_called(&self, part: &Part) -> bool {
        let is_called = |gate: &mut Gate| {
            let tracked = part.uuid.and_then(|uuid| gate.tracked(&uuid).cloned());
            tracked.is_some_and(|tracked| tracked.is_called(&part.ns))
        };
        self.of.pairs[part.shard].with_gate(is_called)
    }

    /// No trouble: it is verified again by its new name, which is known by the next list.
    pub(super) fn was_renamed(&mut self, key: Key) {
        self.list_at = None;
        self.wait(key);
    }

    /// A part is left alone until the collections may be listed again.
    fn wait(&mut self, key: Key) {
        let rest = Rest {
            until: Instant::now() + LIST_EVERY,
            pause: REST_MIN / 2,
        };
        self.resting.insert(key, rest);
    }

    /// There is trouble with a part.
    pub(super) fn later(&mut self, part: &Part, why: &Error) {
        tracing::warn!(ns = %part.ns, "verifying ahead resumes later: {why}");
        self.rest(key_of(part));
    }

    pub(super) fn rest(&mut self, key: Key) {
        let pause = self
            .resting
            .get(&key)
            .map_or(REST_MIN, |rest| (rest.pause * 2).min(REST_MAX));
        self.resting.insert(
            key,
            Rest {
                until: Instant::now() + pause,
                pause,
            },
        );
    }
}

/// A collection that is laid out always has a UUID.
pub(super) fn key_of(part: &Part) -> Key {
    (part.shard, part.uuid.unwrap_or(Uuid::from_bytes([0; 16])))
}

async fn until_applied(pair: &Pair, position: Position) {
    while pair.watermark() < position {
        sleep(WAIT_POLL).await;
    }
}

async fn until_cutover(run: &Run) {
    while run.phase() != Phase::CuttingOver {
        sleep(WAIT_POLL).await;
    }
}

pub(super) fn late(part: &Part) -> Error {
    Error::new(
        Kind::Transient,
        format!("looking at {} took too long", part.ns),
    )
}
