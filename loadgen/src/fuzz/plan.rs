//! All that one seed does: a pure function of the seed, the name of its database and what
//! the release takes.
//!
//! Knows nothing about servers.

use super::cluster;
use super::ddl::{KINDS, Kind};
use super::op::{Cluster, Maker, Op};
use super::write::{self, WRITES};
use crate::abilities::Abilities;
use crate::layout::dice::Dice;

/// Ops of a seed.
pub const OPS: usize = 120;
/// The first ones fill collections.
const FILLING: usize = 8;
/// One op in so many is DDL.
const DDL_ONE_IN: u64 = 6;
/// Marks the dice of ops, and those of a plan.
const OF_OPS: u64 = 0xF0;
const OF_PLAN: u64 = 0xF1;

#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    pub ops: Vec<Op>,
    /// So many of them are done before the engine starts.
    pub before: usize,
}

impl Plan {
    pub fn of(seed: u64, database: &str, abilities: Abilities, cluster: Option<Cluster>) -> Plan {
        let setting_up = cluster.map_or(0, |_| cluster::SETTING_UP);
        let ops = (0..OPS).map(|number| {
            let mut maker = Maker {
                dice: Dice::new(&[OF_OPS, seed, number as u64]),
                abilities,
                database,
                cluster,
            };
            if number < setting_up {
                cluster::set_up(&mut maker, number)
            } else if number < FILLING + setting_up {
                write::insert(&mut maker)
            } else if maker.dice.one_in(DDL_ONE_IN) {
                ddl(&mut maker)
            } else {
                a_write(&mut maker)
            }
        });
        let ops = ops.collect();
        let before = Dice::new(&[OF_PLAN, seed]).below(OPS as u64 / 2) as usize;
        Plan { ops, before }
    }

    /// With no other ops than those at these places.
    pub fn only(self, kept: &[usize]) -> Plan {
        let before = kept.iter().filter(|at| **at < self.before).count();
        let ops = kept.iter().map(|at| self.ops[*at].clone()).collect();
        Plan { ops, before }
    }
}

fn ddl(maker: &mut Maker<'_>) -> Op {
    let kinds: Vec<&Kind> = match maker.cluster {
        None => KINDS.iter().collect(),
        Some(cluster) => cluster::kinds(cluster).collect(),
    };
    let at = weighted(&mut maker.dice, kinds.iter().map(|kind| kind.weight));
    Op {
        kind: kinds[at].name,
        deed: kinds[at].deed(maker),
    }
}

fn a_write(maker: &mut Maker<'_>) -> Op {
    let writes = match maker.cluster {
        None => &WRITES[..],
        Some(_) => &cluster::WRITES[..],
    };
    let at = weighted(&mut maker.dice, writes.iter().map(|(weight, _)| *weight));
    writes[at].1(maker)
}

/// A place, the likelier the more it weighs.
fn weighted(dice: &mut Dice, weights: impl Iterator<Item = u64> + Clone) -> usize {
    let mut left = dice.below(weights.clone().sum());
    for (at, weight) in weights.enumerate() {
        match left.checked_sub(weight) {
            Some(rest) => left = rest,
            None => return at,
        }
    }
    unreachable!("what was drawn is below the sum of all weights")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use bson::Document;

    use super::*;
    use crate::fuzz::op::{Command, Deed, second};
    use crate::server::version;

    fn plan(seed: u64, database: &str) -> Plan {
        Plan::of(seed, database, version::DEFAULT.into(), None)
    }

    fn plan_of_cluster(seed: u64, database: &str) -> Plan {
        let cluster = Some(Cluster { renames: true });
        Plan::of(seed, database, version::DEFAULT.into(), cluster)
    }

    fn commands(op: &Op) -> &[Command] {
        match &op.deed {
            Deed::Commands(commands)
            | Deed::Steps(commands)
            | Deed::Transaction { commands, .. } => commands,
        }
    }

    #[test]
    fn what_a_seed_does_is_a_pure_function_of_it() {
        assert!(plan(7, "d") == plan(7, "d") && plan(7, "d") != plan(8, "d"));
        let kinds = |plan: Plan| plan.ops.iter().map(|op| op.kind).collect::<Vec<_>>();
        assert_eq!(kinds(plan(7, "d")), kinds(plan(7, "another")));
    }

    #[test]
    fn every_kind_comes_up() {
        let ops = (0..60).flat_map(|seed| plan(seed, "d").ops);
        let seen: BTreeSet<&str> = ops.map(|op| op.kind).collect();
        for kind in &KINDS {
            assert!(seen.contains(kind.name), "{}", kind.name);
        }
        for kind in [
            "set",
            "pipeline",
            "positional",
            "aborted",
            "applyOps",
            "bit",
        ] {
            assert!(seen.contains(kind), "{kind} is not in {seen:?}");
        }
    }

    #[test]
    fn every_kind_of_a_cluster_comes_up() {
        let ops = (0..80).flat_map(|seed| plan_of_cluster(seed, "d").ops);
        let seen: BTreeSet<&str> = ops.map(|op| op.kind).collect();
        let kinds = cluster::kinds(Cluster { renames: true });
        for kind in kinds.filter(|kind| 0 < kind.weight) {
            assert!(seen.contains(kind.name), "{}", kind.name);
        }
        assert!(!seen.contains("applyOps") && seen.contains("transaction"));
    }

    /// No run follows that a collection without documents is sharded in its place, or that one
    /// that is sharded takes the place of one that is not.
    #[test]
    fn what_stops_a_cluster_s_run_by_rule_is_not_done() {
        for op in (0..80).flat_map(|seed| plan_of_cluster(seed, "d").ops) {
            let bodies: Vec<Document> = commands(&op)
                .iter()
                .filter_map(|command| Document::try_from(command.body.as_ref()).ok())
                .collect();
            let names_sharded = |name: &str| cluster::SHARDED.iter().any(|of| name.ends_with(of));
            for (at, body) in bodies.iter().enumerate() {
                let is_sharded = |field| body.get_str(field).is_ok_and(names_sharded);
                assert!(!is_sharded("create"), "{body}");
                assert_eq!(is_sharded("renameCollection"), is_sharded("to"), "{body}");
                if body.contains_key("shardCollection") {
                    assert!(matches!(op.deed, Deed::Steps(_)) && 0 < at);
                    let first = ["drop", "insert"]
                        .iter()
                        .any(|name| bodies[0].contains_key(name));
                    assert!(first, "{body}");
                }
            }
        }
    }

    #[test]
    fn a_seed_keeps_to_its_own_databases() {
        let own = ["d".to_owned(), second("d"), "admin".to_owned()];
        let all = (0..20).flat_map(|seed| [plan(seed, "d"), plan_of_cluster(seed, "d")]);
        for op in all.flat_map(|plan| plan.ops) {
            for command in commands(&op) {
                assert!(own.contains(&command.database), "{command:?}");
            }
        }
    }

    #[test]
    fn ops_that_are_left_out_take_what_comes_before_the_engine_along() {
        let plan = Plan {
            before: 3,
            ..plan(1, "d")
        };
        let few = plan.clone().only(&[0, 2, 3, 9]);
        assert_eq!((few.before, few.ops.len()), (2, 4));
        assert_eq!(few.ops[3], plan.ops[9]);
    }
}
