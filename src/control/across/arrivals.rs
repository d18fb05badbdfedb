//! Pairs that have met a rename that is not made, each in its own time (R4).
//!
//! Pure. Of two renames of a collection in a row the names differ, and no pair is more than one
//! behind: a rename is known by its new name, if its arrivals end with it.

use std::collections::BTreeMap;

use bson::Uuid;

use crate::cluster::catalog::Namespace;

/// By UUID and new name: pairs, with what they track.
#[derive(Debug)]
pub struct Arrivals<T> {
    of: BTreeMap<(Uuid, Namespace), BTreeMap<usize, T>>,
}

impl<T> Default for Arrivals<T> {
    fn default() -> Self {
        Arrivals {
            of: BTreeMap::new(),
        }
    }
}

impl<T: Clone> Arrivals<T> {
    pub fn arrive(&mut self, pair: usize, (uuid, to): (Uuid, &Namespace), tracked: T) {
        let arrived = self.of.entry((uuid, to.clone())).or_default();
        arrived.insert(pair, tracked);
    }

    /// Those that have met the rename to this name.
    pub fn at(&self, uuid: Uuid, to: &Namespace) -> BTreeMap<usize, T> {
        let arrived = self.of.get(&(uuid, to.clone()));
        arrived.cloned().unwrap_or_default()
    }

    /// The pair waits no longer: an earlier attempt made the rename, or it is not to be made.
    ///
    /// IMPORTANT: else this arrival would count for the next rename to that name.
    pub fn leave(&mut self, pair: usize, uuid: Uuid, to: &Namespace) {
        let renaming = (uuid, to.clone());
        if let Some(arrived) = self.of.get_mut(&renaming) {
            arrived.remove(&pair);
            if arrived.is_empty() {
                self.of.remove(&renaming);
            }
        }
    }

    /// The rename is made. Returns those that had met it.
    pub fn made(&mut self, uuid: Uuid, to: &Namespace) -> BTreeMap<usize, T> {
        self.of.remove(&(uuid, to.clone())).unwrap_or_default()
    }

    /// All pairs have met its drop.
    pub fn dropped(&mut self, uuid: Uuid) {
        self.of.retain(|(of, _), _| *of != uuid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(coll: &str) -> Namespace {
        Namespace {
            db: "d".to_owned(),
            coll: coll.to_owned(),
        }
    }

    #[test]
    fn an_arrival_ends_with_its_rename() {
        enum Event {
            Arrive(usize, &'static str),
            Leave(usize, &'static str),
            Made(&'static str),
            Dropped,
        }
        use Event::{Arrive, Dropped, Leave, Made};
        let uuid = Uuid::from_bytes([1; 16]);
        let rows: [(&[Event], &str, &[usize]); 6] = [
            (&[Arrive(0, "b"), Arrive(1, "b")], "b", &[0, 1]),
            (&[Arrive(0, "b"), Arrive(1, "a")], "b", &[0]),
            // Made, and there again.
            (
                &[Arrive(0, "b"), Arrive(1, "b"), Made("b"), Arrive(0, "b")],
                "b",
                &[0],
            ),
            // Made by an earlier attempt, there and back, and there again.
            (
                &[
                    Arrive(1, "b"),
                    Leave(1, "b"),
                    Arrive(0, "a"),
                    Arrive(1, "a"),
                    Made("a"),
                    Leave(0, "a"),
                    Leave(1, "a"),
                    Arrive(0, "b"),
                ],
                "b",
                &[0],
            ),
            // One leaves, the other still waits.
            (&[Arrive(0, "b"), Arrive(1, "b"), Leave(1, "b")], "b", &[0]),
            (&[Arrive(0, "b"), Arrive(1, "a"), Dropped], "b", &[]),
        ];
        for (at, (events, to, expect)) in rows.iter().enumerate() {
            let mut arrivals = Arrivals::default();
            let other = Uuid::from_bytes([2; 16]);
            arrivals.arrive(2, (other, &name("b")), ());
            for event in *events {
                match event {
                    Arrive(pair, to) => arrivals.arrive(*pair, (uuid, &name(to)), ()),
                    Leave(pair, to) => arrivals.leave(*pair, uuid, &name(to)),
                    Made(to) => drop(arrivals.made(uuid, &name(to))),
                    Dropped => arrivals.dropped(uuid),
                }
            }
            let arrived: Vec<usize> = arrivals.at(uuid, &name(to)).into_keys().collect();
            assert_eq!(arrived, *expect, "{at}");
            let others: Vec<usize> = arrivals.at(other, &name("b")).into_keys().collect();
            assert_eq!(others, [2], "{at}");
        }
    }
}
