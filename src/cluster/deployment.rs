//! A deployment as one side of a migration: its entry, its shards, and how each is reached.
//!
//! Asks no server; `connect` fills it.

use std::fmt;
use std::time::Duration;

use mongodb::Client;
use mongodb::options::{ClientOptions, ServerAddress};

use crate::cluster::dialect::{Dialect, WriteForms};
use crate::cluster::direct::Direct;
use crate::cluster::entry::Entry;
use crate::error::{Error, Kind, Result};
use crate::scope::Scope;
use crate::scope::filters::Filters;
use crate::scope::renames::Renames;
use crate::wire::way::Way;

/// How long a client of the data plane looks for a primary: an election takes 10 s by
/// default.
const SELECTION_TIMEOUT_DATA: Duration = Duration::from_secs(30);
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Source,
    Target,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Side::Source => "source",
            Side::Target => "target",
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topology {
    Sharded,
    ReplicaSet,
}

impl fmt::Display for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Topology::Sharded => "sharded cluster",
            Topology::ReplicaSet => "replica set",
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    pub major: u32,
    pub minor: u32,
    pub patch: u32,
}

impl Version {
    /// Release series such as "6.0", which is also the name of its feature
    /// compatibility version.
    pub fn series(self) -> String {
        format!("{}.{}", self.major, self.minor)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// One side, connected.
#[derive(Debug, Clone)]
pub struct Deployment {
    pub side: Side,
    pub topology: Topology,
    /// mongos of a sharded cluster, else the replica set itself.
    pub entry: Entry,
    /// Sorted by id. A replica set is its own single shard, named after the set.
    pub shards: Vec<Shard>,
    /// The oldest one among the shards; all are of one release series.
    pub version: Version,
    /// Feature compatibility version, such as "6.0"; the same on all shards.
    pub fcv: String,
    pub dialect: Dialect,
    /// What of it a migration is about.
    pub scope: Scope,
    /// Its collections were there, and had users, before it became a target.
    pub had_users: bool,
}

impl Deployment {
    /// Not made by a run: indexes that expire stay and are held back, and orphans do not
    /// count (R8).
    pub fn with_users_before(&self) -> Deployment {
        let writes = self.dialect.writes.keeping_expiring_indexes();
        Deployment {
            had_users: true,
            ..self.written_as(writes)
        }
    }

    /// The same as a target of that source.
    pub fn written_from(&self, source: &Deployment) -> Deployment {
        self.written_as(self.dialect.writes.for_source(source.dialect.reads))
    }

    fn written_as(&self, writes: WriteForms) -> Deployment {
        let mut written = self.clone();
        written.dialect.writes = writes;
        for shard in &mut written.shards {
            shard.writes = writes;
        }
        written
    }

    /// The same with these filters and renames.
    pub fn asked(&self, filters: &Filters, renames: &Renames) -> Deployment {
        self.scoped(self.scope.asked(filters, renames))
    }

    /// All of it, by its own names.
    pub fn unfiltered(&self) -> Deployment {
        self.asked(&Filters::default(), &Renames::default())
    }

    /// The same of which a migration is about `scope`.
    pub fn scoped(&self, scope: Scope) -> Deployment {
        let mut scoped = self.clone();
        scoped.set_scope(scope);
        scoped
    }

    pub(super) fn set_scope(&mut self, scope: Scope) {
        let scope = scope.on(self.side == Side::Target);
        for shard in &mut self.shards {
            shard.scope = scope.clone();
        }
        self.scope = scope;
    }

    /// Index of the shard with this id.
    pub fn shard_index(&self, id: &str) -> Option<usize> {
        self.shards.binary_search_by(|s| s.id.as_str().cmp(id)).ok()
    }
}

/// One replica set that holds data.
#[derive(Debug, Clone)]
pub struct Shard {
    pub id: String,
    /// `set/host:port,…` as the config server lists it.
    pub hosts: String,
    /// Options every client of this shard is made from.
    pub options: ClientOptions,
    /// For metadata and control; the data plane makes its own by `data_client`.
    pub client: Client,
    /// The same credentials and settings as `options`, for connections without the
    /// driver.
    pub way: Way,
    /// How it is written to: as its deployment's dialect says, once that is known.
    pub writes: WriteForms,
    /// Its deployment's.
    pub scope: Scope,
}

impl Deployment {
    /// What drops a collection of it names the UUID: else it hits whatever has the name when
    /// it comes.
    pub fn drops_by_uuid(&self) -> bool {
        self.dialect.writes.binds_uuid || self.topology == Topology::ReplicaSet
    }
}

impl Shard {
    /// `entry` is what the entry of the deployment is reached by.
    ///
    /// # Errors
    /// `Server` if its hosts are no replica set's.
    pub fn new(id: String, hosts: String, entry: &ClientOptions) -> Result<Self> {
        let options = shard_options(entry, &hosts)?;
        let client = Client::with_options(options.clone())?;
        let way = Way::new(&options)?;
        Ok(Shard {
            id,
            hosts,
            options,
            client,
            way,
            writes: Dialect::newest().writes,
            scope: Scope::default(),
        })
    }

    /// A separate client for the data plane. Servers know it as `app_name`, so that its
    /// connections can be found in `$currentOp` (R7). It has at most `pool_max`
    /// connections, and opens none before it is needed.
    ///
    /// # Errors
    /// `Config` if `app_name` is longer than the 128 bytes a server takes.
    pub fn data_client(&self, app_name: &str, pool_max: u32) -> Result<Client> {
        let mut options = self.options.clone();
        options.app_name = Some(app_name.to_owned());
        options.max_pool_size = Some(pool_max);
        options.server_selection_timeout = Some(SELECTION_TIMEOUT_DATA);
        Ok(Client::with_options(options)?)
    }

    /// Connections that do without the driver, at most `links_max` at a time, of the
    /// same name; `client` knows where the primary is.
    pub fn direct(&self, client: &Client, app_name: &str, links_max: usize) -> Direct {
        Direct::new(client.clone(), self.way.named(app_name), links_max)
    }
}

/// Every retry of a write is ours to decide (R7), metadata is read from
/// primaries, and concerns are named by each command.
pub(super) fn apply_house_rules(options: &mut ClientOptions) {
    options.retry_writes = Some(false);
    options.retry_reads = Some(true);
    options.selection_criteria = None;
    options.read_concern = None;
    options.write_concern = None;
}

/// The entry's options (credential, TLS, compression) for one shard. Built from scratch
/// rather than cloned, so that the entry's SRV records are not polled for the shard's
/// hosts.
fn shard_options(entry: &ClientOptions, hosts: &str) -> Result<ClientOptions> {
    let malformed = || {
        Error::new(
            Kind::Server,
            format!("the config server lists a shard as {hosts:?}"),
        )
    };
    let (set, members) = hosts.split_once('/').ok_or_else(malformed)?;
    let mut options = ClientOptions::default();
    options.hosts = members
        .split(',')
        .map(ServerAddress::parse)
        .collect::<mongodb::error::Result<_>>()?;
    options.repl_set_name = Some(set.to_owned());
    options.credential = entry.credential.clone();
    options.tls = entry.tls.clone();
    options.compressors = entry.compressors.clone();
    options.connect_timeout = entry.connect_timeout;
    options.heartbeat_freq = entry.heartbeat_freq;
    options.server_api = entry.server_api.clone();
    options.app_name = entry.app_name.clone();
    options.server_selection_timeout = entry.server_selection_timeout;
    apply_house_rules(&mut options);
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_keeps_the_entrys_way_in_and_its_own_hosts() {
        let mut entry = ClientOptions::default();
        entry.credential = Some(
            mongodb::options::Credential::builder()
                .username("u".to_owned())
                .build(),
        );
        let options = shard_options(&entry, "rs0/a:1,b:2").unwrap();
        assert_eq!(options.repl_set_name.as_deref(), Some("rs0"));
        let hosts: Vec<String> = options.hosts.iter().map(ToString::to_string).collect();
        assert_eq!(hosts, ["a:1", "b:2"]);
        assert_eq!(options.credential, entry.credential);
        assert!(shard_options(&entry, "a:1").is_err());
    }
}
