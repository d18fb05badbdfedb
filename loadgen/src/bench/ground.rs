//! What every suite stands on: the engine's program, a folder in memory for its
//! logs and spool, servers, the byte for byte comparison at the end.
//!
//! Measures nothing.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use crate::abilities::Abilities;
use crate::bench::args::Common;
use crate::check::{self, CheckOptions};
use crate::cluster::{ReplicaSet, ReplicaSetOptions};
use crate::engine::{build, program};
use crate::error::{Error, Result};
use crate::server::data_dir::DataDir;

/// Largest oplog of a server: holds all that any suite writes, and takes only
/// what is written.
const OPLOG_MB: u32 = 8_192;

pub(super) struct Ground {
    pub(super) common: Common,
    pub(super) program: PathBuf,
    work: DataDir,
    logs: AtomicU32,
    began: Instant,
}

impl Ground {
    pub(super) async fn prepare(common: &Common) -> Result<Ground> {
        let work =
            DataDir::create("bench").map_err(|e| Error::from(e).context("folder of the engine"))?;
        let program = match &common.engine {
            Some(path) => program::given(path)?,
            None => build::engine(work.path()).await?,
        };
        Ok(Ground {
            common: common.clone(),
            program,
            work,
            logs: AtomicU32::new(0),
            began: Instant::now(),
        })
    }

    /// Says on stderr what goes on.
    pub(super) fn tell(&self, text: impl AsRef<str>) {
        eprintln!(
            "{:6.1} s  {}",
            self.began.elapsed().as_secs_f64(),
            text.as_ref()
        );
    }

    /// Where the spools of all engines are.
    pub(super) fn spool(&self) -> PathBuf {
        self.work.path().join("spool")
    }

    /// A log of its own for each start of an engine.
    pub(super) fn next_log(&self) -> PathBuf {
        let number = self.logs.fetch_add(1, Ordering::Relaxed);
        self.work.path().join(format!("shardlift-{number}.log"))
    }

    /// Cores that all processes share.
    pub(super) fn cores(&self) -> f64 {
        std::thread::available_parallelism().map_or(1.0, |cores| cores.get() as f64)
    }

    /// How each server of a suite is started.
    pub(super) fn server(&self, set: &str) -> ReplicaSetOptions {
        // The default lets a server that is told to end wait for 15 s.
        let at_once = (
            "shutdownTimeoutMillisForSignaledShutdown".to_owned(),
            "0".to_owned(),
        );
        let release = self.common.server_version;
        let quiesces = Abilities::from(release).quiesces;
        ReplicaSetOptions {
            release,
            name: set.to_owned(),
            cache_gb: self.common.cache_gb,
            oplog_mb: Some(OPLOG_MB),
            data_under: self.common.dbpath.clone(),
            set_parameters: quiesces.then_some(at_once).into_iter().collect(),
            ..ReplicaSetOptions::default()
        }
    }

    /// A replica set of one member.
    pub(super) async fn start(&self, set: &str) -> Result<ReplicaSet> {
        ReplicaSet::start(self.server(set)).await
    }

    /// Both sides, byte for byte; what differs goes to stderr.
    pub(super) async fn is_equal(&self, source: &ReplicaSet, target: &ReplicaSet) -> Result<bool> {
        self.tell("comparing both sides byte for byte");
        let report = check::compare(&source.uri(), &target.uri(), &CheckOptions::default()).await?;
        eprint!("{report}");
        Ok(report.equal)
    }
}

/// Process of a set's only member.
pub(super) fn pid(set: &ReplicaSet) -> Result<u32> {
    let pid = set.members().first().and_then(|member| member.pid());
    pid.ok_or_else(|| Error::new(format!("the server of {} is down", set.name())))
}

/// Host of a set's only member.
pub(super) fn host(set: &ReplicaSet) -> String {
    set.member_hosts().swap_remove(0)
}

/// The last lines of a file, indented.
pub(super) fn log_tail(path: &Path) -> String {
    const LINES: usize = 25;
    program::tail(&program::log_text(path), LINES)
}
