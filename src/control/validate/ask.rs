//! The questions servers are asked, each answered as one or two checks.
//!
//! Reads only. What an answer means is decided in the neighbour files or in a
//! small pure function beside the question.

use std::collections::HashSet;

use bson::{Bson, Document, doc};
use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use mongodb::Client;
use mongodb::options::ReadConcern;

use crate::cluster::catalog::{self, Catalog, Collection, CollectionKind, DATABASES_LEFT_OUT};
use crate::cluster::connect::{Deployment, Shard, Side, Topology};
use crate::cluster::{admin, probe};
use crate::control::balancer;
use crate::control::validate::privileges::{self, Needs};
use crate::control::validate::{Check, content, indexes as index_rules, listed};
use crate::error::{Error, Kind, Result};

/// The source's oplog should reach back at least this far, so that a restart
/// finds its position again.
const OPLOG_WINDOW_SECONDS_MIN: u32 = 3600;
/// ReadConcernMajorityNotEnabled: `enableMajorityReadConcern: false`, up to 4.4.
const NO_MAJORITY_READS: i32 = 148;
/// Questions asked side by side.
const CONCURRENCY: usize = 16;

/// The name of a check that is made on both sides.
fn named(side: Side, source: &'static str, target: &'static str) -> &'static str {
    match side {
        Side::Source => source,
        Side::Target => target,
    }
}

pub(super) async fn identity(source: &Deployment, target: &Deployment) -> Check {
    const NAME: &str = "target is not the source";
    let ids = async { Ok((probe::identity(source).await?, probe::identity(target).await?)) }.await;
    let (a, b) = match ids {
        Ok(ids) => ids,
        Err(e) => return Check::unanswered(NAME, &e),
    };
    let (same_cluster, same_sets) = probe::shared(&a, &b);
    if same_cluster {
        return Check::fail(NAME, "both are one cluster", "give another cluster as target");
    }
    let sets: Vec<String> = same_sets.iter().map(|(i, _)| source.shards[*i].hosts.clone()).collect();
    Check::none_of(NAME, &sets, "no replica set in common", "these replica sets are on both sides: give another target")
}

/// Every shard: a primary, a majority that acknowledges, a config server that
/// is a replica set, no shard on its way out.
pub(super) async fn members(deployment: &Deployment) -> Vec<Check> {
    let side = deployment.side;
    let status = join_all(deployment.shards.iter().map(majority)).await;
    let (mut wrong, mut weak) = (Vec::new(), Vec::new());
    for (shard, status) in deployment.shards.iter().zip(status) {
        match status {
            Err(e) => wrong.push(format!("{}: {}", shard.id, e.message)),
            Ok(m) if m.up < m.needed => wrong.push(format!("{}: {} of {} needed members up", shard.id, m.up, m.needed)),
            Ok(m) if m.up == m.needed && m.needed > 1 => weak.push(shard.id.clone()),
            Ok(_) => {}
        }
    }
    let name = named(side, "source shards healthy", "target shards healthy");
    let healthy = if wrong.is_empty() && !weak.is_empty() {
        let found = format!("no data-bearing member to spare for a majority on {}", listed(&weak));
        Check::warn(name, found, "if one fails, majority writes and reads wait until it is back")
    } else {
        let good = format!("{} shards with a primary and a majority", deployment.shards.len());
        Check::none_of(name, &wrong, good, "start the missing members, or grant the user clusterMonitor")
    };
    let mut checks = vec![healthy];
    if deployment.topology == Topology::Sharded {
        checks.push(config_servers(deployment).await);
        checks.push(draining(deployment).await);
    }
    if side == Side::Target {
        checks.push(writable(deployment).await);
    }
    checks
}

/// Data-bearing voting members that are up, and how many a majority write needs.
#[derive(Debug, PartialEq, Eq)]
struct Majority {
    up: i64,
    needed: i64,
}

async fn majority(shard: &Shard) -> Result<Majority> {
    let status = shard.client.database("admin").run_command(doc! {"replSetGetStatus": 1}).await?;
    majority_of(&status).ok_or_else(|| Error::new(Kind::Server, "replSetGetStatus gave no members"))
}

fn majority_of(status: &Document) -> Option<Majority> {
    const PRIMARY: i32 = 1;
    const SECONDARY: i32 = 2;
    let members = status.get_array("members").ok()?;
    let bears_data = |m: &&Bson| {
        m.as_document().and_then(|m| m.get_i32("state").ok()).is_some_and(|s| s == PRIMARY || s == SECONDARY)
    };
    let up = i64::try_from(members.iter().filter(bears_data).count()).ok()?;
    let needed = match status.get("writeMajorityCount")? {
        Bson::Int32(n) => i64::from(*n),
        Bson::Int64(n) => *n,
        _ => return None,
    };
    Some(Majority { up, needed })
}

async fn config_servers(deployment: &Deployment) -> Check {
    let name = named(deployment.side, "source config servers", "target config servers");
    let shard = &deployment.shards[0];
    let answer = shard.client.database("admin").run_command(doc! {"shardingState": 1}).await.map_err(Error::from);
    Check::answered(
        name,
        answer.map(|state| {
            let hosts = state.get_str("configServer").unwrap_or_default();
            if hosts.contains('/') {
                return Check::pass(name, format!("replica set {hosts}"));
            }
            Check::fail(name, format!("{hosts:?} is no replica set"), "config servers must be a replica set (CSRS)")
        }),
    )
}

async fn draining(deployment: &Deployment) -> Check {
    let name = named(deployment.side, "no source shard is being removed", "no target shard is being removed");
    let answer = deployment.entry.database("admin").run_command(doc! {"listShards": 1}).await.map_err(Error::from);
    Check::answered(
        name,
        answer.map(|reply| {
            let shards = reply.get_array("shards").map(Vec::as_slice).unwrap_or_default().iter();
            let leaving = shards.filter_map(Bson::as_document).filter(|s| s.get_bool("draining").unwrap_or(false));
            let leaving: Vec<String> = leaving.filter_map(|s| s.get_str("_id").ok().map(str::to_owned)).collect();
            Check::none_of(name, &leaving, "none", "finish `removeShard` for these shards first")
        }),
    )
}

/// Whether users' writes are blocked on a target shard (`setUserWriteBlockMode`, 6.0+).
async fn writable(deployment: &Deployment) -> Check {
    const NAME: &str = "target takes writes";
    const ENABLED: i32 = 2;
    let mut blocked = Vec::new();
    for shard in &deployment.shards {
        match shard.client.database("admin").run_command(doc! {"serverStatus": 1, "repl": 1}).await {
            Err(e) => return Check::unanswered(NAME, &Error::from(e).context(&shard.id)),
            Ok(status) => {
                let mode = status.get_document("repl").and_then(|r| r.get_i32("userWriteBlockMode"));
                if mode.is_ok_and(|m| m == ENABLED) {
                    blocked.push(shard.id.clone());
                }
            }
        }
    }
    Check::none_of(NAME, &blocked, "no write block", "run setUserWriteBlockMode: 1, global: false on the target")
}

pub(super) async fn balancer(deployment: &Deployment) -> Vec<Check> {
    if deployment.topology == Topology::ReplicaSet {
        return Vec::new();
    }
    let name = named(deployment.side, "source balancer", "target balancer");
    let state = admin::balancer_enabled(&deployment.entry)
        .await
        .map(|on| Check::pass(name, if on { "on; it is stopped for the run and put back" } else { "off" }));
    let moving = named(deployment.side, "source chunks at rest", "target chunks at rest");
    let running = balancer::running(deployment).await.map(|running| {
        if running.is_empty() {
            return Check::pass(moving, "no migration runs");
        }
        Check::warn(moving, listed(&running), "shardlift waits ten minutes at most for these to end")
    });
    vec![Check::answered(name, state), Check::answered(moving, running)]
}

/// The source's oplog must be readable with majority concern; its window is shown.
pub(super) async fn oplog(source: &Deployment) -> Vec<Check> {
    const READABLE: &str = "source oplog readable";
    const WINDOW: &str = "source oplog window";
    let windows = join_all(source.shards.iter().map(|s| oplog_window(&s.client))).await;
    let (mut wrong, mut seconds_min) = (Vec::new(), u32::MAX);
    let mut found = Vec::new();
    for (shard, window) in source.shards.iter().zip(windows) {
        match window {
            Err(e) if e.code == Some(NO_MAJORITY_READS) => {
                wrong.push(format!("{}: majority reads are switched off (enableMajorityReadConcern: false)", shard.id));
            }
            Err(e) => wrong.push(format!("{}: {}", shard.id, e.message)),
            Ok(seconds) => {
                seconds_min = seconds_min.min(seconds);
                found.push(format!("{} {:.1} h", shard.id, f64::from(seconds) / 3600.0));
            }
        }
    }
    let good = "local.oplog.rs with majority read concern on every shard";
    let readable = Check::none_of(READABLE, &wrong, good, "grant the user the role backup, and allow majority reads");
    if found.is_empty() {
        return vec![readable];
    }
    let window = if seconds_min < OPLOG_WINDOW_SECONDS_MIN {
        let remedy = "a restart after a longer pause than this would begin anew: raise it by replSetResizeOplog";
        Check::warn(WINDOW, listed(&found), remedy)
    } else {
        Check::pass(WINDOW, listed(&found))
    };
    vec![readable, window]
}

/// Seconds between the first and the last entry.
async fn oplog_window(client: &Client) -> Result<u32> {
    let (first, last) = (oplog_end(client, 1).await?, oplog_end(client, -1).await?);
    Ok(last.saturating_sub(first))
}

async fn oplog_end(client: &Client, natural: i32) -> Result<u32> {
    let oplog = client.database("local").collection::<Document>("oplog.rs");
    let find = oplog.find_one(doc! {}).sort(doc! {"$natural": natural}).projection(doc! {"ts": 1});
    let entry = find.read_concern(ReadConcern::majority()).await?;
    let entry = entry.ok_or_else(|| Error::new(Kind::Server, "the oplog is empty"))?;
    Ok(entry.get_timestamp("ts")?.time)
}

/// What the user lacks, by role, on router and shards. Without authentication
/// there is nothing to lack.
pub(super) async fn privileges(deployment: &Deployment, needs: &Needs) -> Check {
    let name = named(deployment.side, "source privileges", "target privileges");
    let (mut wrong, mut users) = (Vec::new(), false);
    let mut places: Vec<(&str, &Client, &[privileges::Need])> =
        deployment.shards.iter().map(|s| (s.id.as_str(), &s.client, needs.shard.as_slice())).collect();
    if deployment.topology == Topology::Sharded {
        places.push(("mongos", &deployment.entry, needs.router.as_slice()));
    }
    for (place, client, needs) in places {
        match privileges_of(client).await {
            Err(e) => return Check::unanswered(name, &e.context(place)),
            Ok(None) => {}
            Ok(Some(held)) => {
                users = true;
                wrong.extend(privileges::missing(&held, needs).iter().map(|role| format!("{place} lacks {role}")));
            }
        }
    }
    let good = if users { "sufficient on router and shards" } else { "no authentication" };
    let remedy =
        "grant the user these built-in roles on admin; on a sharded cluster the user must exist on every shard too";
    Check::none_of(name, &wrong, good, remedy)
}

/// None if nobody is logged in.
async fn privileges_of(client: &Client) -> Result<Option<Vec<Document>>> {
    let command = doc! {"connectionStatus": 1, "showPrivileges": true};
    let reply = client.database("admin").run_command(command).await.map_err(Error::from);
    let reply = match reply {
        Err(e) if e.code == Some(probe::COMMAND_NOT_FOUND) => return Ok(None),
        reply => reply?,
    };
    let info = reply.get_document("authInfo")?;
    if info.get_array("authenticatedUsers")?.is_empty() {
        return Ok(None);
    }
    let held = info.get_array("authenticatedUserPrivileges")?;
    Ok(Some(held.iter().filter_map(Bson::as_document).cloned().collect()))
}

pub(super) async fn indexes(source: &Deployment, catalog: &Catalog) -> Check {
    const NAME: &str = "indexes can be rebuilt";
    let plain = catalog.collections.iter().filter(|c| c.kind == CollectionKind::Plain);
    let asked: Vec<Result<(usize, Vec<String>)>> =
        stream::iter(plain).map(|c| refused_indexes(source, c)).buffered(CONCURRENCY).collect().await;
    let (mut count, mut wrong) = (0, Vec::new());
    for answer in asked {
        match answer {
            Err(e) => return Check::unanswered(NAME, &e),
            Ok((n, refused)) => {
                count += n;
                wrong.extend(refused);
            }
        }
    }
    Check::none_of(NAME, &wrong, format!("{count} indexes"), "drop these indexes, or rebuild them with options of 6.0")
}

/// Number of indexes, and those a 6.0 server would refuse.
async fn refused_indexes(source: &Deployment, collection: &Collection) -> Result<(usize, Vec<String>)> {
    let shard = collection.sharded.as_ref().map_or(collection.primary, |s| s.chunks[0].shard);
    let specs = catalog::indexes(&source.shards[shard], &collection.ns).await?;
    let refused = specs.iter().filter_map(|spec| {
        let why = index_rules::refused(spec)?;
        Some(format!("{} of {} ({why})", spec.get_str("name").unwrap_or("an index"), collection.ns))
    });
    Ok((specs.len(), refused.collect()))
}

/// Databases that lie on a shard and that the cluster does not know: no
/// application sees them through a mongos, and they do not travel.
pub(super) async fn stray_databases(source: &Deployment, catalog: &Catalog) -> Check {
    const NAME: &str = "no database outside the cluster";
    if source.topology == Topology::ReplicaSet {
        return Check::pass(NAME, "a replica set has none");
    }
    let known: HashSet<&str> = catalog.databases.iter().map(|d| d.name.as_str()).collect();
    let mut stray = Vec::new();
    for shard in &source.shards {
        match shard.client.list_database_names().await {
            Err(e) => return Check::unanswered(NAME, &Error::from(e).context(&shard.id)),
            Ok(names) => {
                let names = names.into_iter().filter(|n| !known.contains(n.as_str()));
                let names = names.filter(|n| !DATABASES_LEFT_OUT.contains(&n.as_str()));
                stray.extend(names.map(|n| format!("{n} on {}", shard.id)));
            }
        }
    }
    if stray.is_empty() {
        return Check::pass(NAME, "none");
    }
    Check::warn(NAME, listed(&stray), "these were made on a shard directly; they are not moved")
}

pub(super) async fn target_empty(target: &Deployment) -> Check {
    const NAME: &str = "target is empty";
    let answer = catalog::read(target).await.map(|catalog| content::target_empty(&catalog));
    Check::answered(NAME, answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_majority_counts_members_that_bear_data() {
        let status = |states: &[i32], needed: i32| {
            let members: Vec<Bson> = states.iter().map(|s| Bson::Document(doc! {"state": s})).collect();
            doc! {"members": members, "writeMajorityCount": needed}
        };
        let rows = [
            (status(&[1], 1), Some(Majority { up: 1, needed: 1 })),
            (status(&[1, 2, 7], 2), Some(Majority { up: 2, needed: 2 })),
            (status(&[1, 8, 7], 2), Some(Majority { up: 1, needed: 2 })),
            (doc! {}, None),
        ];
        for (status, expect) in rows {
            assert_eq!(majority_of(&status), expect, "{status}");
        }
    }
}
