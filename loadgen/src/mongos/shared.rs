//! What all connections of the stand-in know: the config servers, the shards,
//! and which server holds which cursor.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bson::doc;

use crate::error::{Error, Result};
use crate::wire::link;

/// A replica set behind us.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Place {
    Config,
    /// By shard id.
    Shard(String),
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
    pub(super) config_hosts: Vec<String>,
    /// Members by shard id. The lock is held for look-ups only.
    shards: Mutex<BTreeMap<String, Vec<String>>>,
    /// Drivers continue a cursor on any of their connections.
    cursors: Mutex<HashMap<i64, CursorHome>>,
    connections: AtomicU32,
    /// As the config server says it.
    pub(super) server_version: String,
    pub(super) wire_version_max: i32,
}

const LOCK: &str = "no code panics while it holds this lock";

impl Shared {
    pub(super) async fn connect(config_hosts: &str, port: u16) -> Result<Shared> {
        let config_hosts = link::members(config_hosts);
        let mut config = link::connect_primary(&config_hosts, Duration::from_secs(20)).await?;
        let hello = config.command("admin", doc! { "hello": 1 }).await?;
        let build = config.command("admin", doc! { "buildInfo": 1 }).await?;
        Ok(Shared {
            port,
            config_hosts,
            shards: Mutex::default(),
            cursors: Mutex::default(),
            connections: AtomicU32::new(0),
            server_version: build.get_str("version").map_err(|e| Error::new(e.to_string())).map(str::to_owned)?,
            wire_version_max: hello.get_i32("maxWireVersion").map_err(|e| Error::new(e.to_string()))?,
        })
    }

    /// The number of a new connection, from 1.
    pub(super) fn next_connection(&self) -> u32 {
        self.connections.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(super) fn hosts_of(&self, place: &Place) -> Option<Vec<String>> {
        match place {
            Place::Config => Some(self.config_hosts.clone()),
            Place::Shard(id) => self.shards.lock().expect(LOCK).get(id).cloned(),
        }
    }

    pub(super) fn shard_ids(&self) -> Vec<String> {
        self.shards.lock().expect(LOCK).keys().cloned().collect()
    }

    /// Replaces the list by `(id, "set/host:port,…")`.
    pub(super) fn set_shards(&self, shards: impl IntoIterator<Item = (String, String)>) {
        let shards = shards.into_iter().map(|(id, hosts)| (id, link::members(&hosts)));
        *self.shards.lock().expect(LOCK) = shards.collect();
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
