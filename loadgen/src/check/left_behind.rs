//! Users' collections where no migration looks: in `admin`, `config` and `local`.
//!
//! Knows by name what the servers themselves keep there.

use mongodb::Client;

use super::{raw, rows};
use crate::entry::Entry;
use crate::error::Result;

/// The servers' own in `config`, of config servers, shards and replica sets.
const OF_CONFIG: [&str; 36] = [
    "actionlog",
    "apiParameters",
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
    "shards",
    "tags",
    "tenantMigrationDonors",
    "tenantMigrationRecipients",
    "tenantSplitDonors",
    "transaction_coordinators",
    "transactions",
    "vectorClock",
    "version",
];
/// The same, by how their names begin.
const OF_CONFIG_BY_PREFIX: [&str; 5] = [
    "cache.",
    "system.",
    "localResharding",
    "localTenantMigration",
    "analyzeShardKey",
];
const OF_LOCAL: [&str; 3] = ["startup_log", "oplog.rs", "clustermanager"];
const OF_LOCAL_BY_PREFIX: [&str; 3] = ["replset.", "system.", "temp_"];

/// Their namespaces, with the shard where they are on one.
pub(super) async fn of(entry: &Entry) -> Result<Vec<String>> {
    let mut found = Vec::new();
    if entry.router {
        // A router has no `local` of its own.
        found.extend(users(&entry.client, &["admin", "config"], "").await?);
    }
    for shard in &entry.shards {
        let place = if entry.router {
            format!(" on shard {}", shard.id)
        } else {
            String::new()
        };
        // In `admin` of a replica set they are moved.
        let databases = if entry.router {
            &["admin", "config", "local"][..]
        } else {
            &["config", "local"]
        };
        found.extend(users(&shard.client, databases, &place).await?);
    }
    Ok(found)
}

async fn users(client: &Client, databases: &[&str], place: &str) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for database in databases {
        let names = rows::collections(client, database).await?;
        let names = names
            .iter()
            .map(|row| raw::name(raw::text(row, "name").as_bytes()));
        found.extend(
            names
                .filter(|name| !is_servers(database, name))
                .map(|name| format!("{database}.{name}{place}")),
        );
    }
    Ok(found)
}

fn is_servers(database: &str, name: &str) -> bool {
    let begins = |prefixes: &[&str]| prefixes.iter().any(|prefix| name.starts_with(prefix));
    match database {
        "config" => OF_CONFIG.contains(&name) || begins(&OF_CONFIG_BY_PREFIX),
        "local" => OF_LOCAL.contains(&name) || begins(&OF_LOCAL_BY_PREFIX),
        _ => begins(&["system."]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_own_are_known_by_name() {
        for (database, name, servers) in [
            ("admin", "system.users", true),
            ("admin", "users", false),
            ("config", "cache.chunks.d.c", true),
            ("config", "transactions", true),
            ("config", "mine", false),
            ("local", "oplog.rs", true),
            ("local", "replset.minvalid", true),
            ("local", "notes", false),
        ] {
            assert_eq!(is_servers(database, name), servers, "{database}.{name}");
        }
    }
}
