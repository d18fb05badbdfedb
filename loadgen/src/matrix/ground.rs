//! Source and target of a cell, and how the engine reaches each: without a login, or by
//! TLS as a user of least privilege.
//!
//! Knows nothing about what happens on them.

use std::path::Path;

use crate::cluster::users::{self, ClusterUsers, MOVER};
use crate::cluster::{Deployment, ReplicaSet, ReplicaSetOptions, ShardedCluster, ShardedOptions};
use crate::error::Result;
use crate::matrix::Settings;
use crate::matrix::cell::{Cell, Login, Topology};
use crate::proxy::TlsDoor;
use crate::server::certificates::Authority;
use crate::server::version::Release;

/// Per server. A tenth of it is for updates that are not settled, then every request
/// waits: there must be room for several transactions of 18 MB. With a quarter of it a
/// primary of 4.4.2 took no write for minutes after its election.
const CACHE_GB: f64 = 1.0;
/// Per member: holds all that is populated and written.
const OPLOG_MB: u32 = 512;
/// A transaction that an election abandoned must not hold up the cutover for the
/// default, 60 s.
const TRANSACTION_LIFETIME_S: &str = "10";

pub(super) struct Ground {
    pub(super) source: End,
    pub(super) target: End,
}

/// One side.
pub(super) struct End {
    pub(super) deployment: Deployment,
    /// How the engine reaches it.
    pub(super) uri: String,
    /// To its router, by TLS.
    _door: Option<TlsDoor>,
}

/// Where the servers ask for a login.
struct Guard {
    users: ClusterUsers,
    files: Files,
}

/// Paths of both sides' certificates.
#[derive(Clone)]
struct Files {
    /// Whom to trust.
    authority: String,
    /// Certificate and key of every server.
    server: String,
}

impl Ground {
    /// `work` takes the certificates.
    pub(super) async fn start(cell: &Cell, settings: &Settings, work: &Path) -> Result<Ground> {
        let files = match cell.login {
            Login::None => None,
            Login::Least => Some(Files::make(work)?),
        };
        let guard = |users| files.clone().map(|files| Guard { users, files });
        let source = guard(users::mover_of_source());
        let target = guard(users::mover_of_target(cell.target));
        let (source, target) = tokio::try_join!(
            End::start("source", cell.source, cell.topology, settings, source),
            End::start("target", cell.target, cell.topology, settings, target),
        )?;
        Ok(Ground { source, target })
    }

    /// As `Deployment::keep_logs`, by side.
    pub(super) fn keep_logs(&self, dir: &Path) {
        self.source.deployment.keep_logs(dir, "source");
        self.target.deployment.keep_logs(dir, "target");
    }
}

impl End {
    async fn start(
        name: &str,
        release: Release,
        topology: Topology,
        settings: &Settings,
        guard: Option<Guard>,
    ) -> Result<End> {
        let deployment = match topology {
            Topology::ReplicaSet => {
                let set = ReplicaSet::start(replica_set(name, release, settings, guard.as_ref()));
                Deployment::ReplicaSet(set.await?)
            }
            Topology::Sharded => {
                let cluster = ShardedCluster::start(sharded(release, guard.as_ref()));
                Deployment::Sharded(Box::new(cluster.await?))
            }
        };
        let (uri, door) = match guard {
            None => (deployment.uri(), None),
            Some(guard) => guard.way_in(&deployment)?,
        };
        Ok(End {
            deployment,
            uri,
            _door: door,
        })
    }
}

fn replica_set(
    name: &str,
    release: Release,
    settings: &Settings,
    guard: Option<&Guard>,
) -> ReplicaSetOptions {
    ReplicaSetOptions {
        release,
        name: name.to_owned(),
        members: settings.members,
        cache_gb: CACHE_GB,
        oplog_mb: Some(OPLOG_MB),
        set_parameters: set_parameters(release),
        extra_args: guard.map(Guard::flags).unwrap_or_default(),
        login: guard.map(|guard| guard.users.shard.clone()),
        ..ReplicaSetOptions::default()
    }
}

fn sharded(release: Release, guard: Option<&Guard>) -> ShardedOptions {
    ShardedOptions {
        release,
        cache_gb: CACHE_GB,
        oplog_mb: Some(OPLOG_MB),
        set_parameters: set_parameters(release),
        extra_args: guard.map(Guard::flags).unwrap_or_default(),
        login: guard.map(|guard| guard.users.clone()),
        ..ShardedOptions::default()
    }
}

fn set_parameters(release: Release) -> Vec<(String, String)> {
    let lifetime = ("transactionLifetimeLimitSeconds", TRANSACTION_LIFETIME_S);
    // As `validate` asks for: servers up to 4.4 keep 5 s of history, a slow machine needs more.
    let history = ("maxTargetSnapshotHistoryWindowInSeconds", "300");
    let is_short = (release.major, release.minor) < (5, 0);
    let history = is_short.then_some(history);
    let all = [lifetime].into_iter().chain(history);
    all.map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

impl Files {
    fn make(work: &Path) -> Result<Files> {
        let authority = Authority::create(work)?;
        let server = authority.server(&["127.0.0.1"])?;
        Ok(Files {
            authority: authority.file().display().to_string(),
            server: server.display().to_string(),
        })
    }
}

impl Guard {
    /// Of a server: TLS for who wants it. Among themselves, and with loadgen, they do
    /// without.
    fn flags(&self) -> Vec<String> {
        let flags = [
            "--tlsMode",
            "allowTLS",
            "--tlsCAFile",
            &self.files.authority,
            "--tlsCertificateKeyFile",
            &self.files.server,
            "--tlsAllowConnectionsWithoutCertificates",
        ];
        flags.map(str::to_owned).to_vec()
    }

    /// The engine's URI; for a cluster, the door before its router.
    fn way_in(&self, deployment: &Deployment) -> Result<(String, Option<TlsDoor>)> {
        let authority = self.files.authority.replace('/', "%2F");
        let trust = format!("tls=true&tlsCAFile={authority}");
        match deployment {
            Deployment::ReplicaSet(set) => Ok((format!("{}&{trust}", set.uri_as(MOVER)), None)),
            Deployment::Sharded(cluster) => {
                let door = TlsDoor::start(&cluster.router_host(), Path::new(&self.files.server))?;
                let uri = format!(
                    "mongodb://{}{}/?retryWrites={}&{trust}",
                    users::in_uri(MOVER),
                    door.host(),
                    !cluster.has_stand_in()
                );
                Ok((uri, Some(door)))
            }
        }
    }
}
