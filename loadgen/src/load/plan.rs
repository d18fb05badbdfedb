//! From a kind to what is sent: collection, documents and statements of the
//! next operation.
//!
//! Knows nothing about rates, latencies and connections.

use bson::{Document, RawDocumentBuf};

use super::{
    build,
    mix::Kind,
    pick::{KeySpace, Picker},
    route::{self, Route, Verb, Write, raw},
};
use crate::layout::dice::Dice;

/// Documents of a large transaction, of 1 MB each: together past 16 MB.
const LARGE_DOCUMENTS: usize = 18;
const LARGE_EXTRA_BYTES: usize = 1_000_000;
/// Documents of one insert inside a large transaction.
const LARGE_PER_WRITE: usize = 6;
/// Draws before a document on the wanted shard counts as not to be found.
const DRAWS_MAX: usize = 64;

/// One shard's part of a transaction: its position, and commands by database.
pub(super) type Part = (usize, Vec<(String, Document)>);

pub(super) enum Plan {
    /// One after the other.
    Writes(Vec<Write>),
    Command {
        space: usize,
        n: u64,
        command: Document,
    },
    Commit(Vec<Part>),
    Abort(Part),
}

/// Makes plans; one for all workers.
pub(super) struct Planner {
    pub(super) picker: Picker,
    pub(super) route: Route,
    pub(super) seed: u64,
    /// Ordinal of the first document this load inserts.
    pub(super) base: u64,
    /// Statements in a bulk, at most.
    pub(super) bulk: u64,
    pub(super) unique_churn: bool,
    /// Transactions that are prepared leave collections with unique indexes alone.
    pub(super) prepared_apart: bool,
}

impl Planner {
    /// The next operation of that kind, and how many it counts for.
    pub(super) fn plan(&self, kind: Kind, dice: &mut Dice) -> (Plan, u64) {
        let space = self.picker.space(dice, kind == Kind::Inserts);
        let count = if dice.one_in(2) {
            1
        } else {
            1 + dice.below(self.bulk)
        };
        match kind {
            Kind::Transactions => self.commit(1, dice),
            Kind::CrossShard => self.commit(2, dice),
            Kind::Aborts => self.abort(dice),
            Kind::LargeTransactions => self.large(space, dice),
            Kind::FindAndModify => {
                let n = self.picker.spaces[space].existing(dice);
                let command = build::find_and_modify(&self.picker.spaces[space], n, dice);
                (Plan::Command { space, n, command }, 1)
            }
            Kind::Updates if self.unique_churn && dice.one_in(10) => self.swap(space, dice),
            _ => self.writes(kind, space, count, dice),
        }
    }

    fn writes(&self, kind: Kind, space: usize, count: u64, dice: &mut Dice) -> (Plan, u64) {
        let keys = &self.picker.spaces[space];
        // A multi-update has no address: it goes to every shard.
        if kind == Kind::Multi {
            let n = keys.existing(dice);
            let statements = vec![(None, raw(&build::multi(n, dice)))];
            return (
                Plan::Writes(vec![Write {
                    space,
                    verb: Verb::Update,
                    ordered: true,
                    statements,
                }]),
                1,
            );
        }
        if kind == Kind::Reinserts {
            let ns: Vec<u64> = (0..count).map(|_| keys.existing(dice)).collect();
            let again = ns.iter().map(|&n| {
                (
                    Some(n),
                    keys.spec.document(self.seed, n, 1 + dice.below(1 << 40)),
                )
            });
            let again = self.write(space, Verb::Insert, again.collect());
            let deletes = ns
                .iter()
                .map(|&n| (Some(n), raw(&build::delete(keys, n))))
                .collect();
            return (
                Plan::Writes(vec![self.write(space, Verb::Delete, deletes), again]),
                2 * count,
            );
        }
        let statements = (0..count)
            .map(|_| self.statement(kind, keys, dice))
            .collect();
        let verb = match kind {
            Kind::Inserts => Verb::Insert,
            Kind::Deletes => Verb::Delete,
            _ => Verb::Update,
        };
        (
            Plan::Writes(vec![self.write(space, verb, statements)]),
            count,
        )
    }

    fn write(
        &self,
        space: usize,
        verb: Verb,
        statements: Vec<(Option<u64>, RawDocumentBuf)>,
    ) -> Write {
        Write {
            space,
            verb,
            ordered: false,
            statements,
        }
    }

    fn statement(
        &self,
        kind: Kind,
        keys: &KeySpace,
        dice: &mut Dice,
    ) -> (Option<u64>, RawDocumentBuf) {
        let n = match kind {
            Kind::Inserts => keys.fresh(),
            Kind::Deletes => keys.expendable(dice),
            Kind::Upserts if dice.one_in(2) => keys.fresh(),
            _ => keys.existing(dice),
        };
        let statement = match kind {
            Kind::Inserts => keys.spec.document(self.seed, n, 0),
            Kind::Deletes => raw(&build::delete(keys, n)),
            Kind::Upserts => raw(&build::upsert(keys, n, dice)),
            Kind::Replaces => raw(&build::replacement(keys, self.seed, n, dice)),
            Kind::Arrays => raw(&build::array(keys, n, dice)),
            _ => raw(&build::update(keys, n, dice)),
        };
        (Some(n), statement)
    }

    fn swap(&self, space: usize, dice: &mut Dice) -> (Plan, u64) {
        let keys = &self.picker.spaces[space];
        let (a, b) = (keys.existing(dice), keys.existing(dice));
        let statements = build::swap_unique(keys, a, b);
        let addressed = statements
            .iter()
            .zip([a, b, a])
            .map(|(statement, n)| (Some(n), raw(statement)));
        (
            Plan::Writes(vec![Write {
                space,
                verb: Verb::Update,
                ordered: true,
                statements: addressed.collect(),
            }]),
            3,
        )
    }

    /// A transaction of `parts` parts, each on a shard of its own.
    fn commit(&self, parts: usize, dice: &mut Dice) -> (Plan, u64) {
        let mut made: Vec<Part> = Vec::new();
        let mut ops = 0;
        for _ in 0..DRAWS_MAX {
            let (part, count) = self.part(dice, 1 < parts);
            let taken =
                made.iter().any(|(shard, _)| *shard == part.0) && 1 < self.route.shard_count();
            if !taken {
                ops += count;
                made.push(part);
            }
            if made.len() == parts {
                break;
            }
        }
        (Plan::Commit(made), ops)
    }

    fn abort(&self, dice: &mut Dice) -> (Plan, u64) {
        let (part, ops) = self.part(dice, true);
        (Plan::Abort(part), ops)
    }

    /// An update, an insert and now and then a delete, all on one shard.
    fn part(&self, dice: &mut Dice, is_prepared: bool) -> (Part, u64) {
        let space = self.space(dice, is_prepared);
        let keys = &self.picker.spaces[space];
        let n = keys.existing(dice);
        let shard = self.route.owner(&self.picker, space, n);
        let mut writes = vec![self.write(
            space,
            Verb::Update,
            vec![(Some(n), raw(&build::update(keys, n, dice)))],
        )];
        if let Some(n) = self.draw(space, shard, || keys.fresh()) {
            writes.push(self.write(
                space,
                Verb::Insert,
                vec![(Some(n), keys.spec.document(self.seed, n, 0))],
            ));
        }
        if dice.one_in(4)
            && let Some(n) = self.draw(space, shard, || keys.expendable(dice))
        {
            writes.push(self.write(
                space,
                Verb::Delete,
                vec![(Some(n), raw(&build::delete(keys, n)))],
            ));
        }
        let ops = writes.len() as u64;
        ((shard, self.commands(writes)), ops)
    }

    /// A collection for a transaction.
    fn space(&self, dice: &mut Dice, is_prepared: bool) -> usize {
        let drawn = self.picker.space(dice, false);
        if !is_prepared || !self.prepared_apart {
            return drawn;
        }
        (0..DRAWS_MAX)
            .map(|_| self.picker.space(dice, false))
            .find(|&space| !self.picker.spaces[space].spec.has_unique_index())
            .unwrap_or(drawn)
    }

    /// A document that `shard` owns.
    fn draw(&self, space: usize, shard: usize, mut next: impl FnMut() -> u64) -> Option<u64> {
        (0..DRAWS_MAX)
            .map(|_| next())
            .find(|&n| self.route.owner(&self.picker, space, n) == shard)
    }

    fn commands(&self, writes: Vec<Write>) -> Vec<(String, Document)> {
        let named = writes.iter().map(|write| {
            let command = route::command(&self.picker, write, None);
            let command = Document::try_from(command).expect("a command built here is well formed");
            (
                self.picker.spaces[write.space].spec.database.to_string(),
                command,
            )
        });
        named.collect()
    }

    fn large(&self, space: usize, dice: &mut Dice) -> (Plan, u64) {
        let keys = &self.picker.spaces[space];
        let shard = self.route.owner(&self.picker, space, keys.existing(dice));
        let ns = std::iter::from_fn(|| self.draw(space, shard, || keys.fresh()));
        let document = |n: u64| (Some(n), build::large(keys, self.seed, n, LARGE_EXTRA_BYTES));
        let statements: Vec<_> = ns.take(LARGE_DOCUMENTS).map(document).collect();
        let ops = statements.len() as u64;
        let writes = statements
            .chunks(LARGE_PER_WRITE)
            .map(|chunk| self.write(space, Verb::Insert, chunk.to_vec()));
        (
            Plan::Commit(vec![(shard, self.commands(writes.collect()))]),
            ops,
        )
    }
}
