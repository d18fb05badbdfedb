//! The way into a deployment: its URI, whether a router answers there, and
//! clients straight to each shard.
//!
//! Knows nothing about workloads; only the ordinary driver and the documented
//! commands are used.

use bson::{Document, RawDocumentBuf, doc};
use futures_util::TryStreamExt;
use mongodb::{
    Client,
    options::{ClientOptions, ServerAddress},
};

use crate::abilities::Abilities;
use crate::error::{Doing, Error, Result};

/// Databases that belong to the servers or to a migration, never to a workload.
pub const SYSTEM_DATABASES: [&str; 4] = ["admin", "config", "local", "__shardlift"];

/// A connected deployment.
#[derive(Clone)]
pub struct Entry {
    pub client: Client,
    /// True where the URI leads to a router (mongos).
    pub router: bool,
    /// True where the router is our stand-in for mongos, which forgets sessions.
    pub stand_in: bool,
    /// What its servers know, as far as their feature compatibility version lets them.
    pub abilities: Abilities,
    /// Sorted by id; one named `replica set` where there is no router.
    pub shards: Vec<ShardEntry>,
}

/// One replica set that holds data, addressed without the router.
#[derive(Clone)]
pub struct ShardEntry {
    pub id: String,
    /// `set/host:port,…` as `listShards` gives it; empty where there is no router.
    pub hosts: String,
    pub client: Client,
}

impl Entry {
    /// Connects to `uri`, at most `pool_max` connections per server.
    ///
    /// # Errors
    /// `Usage` for a URI that cannot be read, `Server` where nobody answers.
    pub async fn connect(uri: &str, pool_max: u32) -> Result<Self> {
        let mut options = ClientOptions::parse(uri)
            .await
            .map_err(|e| Error::new(format!("cannot use the URI: {e}")))?;
        options.max_pool_size = Some(pool_max);
        options
            .server_selection_timeout
            .get_or_insert(std::time::Duration::from_secs(15));
        let client = Client::with_options(options.clone()).doing(|| "making a client".into())?;
        // By the older name: 4.2.6 does not know `hello` yet.
        let hello = client
            .database("admin")
            .run_command(doc! {"isMaster": 1})
            .await
            .doing(|| "saying hello".into())?;
        let router = hello.get_str("msg").ok() == Some("isdbgrid");
        let shards = if router {
            shards_of(&client, &options).await?
        } else {
            vec![ShardEntry {
                id: "replica set".into(),
                hosts: String::new(),
                client: client.clone(),
            }]
        };
        let stand_in = router && hello.get_bool("standIn").unwrap_or(false);
        let abilities = abilities_of(&client).await?;
        Ok(Entry {
            client,
            router,
            stand_in,
            abilities,
            shards,
        })
    }

    /// A `mongos`, which has transactions and retryable writes.
    pub fn has_real_router(&self) -> bool {
        self.router && !self.stand_in
    }

    /// Runs a command on `admin`, at the router or the replica set's primary.
    pub async fn admin(&self, command: Document) -> Result<Document> {
        command_on(&self.client, "admin", command).await
    }

    /// Every row of a collection of the `config` database, in natural order.
    pub async fn config_rows(&self, collection: &str, filter: Document) -> Result<Vec<Document>> {
        let rows = self
            .client
            .database("config")
            .collection::<Document>(collection);
        let cursor = rows
            .find(filter)
            .await
            .doing(|| format!("reading config.{collection}"))?;
        cursor
            .try_collect()
            .await
            .doing(|| format!("reading config.{collection}"))
    }

    /// Position of a shard in `shards`, by id.
    pub fn shard_index(&self, id: &str) -> Result<usize> {
        let found = self.shards.iter().position(|shard| shard.id == id);
        found.ok_or_else(|| Error::new(format!("shard {id} is not in config.shards: reconnect")))
    }

    /// Names of the databases a workload may have made.
    pub async fn databases(&self) -> Result<Vec<String>> {
        let mut names = self
            .client
            .list_database_names()
            .await
            .doing(|| "listing databases".into())?;
        names.retain(|name| !SYSTEM_DATABASES.contains(&name.as_str()));
        names.sort();
        Ok(names)
    }
}

async fn abilities_of(client: &Client) -> Result<Abilities> {
    let reply = command_on(client, "admin", doc! {"buildInfo": 1}).await?;
    let release = release_of(reply.get_str("version").unwrap_or_default());
    // A router does not tell.
    let asked = doc! {"getParameter": 1, "featureCompatibilityVersion": 1};
    let told = command_on(client, "admin", asked).await.ok();
    let lowered = told.and_then(|reply| {
        let of = reply.get_document("featureCompatibilityVersion").ok()?;
        Some(release_of(of.get_str("version").ok()?))
    });
    Ok(Abilities::of(
        lowered.map_or(release, |fcv| fcv.min(release)),
    ))
}

fn release_of(version: &str) -> (u32, u32) {
    let mut numbers = version
        .split('.')
        .map(|number| number.parse().unwrap_or_default());
    let mut next = || numbers.next().unwrap_or_default();
    (next(), next())
}

async fn shards_of(client: &Client, options: &ClientOptions) -> Result<Vec<ShardEntry>> {
    let reply = command_on(client, "admin", doc! {"listShards": 1}).await?;
    let mut shards = Vec::new();
    for row in reply
        .get_array("shards")
        .into_iter()
        .flatten()
        .filter_map(|row| row.as_document())
    {
        let id = row.get_str("_id").unwrap_or_default().to_string();
        let host = row.get_str("host").unwrap_or_default();
        shards.push(ShardEntry {
            client: shard_client(host, options)?,
            hosts: host.to_string(),
            id,
        });
    }
    shards.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(shards)
}

/// A client of the replica set written as `set/host:port,host:port`.
fn shard_client(host: &str, options: &ClientOptions) -> Result<Client> {
    let (set, hosts) = host.split_once('/').unwrap_or(("", host));
    let mut options = options.clone();
    let addresses = hosts
        .split(',')
        .map(ServerAddress::parse)
        .collect::<mongodb::error::Result<Vec<_>>>();
    options.hosts = addresses.doing(|| format!("reading the address {host}"))?;
    options.repl_set_name = (!set.is_empty()).then(|| set.to_string());
    options.direct_connection = None;
    options.load_balanced = None;
    Client::with_options(options).doing(|| format!("making a client for {host}"))
}

/// Runs a command, and says which one where it fails.
pub async fn command_on(client: &Client, database: &str, command: Document) -> Result<Document> {
    let name = command.keys().next().cloned().unwrap_or_default();
    let reply = client.database(database).run_command(command).await;
    reply.doing(|| format!("running {name} on {database}"))
}

/// Runs a write command given as raw BSON and answers its reply.
///
/// # Errors
/// `Refused` when any write of it was refused.
pub async fn write_on(
    client: &Client,
    database: &str,
    command: RawDocumentBuf,
) -> Result<Document> {
    let name = command
        .iter_elements()
        .flatten()
        .next()
        .map(|e| e.key().as_str().to_string())
        .unwrap_or_default();
    let reply = client.database(database).run_raw_command(command).await;
    let reply = reply.doing(|| format!("running {name} on {database}"))?;
    let Ok(errors) = reply.get_array("writeErrors") else {
        return Ok(reply);
    };
    let first = errors.first().map(|e| e.to_string()).unwrap_or_default();
    Err(Error::new(format!(
        "running {name} on {database}: {} writes refused, the first: {first}",
        errors.len()
    )))
}
