//! Writes a note on a quiet source shard. Without writes it adds nothing to its oplog for
//! up to 10 s, but replies that were copied may carry a later clock. A note takes the
//! tail past that horizon (R3).
//!
//! Knows nothing about who waits.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::cluster::deployment::Shard;
use crate::cluster::note;
use crate::cluster::retry::Retry;
use crate::error::Result;
use crate::pair::gate::Gate;
use crate::pair::oplog::feed::Feed;

/// How often the horizons are looked at: on a busy shard the tail is past them by then.
const POLL: Duration = Duration::from_millis(250);
/// How long a majority may take to acknowledge the note.
const NOTE_WAIT: Duration = Duration::from_secs(10);

pub(in crate::pair) struct Quiet {
    pub(in crate::pair) source: Shard,
    /// Id of the run.
    pub(in crate::pair) run: String,
    pub(in crate::pair) feed: Arc<Feed>,
    pub(in crate::pair) gate: Arc<Mutex<Gate>>,
    /// How long the source may be away.
    pub(in crate::pair) away_max: Duration,
}

impl Quiet {
    pub(in crate::pair) async fn run(self) -> Result<()> {
        let mut retry = Retry::new(self.away_max);
        loop {
            tokio::time::sleep(POLL).await;
            if !self.is_stuck() {
                continue;
            }
            match note::write(
                &self.source,
                "horizon",
                &self.run,
                Instant::now() + NOTE_WAIT,
            )
            .await
            {
                Ok(_) => retry.worked(),
                Err(e) => retry.pause(e).await?,
            }
        }
    }

    /// The tail has met all there is, and is not past a horizon.
    fn is_stuck(&self) -> bool {
        let passed = self.gate.lock().passed();
        self.feed.is_read_to(passed) && self.gate.lock().waits_for_horizon()
    }
}
