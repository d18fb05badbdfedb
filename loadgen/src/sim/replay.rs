//! Reading again from the spool, in the simulation: the steps of
//! `shardlift::pair::gate::replay`, between which anything can happen.

use shardlift::pair::gate::Place;
use shardlift::pair::gate::held::Stretch;
use shardlift::pair::gate::opening::Opening;

use crate::sim::pair::{Pair, Reach};
use crate::sim::source::{Change, Event, Source};

/// What is held at a place is on its way to the lanes.
pub(super) struct Replay {
    place: Place,
    /// What is left to read before the place is asked for again.
    stretch: Option<Stretch>,
    /// Ops of the next entry that were handed over.
    done: usize,
}

impl Replay {
    pub(super) fn new(place: Place) -> Self {
        Replay {
            place,
            stretch: None,
            done: 0,
        }
    }

    /// One step. Once it is open, whether it was the collection's last.
    pub(super) fn step(&mut self, pair: &mut Pair, reach: &mut Reach<'_>) -> Option<bool> {
        let Some(stretch) = self.stretch else {
            let Place { uuid, unit } = self.place;
            let opening = match unit {
                Some(unit) => pair.gate.finish(&uuid, unit),
                None => pair.gate.release(&uuid),
            };
            match opening {
                Opening::Open { last } => return Some(last),
                Opening::Spooled(stretch) => self.stretch = Some(stretch),
                Opening::Torn => {}
            }
            return None;
        };
        let source = reach.source;
        let next = source
            .log
            .partition_point(|entry| entry.mark.position <= stretch.after);
        let entry = &source.log[next];
        let ops: Vec<&Change> = ops_of(&entry.event, source)
            .filter(|op| op.uuid == self.place.uuid)
            .collect();
        // An entry at a time, or less; the tail may come between.
        let count = if reach.dice.below(3) == 0 {
            self.done + 1
        } else {
            ops.len()
        }
        .min(ops.len());
        pair.replay(&self.place, &ops[self.done..count], entry.mark.position);
        self.done = count;
        if self.done == ops.len() {
            self.done = 0;
            let is_there = pair.gate.replayed(&self.place, entry.mark.position);
            let left = Stretch {
                after: entry.mark.position,
                ..stretch
            };
            self.stretch = Some(left).filter(|left| is_there && left.after < left.to);
        }
        None
    }
}

/// What takes effect at an entry, parts read before it included.
fn ops_of<'a>(event: &'a Event, source: &'a Source) -> Box<dyn Iterator<Item = &'a Change> + 'a> {
    match event {
        Event::Ops(ops) => Box::new(ops.iter()),
        Event::Commit(parts) => Box::new(parts.iter().flat_map(move |part| source.part(*part))),
        _ => Box::new(std::iter::empty()),
    }
}
