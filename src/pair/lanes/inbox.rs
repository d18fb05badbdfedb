//! The queue in front of a lane. Not bounded by itself: the permits inside the
//! ops are, so that the gate never waits under its lock.

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::pair::lanes::queue::{Queue, Queued};
use crate::position::Position;

/// Oldest positions of what is left of a take, flush after flush: else its first op
/// would hold the watermark down until its last one is applied.
#[derive(Debug)]
pub struct Oldest(Vec<Position>);

impl Oldest {
    pub fn of(taken: &Queue) -> Self {
        // Mostly ascending; but ops that were held are pushed later than newer ones.
        let mut oldest: Vec<Position> = taken.iter().map(|queued| queued.op.position).collect();
        for i in (1..oldest.len()).rev() {
            oldest[i - 1] = oldest[i - 1].min(oldest[i]);
        }
        Oldest(oldest)
    }

    /// Oldest position left once the first `ops` are applied; `MAX` if none is left.
    pub fn after(&self, ops: u64) -> Position {
        self.0.get(ops as usize).copied().unwrap_or(Position::MAX)
    }
}

#[derive(Debug, Default)]
pub struct Inbox {
    // A short lock: held to push one op or to swap the whole queue out.
    state: Mutex<State>,
    arrived: Notify,
}

#[derive(Debug)]
struct State {
    queue: Queue,
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
        State {
            queue: Queue::default(),
            queued_oldest,
            taken_oldest,
            pushed: 0,
            taken: 0,
            applied: 0,
        }
    }
}

impl Inbox {
    pub fn push(&self, queued: Queued) {
        let mut state = self.state.lock();
        let was_empty = state.queue.is_empty();
        state.queued_oldest = state.queued_oldest.min(queued.op.position);
        state.queue.push(queued);
        state.pushed += 1;
        drop(state);
        // Else the lane was told, and takes all there are.
        if was_empty {
            self.arrived.notify_one();
        }
    }

    /// Waits for ops and takes all of them. All ops taken before must be applied
    /// (`applied`).
    pub async fn take(&self) -> Queue {
        loop {
            let arrived = self.arrived.notified();
            if let Some(queue) = self.try_take() {
                return queue;
            }
            arrived.await;
        }
    }

    /// Like `take`, without waiting; None if there is nothing.
    pub fn try_take(&self) -> Option<Queue> {
        let mut state = self.state.lock();
        if state.queue.is_empty() {
            return None;
        }
        assert_eq!(
            state.taken_oldest,
            Position::MAX,
            "a lane applies what it took before it takes more"
        );
        state.taken_oldest = std::mem::replace(&mut state.queued_oldest, Position::MAX);
        state.taken = state.pushed;
        Some(std::mem::take(&mut state.queue))
    }

    /// The target acknowledged the next `ops` of the ops taken. `oldest_left`: oldest
    /// position of the rest, as `Oldest` gives it.
    pub fn applied(&self, ops: u64, oldest_left: Position) {
        let mut state = self.state.lock();
        state.applied += ops;
        state.taken_oldest = oldest_left;
        let is_all = state.applied == state.taken;
        assert_eq!(
            oldest_left == Position::MAX,
            is_all,
            "what is not applied holds the watermark down"
        );
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bson::{RawBsonRef, Uuid};

    use super::*;
    use crate::bson::identity::IdKey;
    use crate::cluster::catalog::Namespace;
    use crate::pair::collection::{Tracked, Traits};
    use crate::pair::op::Op;

    #[test]
    fn what_is_left_of_a_take_holds_the_watermark_down_by_its_oldest_op() {
        let ns = Namespace {
            db: "d".to_owned(),
            coll: "c".to_owned(),
        };
        let collection = Arc::new(Tracked::new(
            Uuid::from_bytes([1; 16]),
            ns,
            Traits::default(),
        ));
        let inbox = Inbox::default();
        // 3 and 4 were held, and handed over after newer ones had come.
        for raw in [1, 5, 3, 4, 9] {
            let (position, id) = (Position::from_raw(raw), IdKey::of(RawBsonRef::Int32(0)));
            let op = Op::delete(position, collection.uuid, id);
            inbox.push(Queued {
                op,
                collection: collection.clone(),
            });
        }
        let oldest = Oldest::of(&inbox.try_take().expect("pushed"));
        let told: Vec<u64> = [1, 1, 2, 1]
            .into_iter()
            .scan(0, |applied, ops| {
                *applied += ops;
                inbox.applied(ops, oldest.after(*applied));
                Some(inbox.oldest().raw())
            })
            .collect();
        assert_eq!(
            (told, inbox.applied_count()),
            (vec![3, 3, 9, Position::MAX.raw()], 5)
        );
    }
}
