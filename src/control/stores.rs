//! The state of a run on the target's shards, as control reaches it.

use futures_util::future::try_join_all;

use crate::control::sides::Sides;
use crate::error::{Error, Kind, Result};
use crate::state::PairState;
use crate::state::pair_store::PairStore;
use crate::state::run_store::RunStore;

#[derive(Debug, Clone)]
pub struct Stores {
    pub run: RunStore,
    /// One per source shard.
    pub pairs: Vec<PairStore>,
}

impl Stores {
    /// `sides` are mapped.
    pub fn new(sides: &Sides, run: &str) -> Self {
        let target = |index: usize| &sides.target.shards[sides.pairs[index]];
        let pairs = (0..sides.pairs.len())
            .map(|index| PairStore::new(target(index), run, index))
            .collect();
        Stores {
            run: RunStore::new(&sides.target.shards[0]),
            pairs,
        }
    }

    pub async fn load_pairs(&self) -> Result<Vec<PairState>> {
        let states = try_join_all(self.pairs.iter().map(|store| store.load())).await?;
        let missing = || {
            Error::new(
                Kind::Unsupported,
                "a target shard no longer holds the state of its pair",
            )
            .remedy("start over with `shardlift migrate --restart`")
        };
        states
            .into_iter()
            .map(|state| state.ok_or_else(missing))
            .collect()
    }

    /// Removes everything, the run's own state last: while that is there, a restart
    /// finishes the removal.
    pub async fn remove(&self) -> Result<()> {
        for pair in &self.pairs {
            pair.remove().await?;
        }
        self.run.remove().await
    }
}
