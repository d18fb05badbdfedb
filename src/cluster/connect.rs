//! Connecting to a deployment: first its entry (mongos or replica set), then
//! straight to every shard with the same credentials and TLS settings.
//!
//! Refuses what cannot be one side of a migration (standalones, a shard or a
//! config server given in place of a mongos). Knows nothing about the other side.

mod refusal;
mod seen;

use std::fmt;
use std::time::Duration;

use bson::{Document, doc, oid::ObjectId};
use futures_util::future::join_all;
use mongodb::Client;
use mongodb::options::{ClientOptions, ServerAddress};

use crate::cluster::admin;
use crate::cluster::connect::refusal::{bad_uri, refused, unreachable};
use crate::cluster::direct::Direct;
use crate::cluster::entry::Entry;
use crate::cluster::probe::{self, Facts, Role};
use crate::cluster::retry::{answered, within};
use crate::error::{Error, Kind, Result};
use crate::wire::way::Way;

/// The same for the data plane, which rides out an election (10 s by default).
const SELECTION_TIMEOUT_DATA: Duration = Duration::from_secs(30);
/// How long one of several routers is waited for.
const ROUTER_PATIENCE: Duration = Duration::from_secs(10);
/// Name of the connections for metadata and control, in server logs and `$currentOp`.
const APP_NAME: &str = "shardlift";

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
}

impl Deployment {
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
    /// The same way in as `options`, for what moves data.
    pub way: Way,
}

impl Shard {
    fn new(id: String, hosts: String, entry: &ClientOptions) -> Result<Self> {
        let options = shard_options(entry, &hosts)?;
        let client = Client::with_options(options.clone())?;
        let way = Way::new(&options)?;
        Ok(Shard {
            id,
            hosts,
            options,
            client,
            way,
        })
    }

    /// A client of its own for the data plane, named `app_name` towards the
    /// server so that its connections can be told apart in `$currentOp` (R7).
    /// At most `pool_max` connections; none is opened before it is needed.
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

/// Connects to the deployment behind `uri`, waiting `timeout` for servers that
/// do not answer.
///
/// # Errors
/// `Config` for a URI that cannot be used, `Connect` for servers that cannot be
/// reached or refuse the credentials, `Refused` for a standalone.
pub async fn connect(side: Side, uri: &str, timeout: Duration) -> Result<Deployment> {
    let options = entry_options(side, uri, timeout).await?;
    let entry = Client::with_options(options.clone())?;
    let hello = match answered("hello", async { Ok(probe::hello(&entry).await?) }).await {
        Ok(hello) => hello,
        Err(e) => {
            let e = unreachable(side, "entry", &host_list(&options.hosts), e);
            return Err(seen::explained(e, &options).await);
        }
    };
    let role = probe::role(&entry, &hello).await;
    let (topology, mut shards) = match role {
        Role::Router => (
            Topology::Sharded,
            list_shards(side, &entry, &options).await?,
        ),
        Role::ReplicaSet { hosts } => {
            let id = hosts.split('/').next().unwrap_or_default().to_owned();
            (Topology::ReplicaSet, vec![Shard::new(id, hosts, &options)?])
        }
        other => return Err(refused(side, &host_list(&options.hosts), &other)),
    };
    shards.sort_by(|a, b| a.id.cmp(&b.id));
    let facts = probe_all(side, &shards).await?;
    let (version, fcv) = agree(side, &shards, &facts)?;
    let entry = Entry::new(entry, &options)?;
    if topology == Topology::Sharded {
        one_cluster(side, &entry, &options.hosts).await?;
    }
    Ok(Deployment {
        side,
        topology,
        entry,
        shards,
        version,
        fcv,
    })
}

/// Options of the entry client, from the URI by the driver's own rules.
async fn entry_options(side: Side, uri: &str, timeout: Duration) -> Result<ClientOptions> {
    let mut options = ClientOptions::parse(uri)
        .await
        .map_err(|e| bad_uri(side, uri, &e))?;
    if options.direct_connection == Some(true) {
        return Err(Error::new(
            Kind::Config,
            format!("the {side} URI says directConnection=true"),
        )
        .remedy("remove it: shardlift has to follow elections, and finds the members by itself"));
    }
    if options.load_balanced == Some(true) {
        return Err(Error::new(
            Kind::Config,
            format!("the {side} URI says loadBalanced=true"),
        )
        .remedy("give the addresses of the mongos themselves"));
    }
    options.direct_connection = None;
    options.app_name = Some(APP_NAME.to_owned());
    options.server_selection_timeout = Some(timeout);
    apply_house_rules(&mut options);
    Ok(options)
}

/// Every retry of a write is ours to decide (R7), metadata is read from
/// primaries, and concerns are named by each command.
fn apply_house_rules(options: &mut ClientOptions) {
    options.retry_writes = Some(false);
    options.retry_reads = Some(true);
    options.selection_criteria = None;
    options.read_concern = None;
    options.write_concern = None;
}

/// The entry's way in (credential, TLS, compression), pointed at one shard.
/// Built anew rather than cloned, so that SRV records of the entry are not
/// polled for the hosts of a shard.
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

async fn list_shards(side: Side, entry: &Client, options: &ClientOptions) -> Result<Vec<Shard>> {
    let reply = admin::ask(entry, "admin", doc! {"listShards": 1})
        .await
        .map_err(|e| {
            let e = e.context(format_args!("listing the shards of the {side}"));
            if e.code == Some(probe::UNAUTHORIZED) {
                e.remedy("grant the user the role clusterMonitor")
            } else {
                e
            }
        })?;
    let listed = reply
        .get_array("shards")
        .map_err(|_| Error::new(Kind::Server, "listShards gave no shards"))?;
    if listed.is_empty() {
        return Err(
            Error::new(Kind::Refused, format!("the {side} cluster has no shards"))
                .remedy("add its shards by `sh.addShard` first"),
        );
    }
    listed
        .iter()
        .filter_map(|s| s.as_document())
        .map(|s| Shard::new(text(s, "_id")?, text(s, "host")?, options))
        .collect()
}

fn text(doc: &Document, field: &str) -> Result<String> {
    let malformed = || {
        Error::new(
            Kind::Server,
            format!("the config server lists a shard without {field}"),
        )
    };
    doc.get_str(field)
        .map(str::to_owned)
        .map_err(|_| malformed())
}

/// Commands go to any of several routers, so all must be of one cluster. One that does
/// not answer now is not asked.
async fn one_cluster(side: Side, entry: &Entry, hosts: &[ServerAddress]) -> Result<()> {
    let mut first: Option<(&ServerAddress, ObjectId)> = None;
    for host in hosts.iter().filter(|_| 1 < hosts.len()) {
        let asked = within(
            ROUTER_PATIENCE,
            "a router",
            probe::cluster_id_at(entry, host),
        )
        .await;
        match (asked, first) {
            (Ok(Some(id)), None) => first = Some((host, id)),
            (Ok(Some(id)), Some((other, of_other))) if id != of_other => {
                let found =
                    format!("{host} and {other} in the {side} URI are routers of two clusters");
                return Err(
                    Error::new(Kind::Refused, found).remedy("name routers of one cluster only")
                );
            }
            (Ok(_), _) => {}
            (Err(e), _) if e.kind == Kind::Transient => {
                tracing::warn!(
                    "the router {host} of the {side} does not answer: {}",
                    e.message
                );
            }
            (Err(e), _) => {
                return Err(e.context(format_args!("asking {host} which cluster it is of")));
            }
        }
    }
    Ok(())
}

/// Reaches the primary of every shard; names all that cannot be reached.
async fn probe_all(side: Side, shards: &[Shard]) -> Result<Vec<Facts>> {
    let probed = join_all(shards.iter().map(|s| async {
        let what = format!("shard {}", s.id);
        match probe::facts(&s.client).await {
            Err(e) => Err(seen::explained(unreachable(side, &what, &s.hosts, e), &s.options).await),
            facts => facts,
        }
    }))
    .await;
    let failed: Vec<&Error> = probed.iter().filter_map(|p| p.as_ref().err()).collect();
    if let Some(first) = failed.first() {
        let message = failed
            .iter()
            .map(|e| e.message.as_str())
            .collect::<Vec<_>>()
            .join("; ");
        let mut all = (*first).clone();
        all.message = message;
        return Err(all);
    }
    probed.into_iter().collect()
}

/// One release series and one feature compatibility version for all shards.
fn agree(side: Side, shards: &[Shard], facts: &[Facts]) -> Result<(Version, String)> {
    let first = &facts[0];
    let same = |f: &Facts| f.version.series() == first.version.series() && f.fcv == first.fcv;
    if !facts.iter().all(same) {
        let found = shards
            .iter()
            .zip(facts)
            .map(|(s, f)| {
                format!(
                    "{} runs {} with feature compatibility version {}",
                    s.id, f.version, f.fcv
                )
            })
            .collect::<Vec<_>>()
            .join(", ");
        return Err(Error::new(Kind::Refused, format!("the shards of the {side} differ: {found}")).remedy(
            "finish the upgrade: one release on all shards, then `setFeatureCompatibilityVersion` through the mongos",
        ));
    }
    let oldest = facts
        .iter()
        .map(|f| f.version)
        .min()
        .unwrap_or(first.version);
    Ok((oldest, first.fcv.clone()))
}

fn host_list(hosts: &[ServerAddress]) -> String {
    hosts
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(",")
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
        assert_eq!(host_list(&options.hosts), "a:1,b:2");
        assert_eq!(options.credential, entry.credential);
        assert!(shard_options(&entry, "a:1").is_err());
    }
}
