//! What the user of each side must be allowed to do, and which built-in role
//! allows it.
//!
//! Pure decisions over `connectionStatus {showPrivileges: true}`.

use bson::{Bson, Document};

/// What an action is allowed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum On {
    Cluster,
    /// Every database but `local` and `config`.
    AnyDatabase,
    Collection(&'static str, &'static str),
}

/// One thing to be allowed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Need {
    action: &'static str,
    on: On,
    /// Built-in role on `admin` that allows it.
    role: &'static str,
}

/// What one side needs: of the router, and of every shard.
#[derive(Debug)]
pub(super) struct Needs {
    pub(super) router: Vec<Need>,
    pub(super) shard: Vec<Need>,
}

const fn need(action: &'static str, on: On, role: &'static str) -> Need {
    Need { action, on, role }
}

pub(super) fn source() -> Needs {
    let shard = vec![
        need("find", On::AnyDatabase, "readAnyDatabase"),
        need("find", On::Collection("local", "oplog.rs"), "backup"),
        need("appendOplogNote", On::Cluster, "backup"),
        need("find", On::Collection("config", "migrationCoordinators"), "clusterMonitor"),
        need("inprog", On::Cluster, "clusterMonitor"),
        need("replSetGetStatus", On::Cluster, "clusterMonitor"),
        need("serverStatus", On::Cluster, "clusterMonitor"),
    ];
    Needs { router: balancer(), shard }
}

pub(super) fn target() -> Needs {
    let of = |role, actions: &[&'static str]| -> Vec<Need> {
        actions.iter().map(|action| need(action, On::AnyDatabase, role)).collect()
    };
    let mut shard = of("readWriteAnyDatabase", &["find", "insert", "update", "remove"]);
    shard.extend(of("restore", &["createCollection", "createIndex", "collMod", "dropCollection"]));
    shard.extend(of("restore", &["bypassDocumentValidation"]));
    shard.push(need("inprog", On::Cluster, "clusterMonitor"));
    shard.push(need("replSetGetStatus", On::Cluster, "clusterMonitor"));
    let mut router = balancer();
    router.push(need("enableSharding", On::AnyDatabase, "clusterManager"));
    router.push(need("moveChunk", On::AnyDatabase, "clusterManager"));
    router.push(need("splitChunk", On::AnyDatabase, "clusterManager"));
    Needs { router, shard }
}

fn balancer() -> Vec<Need> {
    vec![
        need("listShards", On::Cluster, "clusterMonitor"),
        need("find", On::Collection("config", "chunks"), "clusterMonitor"),
        need("update", On::Collection("config", "settings"), "clusterManager"),
    ]
}

/// Needs that no privilege covers, as `role (action, action)`.
pub(super) fn missing(privileges: &[Document], needs: &[Need]) -> Vec<String> {
    let mut by_role: Vec<(&str, Vec<&str>)> = Vec::new();
    for need in needs.iter().filter(|n| !privileges.iter().any(|p| covers(p, n))) {
        match by_role.iter_mut().find(|(role, _)| *role == need.role) {
            Some((_, actions)) => actions.push(need.action),
            None => by_role.push((need.role, vec![need.action])),
        }
    }
    by_role.iter().map(|(role, actions)| format!("{role} ({})", actions.join(", "))).collect()
}

fn covers(privilege: &Document, need: &Need) -> bool {
    let acts = |a: &Bson| a.as_str().is_some_and(|a| a == need.action || a == "anyAction");
    let allowed = privilege.get_array("actions").is_ok_and(|all| all.iter().any(acts));
    allowed && privilege.get_document("resource").is_ok_and(|r| includes(r, need.on))
}

/// An empty name in a resource means any; any database leaves out `local` and `config`.
fn includes(resource: &Document, on: On) -> bool {
    if resource.get_bool("anyResource").unwrap_or(false) {
        return true;
    }
    let name = |field| resource.get_str(field).ok();
    match on {
        On::Cluster => resource.get_bool("cluster").unwrap_or(false),
        On::AnyDatabase => name("db") == Some("") && name("collection") == Some(""),
        On::Collection(db, coll) => {
            name("db") == Some(db) && name("collection").is_some_and(|c| c == coll || c.is_empty())
        }
    }
}

#[cfg(test)]
mod tests {
    use bson::doc;

    use super::*;

    #[test]
    fn a_privilege_covers_what_its_resource_includes() {
        let any = doc! {"resource": {"db": "", "collection": ""}, "actions": ["find"]};
        let oplog = doc! {"resource": {"db": "local", "collection": "oplog.rs"}, "actions": ["find"]};
        let local = doc! {"resource": {"db": "local", "collection": ""}, "actions": ["find"]};
        let cluster = doc! {"resource": {"cluster": true}, "actions": ["inprog"]};
        let root = doc! {"resource": {"anyResource": true}, "actions": ["anyAction"]};
        let one = doc! {"resource": {"db": "a", "collection": ""}, "actions": ["find"]};
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
        ];
        for (privilege, need, expect) in rows {
            assert_eq!(covers(privilege, &need), expect, "{privilege} {need:?}");
        }
    }

    #[test]
    fn missing_actions_are_named_by_role() {
        let read = doc! {"resource": {"db": "", "collection": ""}, "actions": ["find"]};
        let missing = missing(&[read], &source().shard);
        assert_eq!(missing.len(), 2);
        assert_eq!(missing[0], "backup (find, appendOplogNote)");
        assert!(missing[1].starts_with("clusterMonitor (find, inprog"));
    }
}
