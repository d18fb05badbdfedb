//! What is asked of the running engine over HTTP: its state, and the
//! cutover.
//!
//! Knows the names of the fields it reads, nothing more of the engine.

use std::time::Duration;

use serde::Deserialize;

use crate::error::{Error, Result};

const STATUS_TIMEOUT: Duration = Duration::from_secs(5);
/// The engine answers within 30 s.
const CUTOVER_TIMEOUT: Duration = Duration::from_secs(35);

/// The state of the run, as far as loadgen shows it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Status {
    pub phase: String,
    pub lag_ms: u64,
    pub pairs: Vec<PairStatus>,
    /// What stands in the way of a cutover now.
    pub obstacles: Vec<String>,
    pub warnings: Vec<String>,
    /// Why the last cutover was called off.
    pub last_cutover: Option<String>,
    pub error: Option<String>,
    pub cutover_ms: Option<u64>,
    pub cutovers_given_up: u64,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct PairStatus {
    pub documents_total: u64,
    pub documents_copied: u64,
    pub bytes_copied: u64,
    pub indexes_total: u64,
    pub indexes_built: u64,
    pub entries_read: u64,
    pub ops_applied: u64,
    /// All is verified ahead of the cutover that can be; and what was touched since.
    pub verified: bool,
    pub documents_touched: u64,
}

impl Status {
    /// One counter over all pairs.
    pub fn sum(&self, counter: impl Fn(&PairStatus) -> u64) -> u64 {
        self.pairs.iter().map(counter).sum()
    }
}

/// The API of one engine.
#[derive(Clone)]
pub struct Api {
    url: String,
    agent: ureq::Agent,
}

impl Api {
    pub fn new(url: String) -> Api {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(STATUS_TIMEOUT))
            .http_status_as_error(false);
        Api {
            url,
            agent: config.build().into(),
        }
    }

    /// Its address.
    pub fn url(&self) -> &str {
        &self.url
    }

    pub async fn status(&self) -> Result<Status> {
        let Api { url, agent } = self.clone();
        let asked = move || {
            agent
                .get(format!("{url}/status"))
                .call()?
                .body_mut()
                .read_json()
        };
        blocking(asked)
            .await
            .map_err(|e| e.context("asking the engine for its status"))
    }

    /// Asks for the cutover; the engine's sentence, `Err` in the inner result
    /// where it refuses.
    pub async fn cutover(&self) -> Result<std::result::Result<String, String>> {
        let Api { url, agent } = self.clone();
        let asked = move || {
            let request = agent
                .post(format!("{url}/cutover"))
                .config()
                .timeout_global(Some(CUTOVER_TIMEOUT))
                .build();
            let mut reply = request.send_empty()?;
            let accepted = reply.status().is_success();
            let text = reply.body_mut().read_to_string()?;
            Ok(if accepted { Ok(text) } else { Err(text) })
        };
        blocking(asked)
            .await
            .map_err(|e| e.context("asking the engine for the cutover"))
    }
}

async fn blocking<T: Send + 'static>(
    asked: impl FnOnce() -> std::result::Result<T, ureq::Error> + Send + 'static,
) -> Result<T> {
    let answer = tokio::task::spawn_blocking(asked)
        .await
        .map_err(|e| Error::new(e.to_string()))?;
    answer.map_err(|e| Error::new(e.to_string()))
}
