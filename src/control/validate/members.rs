//! Every replica set of a side: a primary, a majority that acknowledges, a
//! config server that is a replica set, no shard on its way out, no write block.
//!
//! Reads only.

use bson::{Bson, Document, doc};
use futures_util::future::join_all;

use crate::cluster::admin;
use crate::cluster::deployment::{Deployment, Shard, Side, Topology};
use crate::control::validate::{Check, listed, named};
use crate::control::write_block;
use crate::error::{Error, Kind, Result};

pub(super) async fn checks(deployment: &Deployment) -> Vec<Check> {
    let side = deployment.side;
    let status = join_all(deployment.shards.iter().map(majority)).await;
    let (mut wrong, mut weak) = (Vec::new(), Vec::new());
    for (shard, status) in deployment.shards.iter().zip(status) {
        match status {
            Err(e) => wrong.push(format!("{}: {}", shard.id, e.message)),
            Ok(m) if m.up < m.needed => wrong.push(format!(
                "{}: {} of {} needed members up",
                shard.id, m.up, m.needed
            )),
            Ok(m) if m.up == m.needed && m.needed > 1 => weak.push(shard.id.clone()),
            Ok(_) => {}
        }
    }
    let name = named(side, "source shards healthy", "target shards healthy");
    let healthy = if wrong.is_empty() && !weak.is_empty() {
        let found = format!(
            "no data-bearing member to spare for a majority on {}",
            listed(&weak)
        );
        Check::warn(
            name,
            found,
            "if one fails, majority writes and reads wait until it is back",
        )
    } else {
        let good = format!(
            "{} shards with a primary and a majority",
            deployment.shards.len()
        );
        Check::none_of(
            name,
            &wrong,
            good,
            "start the missing members, or grant the user clusterMonitor",
        )
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
    let status = admin::ask(&shard.client, "admin", doc! {"replSetGetStatus": 1}).await?;
    majority_of(&status)
        .ok_or_else(|| Error::new(Kind::Server, "replSetGetStatus returned no members"))
}

fn majority_of(status: &Document) -> Option<Majority> {
    const PRIMARY: i32 = 1;
    const SECONDARY: i32 = 2;
    let members = status.get_array("members").ok()?;
    let bears_data = |m: &&Bson| {
        m.as_document()
            .and_then(|m| m.get_i32("state").ok())
            .is_some_and(|s| s == PRIMARY || s == SECONDARY)
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
    let name = named(
        deployment.side,
        "source config servers",
        "target config servers",
    );
    Check::answered(
        name,
        config_hosts(&deployment.shards[0]).await.map(|hosts| {
            if hosts.contains('/') {
                return Check::pass(name, format!("replica set {hosts}"));
            }
            Check::fail(
                name,
                format!("{hosts:?} is not a replica set"),
                "config servers must be a replica set (CSRS)",
            )
        }),
    )
}

/// The config servers of a shard's cluster by their own names: `set/host:port,…`.
pub(super) async fn config_hosts(shard: &Shard) -> Result<String> {
    let state = admin::ask(&shard.client, "admin", doc! {"shardingState": 1}).await?;
    Ok(state.get_str("configServer").unwrap_or_default().to_owned())
}

async fn draining(deployment: &Deployment) -> Check {
    let name = named(
        deployment.side,
        "no source shard is being removed",
        "no target shard is being removed",
    );
    let answer = admin::ask(&deployment.entry, "admin", doc! {"listShards": 1}).await;
    Check::answered(
        name,
        answer.map(|reply| {
            let shards = reply
                .get_array("shards")
                .map(Vec::as_slice)
                .unwrap_or_default()
                .iter();
            let leaving = shards
                .filter_map(Bson::as_document)
                .filter(|s| s.get_bool("draining").unwrap_or(false));
            let leaving: Vec<String> = leaving
                .filter_map(|s| s.get_str("_id").ok().map(str::to_owned))
                .collect();
            Check::none_of(
                name,
                &leaving,
                "none",
                "finish `removeShard` for these shards first",
            )
        }),
    )
}

/// Whether users' writes are blocked on a target shard (`setUserWriteBlockMode`, 6.0+).
async fn writable(deployment: &Deployment) -> Check {
    const NAME: &str = "target takes writes";
    let mut blocked = Vec::new();
    for shard in &deployment.shards {
        match admin::ask(&shard.client, "admin", doc! {"serverStatus": 1, "repl": 1}).await {
            Err(e) => return Check::unanswered(NAME, &e.context(&shard.id)),
            Ok(status) if write_block::blocks(&status) => blocked.push(shard.id.clone()),
            Ok(_) => {}
        }
    }
    Check::none_of(
        NAME,
        &blocked,
        "no write block",
        "run setUserWriteBlockMode: 1, global: false on the target",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_majority_counts_members_that_bear_data() {
        let status = |states: &[i32], needed: i32| {
            let members: Vec<Bson> = states
                .iter()
                .map(|s| Bson::Document(doc! {"state": s}))
                .collect();
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
