//! Starts one pair over within a recorded run (R6): from the source's newest position,
//! with everything it holds waiting and nothing of it on its target shard. The progress
//! of the other pairs stays.
//!
//! Nobody followed the source since the pair's last position. So its catalog is read
//! again, and collections created or dropped meanwhile are created or dropped on the
//! target here.
//!
//! | step | if it ends here |
//! |------|-----------------|
//! | what cannot be made up for is refused | nothing is changed |
//! | everything the pair holds is emptied | the old position is kept: run the same command again |
//! | what is gone, or renamed, is dropped; what is new, or renamed, is made | the same |
//! | the new position is recorded | done |

use crate::cluster::catalog::{self, Catalog, Collection};
use crate::cluster::deployment::{Deployment, Shard};
use crate::control::layout;
use crate::control::layout::dropping::drop_collection;
use crate::control::layout::listing;
use crate::control::layout::{laid_out, prepare};
use crate::control::recorded;
use crate::control::recorded::changes::{Changes, Gone, changes};
use crate::control::recorded::{emptying, replan};
use crate::error::{Error, Kind, Result};
use crate::failpoint;
use crate::pair::copy::units::Cut;
use crate::state::pair_store::PairStore;
use crate::state::run_store::RunStore;
use crate::state::{CollectionState, PairState, RunState};

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
}

impl Anew<'_> {
    /// Returns what was done, as a sentence.
    ///
    /// # Errors
    /// `Refused`, naming the collections, if what became of them while nobody
    /// followed cannot be made up for.
    pub async fn begin(&self, states: &[PairState]) -> Result<String> {
        let shard = &self.source.shards[self.pair];
        let listing = listing::read(self.source, &self.run.id).await?;
        let (now, local) = (&listing.catalog, &listing.local[self.pair]);
        let start = listing.starts[self.pair];
        let catalog_position = listing.catalog_positions[self.pair];
        let there = catalog::read(self.target).await?;
        let runs = RunStore::new(recorded::first(self.target));
        let views = [&self.run.views[..], &runs.load_making().await?].concat();
        let changes = changes(self.pair, states, now, local, &there, &views);
        self.refuse(&changes)?;

        let mine = states[self.pair].collections.iter().filter(|c| !c.dead);
        let mine: Vec<&CollectionState> = mine.collect();
        replan::mark(shard, self.store, &mine, self.cut).await?;
        failpoint::hit("anew-marked");
        emptying::finish_wipes(self.shard, self.store).await?;
        failpoint::hit("anew-emptied");
        for (gone, by_others) in &changes.gone {
            self.forget(gone, *by_others, &there).await?;
        }
        // By its new name it is a new one, whatever has its old name by now.
        for (was, _) in &changes.renamed {
            self.drop_made(was, &there).await?;
        }
        for (_, is) in &changes.renamed {
            self.make(is, &[]).await?;
        }
        for collection in &changes.created {
            self.make(collection, states).await?;
        }
        failpoint::hit("anew-listed");
        // IMPORTANT: last. From here on the pair is taken up without its past.
        self.store.begin_anew(start, catalog_position).await?;
        Ok(format!(
            "source shard {} starts over at {}: {} collections are emptied on the target, {} of them are gone from the \
             source, {} are renamed, {} are new",
            shard.id,
            start.position,
            mine.len(),
            changes.gone.len(),
            changes.renamed.len(),
            changes.created.len()
        ))
    }

    fn refuse(&self, changes: &Changes<'_>) -> Result<()> {
        if changes.refused.is_empty() {
            return Ok(());
        }
        let found = format!(
            "source shard {} cannot start over by itself; while nobody followed it: {}",
            self.source.shards[self.pair].id,
            changes.refused.join("; ")
        );
        Err(Error::new(Kind::Refused, found)
            .remedy("wipe what the whole run copied and start over: `shardlift migrate --restart`"))
    }

    /// Its drop will not be met by this pair.
    async fn forget(&self, gone: &CollectionState, by_others: Gone, there: &Catalog) -> Result<()> {
        match by_others {
            // It is dropped on the target when the last of them meets its drop.
            Gone::OthersHoldIt => self
                .store
                .add(&CollectionState::dead(gone.uuid, &gone.ns))
                .await
                .map(drop),
            Gone::OnlyHere => {
                self.drop_made(gone, there).await?;
                self.store.kill(gone.uuid).await.map(drop)
            }
        }
    }

    async fn drop_made(&self, gone: &CollectionState, there: &Catalog) -> Result<()> {
        let mut made = there.collections.iter();
        match made.find(|c| c.uuid.is_some() && c.uuid == gone.target_uuid) {
            Some(made) => drop_collection(self.target, made).await,
            None => Ok(()),
        }
    }

    async fn make(&self, collection: &Collection, states: &[PairState]) -> Result<()> {
        let lives_here = collection.lives_on(self.pair);
        let known = states
            .iter()
            .flat_map(|s| &s.collections)
            .any(|c| !c.dead && Some(c.uuid) == collection.uuid && c.target_uuid.is_some());
        if !known {
            layout::create_collection(self.target, collection, &self.run.pairs).await?;
        }
        let target_uuid = catalog::local_uuid(self.shard, &collection.ns)
            .await?
            .filter(|_| lives_here);
        let source = &self.source.shards[self.pair];
        let planned = prepare::planned(self.cut, source, collection, lives_here).await?;
        let target_version = match target_uuid {
            Some(_) => laid_out::version_on(self.target, collection, &self.run.pairs).await?,
            None => None,
        };
        self.store
            .add(&CollectionState {
                target_uuid,
                target_version,
                ..planned
            })
            .await
            .map(drop)
    }
}
