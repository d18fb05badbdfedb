//! What may be written while engine and native secondary are down: cases of
//! `tail` and `hot`.
//!
//! Knows nothing about servers and engines.

use crate::bench::content::{Content, Ids};
use crate::bench::statements::{self as made, Bulks};

/// Connections that write the ops.
pub(super) const CONNECTIONS: u64 = 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// One-field updates of random documents.
    Uniform,
    Inserts,
    Deletes,
    /// Half updates, a quarter inserts, a quarter deletes.
    Mixed,
    /// Half one-field updates, half whole replacements.
    Replaced,
    /// Half give documents a field, half take it out again.
    Unset,
    /// One-field updates, zipfian.
    Zipf,
    /// `$inc` of one field.
    Counters,
}

/// One case, on a collection of its own that has its name.
#[derive(Debug, Clone)]
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) shape: Shape,
    /// Documents that the ops choose from.
    pub(super) docs: u64,
    pub(super) doc_bytes: usize,
    pub(super) ops: u64,
}

impl Case {
    pub(super) fn content(&self, seed: u64) -> Content {
        Content::new(self.doc_bytes, Ids::Random, seed)
    }

    /// Documents that must be there before the first of `rounds` rounds. What one
    /// round deletes is gone in the next.
    pub(super) fn populated(&self, rounds: u64) -> u64 {
        match self.shape {
            Shape::Inserts => 0,
            Shape::Deletes => self.ops * rounds,
            Shape::Mixed => self.docs + self.ops / 4 * rounds,
            Shape::Unset => self.docs.max(self.ops / 2),
            _ => self.docs,
        }
    }

    /// The inserts that populate it.
    pub(super) fn population(&self, rounds: u64, seed: u64) -> Vec<Bulks> {
        let (content, count) = (self.content(seed), self.populated(rounds));
        let stream = |part| {
            made::inserts(
                &content,
                self.name,
                made::share(0..count, part, CONNECTIONS),
            )
        };
        (0..CONNECTIONS).map(stream).collect()
    }

    /// The ops of one round, a stream for each connection.
    pub(super) fn streams(&self, round: u64, rounds: u64, seed: u64) -> Vec<Bulks> {
        let content = self.content(seed);
        (0..CONNECTIONS)
            .map(|part| self.stream(&content, round, self.populated(rounds), part, seed))
            .collect()
    }

    fn stream(&self, content: &Content, round: u64, populated: u64, part: u64, seed: u64) -> Bulks {
        let name = self.name;
        let dice = seed + round;
        // One part's; of a quarter, where the ops are mixed.
        let (ops, quarter) = ((self.ops / CONNECTIONS) as usize, self.ops / 4);
        // Above all values that earlier rounds set.
        let value = ((round + 1) << 32) as i64 + (part << 28) as i64;
        let random = || made::uniform(self.docs, part, CONNECTIONS, dice);
        let own = |range| made::share(range, part, CONNECTIONS);
        // Beyond all that is there from the start, and from earlier rounds.
        let fresh = |count: u64| populated + round * count..populated + (round + 1) * count;
        match self.shape {
            Shape::Uniform => made::sets(content, name, random().take(ops), value),
            Shape::Inserts => made::inserts(content, name, own(fresh(self.ops))),
            Shape::Deletes => {
                made::deletes(content, name, own(round * self.ops..(round + 1) * self.ops))
            }
            Shape::Mixed => {
                let gone = self.docs + round * quarter..self.docs + (round + 1) * quarter;
                let half = || random().take(ops / 4);
                made::by_turns(vec![
                    made::sets(content, name, half(), value),
                    made::inserts(content, name, own(fresh(quarter))),
                    made::sets(content, name, half(), value + (1 << 27)),
                    made::deletes(content, name, own(gone)),
                ])
            }
            Shape::Replaced => made::by_turns(vec![
                made::sets(content, name, random().take(ops / 2), value),
                made::replacements(
                    content,
                    name,
                    random().take(ops / 2),
                    value as u64 + (1 << 27),
                ),
            ]),
            Shape::Unset => made::comings_and_goings(content, name, own(0..self.ops / 2), value),
            Shape::Zipf => {
                let hot = made::zipfian(self.docs, part, CONNECTIONS, dice);
                made::sets(content, name, hot.take(ops), value)
            }
            Shape::Counters => made::increments(content, name, random().take(ops)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_makes_about_the_ops_asked_for() {
        let shapes = [
            Shape::Uniform,
            Shape::Inserts,
            Shape::Deletes,
            Shape::Mixed,
            Shape::Replaced,
            Shape::Unset,
            Shape::Zipf,
            Shape::Counters,
        ];
        for shape in shapes {
            let case = Case {
                name: "c",
                shape,
                docs: 4_000,
                doc_bytes: 64,
                ops: 16_000,
            };
            for round in 0..2 {
                let statements: usize = case
                    .streams(round, 2, 1)
                    .into_iter()
                    .flatten()
                    .map(|bulk| bulk.statements)
                    .sum();
                assert_eq!(statements, 16_000, "{shape:?}");
            }
        }
    }
}
