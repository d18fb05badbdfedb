//! Which documents were touched since their collection began to be verified ahead of the
//! cutover: these are all that the cutover has to compare again.
//!
//! Pure. It is part of the gate, whose lock makes "since" exact. Bounded: beyond its
//! limit the collection with the most ids is dropped, and counts as unverified again.
//! Knows nothing about who verifies what.
//!
//! **An id is dropped only after both sides were read at a position later than its last
//! op.** So each id is kept with the position of that op, and `found_equal` says up to which
//! position the comparison was valid. No id is taken out to be compared: those in flight,
//! or given up half-way, are still here.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use bson::Uuid;

use crate::bson::element::{elements_of, kind};
use crate::bson::identity::IdKey;
use crate::bson::value::ValueRef;
use crate::position::Position;

/// Bytes that an id costs besides its own, about.
const ID_OVERHEAD_BYTES: usize = 96;
/// Bytes per id, to turn the bound in ids into one in bytes.
const ID_BYTES: usize = 256;

#[derive(Debug, Default)]
pub struct Touched {
    /// Empty until verification begins: then an op costs one look at this.
    collections: HashMap<Uuid, Ids>,
    ids: usize,
    bytes: usize,
    /// Grows with each `begin`.
    rounds: u64,
}

/// The touched ids of one collection.
#[derive(Debug)]
struct Ids {
    round: u64,
    /// Position of the last op on each.
    touched: HashMap<IdKey, Position>,
    bytes: usize,
}

impl Touched {
    /// Starts keeping the touched documents of a collection, and forgets older ones.
    /// Returns the round. Later calls name it, so that an overflow in between is noticed.
    pub fn begin(&mut self, uuid: Uuid) -> u64 {
        self.forget(&uuid);
        self.rounds += 1;
        self.collections.insert(
            uuid,
            Ids {
                round: self.rounds,
                touched: HashMap::new(),
                bytes: 0,
            },
        );
        self.rounds
    }

    /// An op at `position` on this document is going to be applied.
    #[inline]
    pub fn note(&mut self, uuid: &Uuid, id: &IdKey, position: Position, ids_max: usize) {
        if !self.collections.is_empty() && self.collections.contains_key(uuid) {
            self.insert(uuid, id.clone(), position);
            self.make_room(ids_max);
        }
    }

    /// Adds documents that were found different and must be compared again. Returns false
    /// if the round is over.
    pub fn add(
        &mut self,
        uuid: &Uuid,
        round: u64,
        ids: Vec<IdKey>,
        position: Position,
        ids_max: usize,
    ) -> bool {
        if self.is_on(uuid, round) {
            ids.into_iter()
                .for_each(|id| self.insert(uuid, id, position));
            self.make_room(ids_max);
        }
        self.is_on(uuid, round)
    }

    fn insert(&mut self, uuid: &Uuid, id: IdKey, position: Position) {
        if !can_be_asked_for(id.value()) {
            return self.forget(uuid);
        }
        let Some(of) = self.collections.get_mut(uuid) else {
            return;
        };
        match of.touched.entry(id) {
            Entry::Occupied(mut known) => {
                let last = known.get_mut();
                *last = position.max(*last);
            }
            Entry::Vacant(new) => {
                let bytes = new.key().bytes() + ID_OVERHEAD_BYTES;
                new.insert(position);
                of.bytes += bytes;
                self.bytes += bytes;
                self.ids += 1;
            }
        }
    }

    fn make_room(&mut self, ids_max: usize) {
        while ids_max < self.ids || ids_max * ID_BYTES < self.bytes {
            let largest = self
                .collections
                .iter()
                .max_by_key(|(_, of)| of.bytes)
                .map(|(uuid, _)| *uuid);
            self.forget(&largest.expect("what is counted belongs to some collection"));
        }
    }

    /// Both sides were read after everything up to `position` was applied, and these
    /// are equal. Those that were touched later stay.
    pub fn found_equal(&mut self, uuid: &Uuid, round: u64, ids: &[IdKey], position: Position) {
        let Some(of) = self
            .collections
            .get_mut(uuid)
            .filter(|of| of.round == round)
        else {
            return;
        };
        for id in ids {
            if of.touched.get(id).is_some_and(|last| *last <= position) {
                of.touched.remove(id);
                let bytes = id.bytes() + ID_OVERHEAD_BYTES;
                of.bytes -= bytes;
                self.bytes -= bytes;
                self.ids -= 1;
            }
        }
    }

    /// The documents last touched at or before `position`, at most `most`; None if
    /// the round is over.
    pub fn of(
        &self,
        uuid: &Uuid,
        round: u64,
        position: Position,
        most: usize,
    ) -> Option<Vec<IdKey>> {
        let of = self.collections.get(uuid).filter(|of| of.round == round)?;
        let old = of.touched.iter().filter(|(_, last)| **last <= position);
        Some(old.map(|(id, _)| id.clone()).take(most).collect())
    }

    /// Whether the round is still on: nothing was dropped since it began.
    pub fn is_on(&self, uuid: &Uuid, round: u64) -> bool {
        self.collections
            .get(uuid)
            .is_some_and(|of| of.round == round)
    }

    /// Counts as unverified from now on.
    pub fn forget(&mut self, uuid: &Uuid) {
        if let Some(of) = self.collections.remove(uuid) {
            self.ids -= of.touched.len();
            self.bytes -= of.bytes;
        }
    }

    /// Number of touched documents of all collections.
    pub fn count(&self) -> usize {
        self.ids
    }
}

/// `$in` finds it by exactly this value. The server refuses all the others as an
/// `_id`; one that is there all the same must not be taken for missing on both sides.
fn can_be_asked_for(id: ValueRef<'_>) -> bool {
    match id.kind {
        kind::ARRAY | kind::REGEX | kind::UNDEFINED => false,
        kind::DOCUMENT => elements_of(id.bytes)
            .next()
            .is_none_or(|first| !first.name.starts_with(b"$")),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::{RawBsonRef, rawdoc};

    const MANY: usize = 1_000;
    const ONE: Uuid = Uuid::from_bytes([1; 16]);
    const TWO: Uuid = Uuid::from_bytes([2; 16]);

    fn at(raw: u64) -> Position {
        Position::from_raw(raw)
    }

    fn key(id: i32) -> IdKey {
        IdKey::of(RawBsonRef::Int32(id))
    }

    fn note(touched: &mut Touched, uuid: &Uuid, id: i32, position: u64) {
        touched.note(uuid, &key(id), at(position), MANY);
    }

    fn ids(touched: &Touched, uuid: &Uuid, round: u64) -> Option<Vec<i32>> {
        let mut ids: Vec<i32> = touched
            .of(uuid, round, Position::MAX, MANY)?
            .iter()
            .map(|id| {
                id.value()
                    .readable()
                    .and_then(|id| id.as_i32())
                    .expect("the tests' ids")
            })
            .collect();
        ids.sort_unstable();
        Some(ids)
    }

    #[test]
    fn nothing_is_kept_before_it_begins_nor_of_other_collections() {
        let mut touched = Touched::default();
        note(&mut touched, &ONE, 1, 1);
        let round = touched.begin(ONE);
        note(&mut touched, &TWO, 2, 2);
        note(&mut touched, &ONE, 3, 3);
        assert_eq!(
            (ids(&touched, &ONE, round), touched.count()),
            (Some(vec![3]), 1)
        );
    }

    #[test]
    fn a_document_touched_again_after_the_look_stays() {
        let mut touched = Touched::default();
        let round = touched.begin(ONE);
        for (id, position) in [(1, 5), (2, 5), (3, 6), (1, 9)] {
            note(&mut touched, &ONE, id, position);
        }
        touched.found_equal(&ONE, round, &[key(1), key(2), key(4)], at(6));
        assert_eq!(ids(&touched, &ONE, round), Some(vec![1, 3]));
        touched.found_equal(&ONE, round, &[key(1)], at(9));
        assert_eq!(
            (ids(&touched, &ONE, round), touched.count()),
            (Some(vec![3]), 1)
        );
    }

    #[test]
    fn an_older_op_does_not_make_the_last_one_older() {
        let mut touched = Touched::default();
        let round = touched.begin(ONE);
        note(&mut touched, &ONE, 1, 9);
        assert!(touched.add(&ONE, round, vec![key(1)], at(5), MANY));
        touched.found_equal(&ONE, round, &[key(1)], at(8));
        assert_eq!(ids(&touched, &ONE, round), Some(vec![1]));
    }

    #[test]
    fn equal_ids_of_other_types_are_one_document() {
        let mut touched = Touched::default();
        let round = touched.begin(ONE);
        note(&mut touched, &ONE, 1, 3);
        touched.note(&ONE, &IdKey::of(RawBsonRef::Double(1.0)), at(4), MANY);
        assert_eq!(touched.count(), 1);
        touched.found_equal(&ONE, round, &[IdKey::of(RawBsonRef::Int64(1))], at(3));
        assert_eq!(touched.count(), 1, "touched at 4, by its other name");
    }

    #[test]
    fn what_is_too_much_ends_the_round_of_the_largest_only() {
        let mut touched = Touched::default();
        let (one, two) = (touched.begin(ONE), touched.begin(TWO));
        touched.note(&TWO, &key(0), at(1), 3);
        (0..3).for_each(|id| touched.note(&ONE, &key(id), at(2), 3));
        assert_eq!(
            (
                touched.is_on(&ONE, one),
                touched.is_on(&TWO, two),
                touched.count()
            ),
            (false, true, 1)
        );
        note(&mut touched, &ONE, 9, 3);
        assert_eq!((ids(&touched, &ONE, one), touched.count()), (None, 1));
        let again = touched.begin(ONE);
        assert!(
            ids(&touched, &ONE, one).is_none()
                && ids(&touched, &ONE, again).is_some_and(|ids| ids.is_empty())
        );
        assert!(
            !touched.add(&ONE, one, vec![key(1)], at(4), 3) && touched.count() == 1,
            "of an earlier round"
        );
        touched.found_equal(&TWO, one, &[key(0)], at(9));
        assert_eq!(touched.count(), 1, "a round takes out nothing of another");
    }

    #[test]
    fn long_ids_count_by_their_bytes() {
        let mut touched = Touched::default();
        let round = touched.begin(ONE);
        let long = "x".repeat(4 * ID_BYTES);
        touched.note(&ONE, &IdKey::of(RawBsonRef::String(&long)), at(1), 4);
        assert!(!touched.is_on(&ONE, round));
        assert_eq!((touched.count(), touched.bytes), (0, 0));
    }

    #[test]
    fn an_id_that_cannot_be_asked_for_ends_the_round() {
        let (plain, operator, empty) = (
            rawdoc! { "a": { "$b": 1 } },
            rawdoc! { "$a": 1 },
            rawdoc! {},
        );
        for (id, is_kept) in [(&plain, true), (&operator, false), (&empty, true)] {
            let mut touched = Touched::default();
            let round = touched.begin(ONE);
            touched.note(&ONE, &IdKey::of(RawBsonRef::Document(id)), at(1), MANY);
            assert_eq!(touched.is_on(&ONE, round), is_kept, "{id:?}");
        }
    }

    #[test]
    fn forgetting_gives_all_of_it_back() {
        let mut touched = Touched::default();
        let round = touched.begin(ONE);
        (0..9).for_each(|id| note(&mut touched, &ONE, id, 1));
        touched.forget(&ONE);
        assert_eq!(
            (touched.count(), touched.bytes, touched.is_on(&ONE, round)),
            (0, 0, false)
        );
    }

    #[test]
    fn only_what_was_touched_by_then_is_told_and_no_more_than_asked_for() {
        let mut touched = Touched::default();
        let round = touched.begin(ONE);
        (0..9).for_each(|id| note(&mut touched, &ONE, id, id as u64));
        assert_eq!(
            touched.of(&ONE, round, at(3), MANY).map(|ids| ids.len()),
            Some(4)
        );
        assert_eq!(
            touched.of(&ONE, round, at(3), 2).map(|ids| ids.len()),
            Some(2)
        );
    }
}
