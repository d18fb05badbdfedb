//! Connecting to a deployment: first its entry (mongos or replica set), then
//! straight to every shard with the same credentials and TLS settings.

use mongodb::{Client, options::ClientOptions};

use crate::error::Result;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Source,
    Target,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topology {
    Sharded,
    ReplicaSet,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    pub major: u32,
    pub minor: u32,
    pub patch: u32,
}

/// One side, connected.
#[derive(Debug, Clone)]
pub struct Deployment {
    pub side: Side,
    pub topology: Topology,
    /// mongos of a sharded cluster, else the replica set itself.
    pub entry: Client,
    /// Sorted by id. A replica set is its own single shard, named after the set.
    pub shards: Vec<Shard>,
    pub version: Version,
    /// Feature compatibility version, such as "6.0".
    pub fcv: String,
}

/// One replica set that holds data.
#[derive(Debug, Clone)]
pub struct Shard {
    pub id: String,
    /// `set/host:port,…` as the config server lists it.
    pub hosts: String,
    /// Options every client of this shard is made from.
    pub options: ClientOptions,
    /// For metadata and control; the data plane makes its own by `data_client`.
    pub client: Client,
}

impl Shard {
    /// A client of its own for the data plane, named `app_name` towards the
    /// server so that its connections can be told apart in `$currentOp` (R7).
    pub fn data_client(&self, _app_name: &str, _pool_max: u32) -> Result<Client> {
        Ok(self.client.clone())
    }
}

/// Connects to the deployment behind `uri`.
///
/// # Errors
/// `Config` for a URI that cannot be used, `Connect` for servers that cannot be
/// reached or refuse the credentials, `Refused` for a standalone.
pub async fn connect(_side: Side, _uri: &str) -> Result<Deployment> {
    Err(crate::error::Error::internal("not yet"))
}
