//! What must hold of a pair of the simulation after every step, and where nothing is
//! under way.

use bson::Uuid;
use shardlift::pair::collection::Tracked;
use shardlift::position::Position;

use crate::sim::body::Key;
use crate::sim::lane::Lane;
use crate::sim::pair::{Pair, Step, namespace, wrong};
use crate::sim::scan::Scan;
use crate::sim::source::{Collection, Source};
use crate::sim::target::Target;

impl Pair {
    fn counts(&self, uuid: &Uuid) -> bool {
        self.gate
            .tracked(uuid)
            .is_some_and(|tracked| tracked.counts())
    }

    pub(super) fn oldest_unapplied(&self) -> Option<Position> {
        self.unapplied
            .keys()
            .find(|(_, uuid)| self.counts(uuid))
            .map(|(position, _)| *position)
    }

    /// What holds after every step.
    pub(super) fn check(&self) -> Step {
        let watermark = self.gate.watermark();
        if let Some(oldest) = self.oldest_unapplied()
            && oldest <= watermark
        {
            return wrong(format!(
                "the watermark is {watermark}, and the op at {oldest} is not applied"
            ));
        }
        let mut doubted = self
            .doubted
            .iter()
            .filter(|((uuid, _), _)| self.counts(uuid));
        match doubted.find(|(_, position)| **position <= watermark) {
            Some(((_, key), position)) => wrong(format!(
                "the watermark is {watermark}, and document {key} is doubtful since {position}"
            )),
            None => Ok(()),
        }
    }

    /// Nothing that a settled unit copied, or held, is doubtful (R6).
    pub(super) fn check_settled(&self, settled: &[(Uuid, usize)]) -> Step {
        for (uuid, unit) in settled.iter().filter(|(uuid, _)| self.counts(uuid)) {
            let Some((keys, newest)) = self.opened.get(&(*uuid, *unit)) else {
                continue;
            };
            let mut doubted = self.doubted.iter().filter(|((of, _), _)| of == uuid);
            let is_its = |key: &Key, at: &Position| keys.contains(key) && at <= newest;
            if let Some(((_, key), at)) = doubted.find(|((_, key), at)| is_its(key, at)) {
                return wrong(format!(
                    "unit {unit} of {uuid} is settled, and document {key} is doubtful since {at}"
                ));
            }
        }
        Ok(())
    }

    /// Nothing is left to do with what the source has.
    pub(super) fn is_idle(&self, source: &Source) -> bool {
        let scans =
            self.queue.is_empty() && self.scans.iter().all(|scan| matches!(scan, Scan::Idle));
        self.at_head(source)
            && scans
            && self.gate.doubtful().is_empty()
            && self.chores.is_empty()
            && self.lanes.iter().all(Lane::is_idle)
    }

    /// What the source has an index on, the target has one on.
    pub(super) fn check_indexes(&self, source: &Source, target: &Target) -> Step {
        for tracked in self.gate.all_that_count() {
            let wanted = source.collections[&tracked.uuid].unique;
            let stored = target.now.collections.get(&tracked.target_uuid());
            if stored.is_some_and(|stored| stored.unique) != wanted {
                return wrong(format!("{} lacks its unique index", tracked.ns()));
            }
        }
        Ok(())
    }

    /// Each has the options that this shard of the source has.
    pub(super) fn check_options(&self, source: &Source, target: &Target) -> Step {
        for tracked in self.gate.all_that_count() {
            let wanted = source.collections[&tracked.uuid].option;
            let stored = target.now.collections.get(&tracked.target_uuid());
            let there = stored.map(|stored| stored.option);
            if there != Some(wanted) {
                return wrong(format!(
                    "{} has the option {there:?}, not {wanted}",
                    tracked.ns()
                ));
            }
        }
        Ok(())
    }

    /// Each is called on the target, and recorded, as on the source.
    pub(super) fn check_names(&self, source: &Source, target: &Target) -> Step {
        let recorded = target.durable.store.load().collections;
        for (uuid, collection) in source.alive() {
            let Some(tracked) = self.gate.tracked(uuid).filter(|t| t.counts()) else {
                return wrong(format!("{} is not followed", collection.name));
            };
            let stored = target.now.collections.get(&tracked.target_uuid());
            let there = stored.map(|stored| &stored.name);
            let recorded = recorded
                .iter()
                .find(|c| c.uuid == *uuid)
                .map(|c| &c.ns.coll);
            let is_named = |name: Option<&String>| name == Some(&collection.name);
            let ns = namespace(&collection.name);
            if !tracked.is_called(&ns) || !is_named(there) || !is_named(recorded) {
                return wrong(format!(
                    "{ns} is {there:?} on the target, recorded as {recorded:?}, and known as {}",
                    tracked.ns()
                ));
            }
        }
        Ok(())
    }

    /// Where nothing is under way, the target is what the source was at the
    /// position passed, once that is beyond the horizon.
    pub(super) fn check_exact(&self, source: &Source, target: &Target) -> Step {
        let passed = self.gate.passed();
        for (uuid, collection) in &source.collections {
            let Some(tracked) = self.gate.tracked(uuid).filter(|t| t.counts()) else {
                continue;
            };
            if passed < tracked.horizon() || !self.gate.is_copied(uuid) {
                continue;
            }
            check_equal(tracked, passed, collection, target)?;
        }
        Ok(())
    }
}

/// The target's collection is what the source's was at `position`.
pub(super) fn check_equal(
    tracked: &Tracked,
    position: Position,
    source: &Collection,
    target: &Target,
) -> Step {
    let stored = target.now.collections.get(&tracked.target_uuid());
    let there = stored.map(|stored| &stored.documents);
    let wanted = source.all_at(position);
    if there == Some(&wanted) {
        Ok(())
    } else {
        wrong(format!(
            "{} differs from the source at {position}: {there:?} is not {wanted:?}",
            tracked.ns()
        ))
    }
}
