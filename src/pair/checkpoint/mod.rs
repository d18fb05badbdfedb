//! Checkpoints of one pair: rounds in the order of `pipeline` (R7), one per interval.
//!
//! IMPORTANT: one task (`run`) makes every round, and it ends with the attempt. A round
//! given up half-way would lose what it captured: units would never be recorded as
//! settled, and the resume position would pass their fences (R6).

pub mod pipeline;

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::error::{Error, Kind, Result};
use crate::observe::counters::PairMetrics;
use crate::pair::checkpoint::pipeline::Pipeline;
use crate::pair::gate::Gate;
use crate::pair::oplog::feed::Feed;
use crate::pair::write::majority::Majority;
use crate::position::Position;
use crate::state::pair_store::PairStore;
use crate::state::{Incarnation, Recorded};

pub struct Checkpointer {
    pub store: PairStore,
    pub gate: Arc<Mutex<Gate>>,
    pub incarnation: Incarnation,
    pub feed: Arc<Feed>,
    /// The resume position that is recorded.
    pub recorded: AtomicU64,
    /// Something new is recorded since the attempt began.
    pub came_on: AtomicBool,
    pub majority: Arc<Majority>,
    pub metrics: Arc<PairMetrics>,
    /// Sends requests to the task that makes the rounds.
    pub asks: mpsc::Sender<Asked>,
}

/// Answers a caller that waits for two rounds.
pub type Asked = oneshot::Sender<()>;
/// How many callers may queue.
pub const ASKED_MAX: usize = 4;

/// How long the majority may take for a checkpoint before writes wait for it.
const BEHIND: Duration = Duration::from_secs(5);

impl Checkpointer {
    /// Makes one round per `interval`, and two for each caller that asks, until an error.
    pub async fn run(
        self: Arc<Self>,
        interval: Duration,
        mut asked: mpsc::Receiver<Asked>,
    ) -> Result<()> {
        let mut pipeline = Pipeline::default();
        loop {
            let waits = timeout(interval, asked.recv()).await.ok().flatten();
            if self.gate.lock().is_closed() {
                break;
            }
            self.round(&mut pipeline).await?;
            if let Some(waits) = waits {
                // The first proves what this one records.
                self.round(&mut pipeline).await?;
                // Whoever asked may wait no longer.
                let _ = waits.send(());
            }
        }
        // The cutover is done, or its state is being removed.
        drop(asked);
        std::future::pending().await
    }

    /// Returns once everything that is applied now is recorded. Dropping this future
    /// cancels no round.
    ///
    /// # Errors
    /// `Transient` if no more checkpoints are made; the task that made them says why.
    pub async fn record_all(&self) -> Result<()> {
        let over = || Error::new(Kind::Transient, "no more checkpoints are made");
        let (done, waits) = oneshot::channel();
        self.asks.send(done).await.map_err(|_| over())?;
        waits.await.map_err(|_| over())
    }

    /// The position at which a restart would resume.
    pub fn recorded(&self) -> Position {
        Position::from_raw(self.recorded.load(SeqCst))
    }

    /// Captures, writes, and records what was proven before.
    ///
    /// # Errors
    /// `Transient` if the target's term is another one: what was acknowledged
    /// since the last checkpoint may be gone.
    async fn round(&self, pipeline: &mut Pipeline) -> Result<()> {
        pipeline.begin(self.gate.lock().capture());
        let term = self.write(pipeline.to_record()).await?;
        let Some(recorded) = pipeline.end(self.incarnation.term, term)? else {
            return Ok(());
        };
        let position = recorded.resume.position;
        let before = self.recorded.swap(position.raw(), SeqCst);
        if before < position.raw() || !recorded.settled.is_empty() {
            self.came_on.store(true, SeqCst);
        }
        self.feed.trim(position).await
    }
}

impl Checkpointer {
    /// Waits for the majority as long as the store does; writes of data wait with it.
    async fn write(&self, recorded: Option<&Recorded>) -> Result<i64> {
        let mut writing = pin!(self.store.checkpoint(recorded));
        if let Ok(written) = timeout(BEHIND, &mut writing).await {
            return written;
        }
        self.majority.set_behind(true);
        self.metrics.obstacles.set(
            "majority",
            format!(
                "a majority of the target's members has not acknowledged a checkpoint for {} s: lanes and scans wait until it has; check that its members are up, not locked, and not far behind (`rs.printSecondaryReplicationInfo()`); the run parks after away_max_s",
                BEHIND.as_secs()
            ),
        );
        let written = writing.await;
        self.majority.set_behind(false);
        self.metrics.obstacles.clear("majority");
        written
    }
}
