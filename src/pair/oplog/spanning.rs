//! Transactions that take effect in a stretch of one oplog and began before it: their first
//! parts are read back from before the stretch.
//!
//! Pure.

use std::collections::HashMap;

use bson::{Document, RawDocument, doc};

use crate::error::Result;
use crate::pair::oplog::entry::Entry;
use crate::position::Position;

#[derive(Debug)]
pub struct Spanning {
    /// Where the stretch begins: after this.
    after: Position,
    /// By a part in the stretch, the one before it.
    parts: HashMap<Position, Position>,
    /// The last part before the stretch of each that takes effect in it.
    before: Vec<Position>,
}

impl Spanning {
    pub(super) fn new(after: Position) -> Self {
        Spanning {
            after,
            parts: HashMap::new(),
            before: Vec::new(),
        }
    }

    /// Entries that `note` has to see.
    pub(super) fn filter() -> Document {
        let first = bson::Timestamp {
            time: 0,
            increment: 0,
        };
        doc! { "op": "c", "prevOpTime.ts": { "$gt": first } }
    }

    /// What it reads of them.
    pub(super) fn fields() -> Document {
        doc! {
            "_id": false, "ts": true, "prevOpTime": true, "o.abortTransaction": true,
            "o.partialTxn": true, "o.prepare": true,
        }
    }

    /// Entries come in the order of the log.
    pub(super) fn note(&mut self, entry: &RawDocument) -> Result<()> {
        let entry = Entry::read(entry)?;
        let has = |field: &str| entry.o.get(field).is_ok_and(|found| found.is_some());
        let Some(previous) = entry.previous.filter(|_| !has("abortTransaction")) else {
            return Ok(());
        };
        if has("partialTxn") || has("prepare") {
            self.parts.insert(entry.position, previous);
            return Ok(());
        }
        let mut part = previous;
        while self.after < part {
            // Else it is the first of its transaction.
            let Some(before) = self.parts.get(&part) else {
                return Ok(());
            };
            part = *before;
        }
        self.before.push(part);
        Ok(())
    }

    pub(super) fn before(self) -> Vec<Position> {
        self.before
    }
}

#[cfg(test)]
mod tests {
    use bson::{RawDocumentBuf, Timestamp, rawdoc};

    use super::*;

    /// What is noted of a command at `time` that goes on from `previous`.
    fn entry(time: u32, previous: u32, o: RawDocumentBuf) -> RawDocumentBuf {
        let ts = |time| Timestamp { time, increment: 0 };
        rawdoc! { "ts": ts(time), "prevOpTime": { "ts": ts(previous), "t": 1i64 }, "o": o }
    }

    #[test]
    fn of_each_that_takes_effect_the_last_part_before_the_stretch_is_found() {
        let part = |time, previous| entry(time, previous, rawdoc! { "partialTxn": true });
        let prepare = |time, previous| entry(time, previous, rawdoc! { "prepare": true });
        let commit = |time, previous| entry(time, previous, rawdoc! {});
        let abort = |time, previous| entry(time, previous, rawdoc! { "abortTransaction": 1 });
        let rows = [
            (vec![commit(12, 7)], vec![7]),
            (vec![commit(12, 10)], vec![10]),
            // It began in the stretch.
            (vec![commit(13, 12)], vec![]),
            (vec![part(12, 11), commit(13, 12)], vec![]),
            (vec![part(12, 7), prepare(13, 12), commit(14, 13)], vec![7]),
            (vec![part(11, 6), part(12, 7), commit(13, 12)], vec![7]),
            // These never take effect there.
            (vec![part(12, 7)], vec![]),
            (vec![part(12, 7), abort(13, 12)], vec![]),
        ];
        for (entries, expect) in rows {
            let at = |time| Position::from(Timestamp { time, increment: 0 });
            let mut spanning = Spanning::new(at(10));
            for entry in &entries {
                spanning.note(entry).unwrap();
            }
            let expect: Vec<Position> = expect.into_iter().map(at).collect();
            assert_eq!(spanning.before(), expect, "{entries:?}");
        }
    }
}
