//! A checkpoint in the store: several writes, in the order that makes it sound (R6).
//!
//! `writes` has that order. It is pure; the simulation drives the same code.

use bson::{Uuid, rawdoc};

use super::{COLLECTIONS_OF_PAIR, PairStore, UNITS};
use crate::error::Result;
use crate::failpoint;
use crate::position::Mark;
use crate::state::database::statement;
use crate::state::{FORMAT, Recorded, documents};

/// One write of a checkpoint. A majority acknowledges it before the next one is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Write<'a> {
    /// Documents with a field name twice were seen in these collections.
    DuplicateNames(&'a [Uuid]),
    /// These units are settled.
    Settled(&'a [(Uuid, usize)]),
    /// The pair's document: its resume and applied marks. None only raises the beat.
    /// Either way the document changes, so that the answer is that of a new majority
    /// write.
    Marks(Option<(Mark, Mark)>),
}

/// The writes that record what is proven, first to last.
pub fn writes(recorded: Option<&Recorded>) -> Vec<Write<'_>> {
    let Some(recorded) = recorded else {
        return vec![Write::Marks(None)];
    };
    let mut writes = Vec::new();
    // IMPORTANT: before the units they were seen in: those are not scanned again.
    if !recorded.duplicate_names.is_empty() {
        writes.push(Write::DuplicateNames(&recorded.duplicate_names));
    }
    // IMPORTANT: before the marks: once these are past the fences of settled units, those
    // could no longer be scanned with them.
    if !recorded.settled.is_empty() {
        writes.push(Write::Settled(&recorded.settled));
    }
    writes.push(Write::Marks(Some((recorded.resume, recorded.applied))));
    writes
}

impl PairStore {
    /// Records what is proven; None only raises the beat. Returns the term of the last
    /// write.
    ///
    /// # Errors
    /// `Transient` if another incarnation began meanwhile.
    pub async fn checkpoint(&self, recorded: Option<&Recorded>) -> Result<i64> {
        if recorded.is_some() {
            failpoint::hit("checkpoint-before");
        }
        let mut term = 0;
        for write in writes(recorded) {
            term = self.record(write).await?;
        }
        if recorded.is_some() {
            failpoint::hit("checkpoint-after");
        }
        Ok(term)
    }

    /// Documents with a field name twice are, or are about to be, in these collections (one at
    /// least). Nothing is recorded of one that is not stored: it may be dropped and forgotten,
    /// and one that is being made is stored with this.
    pub async fn saw_duplicate_names(&self, collections: &[Uuid]) -> Result<i64> {
        let set = rawdoc! {"$set": {"duplicate_names": true}};
        let seen: Vec<_> = collections
            .iter()
            .map(|uuid| self.change_of(*uuid, &set))
            .collect();
        self.update(COLLECTIONS_OF_PAIR, seen).await
    }

    async fn record(&self, write: Write<'_>) -> Result<i64> {
        match write {
            Write::DuplicateNames(seen) => self.saw_duplicate_names(seen).await,
            Write::Settled(units) => {
                let set = rawdoc! {"$set": {"format": FORMAT, "settled": true}};
                let units: Vec<_> = units
                    .iter()
                    .map(|(uuid, unit)| {
                        Ok(statement(self.unit_key(*uuid, *unit), set.clone(), true))
                    })
                    .collect();
                self.update(UNITS, units).await
            }
            Write::Marks(None) => self.touch(rawdoc! {"$inc": {"beat": 1_i64}}).await,
            Write::Marks(Some((resume, applied))) => {
                failpoint::hit("checkpoint-settled");
                // `$max`: a late duplicate of an earlier checkpoint changes nothing. Of
                // `applied` it would bring back an older one of this incarnation, which is
                // true still.
                let resume = documents::mark_document(resume);
                let applied = documents::mark_document(applied);
                let update = rawdoc! {"$inc": {"beat": 1_i64}, "$max": {"resume": resume}, "$set": {"applied": applied}};
                self.touch(update).await
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::Position;

    fn mark(position: u64) -> Mark {
        Mark {
            position: Position::from_raw(position),
            term: 1,
        }
    }

    #[test]
    fn what_marks_rest_on_is_written_before_them() {
        let uuid = Uuid::from_bytes([1; 16]);
        let (seen, settled) = (vec![uuid], vec![(uuid, 0)]);
        let marks = Write::Marks(Some((mark(3), mark(7))));
        type Row<'a> = (&'a [Uuid], &'a [(Uuid, usize)], &'a [Write<'a>]);
        let rows: [Row<'_>; 4] = [
            (&[], &[], &[marks]),
            (&[], &settled, &[Write::Settled(&settled), marks]),
            (&seen, &[], &[Write::DuplicateNames(&seen), marks]),
            (
                &seen,
                &settled,
                &[
                    Write::DuplicateNames(&seen),
                    Write::Settled(&settled),
                    marks,
                ],
            ),
        ];
        for (duplicate_names, settled, expected) in rows {
            let recorded = Recorded {
                resume: mark(3),
                applied: mark(7),
                settled: settled.to_vec(),
                duplicate_names: duplicate_names.to_vec(),
            };
            assert_eq!(writes(Some(&recorded)), expected);
        }
        // The beat alone is a write, too: it proves what was captured.
        assert_eq!(writes(None), [Write::Marks(None)]);
    }
}
