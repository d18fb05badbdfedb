//! Opens what is held: a unit whose scan is done, a collection whose hold ends. Ops left
//! to the spool meanwhile are read again from there and handed to the lanes first, in
//! order; the tail goes on beside it.
//!
//! Each round reads the ops that came during the round before, until they are few enough
//! to stay in memory. Decides nothing: the gate does (`gate::left`).

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bson::{RawDocument, Uuid};
use parking_lot::Mutex;

use crate::error::{Error, Result};
use crate::observe::counters::PairMetrics;
use crate::pair::budget::Share;
use crate::pair::collection::Sharding;
use crate::pair::gate::held::Stretch;
use crate::pair::gate::opening::Opening;
use crate::pair::gate::{Gate, Place};
use crate::pair::oplog::block;
use crate::pair::oplog::entry::Entry;
use crate::pair::oplog::feed::Feed;
use crate::pair::oplog::transactions::Transactions;
use crate::pair::oplog::walk::{Command, Holder, Walk};
use crate::pair::origin::Origin;
use crate::position::Position;

/// Pause before asking again while the tail is in the middle of an entry.
const POLL: Duration = Duration::from_millis(5);

pub struct Replayer {
    gate: Arc<Mutex<Gate>>,
    feed: Arc<Feed>,
    metrics: Arc<PairMetrics>,
    /// A share of its own: replaying must go on while the tail waits for memory.
    share: Share,
    /// One stretch at a time: a second reader could wait for the parts of a
    /// transaction with all the share in hand.
    turn: tokio::sync::Mutex<()>,
}

impl std::fmt::Debug for Replayer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replayer")
            .field("share", &self.share)
            .finish_non_exhaustive()
    }
}

impl Replayer {
    pub fn new(gate: Arc<Mutex<Gate>>, feed: Arc<Feed>, metrics: Arc<PairMetrics>) -> Self {
        Replayer {
            gate,
            feed,
            metrics,
            share: Share::new(0),
            turn: tokio::sync::Mutex::default(),
        }
    }

    /// copying → copied. Returns true if it was the collection's last unit.
    ///
    /// # Errors
    /// Those of the disk, and `Unsupported` if neither spool nor source has a part of a
    /// transaction.
    pub async fn finish(&self, uuid: &Uuid, unit: usize) -> Result<bool> {
        let place = Place {
            uuid: *uuid,
            unit: Some(unit),
        };
        self.open(&place, |gate| gate.finish(uuid, unit)).await
    }

    /// Ops of the held collection go through again.
    ///
    /// # Errors
    /// As `finish`.
    pub async fn release(&self, uuid: &Uuid) -> Result<()> {
        let place = Place {
            uuid: *uuid,
            unit: None,
        };
        self.open(&place, |gate| gate.release(uuid)).await.map(drop)
    }

    async fn open(&self, place: &Place, open: impl Fn(&mut Gate) -> Opening) -> Result<bool> {
        let mut turn = None;
        loop {
            let opening = open(&mut self.gate.lock());
            match opening {
                Opening::Open { last } => return Ok(last),
                Opening::Torn => tokio::time::sleep(POLL).await,
                // Asked again in its turn: the stretch may be longer by then.
                Opening::Spooled(_) if turn.is_none() => turn = Some(self.turn.lock().await),
                Opening::Spooled(stretch) => self.read(place, stretch).await?,
            }
        }
    }

    async fn read(&self, place: &Place, stretch: Stretch) -> Result<()> {
        let Stretch { after, to } = stretch;
        tracing::debug!(collection = %place.uuid, unit = place.unit, %after, %to, "read again from the spool");
        let mut reader = self.feed.again(stretch.after);
        let mut pass = Pass {
            replayer: self,
            place,
            transactions: Transactions::default(),
        };
        let mut at = stretch.after;
        while at < stretch.to {
            let mut permit = self.share.reserve_reply().await;
            let ended = || {
                Error::internal(format!(
                    "the spool ends at {at}, and was read up to {}",
                    stretch.to
                ))
            };
            let block = reader.try_next().await?.ok_or_else(ended)?;
            permit.shrink_to(block.payload.len());
            // Copies: it may be one op of a block that is of this place.
            let mut origin = Origin::copied(permit);
            for raw in block::entries(&block) {
                let raw = raw?;
                let entry = Entry::read(raw)?;
                if stretch.to < entry.position {
                    break;
                }
                if at < entry.position {
                    pass.entry(&entry, raw, &mut origin).await?;
                }
            }
            at = block.last.position.min(stretch.to);
            if !self.gate.lock().replayed(place, at) {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// One reading of one stretch. What the tail has carried over or refused is
/// passed by: other commands, and all that is not of the place's collection.
struct Pass<'a> {
    replayer: &'a Replayer,
    place: &'a Place,
    transactions: Transactions,
}

impl Pass<'_> {
    async fn entry(
        &mut self,
        entry: &Entry<'_>,
        raw: &RawDocument,
        origin: &mut Origin,
    ) -> Result<()> {
        if entry.op != "c" {
            return self.op(entry, entry.position, origin);
        }
        let feed = &self.replayer.feed;
        match Walk::begin(entry, raw, &mut self.transactions, feed).await? {
            Command::Operations(walk) => self.walk(walk, entry, origin).await,
            Command::Nothing | Command::Other(_) => Ok(()),
        }
    }

    /// Hands over what takes effect at `entry`. What is in the entry itself is in `origin`.
    async fn walk(&self, mut walk: Walk, entry: &Entry<'_>, origin: &mut Origin) -> Result<()> {
        let Replayer { feed, share, .. } = self.replayer;
        while let Some(holder) = walk.next(&self.transactions, feed).await? {
            let Holder::Part(raw) = holder else {
                self.operations(entry, entry.position, origin)?;
                continue;
            };
            let mut part = Origin::copied(share.reserve(raw.as_bytes().len()).await);
            self.operations(&walk.part(&raw)?, entry.position, &mut part)?;
        }
        Ok(())
    }

    fn operations(&self, entry: &Entry<'_>, position: Position, origin: &mut Origin) -> Result<()> {
        for op in entry.operations(position)? {
            self.op(&op?, position, origin)?;
        }
        Ok(())
    }

    fn op(&self, entry: &Entry<'_>, position: Position, origin: &mut Origin) -> Result<()> {
        if entry.uuid != Some(self.place.uuid) || !entry.is_crud() {
            return Ok(());
        }
        let op = entry.crud(position)?;
        let mut gate = self.replayer.gate.lock();
        let is_sharded = gate
            .tracked(&op.uuid)
            .is_some_and(|tracked| tracked.sharding() == Sharding::Sharded);
        if is_sharded && entry.is_of_a_move() {
            return Ok(());
        }
        if gate.replay(self.place, op, origin) {
            self.replayer.metrics.ops_replayed.fetch_add(1, Relaxed);
        }
        Ok(())
    }
}
