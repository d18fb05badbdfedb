//! Starts one pair over within a recorded run (R6): from the source's newest position,
//! with everything it holds waiting and nothing of it on its target shard. Or one
//! collection of it: the pair keeps its position then, and passes what its entries up to that
//! newest position say of this one. The progress of all else stays.
//!
//! Nobody followed the source since the pair's last position. So its catalog is read
//! again. Collections created or dropped meanwhile are created or dropped on the
//! target here, and those that would be made otherwise by now are made anew.
//!
//! | step | if it ends here |
//! |------|-----------------|
//! | what cannot be made up for is refused, and what others would wait for | nothing is changed |
//! | everything that is chosen is emptied, and where it was planned is recorded | the old position is kept: run the same command again |
//! | what is gone, or other by now, is dropped; what is new, or other, is made | the same |
//! | a pair: the new position is recorded | done |
//!
//! Views of the target are made the source's by whoever compares both sides.

use std::collections::HashMap;
use std::time::Duration;

use crate::cluster::catalog::{self, Catalog, Collection, CollectionKind, Namespace};
use crate::cluster::deployment::{Deployment, Shard};
use crate::control::layout::listing;
use crate::control::recorded::changes::{Changes, Gone, Only, changes};
use crate::control::recorded::made::{self, OfRun, Place};
use crate::control::recorded::{ahead, emptying, namesakes, replan};
use crate::error::{Error, Kind, Result};
use crate::failpoint;
use crate::pair::copy::units::Cut;
use crate::pair::oplog::proven::Lister;
use crate::position::Position;
use crate::state::pair_store::PairStore;
use crate::state::{CollectionState, PairState, RunState};

/// How long a majority of a source shard may take to answer.
const LISTED_WITHIN: Duration = Duration::from_secs(60);

/// A pair that is to start over. No process works on the target.
pub struct Anew<'a> {
    pub source: &'a Deployment,
    pub target: &'a Deployment,
    pub run: &'a RunState,
    /// Index of the source shard.
    pub pair: usize,
    /// The pair's target shard and its store, over connections of the incarnation
    /// that this command began.
    pub shard: &'a Shard,
    pub store: &'a PairStore,
    pub cut: Cut,
    /// None: all collections.
    pub only: Option<&'a Namespace>,
    /// Called before anything is changed.
    pub accepted: &'a (dyn Fn() + Sync),
}

impl Anew<'_> {
    /// Returns what was done, as a sentence.
    ///
    /// # Errors
    /// `Refused`, naming the collections, if what became of them while nobody
    /// followed cannot be made up for.
    pub async fn begin(&self, states: &[PairState]) -> Result<String> {
        let listing = listing::read(self.source, &self.run.id).await?;
        let local = &listing.local[self.pair];
        let start = listing.starts[self.pair];
        let there = catalog::read(self.target).await?;
        let listers = Lister::of_all(self.source, &self.run.id, LISTED_WITHIN);
        let changed = |taken| {
            let only = self.only.map(|ns| Only { ns, taken });
            changes(self.pair, states, &listing.catalog, local, &there, only)
        };
        let unread = HashMap::new();
        let mut changes = changed(&unread);
        self.refuse(&changes)?;
        let taken;
        if self.only.is_some() && changes.take_names() {
            let noting = (&*listers[self.pair], start.position);
            taken = ahead::taken(&states[self.pair], &self.source.scope, noting).await?;
            changes = changed(&taken);
            self.refuse(&changes)?;
        }
        let keeps_position = self.only.is_some();
        if !keeps_position || changes.take_names() {
            let ahead = ahead::of_others(&listers, states, self.pair, &listing).await?;
            ahead::expect_none(self.shard_id(), &changes, &ahead, keeps_position)?;
        }
        namesakes::expect_empty(self.target, &changes, states, &there).await?;
        (self.accepted)();

        let shard = &self.source.shards[self.pair];
        let emptied = changes.emptied();
        replan::mark(
            shard,
            self.store,
            &emptied,
            (self.cut, Some(start.position)),
        )
        .await?;
        failpoint::hit("anew-marked");
        emptying::finish_wipes(self.shard, self.store).await?;
        failpoint::hit("anew-emptied");
        namesakes::drop_left_over(self.target, states, &listing.catalog, &there).await?;
        for (gone, by_others) in &changes.gone {
            self.forget(gone, *by_others, &there, start.position)
                .await?;
        }
        // By its new name it is a new one, whatever has its old name by now.
        for (was, _) in &changes.anew {
            self.drop_made(was, &there).await?;
        }
        for (was, is) in &changes.anew {
            let renamed_at = if was.ns == is.ns {
                was.renamed_at
            } else {
                start.position
            };
            self.make(is, (start.position, renamed_at), &[], &there)
                .await?;
        }
        for collection in &changes.created {
            let at = (start.position, start.position);
            self.make(collection, at, states, &there).await?;
        }
        failpoint::hit("anew-listed");
        if self.only.is_none() {
            // IMPORTANT: last. From here on the pair is taken up without its past.
            let catalog_position = listing.catalog_positions[self.pair];
            self.store.begin_anew(start, catalog_position).await?;
        }
        Ok(self.told(&changes, start.position))
    }

    fn told(&self, changes: &Changes<'_>, start: Position) -> String {
        let (emptied, gone) = (changes.emptied().len(), changes.gone.len());
        let (anew, new) = (changes.anew.len(), changes.created.len());
        let shard = self.shard_id();
        match self.only {
            Some(_) => format!(
                "collections of source shard {shard} emptied on the target: {emptied}, made anew: {anew}, new: {new}, \
                 gone from the source: {gone}; what its oplog says of them up to {start} is passed, but for renames that are followed"
            ),
            None => format!(
                "source shard {shard} starts over at {start}: {emptied} collections are emptied on the target, {gone} \
                 are gone from the source, {anew} are made anew, {new} are new"
            ),
        }
    }

    fn shard_id(&self) -> &str {
        &self.source.shards[self.pair].id
    }

    fn refuse(&self, changes: &Changes<'_>) -> Result<()> {
        let refused =
            |found: String, remedy: &str| Err(Error::new(Kind::Refused, found).remedy(remedy));
        let shard = self.shard_id();
        if !changes.refused.is_empty() {
            let found = format!(
                "source shard {shard} cannot start over by itself; while nobody followed it: {}",
                changes.refused.join("; ")
            );
            return refused(
                found,
                "wipe what the whole run copied and start over: `shardlift migrate --restart`",
            );
        }
        if let Some(why) = changes.early.first() {
            let found =
                format!("it cannot be copied again alone: its shard has still to meet that {why}");
            let remedy = format!("copy the whole shard again: `shardlift recopy --shard {shard}`");
            return refused(found, &remedy);
        }
        match self.only {
            Some(ns) if changes.are_none() => {
                let by = if self.source.scope.renames().are_none() {
                    ""
                } else {
                    ", which is a name on the target"
                };
                let remedy = format!(
                    "check --ns{by}; without it all collections of the shard are copied again"
                );
                let found = format!(
                    "the recorded run has no {ns} on source shard {shard}, nor has that shard"
                );
                refused(found, &remedy)
            }
            _ => Ok(()),
        }
    }

    /// Its drop will not be met by this pair. It is dead, and its entries up to `start` are
    /// passed.
    async fn forget(
        &self,
        gone: &CollectionState,
        by_others: Gone,
        there: &Catalog,
        start: Position,
    ) -> Result<()> {
        let dead = match by_others {
            // It is dropped on the target when the last of them meets its drop.
            Gone::OthersHoldIt => CollectionState::dead(gone.uuid, &gone.ns),
            Gone::OnlyHere => {
                self.drop_made(gone, there).await?;
                CollectionState {
                    dead: true,
                    ..gone.clone()
                }
            }
        };
        let given_up = CollectionState {
            planned_at: start,
            ..dead
        };
        self.store.add(&given_up).await?;
        self.store.clear_units(Some(&[gone.uuid])).await.map(drop)
    }

    async fn drop_made(&self, gone: &CollectionState, there: &Catalog) -> Result<()> {
        made::drop_made(self.target, self.shard, gone.target_uuid, there).await
    }

    /// `planned_at` and `renamed_at`: positions up to which its entries are passed.
    async fn make(
        &self,
        collection: &Collection,
        (planned_at, renamed_at): (Position, Position),
        states: &[PairState],
        there: &Catalog,
    ) -> Result<()> {
        let known = states
            .iter()
            .flat_map(|s| &s.collections)
            .any(|c| !c.dead && Some(c.uuid) == collection.uuid && c.target_uuid.is_some());
        if !known {
            if collection.primary == self.pair {
                // A view of its name is one that the source has no longer.
                let name = collection.ns.public();
                made::drop_named(self.shard, &name, CollectionKind::View, there).await?;
            }
            made::make(self.of_run(), collection).await?;
        }
        let place = Place {
            pair: self.pair,
            shard: self.shard,
            store: self.store,
        };
        place
            .record(self.of_run(), collection, (planned_at, renamed_at))
            .await
    }

    fn of_run(&self) -> OfRun<'_> {
        OfRun {
            source: self.source,
            target: self.target,
            run: self.run,
            cut: self.cut,
        }
    }
}
