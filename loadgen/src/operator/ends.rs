//! How the second operator reaches a side: by its router, or straight to the
//! primary or any member of a set, past the fault proxies.
//!
//! Knows nothing about what is asked.

use std::time::Duration;

use crate::abilities::Abilities;
use crate::cluster::Deployment;
use crate::error::Result;
use crate::layout::dice::Dice;
use crate::wire::link::{self, Link};

/// An election may be under way.
const PRIMARY_PATIENCE: Duration = Duration::from_secs(8);

#[derive(Debug, Clone)]
pub(super) struct Ends {
    /// `host:port`; None for a replica set.
    pub(super) router: Option<String>,
    /// Members of each shard in order, then those of the config servers; or of the one set.
    sets: Vec<Vec<String>>,
    /// What the servers know.
    pub(super) abilities: Abilities,
    /// Ids of the shards; the set's name where there is no router.
    pub(super) shards: Vec<String>,
}

impl Ends {
    pub(super) fn of(deployment: &Deployment) -> Ends {
        let sets = deployment.sets();
        let (router, shards) = match deployment {
            Deployment::Sharded(cluster) => (Some(cluster.router_host()), cluster.shards().len()),
            Deployment::ReplicaSet(_) => (None, 1),
        };
        Ends {
            router,
            abilities: deployment.abilities(),
            sets: sets.iter().map(|set| set.server_hosts()).collect(),
            shards: sets[..shards]
                .iter()
                .map(|set| set.name().to_owned())
                .collect(),
        }
    }

    /// Where applications go: the router, or the set's primary.
    pub(super) async fn front(&self) -> Result<Link> {
        match &self.router {
            Some(host) => Ok(Link::connect(host).await?),
            None => self.primary(0).await,
        }
    }

    /// Of one shard, by position.
    pub(super) async fn primary(&self, set: usize) -> Result<Link> {
        link::connect_primary(&self.sets[set], PRIMARY_PATIENCE).await
    }

    /// Any server but those of the config servers' set, the primary or another.
    pub(super) async fn member(&self, dice: &mut Dice) -> Result<Link> {
        let hosts = &self.sets[dice.below(self.shards.len() as u64) as usize];
        Ok(Link::connect(&hosts[dice.below(hosts.len() as u64) as usize]).await?)
    }

    /// The primary of a shard, any of them.
    pub(super) async fn any_primary(&self, dice: &mut Dice) -> Result<Link> {
        self.primary(dice.below(self.shards.len() as u64) as usize)
            .await
    }
}
