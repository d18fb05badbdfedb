//! The end of a seed: all is drained, recorded and closed, and source and target are
//! equal.

use std::collections::BTreeSet;

use bson::Uuid;

use crate::sim::pair::{Halt, Pair, Reach, Step, wrong};
use crate::sim::world::World;

impl World {
    /// True once all is drained, recorded, closed and equal.
    pub(super) fn at_end(&mut self, pairs: &mut [Pair]) -> Step<bool> {
        let drained = pairs
            .iter()
            .all(|pair| pair.is_idle(&self.sources[pair.index]));
        if 0 < self.writes_left || !self.ddl.is_empty() || !drained {
            return Ok(false);
        }
        for pair in pairs.iter_mut() {
            let target = &mut self.targets[pair.index];
            target.commit_all();
            if target.term != pair.term {
                return Err(Halt::Attempt("another term, found at the end".to_owned()));
            }
            // A unit's end is in a capture; that is proven, and then recorded.
            let rounds = pair.rounds.done + 3;
            while pair.rounds.done < rounds {
                let source = &self.sources[pair.index];
                let mut reach = Reach {
                    source,
                    target,
                    dice: &mut self.dice,
                    term: pair.term,
                };
                pair.checkpoint(&mut reach)?;
                reach.target.commit_all();
            }
            let (resume, newest) = (
                target.durable.store.resume(),
                self.sources[pair.index].newest(),
            );
            if resume.position != newest {
                return wrong(format!(
                    "all is applied, and the run would resume at {}, not {newest}",
                    resume.position
                ));
            }
            pair.gate.close();
        }
        self.check_equal(pairs).map(|()| true)
    }

    fn check_equal(&mut self, pairs: &mut [Pair]) -> Step {
        let alive = pairs.iter().flat_map(|pair| {
            let source = &self.sources[pair.index];
            let alive = source.collections.iter().filter(|(_, c)| c.alive);
            alive.filter_map(|(uuid, _)| pair.gate.tracked(uuid)?.bound_to())
        });
        let alive: BTreeSet<Uuid> = alive.collect();
        if let Some(left) = self
            .targets
            .iter()
            .flat_map(|t| t.now.collections.keys())
            .find(|c| !alive.contains(c))
        {
            return wrong(format!(
                "the target has a collection that no source has: {left}"
            ));
        }
        for pair in pairs {
            let (source, target) = (&mut self.sources[pair.index], &self.targets[pair.index]);
            let alive = source.collections.values().filter(|c| c.alive).count();
            if target.now.collections.len() < alive {
                return wrong("the target lacks a collection");
            }
            pair.check_names(source, target)?;
            pair.check_indexes(source, target)?;
            pair.check_options(source, target)?;
            pair.check_exact(source, target)?;
            let before = target.now.collections.clone();
            // A late write is not applied, and never counts as applied.
            source.write(&mut self.dice);
            while !pair.at_head(source) {
                pair.tail(source)?;
            }
            if pair.gate.capture().is_some()
                || pair.oldest_unapplied().is_some()
                || before != target.now.collections
            {
                return wrong("a write after the cutover was taken");
            }
        }
        Ok(())
    }
}
