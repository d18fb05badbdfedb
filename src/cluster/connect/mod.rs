//! Connecting to a deployment: first its entry (mongos or replica set), then
//! straight to every shard with the same credentials and TLS settings.
//!
//! Refuses what cannot be one side of a migration (standalones, a shard or a
//! config server given in place of a mongos). Knows nothing about the other side.

mod refusal;
mod seen;

use std::time::Duration;

use bson::{Document, doc, oid::ObjectId};
use futures_util::future::join_all;
use mongodb::Client;
use mongodb::options::{ClientOptions, ServerAddress};

use crate::cluster::admin;
use crate::cluster::connect::refusal::{bad_uri, refused, unreachable};
use crate::cluster::deployment::{Deployment, Shard, Side, Topology, Version, apply_house_rules};
use crate::cluster::dialect::Dialect;
use crate::cluster::entry::Entry;
use crate::cluster::hello;
use crate::cluster::probe::{self, Facts, Role};
use crate::cluster::retry::{answered, within};
use crate::codes;
use crate::error::{Error, Kind, Result};
use crate::scope::Scope;

/// How long one of several routers is waited for.
const ROUTER_PATIENCE: Duration = Duration::from_secs(10);
/// Name of the connections for metadata and control, in server logs and `$currentOp`.
const APP_NAME: &str = "shardlift";

/// Connects to the deployment behind `uri`, waiting `timeout` for servers that
/// do not answer.
///
/// # Errors
/// `Config` for a URI that cannot be used, `Connect` for servers that cannot be
/// reached or refuse the credentials, `Refused` for a standalone.
pub async fn connect(side: Side, uri: &str, timeout: Duration) -> Result<Deployment> {
    let options = entry_options(side, uri, timeout).await?;
    let entry = Client::with_options(options.clone())?;
    let hello = match answered("hello", async { Ok(hello::hello(&entry).await?) }).await {
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
    let dialect = Dialect::of(version, &fcv);
    for shard in &mut shards {
        shard.writes = dialect.writes;
    }
    let entry = Entry::new(entry, &options)?;
    if topology == Topology::Sharded {
        one_cluster(side, &entry, &options.hosts).await?;
    }
    let mut deployment = Deployment {
        side,
        topology,
        entry,
        shards,
        dialect,
        version,
        fcv,
        scope: Scope::default(),
        had_users: false,
    };
    let has_admin = topology == Topology::ReplicaSet;
    let (filters, renames) = Default::default();
    deployment.set_scope(Scope::new(filters, renames, has_admin));
    Ok(deployment)
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

async fn list_shards(side: Side, entry: &Client, options: &ClientOptions) -> Result<Vec<Shard>> {
    let reply = admin::ask(entry, "admin", doc! {"listShards": 1})
        .await
        .map_err(|e| {
            let e = e.context(format_args!("listing the shards of the {side}"));
            if e.code == Some(codes::UNAUTHORIZED) {
                e.remedy("grant the user the role clusterMonitor")
            } else {
                e
            }
        })?;
    let listed = reply
        .get_array("shards")
        .map_err(|_| Error::new(Kind::Server, "listShards returned no shards"))?;
    if listed.is_empty() {
        return Err(
            Error::new(Kind::Refused, format!("the {side} cluster has no shards"))
                .remedy("add its shards with `sh.addShard` first"),
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
                let found = format!("{host} and {other} in the {side} URI belong to two clusters");
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
