//! What the demo asks of the running engine over HTTP: its state, and the
//! cutover.
//!
//! Knows the names of the fields it reads, nothing more of the engine.

use std::time::Duration;

use serde::Deserialize;

use crate::error::{Error, Result};

const STATUS_TIMEOUT: Duration = Duration::from_secs(5);
/// The engine answers within 30 s.
const CUTOVER_TIMEOUT: Duration = Duration::from_secs(35);

/// The state of the run, as far as the demo shows it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Status {
    pub(super) phase: String,
    pub(super) lag_ms: u64,
    pub(super) pairs: Vec<PairStatus>,
    pub(super) warnings: Vec<String>,
    pub(super) error: Option<String>,
    pub(super) cutover_ms: Option<u64>,
    pub(super) cutovers_given_up: u64,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct PairStatus {
    pub(super) documents_total: u64,
    pub(super) documents_copied: u64,
    pub(super) bytes_copied: u64,
    pub(super) indexes_total: u64,
    pub(super) indexes_built: u64,
    pub(super) ops_applied: u64,
}

impl Status {
    /// One counter over all pairs.
    pub(super) fn sum(&self, counter: impl Fn(&PairStatus) -> u64) -> u64 {
        self.pairs.iter().map(counter).sum()
    }
}

/// The API of one engine.
#[derive(Clone)]
pub(super) struct Api {
    url: String,
    agent: ureq::Agent,
}

impl Api {
    pub(super) fn new(url: String) -> Api {
        let config = ureq::Agent::config_builder().timeout_global(Some(STATUS_TIMEOUT)).http_status_as_error(false);
        Api { url, agent: config.build().into() }
    }

    pub(super) async fn status(&self) -> Result<Status> {
        let Api { url, agent } = self.clone();
        let asked = move || agent.get(format!("{url}/status")).call()?.body_mut().read_json();
        blocking(asked).await.map_err(|e| e.context("asking the engine for its status"))
    }

    /// Asks for the cutover; the engine's sentence, `Err` in the inner result
    /// where it refuses.
    pub(super) async fn cutover(&self) -> Result<std::result::Result<String, String>> {
        let Api { url, agent } = self.clone();
        let asked = move || {
            let request = agent.post(format!("{url}/cutover")).config().timeout_global(Some(CUTOVER_TIMEOUT)).build();
            let mut reply = request.send_empty()?;
            let accepted = reply.status().is_success();
            let text = reply.body_mut().read_to_string()?;
            Ok(if accepted { Ok(text) } else { Err(text) })
        };
        blocking(asked).await.map_err(|e| e.context("asking the engine for the cutover"))
    }
}

async fn blocking<T: Send + 'static>(
    asked: impl FnOnce() -> std::result::Result<T, ureq::Error> + Send + 'static,
) -> Result<T> {
    let answer = tokio::task::spawn_blocking(asked).await.map_err(|e| Error::new(e.to_string()))?;
    answer.map_err(|e| Error::new(e.to_string()))
}
