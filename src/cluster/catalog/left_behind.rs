//! Finds users' collections in the servers' own databases, which are not moved, so that
//! they can be reported.
//!
//! Decides by name: the names that a server uses for itself are known.

use crate::cluster::catalog::Namespace;
use crate::cluster::deployment::{Deployment, Topology};
use crate::cluster::retry::answered;
use crate::error::Result;

/// Collections that servers keep for themselves, whole names.
const ADMIN: [&str; 1] = ["tempusers"];
const LOCAL: [&str; 6] = [
    "startup_log",
    "oplog.rs",
    "me",
    "slaves",
    "clustermanager",
    "temp_oplog_buffer",
];
const CONFIG: [&str; 38] = [
    "actionlog",
    "analyzeShardKeySplitPoints",
    "changelog",
    "chunks",
    "clusterParameters",
    "collection_critical_sections",
    "collections",
    "csrs.indexes",
    "databases",
    "external_validation_keys",
    "image_collection",
    "localRenameParticipants",
    "lockpings",
    "locks",
    "migrationCoordinators",
    "migrationRecipients",
    "migrations",
    "mongos",
    "placementHistory",
    "queryAnalyzers",
    "rangeDeletions",
    "rangeDeletionsForRename",
    "reshardingOperations",
    "sampledQueries",
    "sampledQueriesDiff",
    "settings",
    "shardMergeRecipients",
    "shardSplitDonors",
    "shards",
    "tags",
    "tenantMigrationDonors",
    "tenantMigrationRecipients",
    "tenantSplitDonors",
    "transactions",
    "transaction_coordinators",
    "user_writes_critical_sections",
    "vectorClock",
    "version",
];
/// Beginnings of names of collections that servers keep for themselves.
const BEGINNINGS: [&str; 4] = ["system.", "replset.", "cache.", "localResharding"];

/// The users' collections there, by name. A cluster's `admin` and `config` are on its
/// config servers, which no pair follows; those in `admin` of a replica set are moved.
pub async fn read(deployment: &Deployment) -> Result<Vec<Namespace>> {
    let databases: &[&str] = match deployment.topology {
        Topology::ReplicaSet => &["config", "local"],
        Topology::Sharded => &["admin", "config"],
    };
    let mut found = Vec::new();
    for db in databases {
        let names = async {
            Ok(deployment
                .entry
                .database(db)
                .list_collection_names()
                .await?)
        };
        let names = answered("the router", names).await?;
        let users = names.into_iter().filter(|name| !is_servers(db, name));
        found.extend(users.map(|coll| Namespace {
            db: (*db).to_owned(),
            coll,
        }));
    }
    found.sort();
    Ok(found)
}

fn is_servers(db: &str, name: &str) -> bool {
    let known: &[&str] = match db {
        "admin" => &ADMIN,
        "local" => &LOCAL,
        _ => &CONFIG,
    };
    known.contains(&name)
        || BEGINNINGS
            .iter()
            .any(|beginning| name.starts_with(beginning))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_servers_keep_for_themselves_is_no_users() {
        let rows = [
            ("admin", "system.users", true),
            ("admin", "users", false),
            ("local", "oplog.rs", true),
            ("local", "replset.minvalid", true),
            ("local", "mine", false),
            ("config", "cache.chunks.d.c", true),
            ("config", "transactions", true),
            ("config", "user_writes_critical_sections", true),
            ("config", "mine", false),
        ];
        for (db, name, expect) in rows {
            assert_eq!(is_servers(db, name), expect, "{db}.{name}");
        }
    }
}
