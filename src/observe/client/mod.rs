//! The client side of the API: requests by `shardlift status`, `cutover` and `cancel` to
//! a running process. Blocking.
//!
//! Prints nothing; the caller shows the results.

use std::time::Duration;

use serde::Deserialize;

use crate::error::{Error, Kind, Result};
use crate::observe::phase::Phase;
use crate::observe::status::Snapshot;

/// Longer than the server waits for its own answer.
const TIMEOUT: Duration = Duration::from_secs(40);
/// Time between two looks at a cutover.
const POLL: Duration = Duration::from_millis(200);

/// A running process, by the base URL of its API.
pub struct Client {
    base: String,
    agent: ureq::Agent,
}

type Answer = ureq::http::Response<ureq::Body>;

/// The API's answer to a POST.
#[derive(Deserialize)]
struct Sentence {
    success: bool,
    message: String,
}

impl Client {
    /// `base` is such as `http://127.0.0.1:27183`.
    pub fn new(base: &str) -> Self {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(TIMEOUT))
            .http_status_as_error(false)
            .proxy(None)
            .build();
        Client {
            base: base.trim_end_matches('/').to_string(),
            agent: config.into(),
        }
    }

    /// The run's state now.
    ///
    /// # Errors
    /// `Control` if no process of ours answers.
    pub fn status(&self) -> Result<Snapshot> {
        let mut answer = self
            .agent
            .get(format!("{}/status", self.base))
            .call()
            .map_err(|e| self.silent(&e))?;
        answer.body_mut().read_json().map_err(|e| self.silent(&e))
    }

    /// Asks for the cutover; returns the sentence that accepts it.
    ///
    /// # Errors
    /// `Control` if no process answers or it refuses.
    pub fn cutover(&self) -> Result<String> {
        self.post("cutover")
    }

    /// Asks the run to stop; returns the sentence that accepts it.
    ///
    /// # Errors
    /// As [`Client::cutover`].
    pub fn cancel(&self) -> Result<String> {
        self.post("cancel")
    }

    /// Asks the run to hold back. `by`: who asks, and why, for the status.
    ///
    /// # Errors
    /// As [`Client::cutover`].
    pub fn pause(&self, by: &str) -> Result<String> {
        let url = format!("{}/pause", self.base);
        let asked = self
            .agent
            .post(url)
            .send_json(serde_json::json!({"by": by}));
        self.sentence("pause", asked)
    }

    /// Asks a paused run to go on.
    ///
    /// # Errors
    /// As [`Client::cutover`].
    pub fn resume(&self) -> Result<String> {
        self.post("resume")
    }

    /// Asks for 24 h more of the cutover window.
    ///
    /// # Errors
    /// As [`Client::cutover`].
    pub fn extend(&self) -> Result<String> {
        self.post("extend")
    }

    /// Follows an accepted cutover to its end and calls `show` with every state
    /// on the way. `before` is the state before it was asked for.
    ///
    /// # Errors
    /// `Refused` if it was given up and the run goes on, `Cancelled`, `Server`
    /// with the run's error, `Control` if the process no longer answers.
    pub fn follow_cutover(
        &self,
        before: &Snapshot,
        show: &mut dyn FnMut(&Snapshot),
    ) -> Result<Snapshot> {
        let mut began = false;
        loop {
            let now = self
                .status()
                .map_err(|e| e.context("the end of the cutover was not seen"))?;
            show(&now);
            began |= now.phase == Phase::CuttingOver;
            if let Some(end) = end_of_cutover(before, &now, began) {
                return end.map(|()| now);
            }
            std::thread::sleep(POLL);
        }
    }

    fn post(&self, path: &str) -> Result<String> {
        let asked = self
            .agent
            .post(format!("{}/{path}", self.base))
            .send_empty();
        self.sentence(path, asked)
    }

    fn sentence(&self, path: &str, asked: Result<Answer, ureq::Error>) -> Result<String> {
        let sentence: Sentence = asked
            .and_then(|mut answer| answer.body_mut().read_json())
            .map_err(|e| self.silent(&e))?;
        if sentence.success {
            return Ok(sentence.message);
        }
        // It says itself what to do.
        if path == "cancel" {
            let found = format!("cancel: {}", sentence.message);
            return Err(Error::new(Kind::Control, found));
        }
        let found = format!("{path} was refused: {}", sentence.message);
        Err(Error::new(Kind::Control, found).remedy("see `shardlift status` and ask again later"))
    }

    fn silent(&self, error: &ureq::Error) -> Error {
        Error::new(Kind::Control, format!("no running migration answers at {}: {error}", self.base)).remedy(
            "run this on the host where `shardlift migrate` runs, with the same --api-port (its first log lines name it)",
        )
    }
}

/// None while the cutover is not over.
fn end_of_cutover(before: &Snapshot, now: &Snapshot, began: bool) -> Option<Result<()>> {
    let why = |fallback: &str| now.error.clone().unwrap_or_else(|| fallback.to_string());
    let given_up = before.cutovers_given_up < now.cutovers_given_up || began;
    match now.phase {
        Phase::Done => Some(Ok(())),
        // A cutover that is recovering may have been done: the next state will show.
        Phase::CuttingOver | Phase::Recovering => None,
        Phase::Parked => Some(Err(Error::new(Kind::Parked, why("a server was away for too long"))
            .remedy("bring the server back and run the same `shardlift migrate` again: it resumes, or finishes the cutover"))),
        Phase::Stopped => Some(Err(Error::new(Kind::Stopped, why("the run was stopped by a signal"))
            .remedy("run the same `shardlift migrate` again: it resumes, or finishes the cutover"))),
        Phase::Failed => Some(Err(Error::new(Kind::Server, format!("the run failed: {}", why("no reason was given")))
            .remedy("look at the end of the run's log"))),
        Phase::Cancelled => Some(Err(Error::new(Kind::Cancelled, "the run was cancelled"))),
        _ if given_up => {
            let reason = why(now.last_cutover.as_deref().unwrap_or("see the run's log"));
            Some(Err(Error::new(Kind::Refused, format!("the cutover was called off, the run is following again: {reason}"))
                .remedy("remove the cause and run `shardlift cutover` again; nothing was lost")))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
