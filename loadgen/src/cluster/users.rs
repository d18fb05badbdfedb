//! Who may log in to a deployment that asks for it: loadgen's own user, who may do
//! everything, and users with roles of their own.
//!
//! A router knows the users of the config servers; each shard has its own.

use bson::{Bson, doc};

use crate::cluster::replica_set::ReplicaSet;
use crate::error::Result;
use crate::server::version::Release;
use crate::wire::login::{OPERATOR, PASSWORD};

/// The engine's user, with the roles that README names for it: of the router or the
/// config servers, and of each shard or the replica set.
pub const MOVER: &str = "mover";
pub const SOURCE_ROUTER: [&str; 4] = [
    "readAnyDatabase",
    "backup",
    "clusterMonitor",
    "clusterManager",
];
pub const SOURCE_SHARD: [&str; 3] = ["readAnyDatabase", "backup", "clusterMonitor"];
pub const TARGET_ROUTER: [&str; 4] = [
    "readWriteAnyDatabase",
    "restore",
    "clusterMonitor",
    "clusterManager",
];
pub const TARGET_SHARD: [&str; 3] = ["readWriteAnyDatabase", "restore", "clusterMonitor"];
/// What a shard of 5.0 asks for on top.
const TARGET_SHARD_5_0: &str = "dbAdminAnyDatabase";

/// A user, by the roles it has on `admin`; its password is that of all.
#[derive(Debug, Clone, PartialEq)]
pub struct User {
    pub name: String,
    pub roles: Vec<String>,
}

impl User {
    pub fn new(name: &str, roles: &[&str]) -> User {
        User {
            name: name.to_owned(),
            roles: roles.iter().map(ToString::to_string).collect(),
        }
    }
}

/// The users of a sharded cluster.
#[derive(Debug, Clone, Default)]
pub struct ClusterUsers {
    /// Of the config servers, and so of the router.
    pub router: Vec<User>,
    /// Of every shard.
    pub shard: Vec<User>,
}

/// The engine's user on a source.
pub fn mover_of_source() -> ClusterUsers {
    ClusterUsers {
        router: vec![User::new(MOVER, &SOURCE_ROUTER)],
        shard: vec![User::new(MOVER, &SOURCE_SHARD)],
    }
}

/// The engine's user on a target of that release.
pub fn mover_of_target(release: Release) -> ClusterUsers {
    let mut shard = TARGET_SHARD.to_vec();
    if (release.major, release.minor) == (5, 0) {
        shard.push(TARGET_SHARD_5_0);
    }
    ClusterUsers {
        router: vec![User::new(MOVER, &TARGET_ROUTER)],
        shard: vec![User::new(MOVER, &shard)],
    }
}

/// `name:password@`, as a URI has it.
pub fn in_uri(name: &str) -> String {
    format!("{name}:{PASSWORD}@")
}

/// Makes them on a replica set that has none yet: as long as that is so, who comes
/// from its own host may make the first one.
pub(super) async fn create(set: &ReplicaSet, users: &[User]) -> Result<()> {
    let mut link = set.primary_link().await?;
    // What only servers ask of each other is no part of `root`.
    let operator = doc! { "createUser": OPERATOR, "pwd": PASSWORD, "roles": ["__system"] };
    link.command_as_is("admin", operator).await?;
    link.log_in().await?;
    for user in users {
        let roles: Vec<Bson> = user
            .roles
            .iter()
            .map(|role| Bson::from(role.as_str()))
            .collect();
        let create = doc! { "createUser": &user.name, "pwd": PASSWORD, "roles": roles };
        link.command_as_is("admin", create).await?;
    }
    Ok(())
}
