//! The router of a local cluster: a real `mongos` where there is one, else a
//! stand-in, because no package of MongoDB that can be had everywhere has one.
//!
//! The stand-in is not a router. Shard servers of 6.0 carry the router's own
//! code as commands (`clusterFind`, `clusterInsert`, …); the stand-in renames
//! what a driver sends and passes it on to a shard's primary, which routes it
//! by the real chunk map. Sharding and DDL commands become the internal ones
//! that a real mongos sends to the config server or the database's primary
//! shard. So data, metadata and oplogs are what they are in a real cluster.
//!
//! What it does not do: sessions, transactions, retryable writes
//! (`retryWrites=false`), authentication, TLS, and any command not listed in
//! `dispatch.rs`, which it refuses by name.
//!
//! It runs on threads of its own: a test's busy runtime does not slow it down.

mod chunks;
mod connection;
mod counting;
mod crud;
mod ddl;
mod diagnostics;
mod dispatch;
mod find_and_modify;
mod listing;
mod metadata;
mod real;
mod reply;
mod request;
mod session;
mod sharding;
mod shared;
mod stand_in;

use std::path::PathBuf;

use crate::error::Result;

pub use real::RealMongos;
pub use stand_in::StandIn;

#[derive(Debug)]
pub enum Router {
    StandIn(StandIn),
    Real(RealMongos),
}

impl Router {
    /// Starts a router for the cluster of these config servers
    /// (`set/host:port,…`): `program` if given, else the stand-in.
    pub async fn start(program: Option<PathBuf>, config_hosts: &str, port: Option<u16>) -> Result<Router> {
        match program {
            Some(program) => Ok(Router::Real(RealMongos::start(program, config_hosts, port).await?)),
            None => Ok(Router::StandIn(StandIn::start(config_hosts, port).await?)),
        }
    }

    pub fn host(&self) -> String {
        match self {
            Router::StandIn(router) => router.host(),
            Router::Real(router) => router.host(),
        }
    }

    /// `retryWrites=false`: the stand-in has no sessions.
    pub fn uri(&self) -> String {
        format!("mongodb://{}/?retryWrites=false", self.host())
    }

    pub fn is_stand_in(&self) -> bool {
        matches!(self, Router::StandIn(_))
    }
}
