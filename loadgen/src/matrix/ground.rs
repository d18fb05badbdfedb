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
use crate::matrix::further::{self, Further};
use crate::matrix::story::Routers;
use crate::proxy::TlsDoor;
use crate::server::certificates::Authority;
use crate::server::find;
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
    /// How the load does.
    pub(super) load_uri: String,
    /// A second router, before the deployment's own in both URIs.
    further: Option<Further>,
    /// To its routers, by TLS.
    _doors: Vec<TlsDoor>,
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

    pub(super) fn routers(&self) -> Option<Routers> {
        Some(Routers {
            source: self.source.deployment.router_kind()?,
            target: self.target.deployment.router_kind()?,
        })
    }

    /// As `Deployment::keep_logs`, by side.
    pub(super) fn keep_logs(&self, dir: &Path) {
        for (end, side) in [(&self.source, "source"), (&self.target, "target")] {
            end.deployment.keep_logs(dir, side);
            if let Some(further) = &end.further {
                further.keep_log(dir, side);
            }
        }
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
                let options = sharded(release, settings, guard.as_ref()).await?;
                let cluster = ShardedCluster::start(options);
                Deployment::Sharded(Box::new(cluster.await?))
            }
        };
        let further = match &deployment {
            Deployment::Sharded(cluster) => Further::start(cluster).await?,
            Deployment::ReplicaSet(_) => None,
        };
        let load_uri = over_both(&deployment, further.as_ref());
        let (uri, doors) = match guard {
            None => (load_uri.clone(), Vec::new()),
            Some(guard) => guard.way_in(&deployment, further.as_ref())?,
        };
        Ok(End {
            deployment,
            uri,
            load_uri,
            further,
            _doors: doors,
        })
    }

    /// Ends the second router, if there is one, and starts it again.
    pub(super) async fn restart_router(&self) -> Result<()> {
        match (&self.deployment, &self.further) {
            (Deployment::Sharded(cluster), Some(further)) => further.restart(cluster).await,
            _ => Ok(()),
        }
    }

    /// Makes real routers read anew what is sharded.
    pub(super) async fn flush_routers(&self) -> Result<()> {
        match (&self.deployment, &self.further) {
            (Deployment::Sharded(cluster), Some(further)) => {
                further::flush(&routers_of(cluster, Some(further))).await
            }
            _ => Ok(()),
        }
    }
}

/// In the order of the URIs.
fn routers_of(cluster: &ShardedCluster, further: Option<&Further>) -> Vec<String> {
    let further = further.map(|further| further.host().to_owned());
    further.into_iter().chain([cluster.router_host()]).collect()
}

/// The deployment's own URI, which names all its routers.
fn over_both(deployment: &Deployment, further: Option<&Further>) -> String {
    let uri = deployment.uri();
    match deployment {
        Deployment::Sharded(cluster) => {
            let all = routers_of(cluster, further).join(",");
            uri.replacen(&cluster.router_host(), &all, 1)
        }
        Deployment::ReplicaSet(_) => uri,
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

async fn sharded(
    release: Release,
    settings: &Settings,
    guard: Option<&Guard>,
) -> Result<ShardedOptions> {
    let mongos = match &settings.mongos {
        Some(paths) => find::mongos_among(paths.clone(), release).await?,
        None => None,
    };
    Ok(ShardedOptions {
        release,
        // Of those that were named, none is of this release.
        stand_in_only: settings.mongos.is_some() && mongos.is_none(),
        mongos: mongos.map(|mongos| mongos.program.path),
        cache_gb: CACHE_GB,
        oplog_mb: Some(OPLOG_MB),
        set_parameters: set_parameters(release),
        extra_args: guard.map(Guard::flags).unwrap_or_default(),
        login: guard.map(|guard| guard.users.clone()),
        ..ShardedOptions::default()
    })
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

    /// The engine's URI; for a cluster, the doors before its routers.
    fn way_in(
        &self,
        deployment: &Deployment,
        further: Option<&Further>,
    ) -> Result<(String, Vec<TlsDoor>)> {
        let authority = self.files.authority.replace('/', "%2F");
        let trust = format!("tls=true&tlsCAFile={authority}");
        match deployment {
            Deployment::ReplicaSet(set) => {
                Ok((format!("{}&{trust}", set.uri_as(MOVER)), Vec::new()))
            }
            Deployment::Sharded(cluster) => {
                let certificate = Path::new(&self.files.server);
                let doors: Vec<TlsDoor> = routers_of(cluster, further)
                    .iter()
                    .map(|host| TlsDoor::start(host, certificate))
                    .collect::<Result<_>>()?;
                let hosts: Vec<String> = doors.iter().map(TlsDoor::host).collect();
                let uri = format!(
                    "mongodb://{}{}/?retryWrites={}&{trust}",
                    users::in_uri(MOVER),
                    hosts.join(","),
                    !cluster.has_stand_in()
                );
                Ok((uri, doors))
            }
        }
    }
}
