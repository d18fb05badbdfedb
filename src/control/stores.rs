//! The state of a run on the target's shards, as control reaches it.

use futures_util::future::try_join_all;

use crate::control::sides::Sides;
use crate::error::{Error, Kind, Result};
use crate::state::pair_store::PairStore;
use crate::state::run_store::RunStore;
use crate::state::{PairState, RunState};

#[derive(Debug, Clone)]
pub struct Stores {
    pub run: RunStore,
    /// By source shard.
    pub pairs: Vec<PairStore>,
}

impl Stores {
    /// `sides` are mapped.
    pub fn new(sides: &Sides, run: &str) -> Self {
        let target = |index: usize| &sides.target.shards[sides.pairs[index]];
        let pairs = (0..sides.pairs.len()).map(|index| PairStore::new(target(index), run, index)).collect();
        Stores { run: RunStore::new(&sides.target.shards[0]), pairs }
    }

    pub async fn load_pairs(&self) -> Result<Vec<PairState>> {
        let states = try_join_all(self.pairs.iter().map(|store| store.load())).await?;
        let missing = || {
            Error::new(Kind::Unsupported, "a target shard no longer holds the state of its pair")
                .remedy("begin anew with `shardlift migrate --restart`")
        };
        states.into_iter().map(|state| state.ok_or_else(missing)).collect()
    }

    /// Removes all of it, the run's own last: as long as that is there, a restart
    /// finishes the removal.
    pub async fn remove(&self) -> Result<()> {
        for pair in &self.pairs {
            pair.remove().await?;
        }
        self.run.remove().await
    }
}

/// # Errors
/// `Refused` if the state is of a migration between other deployments.
pub fn check_same(state: &RunState, sides: &Sides) -> Result<()> {
    let ids = |shards: &[crate::cluster::connect::Shard]| shards.iter().map(|s| s.id.clone()).collect::<Vec<_>>();
    let (source, target) = (ids(&sides.source.shards), ids(&sides.target.shards));
    if state.source_shards == source && state.target_shards == target {
        return Ok(());
    }
    let found = format!(
        "the target holds the state of run {}, from shards {} to {}; now they are {} and {}",
        state.id,
        state.source_shards.join(", "),
        state.target_shards.join(", "),
        source.join(", "),
        target.join(", ")
    );
    Err(Error::new(Kind::Refused, found).remedy(
        "give that run's source and target to go on with it, or `--restart` to wipe what it copied and begin anew",
    ))
}
