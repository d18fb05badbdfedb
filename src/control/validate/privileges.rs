//! The privileges that the user of each side needs, and the built-in roles that grant
//! them.
//!
//! Pure decisions over `connectionStatus {showPrivileges: true}`.

use bson::{Bson, Document};

use crate::cluster::deployment::Topology;
use crate::cluster::dialect::Dialect;

/// The resource of an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum On {
    Cluster,
    /// Every database but `local` and `config`.
    AnyDatabase,
    /// No database: the collection of that name in any.
    Collection(&'static str, &'static str),
    /// The collections in which the time series of any database keep their data.
    AnyBuckets,
}

/// One thing to be allowed.
#[derive(Debug, Clone, Copy)]
pub struct Need {
    pub action: &'static str,
    pub on: On,
    /// Built-in role on `admin` that allows it.
    pub role: &'static str,
}

/// What one side needs: of the router, whose users are those of the config servers, and
/// of every shard, which has its own users.
#[derive(Debug)]
pub struct Needs {
    pub router: Vec<Need>,
    pub shard: Vec<Need>,
}

const fn need(action: &'static str, on: On, role: &'static str) -> Need {
    Need { action, on, role }
}

fn needs(role: &'static str, on: On, actions: &[&'static str]) -> Vec<Need> {
    actions
        .iter()
        .map(|action| need(action, on, role))
        .collect()
}

/// Stored functions are users' data, and no ordinary collection.
const FUNCTIONS: On = On::Collection("", "system.js");
/// Actions that read about a server, on both sides.
const ABOUT: [&str; 5] = [
    "inprog",
    "replSetGetStatus",
    "replSetGetConfig",
    "serverStatus",
    "getParameter",
];

pub fn source(topology: Topology, dialect: &Dialect) -> Needs {
    const READ: &str = "readAnyDatabase";
    let mut router = metadata();
    let mut shard = needs(
        READ,
        On::AnyDatabase,
        &["find", "listCollections", "listIndexes"],
    );
    shard.push(need("find", FUNCTIONS, READ));
    shard.extend(lists(READ, dialect));
    shard.push(need("listDatabases", On::Cluster, READ));
    shard.push(need("find", On::Collection("local", "oplog.rs"), "backup"));
    shard.extend(needs(
        "backup",
        On::Cluster,
        &["appendOplogNote", "useUUID"],
    ));
    shard.extend(needs("clusterMonitor", On::Cluster, &ABOUT));
    if topology == Topology::Sharded {
        shard.push(need("shardingState", On::Cluster, "clusterMonitor"));
        shard.push(need(
            "find",
            On::Collection("config", "migrationCoordinators"),
            "clusterMonitor",
        ));
        let (place, sign) = if dialect.catalog.ddl_by_locks {
            (&mut router, "locks")
        } else {
            (&mut shard, "collection_critical_sections")
        };
        let sign = On::Collection("config", sign);
        place.push(need("find", sign, "clusterMonitor"));
    }
    Needs { router, shard }
}

pub fn target(topology: Topology, dialect: &Dialect) -> Needs {
    const WRITE: &str = "readWriteAnyDatabase";
    let mut shard = needs(
        WRITE,
        On::AnyDatabase,
        &["find", "insert", "update", "remove"],
    );
    shard.extend(needs(
        WRITE,
        On::AnyDatabase,
        &["listCollections", "listIndexes", "dropIndex"],
    ));
    shard.extend(needs(
        WRITE,
        FUNCTIONS,
        &["find", "insert", "update", "remove"],
    ));
    shard.extend(lists(WRITE, dialect));
    shard.extend(needs(
        WRITE,
        FUNCTIONS,
        &[
            "createCollection",
            "createIndex",
            "dropIndex",
            "dropCollection",
        ],
    ));
    shard.push(need("bypassDocumentValidation", FUNCTIONS, "restore"));
    shard.push(need("listDatabases", On::Cluster, WRITE));
    shard.extend(changes());
    shard.push(need("bypassDocumentValidation", On::AnyDatabase, "restore"));
    shard.push(need("renameCollectionSameDB", On::AnyDatabase, WRITE));
    shard.push(need("useUUID", On::Cluster, "restore"));
    shard.extend(applies(dialect));
    shard.extend(needs("clusterMonitor", On::Cluster, &ABOUT));
    let mut router = metadata();
    if topology == Topology::Sharded {
        shard.push(need("shardingState", On::Cluster, "clusterMonitor"));
        shard.push(need(
            "find",
            On::Collection("config", "migrationCoordinators"),
            "clusterMonitor",
        ));
        // Whether one still drops a database, or renames, is asked of each router.
        router.push(need("inprog", On::Cluster, "clusterMonitor"));
        router.push(need("find", On::AnyDatabase, WRITE));
        if dialect.writes.binds_uuid {
            router.push(need("renameCollectionSameDB", On::AnyDatabase, WRITE));
        }
        router.extend(changes());
        router.extend(needs(
            WRITE,
            FUNCTIONS,
            &["find", "createCollection", "createIndex", "dropCollection"],
        ));
        router.extend(needs(
            "clusterManager",
            On::AnyDatabase,
            &["enableSharding", "moveChunk", "splitChunk"],
        ));
        router.push(need(
            "update",
            On::Collection("config", "shards"),
            "clusterManager",
        ));
        router.extend(needs(
            "clusterManager",
            On::Collection("config", "tags"),
            &["update", "remove"],
        ));
    }
    Needs { router, shard }
}

/// What listing a whole shard needs (`$listCatalog`), ordinary collections apart.
fn lists(role: &'static str, dialect: &Dialect) -> Vec<Need> {
    [FUNCTIONS, On::AnyBuckets]
        .iter()
        .filter(|on| **on != On::AnyBuckets || dialect.catalog.has_buckets)
        .flat_map(|on| needs(role, *on, &["listCollections", "listIndexes"]))
        .collect()
}

/// What `applyOps` needs beside the rights for each op in it.
fn applies(dialect: &Dialect) -> Vec<Need> {
    let action = dialect
        .catalog
        .apply_ops_role
        .map(|role| need("applyOps", On::Cluster, role));
    let uuid = (!dialect.writes.delta_stage).then(|| need("forceUUID", On::Cluster, "restore"));
    action.into_iter().chain(uuid).collect()
}

/// What changes to collections need, on the entry: the router, or the replica set itself.
fn changes() -> Vec<Need> {
    needs(
        "restore",
        On::AnyDatabase,
        &[
            "createCollection",
            "createIndex",
            "collMod",
            "dropCollection",
        ],
    )
}

/// What the router is asked for on both sides needs: chunk maps, zones, the balancer.
fn metadata() -> Vec<Need> {
    const READ: [&str; 9] = [
        "databases",
        "collections",
        "chunks",
        "tags",
        "shards",
        "version",
        "settings",
        "migrations",
        "reshardingOperations",
    ];
    let mut all = vec![need("listShards", On::Cluster, "clusterMonitor")];
    all.extend(READ.map(|name| need("find", On::Collection("config", name), "clusterMonitor")));
    all.push(need(
        "update",
        On::Collection("config", "settings"),
        "clusterManager",
    ));
    all.push(need(
        "remove",
        On::Collection("config", "settings"),
        "clusterManager",
    ));
    all
}

pub(super) fn covers(privilege: &Document, need: &Need) -> bool {
    let acts = |a: &Bson| {
        a.as_str()
            .is_some_and(|a| a == need.action || a == "anyAction")
    };
    let allowed = privilege
        .get_array("actions")
        .is_ok_and(|all| all.iter().any(acts));
    allowed
        && privilege
            .get_document("resource")
            .is_ok_and(|r| includes(r, need.on))
}

/// An empty name in a resource means any; but any database leaves out `local` and
/// `config`, and any collection leaves out the `system.` ones.
fn includes(resource: &Document, on: On) -> bool {
    if resource.get_bool("anyResource").unwrap_or(false) {
        return true;
    }
    let name = |field| resource.get_str(field).ok();
    match on {
        On::Cluster => resource.get_bool("cluster").unwrap_or(false),
        On::AnyDatabase => name("db") == Some("") && name("collection") == Some(""),
        // As a server shows it, without the database that it is given with.
        On::AnyBuckets => {
            name("db").is_none_or(str::is_empty) && name("system_buckets") == Some("")
        }
        On::Collection(db, coll) => {
            let any = |c: &str| c.is_empty() && !coll.starts_with("system.");
            name("db") == Some(db) && name("collection").is_some_and(|c| c == coll || any(c))
        }
    }
}

#[cfg(test)]
mod tests {
    use bson::doc;

    use super::*;
    use crate::cluster::deployment::Version;

    #[test]
    fn a_privilege_covers_what_its_resource_includes() {
        let any = doc! {"resource": {"db": "", "collection": ""}, "actions": ["find"]};
        let oplog =
            doc! {"resource": {"db": "local", "collection": "oplog.rs"}, "actions": ["find"]};
        let local = doc! {"resource": {"db": "local", "collection": ""}, "actions": ["find"]};
        let cluster = doc! {"resource": {"cluster": true}, "actions": ["inprog"]};
        let root = doc! {"resource": {"anyResource": true}, "actions": ["anyAction"]};
        let one = doc! {"resource": {"db": "a", "collection": ""}, "actions": ["find"]};
        let functions =
            doc! {"resource": {"db": "", "collection": "system.js"}, "actions": ["find"]};
        let buckets = doc! {"resource": {"system_buckets": ""}, "actions": ["find"]};
        let find = |on| need("find", on, "r");
        let oplog_on = On::Collection("local", "oplog.rs");
        let rows = [
            (&any, find(On::AnyDatabase), true),
            (&any, find(oplog_on), false),
            (&oplog, find(oplog_on), true),
            (&local, find(oplog_on), true),
            (&one, find(On::AnyDatabase), false),
            (&cluster, need("inprog", On::Cluster, "r"), true),
            (&cluster, need("serverStatus", On::Cluster, "r"), false),
            (&root, find(oplog_on), true),
            (&root, need("inprog", On::Cluster, "r"), true),
            (&any, find(FUNCTIONS), false),
            (&functions, find(FUNCTIONS), true),
            (&any, find(On::AnyBuckets), false),
            (&buckets, find(On::AnyBuckets), true),
        ];
        for (privilege, need, expect) in rows {
            assert_eq!(covers(privilege, &need), expect, "{privilege} {need:?}");
        }
    }

    fn dialect(major: u32) -> Dialect {
        let version = Version {
            major,
            minor: if major == 4 { 4 } else { 0 },
            patch: 4,
        };
        Dialect::of(version, &version.series())
    }

    #[test]
    fn each_release_asks_for_the_rights_it_knows() {
        let set = Topology::ReplicaSet;
        let role_of_apply = |major| {
            let needs = target(set, &dialect(major)).shard;
            let need = needs.iter().find(|need| need.action == "applyOps");
            need.map(|need| need.role)
        };
        assert_eq!(
            [4, 5, 6].map(role_of_apply),
            [None, Some("dbAdminAnyDatabase"), Some("restore")]
        );
        let has = |major, wanted: fn(&Need) -> bool| {
            let dialect = dialect(major);
            let needs = [source(set, &dialect).shard, target(set, &dialect).shard].concat();
            needs.iter().any(wanted)
        };
        let buckets = |need: &Need| need.on == On::AnyBuckets;
        assert_eq!(
            [4, 5, 6].map(|major| has(major, buckets)),
            [false, true, true]
        );
        let uuid = |need: &Need| need.action == "forceUUID";
        assert_eq!([4, 5, 6].map(|major| has(major, uuid)), [true, true, false]);
    }
}
