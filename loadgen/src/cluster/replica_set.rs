//! A replica set of one or three members.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use bson::{Document, doc};
use futures_util::future::try_join_all;
use mongodb::Client;

use crate::cluster::users::{self, User};
use crate::error::{Error, Result};
use crate::proxy::Proxy;
use crate::server::find;
pub use crate::server::mongod::Role;
use crate::server::mongod::{Mongod, MongodOptions};
use crate::server::version::{self, Release};
use crate::wire::link::{self, Link};
use crate::wire::login::OPERATOR;

const READY_TIMEOUT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);

#[derive(Debug, Clone)]
pub struct ReplicaSetOptions {
    pub release: Release,
    /// Set name.
    pub name: String,
    /// 1, or 3 where elections matter; 1 to 7.
    pub members: usize,
    pub role: Role,
    /// Cache of each server, GB, at least 0.25.
    pub cache_gb: f64,
    /// Size of the oplog, MB; None is the server's choice.
    pub oplog_mb: Option<u32>,
    /// How long a set of several members goes without its primary before it
    /// elects another. The server's own default is 10 s.
    pub election_timeout: Duration,
    /// Folder for its data; None is memory, where there is room.
    pub data_under: Option<PathBuf>,
    /// Server parameters, such as `("transactionLifetimeLimitSeconds", "600")`.
    pub set_parameters: Vec<(String, String)>,
    /// Further arguments of `mongod`.
    pub extra_args: Vec<String>,
    /// Put a fault proxy before each member. The set then knows its members by
    /// their proxies' addresses, so all traffic goes through them, also that
    /// between the members.
    pub proxied: bool,
    /// Ask for a login: loadgen's own user and these.
    pub login: Option<Vec<User>>,
}

impl Default for ReplicaSetOptions {
    fn default() -> Self {
        ReplicaSetOptions {
            release: version::DEFAULT,
            name: "rs0".to_owned(),
            members: 1,
            role: Role::Plain,
            cache_gb: 0.5,
            oplog_mb: None,
            election_timeout: Duration::from_secs(4),
            data_under: None,
            set_parameters: Vec::new(),
            extra_args: Vec::new(),
            proxied: false,
            login: None,
        }
    }
}

#[derive(Debug)]
pub struct ReplicaSet {
    name: String,
    release: Release,
    members: Vec<Mongod>,
    /// One a member, or none at all.
    proxies: Vec<Proxy>,
    asks_for_login: bool,
}

impl ReplicaSet {
    /// Starts the members side by side; returns when there is a primary and
    /// every other member follows it.
    pub async fn start(options: ReplicaSetOptions) -> Result<ReplicaSet> {
        if !(1..=7).contains(&options.members) {
            return Err(
                Error::new(format!("a replica set of {} members", options.members))
                    .remedy("take 1 or 3"),
            );
        }
        let program = find::mongod(options.release).await?;
        let server = MongodOptions {
            program,
            set: options.name.clone(),
            role: options.role,
            cache_gb: options.cache_gb,
            oplog_mb: options.oplog_mb,
            login: options.login.is_some(),
            data_under: options.data_under.clone(),
            set_parameters: options.set_parameters.clone(),
            extra_args: options.extra_args.clone(),
        };
        let members =
            try_join_all((0..options.members).map(|_| Mongod::start(server.clone()))).await?;
        let before = members.iter().filter(|_| options.proxied);
        let proxies = before
            .map(|member| Proxy::start(member.port()))
            .collect::<Result<_>>()?;
        let asks_for_login = options.login.is_some();
        let set = ReplicaSet {
            name: options.name.clone(),
            release: options.release,
            members,
            proxies,
            asks_for_login,
        };
        let begun = async {
            set.initiate(&options).await?;
            match &options.login {
                Some(others) => users::create(&set, others).await,
                None => Ok(()),
            }
        };
        begun
            .await
            .map_err(|e: Error| e.context(format!("replica set {}", set.name)))?;
        Ok(set)
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn release(&self) -> Release {
        self.release
    }

    /// `host:port` of each member as the set knows it: of its proxy, where it
    /// has one.
    pub fn member_hosts(&self) -> Vec<String> {
        if self.proxies.is_empty() {
            self.server_hosts()
        } else {
            self.proxies.iter().map(Proxy::host).collect()
        }
    }

    /// `host:port` of each member itself, past any proxy.
    pub fn server_hosts(&self) -> Vec<String> {
        self.members.iter().map(Mongod::host).collect()
    }

    /// The proxy before a member, where the set was started with proxies.
    pub fn proxy(&self, index: usize) -> Option<&Proxy> {
        self.proxies.get(index)
    }

    /// `set/host:port,…`, as the config server lists a shard.
    pub fn hosts(&self) -> String {
        format!("{}/{}", self.name, self.member_hosts().join(","))
    }

    /// As loadgen's own user, where it asks for a login.
    pub fn uri(&self) -> String {
        self.uri_of(if self.asks_for_login {
            users::in_uri(OPERATOR)
        } else {
            String::new()
        })
    }

    /// As one of the users it was started with.
    pub fn uri_as(&self, user: &str) -> String {
        self.uri_of(users::in_uri(user))
    }

    fn uri_of(&self, login: String) -> String {
        format!(
            "mongodb://{login}{}/?replicaSet={}",
            self.member_hosts().join(","),
            self.name
        )
    }

    /// A new client, bound to the runtime that calls.
    pub async fn client(&self) -> Result<Client> {
        Ok(Client::with_uri_str(self.uri()).await?)
    }

    /// A bare connection to the primary, past any proxy, waiting for one if need be.
    /// If none comes, the error has what each member logged last.
    pub async fn primary_link(&self) -> Result<Link> {
        link::connect_primary(&self.server_hosts(), READY_TIMEOUT)
            .await
            .map_err(|e| {
                let logs: Vec<String> = self.members.iter().map(Mongod::log_tail).collect();
                e.context(logs.join("\n---\n"))
            })
    }

    /// Index of the member that is primary.
    pub async fn primary(&self) -> Result<usize> {
        let link = self.primary_link().await?;
        let index = self
            .members
            .iter()
            .position(|member| member.host() == link.host);
        Ok(index.expect("the link was dialled by a member's host"))
    }

    pub fn members(&self) -> &[Mongod] {
        &self.members
    }

    /// To kill, freeze or restart one.
    pub fn member_mut(&mut self, index: usize) -> &mut Mongod {
        &mut self.members[index]
    }

    /// Makes the primary step down; another member is primary on return.
    pub async fn step_down(&self) -> Result<usize> {
        let mut link = self.primary_link().await?;
        let command =
            doc! { "replSetStepDown": 20, "secondaryCatchUpPeriodSecs": 10, "force": false };
        link.command("admin", command).await?;
        self.primary().await
    }

    /// Another member is primary on return; one that is alone is elected anew.
    pub async fn elect(&self) -> Result<()> {
        if 1 < self.members.len() {
            return self.step_down().await.map(drop);
        }
        let mut link = self.primary_link().await?;
        // The connection may go before the answer.
        let _ = link
            .command("admin", doc! { "replSetStepDown": 1, "force": true })
            .await;
        self.primary().await.map(drop)
    }

    async fn initiate(&self, options: &ReplicaSetOptions) -> Result<()> {
        let mut first = self.members[0].link().await?;
        first
            .command("admin", doc! { "replSetInitiate": self.config(options) })
            .await?;
        let deadline = Instant::now() + READY_TIMEOUT;
        while !self.is_ready(&mut first).await? {
            if deadline <= Instant::now() {
                return Err(Error::new(format!("not ready after {READY_TIMEOUT:?}")));
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    fn config(&self, options: &ReplicaSetOptions) -> Document {
        let hosts = self.member_hosts();
        let members = hosts
            .iter()
            .enumerate()
            .map(|(i, host)| doc! { "_id": i as i32, "host": host });
        let mut config = doc! {
            "_id": &self.name,
            "members": members.collect::<Vec<_>>(),
            "settings": { "electionTimeoutMillis": options.election_timeout.as_millis() as i64 },
        };
        if options.role == Role::Config {
            config.insert("configsvr", true);
        }
        config
    }

    /// Asks the first member; helps a set of several to its first election,
    /// which otherwise waits for the election timeout.
    async fn is_ready(&self, first: &mut Link) -> Result<bool> {
        let hello = first.hello().await?;
        if self.members.len() == 1 {
            return Ok(link::is_primary(&hello));
        }
        let status = first
            .command("admin", doc! { "replSetGetStatus": 1 })
            .await?;
        let states = status
            .get_array("members")
            .map_err(|e| Error::new(e.to_string()))?;
        let count = |state: &str| {
            let is = |member: &bson::Bson| {
                member
                    .as_document()
                    .is_some_and(|m| m.get_str("stateStr").is_ok_and(|s| s == state))
            };
            states.iter().filter(|member| is(member)).count()
        };
        let (primaries, secondaries) = (count("PRIMARY"), count("SECONDARY"));
        if primaries == 0 && secondaries == self.members.len() {
            // Refused while another election is under way; asked again.
            let _ = first.command("admin", doc! { "replSetStepUp": 1 }).await;
        }
        let accepts_writes = link::is_primary(&hello) || primaries == 1;
        Ok(accepts_writes && primaries == 1 && primaries + secondaries == self.members.len())
    }
}

impl Drop for ReplicaSet {
    /// All get the signal first, so that their ends overlap; then each is
    /// waited for as it is dropped.
    fn drop(&mut self) {
        self.members
            .iter()
            .for_each(|member| member.signal(libc::SIGKILL));
    }
}
