//! MongoDB's own way, to compare with: another member of the source's replica
//! set, without a vote, that copies by initial sync and follows the oplog.
//!
//! Knows nothing about the engine.

use std::time::{Duration, Instant};

use bson::{Bson, Document, Timestamp, doc};

use crate::bench::engine::{POLL, Stretch};
use crate::bench::ground::{Ground, host};
use crate::bench::process::{Meter, Used};
use crate::cluster::ReplicaSet;
use crate::cluster::replica_set::Role;
use crate::error::{Error, Result};
use crate::server::find;
use crate::server::mongod::{Mongod, MongodOptions};
use crate::wire::link::{Link, number};

/// Until a restarted member begins to fetch.
const BEGIN_TIMEOUT: Duration = Duration::from_secs(120);
/// Sections of `serverStatus` that nobody here reads.
const LEFT_OUT: [&str; 22] = [
    "asserts",
    "connections",
    "electionMetrics",
    "extra_info",
    "flowControl",
    "globalLock",
    "indexBulkBuilder",
    "locks",
    "logicalSessionRecordCache",
    "mirroredReads",
    "network",
    "opLatencies",
    "opcounters",
    "opcountersRepl",
    "oplog",
    "storageEngine",
    "tcmalloc",
    "transactions",
    "transportSecurity",
    "twoPhaseCommitCoordinator",
    "trafficRecording",
    "wiredTiger",
];

pub(super) struct Native {
    server: Mongod,
}

/// How far a member is.
#[derive(Debug)]
struct Progress {
    fetched: u64,
    applied: u64,
    /// None: the member is starting and has not read its own oplog yet.
    newest: Option<Timestamp>,
}

impl Native {
    /// An empty server that knows nothing of `set` yet.
    pub(super) async fn start(ground: &Ground, set: &ReplicaSet) -> Result<Native> {
        let options = ground.server(set.name());
        let server = Mongod::start(MongodOptions {
            program: find::mongod(options.release).await?,
            set: options.name,
            role: Role::Plain,
            cache_gb: options.cache_gb,
            oplog_mb: options.oplog_mb,
            login: options.login.is_some(),
            data_under: options.data_under,
            set_parameters: options.set_parameters,
            extra_args: options.extra_args,
        });
        Ok(Native {
            server: server.await?,
        })
    }

    pub(super) fn pid(&self) -> Result<u32> {
        self.server
            .pid()
            .ok_or_else(|| Error::new("the native secondary is down"))
    }

    /// Its initial sync: from the answer to the reconfiguration that adds it until
    /// it says it is a secondary. CPU: its own, then of the processes given.
    pub(super) async fn join(
        &self,
        set: &ReplicaSet,
        others: &[u32],
        patience: Duration,
    ) -> Result<Used> {
        let pids: Vec<u32> = [self.pid()?]
            .into_iter()
            .chain(others.iter().copied())
            .collect();
        reconfigure(set, |members| {
            let member = doc! { "_id": 1, "host": self.server.host(), "votes": 0, "priority": 0 };
            members.push(Bson::Document(member));
        })
        .await?;
        let meter = Meter::now(&pids)?;
        let mut link = self.server.link().await?;
        while !link.hello().await?.get_bool("secondary").unwrap_or(false) {
            if patience.as_secs_f64() <= meter.seconds() {
                return Err(Error::new(format!(
                    "the initial sync is not done after {patience:?}"
                )));
            }
            tokio::time::sleep(POLL).await;
        }
        meter.used()
    }

    /// Takes it out of the set.
    pub(super) async fn leave(self, set: &ReplicaSet) -> Result<()> {
        let host = self.server.host();
        reconfigure(set, |members| {
            members.retain(|member| {
                member.as_document().and_then(|m| m.get_str("host").ok()) != Some(&host)
            });
        })
        .await
    }

    /// Shuts it down in order; it stays a member.
    pub(super) async fn stop(self) -> Result<Native> {
        let mut native = self;
        let stopped = tokio::task::spawn_blocking(move || {
            native.server.terminate();
            native
        });
        stopped.await.map_err(|e| Error::new(e.to_string()))
    }

    /// Starts it again on its data. Timed from the last look at which it had
    /// fetched no oplog entry (`metrics.repl.network.ops`), so without its
    /// start-up, until its last applied optime (`repl.lastWrite.opTime`) reaches
    /// `until`. CPU: its own, then of the processes given.
    pub(super) async fn follow(
        &mut self,
        until: Timestamp,
        others: &[u32],
        patience: Duration,
    ) -> Result<Stretch> {
        self.server.restart().await?;
        let pids: Vec<u32> = [self.pid()?]
            .into_iter()
            .chain(others.iter().copied())
            .collect();
        let mut meter = Meter::now(&pids)?;
        let mut link = self.server.link().await?;
        let launched = Instant::now();
        loop {
            let looked = Meter::now(&pids)?;
            let progress = Progress::read(&mut link).await?;
            if 0 < progress.fetched + progress.applied {
                break;
            }
            if BEGIN_TIMEOUT <= launched.elapsed() {
                return Err(Error::new(format!(
                    "the native secondary fetched nothing in {BEGIN_TIMEOUT:?}"
                )));
            }
            meter = looked;
            tokio::time::sleep(POLL).await;
        }
        let mut stretch = Stretch::default();
        loop {
            let progress = Progress::read(&mut link).await?;
            stretch
                .counts
                .push((meter.seconds(), progress.applied as f64));
            if Some(until) <= progress.newest {
                stretch.used = meter.used()?;
                return Ok(stretch);
            }
            if patience.as_secs_f64() <= meter.seconds() {
                return Err(Error::new(format!(
                    "the native secondary is not there after {patience:?}: {progress:?}"
                )));
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

/// How far a member is behind the set's primary.
pub(super) struct LagOf {
    primary: Link,
    member: Link,
}

impl LagOf {
    pub(super) async fn connect(set: &ReplicaSet, native: &Native) -> Result<LagOf> {
        Ok(LagOf {
            primary: Link::connect(&host(set)).await?,
            member: native.server.link().await?,
        })
    }

    /// Time between the newest writes of both, ms.
    pub(super) async fn ms(&mut self) -> Result<f64> {
        // The member first: what it applies meanwhile must not make it look ahead.
        let member = LagOf::wall_ms(&mut self.member).await?;
        let primary = LagOf::wall_ms(&mut self.primary).await?;
        Ok(primary.saturating_sub(member).max(0) as f64)
    }

    async fn wall_ms(link: &mut Link) -> Result<i64> {
        let status = link
            .command("admin", doc! { "replSetGetStatus": 1 })
            .await?;
        let optimes = status.get_document("optimes");
        let wall = optimes.and_then(|optimes| optimes.get_datetime("lastAppliedWallTime"));
        wall.map(|wall| wall.timestamp_millis())
            .map_err(|e| Error::new(format!("replSetGetStatus: {e}")))
    }
}

impl Progress {
    async fn read(link: &mut Link) -> Result<Progress> {
        let mut command = doc! { "serverStatus": 1, "repl": 1, "metrics": 1 };
        command.extend(
            LEFT_OUT
                .iter()
                .map(|section| ((*section).to_owned(), Bson::Int32(0))),
        );
        let reply = link.command("admin", command).await?;
        let count = |of: &str| {
            let repl = reply
                .get_document("metrics")
                .and_then(|metrics| metrics.get_document("repl"));
            let ops = repl
                .ok()
                .and_then(|repl| repl.get_document(of).ok()?.get("ops"));
            ops.map(|ops| number(ops) as u64)
                .ok_or_else(|| Error::new(format!("serverStatus tells no repl.{of}.ops")))
        };
        let newest = reply.get_document("repl").ok().and_then(last_write);
        Ok(Progress {
            fetched: count("network")?,
            applied: count("apply")?,
            newest,
        })
    }
}

/// Position of the newest write of a set's primary.
pub(super) async fn newest(set: &ReplicaSet) -> Result<Timestamp> {
    let hello = Link::connect(&host(set)).await?.hello().await?;
    last_write(&hello).ok_or_else(|| Error::new("hello tells no last write"))
}

fn last_write(reply: &Document) -> Option<Timestamp> {
    reply
        .get_document("lastWrite")
        .ok()?
        .get_document("opTime")
        .ok()?
        .get_timestamp("ts")
        .ok()
}

async fn reconfigure(set: &ReplicaSet, change: impl FnOnce(&mut Vec<Bson>)) -> Result<()> {
    let mut link = set.primary_link().await?;
    let reply = link
        .command("admin", doc! { "replSetGetConfig": 1 })
        .await?;
    let mut config = reply
        .get_document("config")
        .cloned()
        .map_err(|e| Error::new(e.to_string()))?;
    let version = config.get("version").map_or(0.0, number) as i32;
    config.insert("version", version + 1);
    config.remove("term");
    let members = config
        .get_array_mut("members")
        .map_err(|e| Error::new(e.to_string()))?;
    change(members);
    link.command("admin", doc! { "replSetReconfig": config })
        .await?;
    Ok(())
}
