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
//! Where the servers ask for a login, so does it: a client's conversation is passed on
//! to the config servers, whose users are the router's, and what they answer the client
//! may do is checked here before each command (`access.rs`). Behind that it works as
//! loadgen's own user. Commands that `access.rs` does not know need a login and nothing
//! more.
//!
//! Shard servers before 6.0 carry no router's code. There it routes documents itself, by
//! the chunk map (`by_map/`).
//!
//! It offers sessions, as a router does, and forgets them: a routing command with one
//! brings a shard server down. What it does not do: transactions, retryable writes
//! (`retryWrites=false`), TLS, and any command not listed in `dispatch.rs`, which it
//! refuses by name.
//!
//! It runs on threads of its own: a test's busy runtime does not slow it down.

mod access;
mod by_map;
mod chunks;
mod connection;
mod counting;
mod crud;
mod ddl;
mod diagnostics;
mod failpoints;
mod dispatch;
mod find_and_modify;
mod listing;
mod login;
mod metadata;
mod older;
mod real;
mod reply;
mod request;
mod session;
mod sharding;
mod shared;
mod stand_in;

use std::path::PathBuf;

use crate::cluster::users;
use crate::error::Result;
use crate::server::brought::Brought;
use crate::wire::login::OPERATOR;

pub use real::RealMongos;
pub use stand_in::StandIn;

#[derive(Debug)]
pub enum Router {
    StandIn(StandIn),
    Real(RealMongos),
}

impl Router {
    /// Starts a router for the cluster of these config servers
    /// (`set/host:port,…`): `program` if given, else the stand-in. `login`: the servers
    /// ask for one, so this does too.
    pub async fn start(
        program: Option<Brought>,
        config_hosts: &str,
        port: Option<u16>,
        login: bool,
    ) -> Result<Router> {
        match program {
            Some(program) => Ok(Router::Real(
                RealMongos::start(&program, config_hosts, port, login).await?,
            )),
            None => Ok(Router::StandIn(
                StandIn::start(config_hosts, port, login).await?,
            )),
        }
    }

    pub fn asks_for_login(&self) -> bool {
        match self {
            Router::StandIn(router) => router.asks_for_login(),
            Router::Real(router) => router.asks_for_login(),
        }
    }

    pub fn host(&self) -> String {
        match self {
            Router::StandIn(router) => router.host(),
            Router::Real(router) => router.host(),
        }
    }

    /// `retryWrites=false` where it is the stand-in, which has none. As loadgen's own user,
    /// where it asks for a login.
    pub fn uri(&self) -> String {
        self.uri_of(if self.asks_for_login() {
            users::in_uri(OPERATOR)
        } else {
            String::new()
        })
    }

    pub fn uri_as(&self, user: &str) -> String {
        self.uri_of(users::in_uri(user))
    }

    fn uri_of(&self, login: String) -> String {
        let options = match self {
            Router::StandIn(_) => "?retryWrites=false",
            Router::Real(_) => "?retryWrites=true",
        };
        format!("mongodb://{login}{}/{options}", self.host())
    }

    pub fn is_stand_in(&self) -> bool {
        matches!(self, Router::StandIn(_))
    }

    /// The log of a real one; the stand-in has none.
    pub fn log(&self) -> Option<PathBuf> {
        match self {
            Router::StandIn(_) => None,
            Router::Real(router) => Some(router.log()),
        }
    }
}
