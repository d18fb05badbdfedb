//! A scanner of the simulation: the steps of `shardlift::pair::copy::scan`, between
//! which anything can happen.

use std::sync::Arc;

use bson::{RawBson, RawDocumentBuf, Timestamp, rawdoc};
use shardlift::pair::collection::Tracked;
use shardlift::pair::gate::{self, Place};
use shardlift::pair::write::command::{Verb, WriteCommand};
use shardlift::position::Position;
use shardlift::state::{ScanOrder, same_term};

use crate::sim::body::{self, Key};
use crate::sim::command::Command;
use crate::sim::flush::Doubted;
use crate::sim::flush::forms;
use crate::sim::natural::Natural;
use crate::sim::pair::{Halt, Pair, Reach, Step, Wait};
use crate::sim::replay::Replay;
use crate::sim::reread::id_of;
use crate::sim::sent::Sent;
use crate::sim::store::StoreWrite;

/// A range of one collection.
#[derive(Debug, Clone)]
pub(super) struct Unit {
    pub(super) tracked: Arc<Tracked>,
    pub(super) index: usize,
    lower: Key,
    /// Exclusive.
    upper: Key,
}

pub(super) enum Scan {
    Idle,
    /// Its start is to be made durable.
    Starting {
        unit: Unit,
        started: gate::Started,
    },
    Started {
        unit: Unit,
        started: gate::Started,
        wait: Wait,
    },
    Reading {
        unit: Unit,
        fence: Position,
        next: Key,
        sent: Vec<Sent>,
    },
    Natural(Box<Natural>),
    /// All of it is written; what is held goes to the lanes.
    Opening {
        unit: Unit,
        fence: Position,
        replay: Replay,
    },
}

/// In one step of so many a start is sent to be made durable.
const START: u64 = 3;
/// Batches of one unit being written while the next is read.
const WRITES_IN_FLIGHT: usize = 2;

impl Unit {
    pub(super) fn all(tracked: &Arc<Tracked>, bounds: &[RawBson]) -> Vec<Unit> {
        let bound = |i: usize| bounds.get(i).map(|b| body::key(b.as_raw_bson_ref()).0);
        let unit = |index: usize| Unit {
            tracked: tracked.clone(),
            index,
            lower: index.checked_sub(1).and_then(bound).unwrap_or(Key::MIN),
            upper: bound(index).unwrap_or(Key::MAX),
        };
        (0..=bounds.len()).map(unit).collect()
    }
}

impl Scan {
    /// One step of a scanner. True if a collection's last unit was finished.
    pub(super) fn step(
        &mut self,
        pair: &mut Pair,
        reach: &mut Reach<'_>,
    ) -> Step<Option<Arc<Tracked>>> {
        match std::mem::replace(self, Scan::Idle) {
            Scan::Idle => {
                let Some(unit) = pair.queue.pop_front() else {
                    return Ok(None);
                };
                let Some(started) = pair.gate.start(&unit.tracked.uuid, unit.index) else {
                    return Ok(None);
                };
                *self = if started.again {
                    Scan::reading(unit, started)
                } else {
                    Scan::Starting { unit, started }
                };
            }
            starting @ Scan::Starting { .. } if !reach.dice.one_in(START) => *self = starting,
            Scan::Starting { unit, started } => {
                let start = StoreWrite::Start(unit.tracked.uuid, unit.index, started.fence);
                let number = reach.target.store(start);
                let wait = Wait {
                    number: number.expect("never refused"),
                    term: reach.target.term,
                };
                *self = Scan::Started {
                    unit,
                    started,
                    wait,
                };
            }
            Scan::Started {
                unit,
                started,
                wait,
            } if wait.number <= reach.target.committed() => {
                same_term(pair.term, wait.term).map_err(|e| Halt::Attempt(e.message))?;
                *self = Scan::reading(unit, started);
            }
            waiting @ Scan::Started { .. } => *self = waiting,
            Scan::Reading {
                unit,
                fence,
                next,
                sent,
            } => return self.read(pair, reach, unit, fence, next, sent),
            Scan::Natural(mut natural) => {
                let step = natural.step(pair, reach);
                *self = match step {
                    Ok(true) => Scan::opening(natural.unit, natural.fence),
                    _ => Scan::Natural(natural),
                };
                return step.map(|_| None);
            }
            Scan::Opening {
                unit,
                fence,
                mut replay,
            } => match replay.step(pair, reach) {
                Some(last) => {
                    let begun = pair.gate.begun();
                    let newest = match unit.tracked.order {
                        ScanOrder::Id => fence.max(begun),
                        // What it held, or let pass, lies up to what is begun, and what a
                        // read gave is doubtful from the next position on
                        // (`Read::position`), wherever the fence is: no read shows less
                        // than what the attempt resumed at, and each begins at what was
                        // begun by then. What is doubtful later is so by an op that came
                        // when the unit was open.
                        ScanOrder::Natural => begun.next(),
                    };
                    let place = (unit.tracked.uuid, unit.index);
                    pair.opened.insert(place, (unit.lower..unit.upper, newest));
                    return Ok(last.then_some(unit.tracked));
                }
                None => {
                    *self = Scan::Opening {
                        unit,
                        fence,
                        replay,
                    }
                }
            },
        }
        Ok(None)
    }

    pub(super) fn wait(&self) -> Option<Wait> {
        match self {
            Scan::Started { wait, .. } => Some(*wait),
            _ => None,
        }
    }

    pub(super) fn sent(&self) -> Vec<&Sent> {
        match self {
            Scan::Reading { sent, .. } => sent.iter().collect(),
            Scan::Natural(natural) => natural.sent().collect(),
            _ => Vec::new(),
        }
    }

    fn reading(unit: Unit, started: gate::Started) -> Scan {
        let fence = started.fence;
        if unit.tracked.order == ScanOrder::Natural {
            return Scan::Natural(Box::new(Natural::new(unit, fence, started.read)));
        }
        let next = unit.lower;
        Scan::Reading {
            unit,
            fence,
            next,
            sent: Vec::new(),
        }
    }

    fn opening(unit: Unit, fence: Position) -> Scan {
        let replay = Replay::new(Place {
            uuid: unit.tracked.uuid,
            unit: Some(unit.index),
        });
        Scan::Opening {
            unit,
            fence,
            replay,
        }
    }

    fn read(
        &mut self,
        pair: &mut Pair,
        reach: &mut Reach<'_>,
        unit: Unit,
        fence: Position,
        mut next: Key,
        mut sent: Vec<Sent>,
    ) -> Step<Option<Arc<Tracked>>> {
        let in_flight_max = if unit.tracked.in_order() {
            1
        } else {
            WRITES_IN_FLIGHT
        };
        let at_end = next == Key::MAX;
        if at_end && sent.is_empty() {
            *self = Scan::opening(unit, fence);
            return Ok(None);
        }
        let write =
            !sent.is_empty() && (at_end || sent.len() == in_flight_max || reach.dice.below(2) == 0);
        if write {
            let which = reach.dice.below(sent.len() as u64) as usize;
            if sent[which].step(reach)? {
                if let Err(halt) = sent[which].answered(reach) {
                    *self = Scan::Reading {
                        unit,
                        fence,
                        next,
                        sent,
                    };
                    return Err(halt);
                }
                let sent = sent.remove(which);
                pair.doubt(unit.doubt(&sent, fence, reach));
            }
        } else if reach.dice.below(20) == 0 && sent.is_empty() {
            // The source failed, and what was sent is acknowledged: all of the
            // unit again, with the same fence.
            pair.orphans.extend(sent.drain(..).map(|sent| sent.command));
            next = unit.lower;
        } else {
            next = unit.batch(fence, next, &mut sent, reach);
        }
        *self = Scan::Reading {
            unit,
            fence,
            next,
            sent,
        };
        Ok(None)
    }
}

/// What a server says beside the documents it gives as of `shown`.
pub(super) fn reply(shown: Position, clock: Position) -> RawDocumentBuf {
    let [shown, clock] = [shown, clock].map(Timestamp::from);
    rawdoc! { "operationTime": shown, "$clusterTime": { "clusterTime": clock } }
}

impl Unit {
    /// As `Writer::copy_plain`: what is there is left alone; what was refused for another
    /// reason is doubtful from the fence on.
    pub(super) fn doubt(
        &self,
        sent: &Sent,
        fence: Position,
        reach: &mut Reach<'_>,
    ) -> Vec<Doubted> {
        let mut doubted = Vec::new();
        if self.tracked.is_dead() {
            return doubted;
        }
        for refusal in sent.command.refused.iter().filter(|refusal| !refusal.on_id) {
            let key = sent.key(refusal.index);
            self.tracked.doubts.add(&id_of(key), fence);
            reach.target.tally.doubtful += 1;
            doubted.push((self.tracked.uuid, key, fence));
        }
        doubted
    }

    /// Reads a few documents as they were at some position from the fence on;
    /// returns where to go on.
    fn batch(
        &self,
        fence: Position,
        next: Key,
        sent: &mut Vec<Sent>,
        reach: &mut Reach<'_>,
    ) -> Key {
        let shown = self.shown(fence, reach);
        let documents = reach.source.collections[&self.tracked.uuid].shown_at(shown);
        let count = 1 + reach.dice.below(4) as usize;
        let mut left = documents.range(next.max(self.lower)..self.upper);
        let batch: Vec<_> = left
            .by_ref()
            .take(count)
            .map(|(key, doc)| body::document(*key, doc))
            .collect();
        if !batch.is_empty() {
            sent.push(self.insert(&batch));
        }
        left.next().map_or(Key::MAX, |(key, _)| *key)
    }

    /// What a server shows that has reached `fence`.
    pub(super) fn shown(&self, fence: Position, reach: &mut Reach<'_>) -> Position {
        let newest = reach.source.newest();
        let choices = reach
            .source
            .log
            .partition_point(|e| e.mark.position < fence);
        // Often as old as may be: a secondary that lags.
        let newer = if reach.dice.below(3) == 0 {
            0
        } else {
            (reach.source.log.len() - choices) as u64
        };
        let shown = choices as u64 + reach.dice.below(newer);
        let shown = reach.source.log[shown as usize].mark.position;
        self.tracked
            .raise_horizon(Position::clock_of(&reply(shown, newest)));
        shown
    }

    pub(super) fn insert(&self, documents: &[RawDocumentBuf]) -> Sent {
        let mut command = WriteCommand::new(Verb::Insert, &self.tracked, forms(), false, 256);
        documents
            .iter()
            .for_each(|document| command.insert(document.as_bytes()));
        Sent::new(Command::read(&command.finish()), self.tracked.clone())
    }
}
