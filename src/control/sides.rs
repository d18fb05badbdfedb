//! Both sides of a run, connected and mapped shard to shard.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::cluster::connect::connect;
use crate::cluster::deployment::{Deployment, Side};
use crate::config::Config;
use crate::error::{Error, Kind, Result};
use crate::scope::Scope;

/// Source and target, and which target shard takes which source shard.
#[derive(Debug, Clone)]
pub struct Sides {
    pub source: Arc<Deployment>,
    pub target: Arc<Deployment>,
    /// `pairs[i]` is the target shard of source shard i. Empty until the counts
    /// are known to be equal (`map`).
    pub pairs: Vec<usize>,
}

impl Sides {
    pub async fn connect(config: &Config) -> Result<Self> {
        let (source, target) = Self::connect_each(config).await;
        Ok(Sides {
            source: Arc::new(source?),
            target: Arc::new(target?),
            pairs: Vec::new(),
        })
    }

    /// Both, even if one is not reached.
    pub async fn connect_each(config: &Config) -> (Result<Deployment>, Result<Deployment>) {
        let timeout = Duration::from_secs(config.server_timeout_s);
        let (source, target) = tokio::join!(
            connect(Side::Source, config.source.expose(), timeout),
            connect(Side::Target, config.target.expose(), timeout)
        );
        let filters = config.filters();
        let asked =
            |side: Result<Deployment>| side.map(|side| side.asked(&filters, &config.rename));
        let (source, target) = (asked(source), asked(target));
        let target = match &source {
            Ok(source) => target.map(|target| target.written_from(source)),
            Err(_) => target,
        };
        (source, target)
    }

    /// Makes `scope` what a migration of them is about.
    pub fn scope(&mut self, scope: &Scope) {
        for side in [&mut self.source, &mut self.target] {
            *side = Arc::new(side.scoped(scope.clone()));
        }
    }

    /// The way back: the source, which had users, becomes the target.
    pub fn turned(&self) -> Sides {
        let as_side = |deployment: &Deployment, side| {
            Arc::new(Deployment {
                side,
                ..deployment.clone()
            })
        };
        let mut pairs = vec![0; self.pairs.len()];
        for (source, target) in self.pairs.iter().enumerate() {
            pairs[*target] = source;
        }
        Sides {
            source: as_side(&self.target, Side::Source),
            target: Arc::new(
                as_side(&self.source, Side::Target)
                    .with_users_before()
                    .written_from(&self.target),
            ),
            pairs,
        }
    }

    /// What people call a pair.
    pub fn pair_name(&self, pair: usize) -> String {
        format!(
            "{} → {}",
            self.source.shards[pair].id, self.target.shards[self.pairs[pair]].id
        )
    }

    /// Maps source shards to target shards: as told, the rest by sorted id.
    ///
    /// # Errors
    /// `Config` if a name is unknown or used twice, `Refused` if the counts differ.
    pub fn map(mut self, told: &[(String, String)]) -> Result<Self> {
        let (source, target) = (&self.source.shards, &self.target.shards);
        if source.len() != target.len() {
            let found = format!(
                "the source has {} shards, the target {}",
                source.len(),
                target.len()
            );
            return Err(Error::new(Kind::Refused, found)
                .remedy("give the target as many shards as the source has"));
        }
        let mut chosen: HashMap<usize, usize> = HashMap::new();
        for (from, to) in told {
            let unknown = |side: &Deployment, id: &str| {
                let ids: Vec<&str> = side.shards.iter().map(|s| s.id.as_str()).collect();
                Error::new(
                    Kind::Config,
                    format!(
                        "map names shard `{id}`, which the {} does not have",
                        side.side
                    ),
                )
                .remedy(format!("its shards are: {}", ids.join(", ")))
            };
            let source = self
                .source
                .shard_index(from)
                .ok_or_else(|| unknown(&self.source, from))?;
            let target = self
                .target
                .shard_index(to)
                .ok_or_else(|| unknown(&self.target, to))?;
            if chosen.values().any(|t| *t == target) || chosen.insert(source, target).is_some() {
                return Err(Error::new(
                    Kind::Config,
                    format!("map names shard `{from}` or `{to}` twice"),
                )
                .remedy("give every shard at most one partner"));
            }
        }
        let mut free = (0..target.len())
            .filter(|t| !chosen.values().any(|c| c == t))
            .collect::<Vec<_>>()
            .into_iter();
        let partner = |source| chosen.get(&source).copied().or_else(|| free.next());
        self.pairs = (0..source.len()).filter_map(partner).collect();
        Ok(self)
    }
}
