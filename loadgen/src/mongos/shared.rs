//! What all connections of the stand-in know: the config servers, the shards,
//! and which server holds which cursor.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bson::{Bson, doc, oid::ObjectId};

use crate::error::{self, Error};
use crate::mongos::by_map::Map;
use crate::mongos::failpoints::Failpoints;
use crate::mongos::reply::Failure;
use crate::wire::link::{self, Link};

/// A replica set behind us.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Place {
    Config,
    /// By shard id.
    Shard(String),
    /// The same shard, spoken to as servers speak to each other: only then does it merge
    /// what other shards have found.
    Merger(String),
}

/// Where a cursor lives, and by which command it goes on.
#[derive(Debug, Clone)]
pub(super) struct CursorHome {
    pub(super) place: Place,
    /// True for a router's cursor (`clusterGetMore`), false for a plain one.
    pub(super) routed: bool,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) port: u16,
    /// The servers ask for a login, and so do we.
    pub(super) login: bool,
    pub(super) failpoints: Failpoints,
    /// Names this router in its `hello`.
    pub(super) process: ObjectId,
    pub(super) config_hosts: Vec<String>,
    /// Members by shard id. The lock is held for look-ups only.
    shards: Mutex<BTreeMap<String, Vec<String>>>,
    /// Drivers continue a cursor on any of their connections.
    cursors: Mutex<HashMap<i64, CursorHome>>,
    /// Chunk maps by namespace, before 6.0.
    maps: Mutex<HashMap<String, Arc<Map>>>,
    connections: AtomicU32,
    /// As the config server says it.
    pub(super) server_version: String,
    pub(super) wire_version_max: i32,
}

const PRIMARY_TIMEOUT: Duration = Duration::from_secs(20);
const LOCK: &str = "no code panics while it holds this lock";

impl Shared {
    pub(super) async fn connect(
        config_hosts: &str,
        port: u16,
        login: bool,
    ) -> error::Result<Shared> {
        let config_hosts = link::members(config_hosts);
        let mut config = link::connect_primary(&config_hosts, PRIMARY_TIMEOUT).await?;
        let hello = config.hello().await?;
        let build = config.command("admin", doc! { "buildInfo": 1 }).await?;
        let shared = Shared {
            port,
            login,
            failpoints: Failpoints::default(),
            process: ObjectId::new(),
            config_hosts,
            shards: Mutex::default(),
            cursors: Mutex::default(),
            maps: Mutex::default(),
            connections: AtomicU32::new(0),
            server_version: build
                .get_str("version")
                .map_err(|e| Error::new(e.to_string()))
                .map(str::to_owned)?,
            wire_version_max: hello
                .get_i32("maxWireVersion")
                .map_err(|e| Error::new(e.to_string()))?,
        };
        shared.load_shards().await?;
        Ok(shared)
    }

    /// True where the servers are older than those of that wire version.
    pub(super) fn is_before(&self, wire_version: i32) -> bool {
        self.wire_version_max < wire_version
    }

    /// Reads `config.shards` again.
    pub(super) async fn load_shards(&self) -> error::Result<()> {
        let mut config = link::connect_primary(&self.config_hosts, PRIMARY_TIMEOUT).await?;
        let find = doc! { "find": "shards", "batchSize": i32::MAX, "readConcern": { "level": "majority" } };
        let reply = config.command("config", find).await?;
        let batch = reply
            .get_document("cursor")
            .and_then(|cursor| cursor.get_array("firstBatch"));
        let batch = batch.map_err(|e| Error::new(e.to_string()))?;
        let shard = |row: &Bson| {
            let row = row.as_document()?;
            Some((
                row.get_str("_id").ok()?.to_owned(),
                link::members(row.get_str("host").ok()?),
            ))
        };
        *self.shards.lock().expect(LOCK) = batch.iter().filter_map(shard).collect();
        Ok(())
    }

    /// A connection to the config server's primary, as nobody yet.
    pub(super) async fn config_link(&self) -> Result<Link, Failure> {
        let link = link::connect_primary(&self.config_hosts, PRIMARY_TIMEOUT).await;
        link.map_err(|e| Failure::new(133, "FailedToSatisfyReadPreference", e.message))
    }

    /// The number of a new connection, from 1.
    pub(super) fn next_connection(&self) -> u32 {
        self.connections.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(super) fn hosts_of(&self, place: &Place) -> Option<Vec<String>> {
        match place {
            Place::Config => Some(self.config_hosts.clone()),
            Place::Shard(id) | Place::Merger(id) => {
                self.shards.lock().expect(LOCK).get(id).cloned()
            }
        }
    }

    pub(super) fn shard_ids(&self) -> Vec<String> {
        self.shards.lock().expect(LOCK).keys().cloned().collect()
    }

    pub(super) fn map(&self, ns: &str) -> Option<Arc<Map>> {
        self.maps.lock().expect(LOCK).get(ns).cloned()
    }

    pub(super) fn keep_map(&self, ns: String, map: Arc<Map>) {
        self.maps.lock().expect(LOCK).insert(ns, map);
    }

    pub(super) fn forget_map(&self, ns: &str) {
        self.maps.lock().expect(LOCK).remove(ns);
    }

    pub(super) fn forget_maps(&self) {
        self.maps.lock().expect(LOCK).clear();
    }

    pub(super) fn keep_cursor(&self, id: i64, home: CursorHome) {
        self.cursors.lock().expect(LOCK).insert(id, home);
    }

    pub(super) fn cursor(&self, id: i64) -> Option<CursorHome> {
        self.cursors.lock().expect(LOCK).get(&id).cloned()
    }

    pub(super) fn forget_cursor(&self, id: i64) -> Option<CursorHome> {
        self.cursors.lock().expect(LOCK).remove(&id)
    }
}
