//! The queue in front of a lane. Not bounded by itself: the permits inside the
//! ops are, so that the gate never waits under its lock.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::pair::collection::Tracked;
use crate::pair::op::Op;
use crate::pair::position::Position;

/// An op on its way through a lane.
#[derive(Debug)]
pub struct Queued {
    pub op: Op,
    pub collection: Arc<Tracked>,
}

#[derive(Debug, Default)]
pub struct Inbox {
    // A short lock: held to push one op or to swap the whole queue out.
    state: Mutex<State>,
    arrived: Notify,
}

#[derive(Debug)]
struct State {
    queue: Vec<Queued>,
    /// Oldest position in `queue`.
    queued_oldest: Position,
    /// Oldest position of what the lane took out and has not applied.
    taken_oldest: Position,
    /// Ops ever pushed, and how many of them are applied: always the first ones.
    pushed: u64,
    taken: u64,
    applied: u64,
}

impl Default for State {
    fn default() -> Self {
        let (queued_oldest, taken_oldest) = (Position::MAX, Position::MAX);
        State { queue: Vec::new(), queued_oldest, taken_oldest, pushed: 0, taken: 0, applied: 0 }
    }
}

impl Inbox {
    pub fn push(&self, queued: Queued) {
        let mut state = self.state.lock();
        state.queued_oldest = state.queued_oldest.min(queued.op.position);
        state.queue.push(queued);
        state.pushed += 1;
        drop(state);
        self.arrived.notify_one();
    }

    /// Waits for ops and takes all there are. What was taken before must have
    /// been applied (`applied`).
    pub async fn take(&self) -> Vec<Queued> {
        loop {
            let arrived = self.arrived.notified();
            if let Some(queue) = self.try_take() {
                return queue;
            }
            arrived.await;
        }
    }

    /// As `take`, without waiting; None if there is nothing.
    pub fn try_take(&self) -> Option<Vec<Queued>> {
        let mut state = self.state.lock();
        if state.queue.is_empty() {
            return None;
        }
        assert_eq!(state.taken_oldest, Position::MAX, "a lane applies what it took before it takes more");
        state.taken_oldest = std::mem::replace(&mut state.queued_oldest, Position::MAX);
        state.taken = state.pushed;
        Some(std::mem::take(&mut state.queue))
    }

    /// All that was taken is acknowledged by the target.
    pub fn applied(&self) {
        let mut state = self.state.lock();
        state.taken_oldest = Position::MAX;
        state.applied = state.taken;
    }

    /// Ops ever pushed.
    pub fn pushed(&self) -> u64 {
        self.state.lock().pushed
    }

    /// Ops ever applied; they are the first that were pushed.
    pub fn applied_count(&self) -> u64 {
        self.state.lock().applied
    }

    /// Oldest position queued or taken; `MAX` if there is none.
    pub fn oldest(&self) -> Position {
        let state = self.state.lock();
        state.queued_oldest.min(state.taken_oldest)
    }

    pub fn len(&self) -> usize {
        self.state.lock().queue.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
