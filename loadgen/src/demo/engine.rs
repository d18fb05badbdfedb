//! The engine as an operator runs it: its command line, its log in a file, its
//! API, the summary it prints last.
//!
//! Knows nothing about the load and the clusters but their URIs.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::demo::clusters::Clusters;
use crate::demo::narrate::Narrator;
use crate::engine::api::Api;
use crate::engine::arguments;
use crate::engine::child::Child;
use crate::engine::program::{self, api_url};
use crate::error::{Error, Result};

const API_TIMEOUT: Duration = Duration::from_secs(20);
/// From done to the end of the process: grace time and a lingering API.
const END_TIMEOUT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);
const TAIL_LINES: usize = 25;

/// The demo's own files. Gone when dropped, unless kept.
pub(super) struct WorkDir(tempfile::TempDir);

impl WorkDir {
    pub(super) fn create() -> Result<WorkDir> {
        Ok(WorkDir(
            tempfile::Builder::new()
                .prefix("shardlift-demo-")
                .tempdir()?,
        ))
    }

    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }
}

/// What `shardlift migrate --json` prints at its end.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Summary {
    pub(super) documents_copied: u64,
    pub(super) bytes_copied: u64,
    pub(super) ops_applied: u64,
    pub(super) statements_sent: u64,
    pub(super) indexes_built: u64,
    pub(super) lag_ms_max: u64,
    pub(super) cutover_ms: u64,
    pub(super) late_writes: u64,
    pub(super) warnings: Vec<String>,
}

/// A running `shardlift migrate`. Fields in the order they go.
pub(super) struct Engine {
    child: Child,
    work: WorkDir,
}

impl Engine {
    pub(super) fn start(
        program: &Path,
        clusters: &Clusters,
        work: WorkDir,
        tell: &Narrator,
    ) -> Result<Engine> {
        let arguments = arguments::migrate(&clusters.source.uri(), &clusters.target.uri(), &[]);
        tell.step(format!("shardlift {}", arguments.join(" ")));
        let out = File::create(output(&work))?.into();
        let child = program::start(program, &arguments, out, &log(&work))?;
        tell.detail(format!("its log: {}", log(&work).display()));
        Ok(Engine { child, work })
    }

    /// Waits until the log tells the API's address.
    pub(super) async fn api(&mut self) -> Result<Api> {
        let began = Instant::now();
        while began.elapsed() < API_TIMEOUT {
            if let Some(url) = api_url(&self.log()) {
                return Ok(Api::new(url));
            }
            self.ensure_running()?;
            tokio::time::sleep(POLL).await;
        }
        Err(Error::new(format!(
            "shardlift opened no API within {} s",
            API_TIMEOUT.as_secs()
        )))
    }

    /// # Errors
    /// If the process has ended.
    pub(super) fn ensure_running(&mut self) -> Result<()> {
        match self.child.ended()? {
            None => Ok(()),
            Some(status) => Err(Error::new(format!("shardlift ended too early ({status})"))),
        }
    }

    /// Waits for the end of a run that is done, and reads what it printed.
    pub(super) async fn summary(&mut self) -> Result<Summary> {
        self.child.success(Some(END_TIMEOUT)).await?;
        let output = fs::read_to_string(output(&self.work))?;
        let last = output.lines().last().unwrap_or_default();
        serde_json::from_str(last)
            .map_err(|e| Error::new(format!("shardlift's summary cannot be read: {e}: {last}")))
    }

    /// Adds the end of the log to an error and keeps the file.
    pub(super) fn explain(mut self, error: Error) -> Error {
        self.work.0.disable_cleanup(true);
        let log = self.log();
        let tail = program::tail(&log, TAIL_LINES);
        let place = self::log(&self.work);
        Error {
            message: format!("{}\nthe engine's log ends with:\n  {tail}", error.message),
            ..error
        }
        .remedy(format!("see the whole log, kept in {}", place.display()))
    }

    fn log(&self) -> String {
        program::log_text(&log(&self.work))
    }
}

fn log(work: &WorkDir) -> PathBuf {
    work.path().join("shardlift.log")
}

fn output(work: &WorkDir) -> PathBuf {
    work.path().join("shardlift.out")
}
