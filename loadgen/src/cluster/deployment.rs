//! Either kind of deployment, as its replica sets.
//!
//! Knows nothing about what runs on it.

use std::path::{Path, PathBuf};

use crate::abilities::Abilities;
use crate::cluster::replica_set::ReplicaSet;
use crate::cluster::sharded::ShardedCluster;

#[derive(Debug)]
pub enum Deployment {
    Sharded(Box<ShardedCluster>),
    ReplicaSet(ReplicaSet),
}

impl Deployment {
    /// Of the router, or of the replica set.
    pub fn uri(&self) -> String {
        match self {
            Deployment::Sharded(cluster) => cluster.uri(),
            Deployment::ReplicaSet(set) => set.uri(),
        }
    }

    /// The shards in order, then the config servers; or the one replica set.
    pub fn sets(&self) -> Vec<&ReplicaSet> {
        match self {
            Deployment::Sharded(cluster) => {
                cluster.shards().iter().chain([cluster.config()]).collect()
            }
            Deployment::ReplicaSet(set) => vec![set],
        }
    }

    /// What its servers know.
    pub fn abilities(&self) -> Abilities {
        self.sets()[0].release().into()
    }

    /// What the router is; None for a replica set.
    pub fn router_kind(&self) -> Option<String> {
        match self {
            Deployment::Sharded(cluster) => Some(cluster.router_kind()),
            Deployment::ReplicaSet(_) => None,
        }
    }

    /// Copies the log of each server to `<dir>/<side>-<set>-<port>.log`, and that of a real
    /// router to `<dir>/<side>-mongos.log`; says on stderr which are lost.
    pub fn keep_logs(&self, dir: &Path, side: &str) {
        let keep = |log: PathBuf, name: String| {
            let copied = std::fs::copy(log, dir.join(&name));
            _ = copied.inspect_err(|e| eprintln!("loadgen: the log {name} is lost: {e}"));
        };
        for set in self.sets() {
            for member in set.members() {
                let name = format!("{side}-{}-{}.log", set.name(), member.port());
                keep(member.log(), name);
            }
        }
        if let Deployment::Sharded(cluster) = self
            && let Some(log) = cluster.router_log()
        {
            keep(log, format!("{side}-mongos.log"));
        }
    }

    /// By position in `sets`; the last one where there are fewer.
    pub fn set_mut(&mut self, index: usize) -> &mut ReplicaSet {
        match self {
            Deployment::Sharded(cluster) => {
                if index < cluster.shards().len() {
                    cluster.shard_mut(index)
                } else {
                    cluster.config_mut()
                }
            }
            Deployment::ReplicaSet(set) => set,
        }
    }
}
