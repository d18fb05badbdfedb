//! A sharded cluster: config servers, shards `shard0`, `shard1`, … (or named otherwise) and a
//! router, which is a real `mongos` where the user has one, else our stand-in.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use bson::{Document, doc};
use futures_util::future::{try_join, try_join_all};
use mongodb::Client;

use crate::cluster::replica_set::{ReplicaSet, ReplicaSetOptions, Role};
use crate::cluster::users::ClusterUsers;
use crate::error::Result;
use crate::mongos::Router;
use crate::server::brought::Brought;
use crate::server::find;
use crate::server::version::{self, Release};
use crate::wire::link::Link;

const CONFLICT_TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Debug, Clone)]
pub struct ShardedOptions {
    pub release: Release,
    pub shards: usize,
    /// What the shards' names begin with; their number follows.
    pub shard_names: &'static str,
    pub members_per_shard: usize,
    pub config_members: usize,
    /// Cache of each shard server, GB, at least 0.25.
    pub cache_gb: f64,
    /// Size of each shard's oplog, MB; None is the server's choice.
    pub oplog_mb: Option<u32>,
    /// Port of the router; None takes a free one.
    pub port: Option<u16>,
    /// Server parameters of the shards.
    pub set_parameters: Vec<(String, String)>,
    /// Further arguments of the shards' `mongod`.
    pub extra_args: Vec<String>,
    /// The `mongos` to take, or several with `:` between them, of which one is of the
    /// release; None: the one that is found, if any is.
    pub mongos: Option<PathBuf>,
    /// Never take a `mongos`, even if there is one.
    pub stand_in_only: bool,
    /// Put a fault proxy before each shard server and each config server; see
    /// `ReplicaSetOptions`.
    pub proxied: bool,
    /// Ask for a login: loadgen's own user and these.
    pub login: Option<ClusterUsers>,
}

impl Default for ShardedOptions {
    fn default() -> Self {
        ShardedOptions {
            release: version::DEFAULT,
            shards: 2,
            shard_names: "shard",
            members_per_shard: 1,
            config_members: 1,
            cache_gb: 0.5,
            oplog_mb: None,
            port: None,
            set_parameters: Vec::new(),
            extra_args: Vec::new(),
            mongos: None,
            stand_in_only: false,
            proxied: false,
            login: None,
        }
    }
}

/// Fields in the order they stop.
#[derive(Debug)]
pub struct ShardedCluster {
    /// None while it is away.
    router: Option<Router>,
    /// Of the router.
    host: String,
    uri: String,
    real: Option<Brought>,
    login: bool,
    shards: Vec<ReplicaSet>,
    config: ReplicaSet,
}

impl ShardedCluster {
    /// Starts all servers side by side, adds the shards and starts the router.
    /// Takes about a second with two shards of one member.
    pub async fn start(options: ShardedOptions) -> Result<ShardedCluster> {
        let real = match &options.mongos {
            _ if options.stand_in_only => None,
            Some(path) => Some(find::named_mongos(path.clone(), options.release).await?),
            None => find::mongos(options.release).await?,
        };
        let shards =
            (0..options.shards).map(|index| ReplicaSet::start(shard_options(&options, index)));
        let (config, shards) = try_join(
            ReplicaSet::start(config_options(&options)),
            try_join_all(shards),
        )
        .await?;
        add_shards(&config, &shards).await?;
        let login = options.login.is_some();
        let router = Router::start(real.clone(), &config.hosts(), options.port, login).await?;
        Ok(ShardedCluster {
            host: router.host(),
            uri: router.uri(),
            router: Some(router),
            real,
            login,
            shards,
            config,
        })
    }

    /// Of the router; as loadgen's own user, where it asks for a login.
    pub fn uri(&self) -> String {
        self.uri.clone()
    }

    /// Ends the router, with all its connections.
    pub fn stop_router(&mut self) {
        self.router = None;
    }

    /// Starts it again, on the same port.
    pub async fn start_router(&mut self) -> Result<()> {
        let port = self
            .host
            .rsplit(':')
            .next()
            .and_then(|port| port.parse().ok());
        self.router = Some(self.router_on(port).await?);
        Ok(())
    }

    /// As one of the users it was started with.
    pub fn uri_as(&self, user: &str) -> String {
        self.router
            .as_ref()
            .expect("it was not stopped")
            .uri_as(user)
    }

    /// One more router of the same cluster and kind.
    pub async fn another_router(&self) -> Result<Router> {
        self.router_on(None).await
    }

    /// The same on that port; None takes a free one.
    pub(crate) async fn router_on(&self, port: Option<u16>) -> Result<Router> {
        Router::start(self.real.clone(), &self.config.hosts(), port, self.login).await
    }

    /// `host:port` of the router.
    pub fn router_host(&self) -> String {
        self.host.clone()
    }

    /// True if the router is our stand-in, which runs no transactions.
    pub fn has_stand_in(&self) -> bool {
        self.real.is_none()
    }

    /// What the router is: our stand-in, or a real one and its version.
    pub fn router_kind(&self) -> String {
        match &self.real {
            Some(real) => format!("mongos {}", real.version),
            None => "stand-in".to_owned(),
        }
    }

    /// The log of a real router that is up.
    pub(crate) fn router_log(&self) -> Option<PathBuf> {
        self.router.as_ref().and_then(Router::log)
    }

    pub fn shard_uris(&self) -> Vec<String> {
        self.shards.iter().map(ReplicaSet::uri).collect()
    }

    pub fn shards(&self) -> &[ReplicaSet] {
        &self.shards
    }

    /// To kill, freeze or restart members of one.
    pub fn shard_mut(&mut self, index: usize) -> &mut ReplicaSet {
        &mut self.shards[index]
    }

    pub fn config(&self) -> &ReplicaSet {
        &self.config
    }

    /// To kill, freeze or restart a config server.
    pub fn config_mut(&mut self) -> &mut ReplicaSet {
        &mut self.config
    }

    /// A new client of the router, bound to the runtime that calls.
    pub async fn client(&self) -> Result<Client> {
        Ok(Client::with_uri_str(self.uri()).await?)
    }

    /// A new client straight to each shard, in order.
    pub async fn shard_clients(&self) -> Result<Vec<Client>> {
        try_join_all(self.shards.iter().map(ReplicaSet::client)).await
    }

    /// Runs an admin command through the router. Waits while another one is in
    /// its way: a shard gives or takes one chunk at a time, and tests that
    /// share a cluster move theirs side by side.
    pub async fn admin(&self, command: Document) -> Result<Document> {
        let deadline = Instant::now() + CONFLICT_TIMEOUT;
        let mut link = self.router_link().await?;
        loop {
            match link.command("admin", command.clone()).await {
                Err(e) if e.code.is_some_and(is_conflict) && Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                outcome => return outcome,
            }
        }
    }

    /// A bare connection to the router.
    pub async fn router_link(&self) -> Result<Link> {
        Ok(Link::connect(&self.host).await?)
    }
}

fn shard_options(options: &ShardedOptions, index: usize) -> ReplicaSetOptions {
    ReplicaSetOptions {
        release: options.release,
        name: format!("{}{index}", options.shard_names),
        members: options.members_per_shard,
        role: Role::Shard,
        cache_gb: options.cache_gb,
        oplog_mb: options.oplog_mb,
        set_parameters: options.set_parameters.clone(),
        extra_args: options.extra_args.clone(),
        proxied: options.proxied,
        login: options.login.as_ref().map(|users| users.shard.clone()),
        ..ReplicaSetOptions::default()
    }
}

fn config_options(options: &ShardedOptions) -> ReplicaSetOptions {
    ReplicaSetOptions {
        release: options.release,
        name: "config".to_owned(),
        members: options.config_members,
        role: Role::Config,
        cache_gb: 0.25,
        proxied: options.proxied,
        login: options.login.as_ref().map(|users| users.router.clone()),
        ..ReplicaSetOptions::default()
    }
}

/// One after the other: the config server locks its list of shards.
async fn add_shards(config: &ReplicaSet, shards: &[ReplicaSet]) -> Result<()> {
    let mut link = config.primary_link().await?;
    for shard in shards {
        let command = doc! {
            "_configsvrAddShard": shard.hosts(), "name": shard.name(), "writeConcern": { "w": "majority" },
        };
        link.command("admin", command).await?;
    }
    Ok(())
}

/// LockBusy, ConflictingOperationInProgress.
fn is_conflict(code: i32) -> bool {
    matches!(code, 46 | 117)
}
