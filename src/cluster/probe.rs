//! What one server or replica set says about itself: its role, version,
//! feature compatibility version, and the ids by which a deployment is known.
//!
//! Reads only. Knows nothing about which side it asks.

use bson::{Bson, Document, doc, oid::ObjectId, rawdoc};
use mongodb::Client;
use mongodb::options::ServerAddress;

use crate::cluster::admin;
use crate::cluster::deployment::{Deployment, Topology, Version};
use crate::cluster::entry::Entry;
use crate::cluster::retry::answered;
use crate::codes;
use crate::error::{Error, Kind, Result};

/// What a server is within its deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    Router,
    /// Hosts as `set/host:port,…`.
    ReplicaSet {
        hosts: String,
    },
    ConfigServer,
    ShardServer,
    Standalone,
}

/// What to do after a change of the feature compatibility version.
pub const FCV_CHANGED: &str = "once it has the version that it is to keep, run the same command again: the run goes on from here";

/// Facts about a shard's primary.
#[derive(Debug, Clone)]
pub struct Facts {
    pub version: Version,
    pub fcv: String,
}

/// A side still has the feature compatibility version by which its dialect was chosen.
///
/// # Errors
/// `Unsupported` if not.
pub async fn check_fcv(deployment: &Deployment) -> Result<()> {
    for shard in &deployment.shards {
        let fcv = facts(&shard.client).await?.fcv;
        if fcv != deployment.fcv {
            let found = format!(
                "the feature compatibility version of {} shard {} was {} and is {fcv}",
                deployment.side, shard.id, deployment.fcv
            );
            return Err(Error::new(Kind::Unsupported, found).remedy(FCV_CHANGED));
        }
    }
    Ok(())
}

/// The cluster that the router at this address is of.
pub async fn cluster_id_at(entry: &Entry, router: &ServerAddress) -> Result<Option<ObjectId>> {
    let find = rawdoc! {"find": "version", "limit": 1};
    let reply = entry.send_to(router, "config", &find).await?;
    let batch = reply
        .get_document("cursor")
        .and_then(|cursor| cursor.get_array("firstBatch"))?;
    let version = batch.first().and_then(Bson::as_document);
    Ok(version.and_then(|version| version.get_object_id("clusterId").ok()))
}

/// The role a server has; asks on where `hello` does not tell a shard from an
/// ordinary replica set.
pub async fn role(client: &Client, hello: &Document) -> Role {
    match role_by_hello(hello) {
        Role::ReplicaSet { .. } if is_shard(client).await => Role::ShardServer,
        role => role,
    }
}

fn role_by_hello(hello: &Document) -> Role {
    if hello.get_str("msg").is_ok_and(|msg| msg == "isdbgrid") {
        return Role::Router;
    }
    if hello.contains_key("configsvr") {
        return Role::ConfigServer;
    }
    let Ok(set) = hello.get_str("setName") else {
        return Role::Standalone;
    };
    let hosts: Vec<&str> = hello
        .get_array("hosts")
        .map_or(Vec::new(), |h| h.iter().filter_map(Bson::as_str).collect());
    Role::ReplicaSet {
        hosts: format!("{set}/{}", hosts.join(",")),
    }
}

/// A server started as a shard, or once added to a cluster. One that does not
/// let us ask counts as none: the privileges are checked later.
async fn is_shard(client: &Client) -> bool {
    match admin::ask(client, "admin", doc! {"shardingState": 1}).await {
        Ok(reply) => reply.get_bool("enabled").unwrap_or(false),
        Err(_) => false,
    }
}

/// # Errors
/// `Connect` or `Transient` if no primary answers.
pub async fn facts(client: &Client) -> Result<Facts> {
    let build = admin::ask(client, "admin", doc! {"buildInfo": 1}).await?;
    let parameter = admin::ask(
        client,
        "admin",
        doc! {"getParameter": 1, "featureCompatibilityVersion": 1},
    )
    .await?;
    let fcv = parameter.get_document("featureCompatibilityVersion").ok();
    Ok(Facts {
        version: version(&build)
            .ok_or_else(|| Error::new(Kind::Server, "buildInfo returned no version"))?,
        fcv: fcv
            .and_then(fcv_text)
            .ok_or_else(|| Error::new(Kind::Server, "no featureCompatibilityVersion"))?,
    })
}

/// A version that is still being changed to another is shown as such.
fn fcv_text(fcv: &Document) -> Option<String> {
    let version = fcv.get_str("version").ok()?;
    Some(match fcv.get_str("targetVersion") {
        Ok(next) => format!("{version} (changing to {next})"),
        Err(_) => version.to_owned(),
    })
}

fn version(build_info: &Document) -> Option<Version> {
    let part = |p: &Bson| match p {
        Bson::Int32(n) => u32::try_from(*n).ok(),
        Bson::Int64(n) => u32::try_from(*n).ok(),
        _ => None,
    };
    let parts: Vec<u32> = build_info
        .get_array("versionArray")
        .ok()?
        .iter()
        .take(3)
        .map_while(part)
        .collect();
    match parts[..] {
        [major, minor, patch] => Some(Version {
            major,
            minor,
            patch,
        }),
        _ => None,
    }
}

/// The ids that make a deployment this one and no other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Of the cluster; None for a replica set.
    pub cluster: Option<ObjectId>,
    /// Of each shard's replica set, as `Deployment::shards`; None where the set
    /// was initiated by a server too old to give one (before 3.2).
    pub sets: Vec<Option<ObjectId>>,
}

/// # Errors
/// Code 13 if the user lacks `clusterMonitor`.
pub async fn identity(deployment: &Deployment) -> Result<Identity> {
    let mut sets = Vec::new();
    for shard in &deployment.shards {
        let asked = admin::ask(&shard.client, "admin", doc! {"replSetGetConfig": 1}).await;
        let reply = asked.map_err(|e| {
            let e = e.context(format_args!("asking what the {} is", deployment.side));
            if e.code == Some(codes::UNAUTHORIZED) {
                e.remedy("grant the user the role clusterMonitor")
            } else {
                e
            }
        })?;
        let settings = reply
            .get_document("config")
            .and_then(|c| c.get_document("settings"))
            .ok();
        sets.push(settings.and_then(|s| s.get_object_id("replicaSetId").ok()));
    }
    let cluster = match deployment.topology {
        Topology::ReplicaSet => None,
        Topology::Sharded => {
            let versions = deployment
                .entry
                .database("config")
                .collection::<Document>("version");
            let version = answered("the router", async {
                Ok(versions.find_one(doc! {}).await?)
            })
            .await?;
            version.and_then(|v| v.get_object_id("clusterId").ok())
        }
    };
    Ok(Identity { cluster, sets })
}

impl Identity {
    /// The first id that shows that `now` is another deployment; None if it may be the
    /// same. An id that one of them lacks proves nothing.
    pub fn differs(&self, now: &Identity) -> Option<String> {
        let other = |a: &Option<ObjectId>, b: &Option<ObjectId>| match (a, b) {
            (Some(a), Some(b)) if a != b => Some((*a, *b)),
            _ => None,
        };
        if let Some((then, now)) = other(&self.cluster, &now.cluster) {
            return Some(format!("its cluster id was {then} and is {now}"));
        }
        let mut sets = self
            .sets
            .iter()
            .zip(&now.sets)
            .filter_map(|(then, now)| other(then, now));
        sets.next()
            .map(|(then, now)| format!("the id of a replica set of it was {then} and is {now}"))
    }
}

/// What two deployments share if they are not distinct: the cluster, or the indexes of
/// shards that are the same replica set.
pub fn shared(a: &Identity, b: &Identity) -> (bool, Vec<(usize, usize)>) {
    let same_cluster = a.cluster.is_some() && a.cluster == b.cluster;
    let pairs = a
        .sets
        .iter()
        .enumerate()
        .flat_map(|(i, x)| b.sets.iter().enumerate().map(move |(j, y)| (i, x, j, y)));
    let same_sets = pairs
        .filter(|(_, x, _, y)| x.is_some() && x == y)
        .map(|(i, _, j, _)| (i, j))
        .collect();
    (same_cluster, same_sets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_told_by_hello() {
        let rows = [
            (doc! {"msg": "isdbgrid"}, Role::Router),
            (
                doc! {"configsvr": 2, "setName": "c", "hosts": ["h:1"]},
                Role::ConfigServer,
            ),
            (
                doc! {"setName": "rs", "hosts": ["h:1", "h:2"]},
                Role::ReplicaSet {
                    hosts: "rs/h:1,h:2".to_owned(),
                },
            ),
            (doc! {"isWritablePrimary": true}, Role::Standalone),
        ];
        for (hello, expect) in rows {
            assert_eq!(role_by_hello(&hello), expect, "{hello}");
        }
    }

    #[test]
    fn versions_are_read() {
        let rows = [
            (
                doc! {"versionArray": [6, 0, 5, 0]},
                Some(Version {
                    major: 6,
                    minor: 0,
                    patch: 5,
                }),
            ),
            (doc! {"versionArray": [6, 0]}, None),
            (doc! {}, None),
        ];
        for (build, expect) in rows {
            assert_eq!(version(&build), expect, "{build}");
        }
        assert_eq!(fcv_text(&doc! {"version": "6.0"}).as_deref(), Some("6.0"));
        let changing = doc! {"version": "5.0", "targetVersion": "6.0"};
        assert_eq!(
            fcv_text(&changing).as_deref(),
            Some("5.0 (changing to 6.0)")
        );
    }

    #[test]
    fn another_deployment_is_told_by_what_both_have() {
        let (x, y) = (Some(ObjectId::new()), Some(ObjectId::new()));
        let id = |cluster, sets: &[Option<ObjectId>]| Identity {
            cluster,
            sets: sets.to_vec(),
        };
        assert_eq!(id(x, &[y]).differs(&id(x, &[y])), None);
        assert_eq!(id(x, &[y, None]).differs(&id(None, &[None, y])), None);
        assert!(
            id(x, &[y])
                .differs(&id(y, &[y]))
                .is_some_and(|why| why.contains("cluster id"))
        );
        assert!(
            id(None, &[x, y])
                .differs(&id(None, &[x, x]))
                .is_some_and(|why| why.contains("replica set"))
        );
    }

    #[test]
    fn a_shared_set_or_cluster_is_seen() {
        let (x, y) = (Some(ObjectId::new()), Some(ObjectId::new()));
        let id = |cluster, sets: &[Option<ObjectId>]| Identity {
            cluster,
            sets: sets.to_vec(),
        };
        assert_eq!(shared(&id(x, &[y]), &id(x, &[None])), (true, vec![]));
        assert_eq!(
            shared(&id(None, &[x, y]), &id(None, &[y])),
            (false, vec![(1, 0)])
        );
        assert_eq!(
            shared(&id(None, &[None]), &id(None, &[None])),
            (false, vec![])
        );
    }
}
