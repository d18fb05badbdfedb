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
    gathered: [Vec<Came>; BUCKETS],
    /// Of each bucket one at most.
    writing: Vec<Writing>,
    /// How many documents of a read are not written.
    left: Vec<(Read, usize)>,
    progress: Progress,
}

/// A document that is read and not written.
struct Came {
    read: Read,
    key: Key,
    doc: Doc,
}

/// A bucket that is being written.
struct Writing {
    bucket: usize,
    position: Position,
    /// Of each of its documents.
    reads: Vec<Read>,
    sent: Vec<Sent>,
}

#[derive(Clone, Copy, PartialEq)]
enum Progress {
    Reading,
    /// The source failed: once all is written it begins again.
    Broken,
    /// The last document came, or the collection is gone.
    Ended,
}

/// In one step of so many the source answers.
const ANSWERS: u64 = 4;
/// One answer in so many is that it fails.
const FAILS: u64 = 40;
/// And comes back in one of so many.
const AWAY: u64 = 6;
/// By `_id`.
const BUCKETS: usize = 3;
/// One step in so many begins to write one.
const GATHERS: u64 = 4;
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
            gathered: Default::default(),
            writing: Vec::new(),
            left: Vec::new(),
            progress: Progress::Reading,
        }
    }

    /// True once all is written.
    pub(super) fn step(&mut self, pair: &mut Pair, reach: &mut Reach<'_>) -> Step<bool> {
        let reads = self.progress == Progress::Reading;
        let (next, writes) = (self.next_bucket(reach), !self.writing.is_empty());
        let is_idle = next.is_none() && !writes;
        if let Some(bucket) = next
            && reach.dice.one_in(GATHERS)
        {
            self.write_next(bucket, pair, reach);
        } else if writes && (!reads || reach.dice.below(2) == 0) {
            self.write(pair, reach)?;
        } else if reads && !reach.dice.one_in(ANSWERS) {
            // It waits for the source.
        } else if reads && reach.dice.one_in(FAILS) {
            self.end_read(pair);
            self.progress = Progress::Broken;
        } else if reads {
            self.read(pair, reach);
        } else if self.progress == Progress::Ended {
            return Ok(is_idle);
        } else if is_idle && reach.dice.one_in(AWAY) {
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
        if came.is_empty() {
            pair.gate.end_reads(&uuid, &[read]);
        } else {
            self.left.push((read, came.len()));
        }
        for (key, doc) in came {
            self.gathered[key as usize % BUCKETS].push(Came { read, key, doc });
        }
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

    /// Any that has some, and of which nothing is being written.
    fn next_bucket(&self, reach: &mut Reach<'_>) -> Option<usize> {
        let is_free = |bucket: &usize| {
            let is_written = self.writing.iter().any(|of| of.bucket == *bucket);
            !self.gathered[*bucket].is_empty() && !is_written
        };
        let free: Vec<usize> = (0..BUCKETS).filter(is_free).collect();
        (!free.is_empty()).then(|| reach.dice.pick(&free))
    }

    fn write_next(&mut self, bucket: usize, pair: &mut Pair, reach: &mut Reach<'_>) {
        let mut came = std::mem::take(&mut self.gathered[bucket]);
        came.sort_by_key(|came| came.key);
        let reads: Vec<Read> = came.iter().map(|came| came.read).collect();
        let positions = reads.iter().map(Read::position);
        let position = positions.min().expect("it has some");
        let (mut plain, mut delicate) = (Vec::new(), Vec::new());
        for Came { key, doc, .. } in came {
            let document = body::document(key, &doc);
            if reach.dice.one_in(DELICATE) {
                delicate.push(document);
            } else {
                plain.push(document);
            }
        }
        self.queue_delicate(delicate, position, pair);
        let size = 1 + reach.dice.below(4) as usize;
        let sent = plain.chunks(size);
        let sent: Vec<Sent> = sent.map(|some| self.unit.insert(some)).collect();
        if sent.is_empty() {
            return self.wrote(&reads, pair);
        }
        self.writing.push(Writing {
            bucket,
            position,
            reads,
            sent,
        });
    }

    /// Their lanes write them.
    fn queue_delicate(&self, documents: Vec<RawDocumentBuf>, position: Position, pair: &mut Pair) {
        let uuid = self.unit.tracked.uuid;
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

    fn write(&mut self, pair: &mut Pair, reach: &mut Reach<'_>) -> Step {
        let of = reach.dice.below(self.writing.len() as u64) as usize;
        let writing = &mut self.writing[of];
        let which = reach.dice.below(writing.sent.len() as u64) as usize;
        if writing.sent[which].step(reach)? {
            writing.sent[which].answered(reach)?;
            let sent = writing.sent.remove(which);
            pair.doubt(self.unit.doubt(&sent, writing.position, reach));
            if writing.sent.is_empty() {
                let written = self.writing.swap_remove(of);
                self.wrote(&written.reads, pair);
            }
        }
        Ok(())
    }

    /// All of a bucket is acknowledged; `reads`: of each of its documents.
    fn wrote(&mut self, reads: &[Read], pair: &mut Pair) {
        for read in reads {
            let mut left = self.left.iter_mut();
            let left = left.find(|(of, _)| of == read);
            left.expect("its documents came").1 -= 1;
        }
        let ended = self.left.iter().filter(|(_, left)| *left == 0);
        let ended: Vec<Read> = ended.map(|(read, _)| *read).collect();
        self.left.retain(|(_, left)| 0 < *left);
        pair.gate.end_reads(&self.unit.tracked.uuid, &ended);
    }

    pub(super) fn sent(&self) -> impl Iterator<Item = &Sent> {
        self.writing.iter().flat_map(|writing| &writing.sent)
    }

    /// What nobody waits for any more, when its attempt ends.
    pub(super) fn into_sent(self) -> Vec<Sent> {
        let sent = self.writing.into_iter().map(|writing| writing.sent);
        sent.flatten().collect()
    }
}
