//! A scan in the order of the disk: the steps of `shardlift::pair::copy::natural`, between
//! which anything can happen.

use bson::RawDocumentBuf;
use shardlift::pair::gate::rolling::Read;
use shardlift::pair::origin::Kept;
use shardlift::position::Position;

use crate::sim::body::{self, Doc, Key};
use crate::sim::pair::{Pair, Reach, Step};
use crate::sim::scan::Unit;
use crate::sim::sent::Sent;

pub(super) struct Natural {
    pub(super) unit: Unit,
    pub(super) fence: Position,
    /// The read under way.
    read: Option<Read>,
    /// The record of the last document that was read.
    upto: u64,
    /// It did not fit into the reply before, and comes with the next.
    stash: Option<(Key, Doc)>,
    gathered: Run,
    writing: Run,
    sent: Vec<Sent>,
    progress: Progress,
}

#[derive(Default)]
struct Run {
    documents: Vec<(Key, Doc)>,
    reads: Vec<Read>,
}

#[derive(Clone, Copy, PartialEq)]
enum Progress {
    Reading,
    /// The source failed: once all is written it begins again.
    Broken,
    /// The last document came, or the collection is gone.
    Ended,
}

/// One step in so many the source fails.
const FAILS: u64 = 40;
/// And comes back in one of so many.
const AWAY: u64 = 6;
/// One document in so many is written by its lane.
const DELICATE: u64 = 6;

impl Natural {
    /// `read`: the first, if it is begun already.
    pub(super) fn new(unit: Unit, fence: Position, read: Option<Read>) -> Self {
        Natural {
            unit,
            fence,
            read,
            upto: 0,
            stash: None,
            gathered: Run::default(),
            writing: Run::default(),
            sent: Vec::new(),
            progress: Progress::Reading,
        }
    }

    /// True once all is written.
    pub(super) fn step(&mut self, pair: &mut Pair, reach: &mut Reach<'_>) -> Step<bool> {
        let reads = self.progress == Progress::Reading;
        if !self.sent.is_empty() && (!reads || reach.dice.below(2) == 0) {
            self.write(pair, reach)?;
        } else if self.sent.is_empty()
            && !self.gathered.reads.is_empty()
            && (!reads || reach.dice.below(3) == 0)
        {
            self.write_next(pair, reach);
            self.end_if_written(pair);
        } else if reads && reach.dice.one_in(FAILS) {
            self.end_read(pair);
            self.progress = Progress::Broken;
        } else if reads {
            self.read(pair, reach);
        } else if self.progress == Progress::Ended {
            return Ok(true);
        } else if reach.dice.one_in(AWAY) {
            *self = Natural::new(self.unit.clone(), self.fence, None);
        }
        Ok(false)
    }

    fn read(&mut self, pair: &mut Pair, reach: &mut Reach<'_>) {
        let uuid = self.unit.tracked.uuid;
        let Some(read) = self.read else {
            self.read = pair.gate.begin_read(&uuid, None);
            if self.read.is_none() {
                self.progress = Progress::Ended;
            }
            return;
        };
        let shown = self.unit.shown(read.at, reach);
        let there = reach.source.collections[&uuid].on_disk_at(shown);
        let mut left = there.range(self.upto + 1..);
        let count = 1 + reach.dice.below(4) as usize;
        let mut came: Vec<(Key, Doc)> = self.stash.take().into_iter().collect();
        for (record, document) in left.by_ref().take(count) {
            self.upto = *record;
            came.push(*document);
        }
        let ended = left.next().is_none();
        if 1 < came.len() && reach.dice.below(3) == 0 {
            self.stash = came.pop();
        }
        pair.note(|| format!("a read as of {shown} after {:?} gives {came:?}", read.at));
        let Some(next) = pair.gate.begin_read(&uuid, Some(&read)) else {
            self.progress = Progress::Ended;
            return;
        };
        self.gathered.documents.extend(came);
        self.gathered.reads.push(read);
        self.read = Some(next);
        if ended && self.stash.is_none() {
            self.end_read(pair);
            self.progress = Progress::Ended;
        }
    }

    /// Of which nothing comes any more.
    fn end_read(&mut self, pair: &mut Pair) {
        let reads: Vec<Read> = self.read.take().into_iter().collect();
        pair.gate.end_reads(&self.unit.tracked.uuid, &reads);
    }

    fn write_next(&mut self, pair: &mut Pair, reach: &mut Reach<'_>) {
        self.writing = std::mem::take(&mut self.gathered);
        let mut documents = std::mem::take(&mut self.writing.documents);
        documents.sort_by_key(|(key, _)| *key);
        let (mut plain, mut delicate) = (Vec::new(), Vec::new());
        for (key, doc) in documents {
            let document = body::document(key, &doc);
            if reach.dice.one_in(DELICATE) {
                delicate.push(document);
            } else {
                plain.push(document);
            }
        }
        self.queue_delicate(delicate, pair);
        let documents = plain;
        let size = 1 + reach.dice.below(4) as usize;
        self.sent = documents
            .chunks(size)
            .map(|documents| self.unit.insert(documents))
            .collect();
    }

    /// Their lanes write them.
    fn queue_delicate(&self, documents: Vec<RawDocumentBuf>, pair: &mut Pair) {
        let uuid = self.unit.tracked.uuid;
        let position = self.position();
        if !self.unit.tracked.counts() {
            return;
        }
        let kept = |document: RawDocumentBuf| Kept {
            body: document.into_bytes().into(),
            permit: None,
        };
        let kept: Vec<Kept> = documents.into_iter().map(kept).collect();
        for _ in &kept {
            *pair.unapplied.entry((position, uuid)).or_default() += 1;
        }
        pair.gate.queue_read(&uuid, position, kept);
    }

    /// That of what is being written.
    fn position(&self) -> Position {
        let positions = self.writing.reads.iter().map(Read::position);
        positions.min().expect("a run has reads")
    }

    fn write(&mut self, pair: &mut Pair, reach: &mut Reach<'_>) -> Step {
        let which = reach.dice.below(self.sent.len() as u64) as usize;
        if self.sent[which].step(reach)? {
            self.sent[which].answered(reach)?;
            let sent = self.sent.remove(which);
            pair.doubt(self.unit.doubt(&sent, self.position(), reach));
            self.end_if_written(pair);
        }
        Ok(())
    }

    fn end_if_written(&mut self, pair: &mut Pair) {
        if self.sent.is_empty() {
            let reads = std::mem::take(&mut self.writing.reads);
            pair.gate.end_reads(&self.unit.tracked.uuid, &reads);
        }
    }

    /// What nobody waits for any more, when its attempt ends.
    pub(super) fn into_sent(self) -> Vec<Sent> {
        self.sent
    }
}
