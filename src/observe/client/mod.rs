//! The client side of the API: requests by `shardlift status`, `cutover`, `cancel` and
//! others to a running process. Blocking.
//!
//! Prints nothing; the caller shows the results.

use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

use crate::config::Token;
use crate::error::{Error, Kind, Result};
use crate::observe::phase::Phase;
use crate::observe::prepared::Prepared;
use crate::observe::reverse::Reverse;
use crate::observe::status::Snapshot;

/// Longer than the server waits for its own answer.
const TIMEOUT: Duration = Duration::from_secs(40);
/// Time between two looks at a cutover.
const POLL: Duration = Duration::from_millis(200);

/// A running process, by the base URL of its API.
pub struct Client {
    base: String,
    token: Token,
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
    /// `base` is such as `http://127.0.0.1:27182`.
    pub fn new(base: &str) -> Self {
        Client::by(base, Token::default(), TlsConfig::default())
    }

    /// One that shows a token and trusts the authority in this PEM file. Empty: no token;
    /// the authorities that Mozilla trusts.
    ///
    /// # Errors
    /// `Config` if the file holds no certificate.
    pub fn trusted(base: &str, token: Token, ca: &str) -> Result<Self> {
        let tls = match ca {
            "" => TlsConfig::default(),
            path => TlsConfig::builder()
                .root_certs(authority(path.as_ref())?)
                .build(),
        };
        Ok(Client::by(base, token, tls))
    }

    fn by(base: &str, token: Token, tls: TlsConfig) -> Self {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(TIMEOUT))
            .http_status_as_error(false)
            .proxy(None)
            .tls_config(tls)
            .build();
        Client {
            base: base.trim_end_matches('/').to_string(),
            token,
            agent: config.into(),
        }
    }

    /// The run's state now.
    ///
    /// # Errors
    /// `Control` if no process of ours answers.
    pub fn status(&self) -> Result<Snapshot> {
        self.get("status")
    }

    /// What a cutover would wait for now.
    ///
    /// # Errors
    /// `Control` if no process answers or it refuses.
    pub fn prepare(&self) -> Result<Prepared> {
        self.get("prepare")
    }

    fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        let request = self.agent.get(format!("{}/{path}", self.base));
        let mut answer = self.shown(request).call().map_err(|e| self.silent(&e))?;
        if answer.status().is_success() {
            return answer.body_mut().read_json().map_err(|e| self.silent(&e));
        }
        self.sentence(path, Ok(answer))
            .and_then(|message| Err(refused(path, &message)))
    }

    /// The request with the token.
    fn shown<B>(&self, request: ureq::RequestBuilder<B>) -> ureq::RequestBuilder<B> {
        if self.token.is_empty() {
            return request;
        }
        request.header("Authorization", format!("Bearer {}", self.token.expose()))
    }

    /// Asks for the cutover; returns the sentence that accepts it.
    ///
    /// # Errors
    /// `Control` if no process answers or it refuses.
    pub fn cutover(&self) -> Result<String> {
        self.post("cutover")
    }

    /// The same; the source refuses users' writes from then on.
    ///
    /// # Errors
    /// As [`Client::cutover`].
    pub fn cutover_blocking_writes(&self) -> Result<String> {
        self.post_json("cutover", &json!({"block_writes": true}))
    }

    /// Changes how fast the run may go: MiB/s copied, ops/s applied. None: as before.
    ///
    /// # Errors
    /// As [`Client::cutover`].
    pub fn throttle(&self, copy_mb_s: Option<u64>, ops_s: Option<u64>) -> Result<String> {
        self.post_json(
            "throttle",
            &given([
                ("copy_mb_s", copy_mb_s.map(Value::from)),
                ("ops_s", ops_s.map(Value::from)),
            ]),
        )
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
        self.post_json("pause", &json!({"by": by}))
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

    /// Asks that a source shard, one collection of it, or one of all shards, be copied again.
    ///
    /// # Errors
    /// As [`Client::cutover`].
    pub fn recopy(&self, shard: Option<&str>, ns: Option<&str>) -> Result<String> {
        let fields = [("shard", shard), ("ns", ns)];
        self.post_json(
            "recopy",
            &given(fields.map(|(name, value)| (name, value.map(Value::from)))),
        )
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
        let request = self.agent.post(format!("{}/{path}", self.base));
        self.sentence(path, self.shown(request).send_empty())
    }

    fn post_json(&self, path: &str, body: &Value) -> Result<String> {
        let request = self.agent.post(format!("{}/{path}", self.base));
        self.sentence(path, self.shown(request).send_json(body))
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
        Err(refused(path, &sentence.message))
    }

    fn silent(&self, error: &ureq::Error) -> Error {
        Error::new(Kind::Control, format!("no running migration answers at {}: {error}", self.base)).remedy(
            "run this on the host where `shardlift migrate` runs, with the same --api-port (its first log lines name it)",
        )
    }
}

/// A body of what is given.
fn given<const N: usize>(fields: [(&str, Option<Value>); N]) -> Value {
    let fields = fields.into_iter();
    let given = fields.filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Value::Object(given.collect())
}

fn refused(path: &str, why: &str) -> Error {
    let found = format!("{path} was refused: {why}");
    Error::new(Kind::Control, found).remedy("see `shardlift status` and ask again later")
}

fn authority(path: &Path) -> Result<RootCerts> {
    let cannot = |e: &dyn std::fmt::Display| {
        Error::new(Kind::Config, format!("{}: {e}", path.display()))
            .remedy("give api_ca a PEM file with the authority's certificate")
    };
    let pem = std::fs::read(path).map_err(|e| cannot(&e))?;
    let mut found: Vec<Certificate<'static>> = Vec::new();
    for item in parse_pem(&pem) {
        if let PemItem::Certificate(certificate) = item.map_err(|e| cannot(&e))? {
            found.push(certificate);
        }
    }
    if found.is_empty() {
        return Err(cannot(&"no certificate in it"));
    }
    Ok(RootCerts::from(found))
}

/// None while the cutover is not over.
fn end_of_cutover(before: &Snapshot, now: &Snapshot, began: bool) -> Option<Result<()>> {
    let why = |fallback: &str| now.error.clone().unwrap_or_else(|| fallback.to_string());
    let given_up = before.cutovers_given_up < now.cutovers_given_up || began;
    match now.phase {
        Phase::Done => Some(Ok(())),
        // It was done, and its way back has begun.
        _ if now.reverse == Reverse::Running && before.reverse != Reverse::Running => Some(Ok(())),
        // A cutover that is recovering may have been done: the next state will show.
        Phase::CuttingOver | Phase::Recovering => None,
        Phase::Parked => Some(Err(Error::new(Kind::Parked, why("a server was away for too long"))
            .remedy("remove the cause and run the same `shardlift migrate` again: it resumes, or finishes the cutover"))),
        Phase::Stopped => Some(Err(Error::new(Kind::Stopped, why("the run was stopped by a signal"))
            .remedy("run the same `shardlift migrate` again: it resumes, or finishes the cutover"))),
        Phase::Failed => Some(Err(Error::new(Kind::Server, format!("the run failed: {}", why("no reason was given")))
            .remedy("look at the end of the run's log"))),
        Phase::Cancelled => Some(Err(Error::new(Kind::Cancelled, "the run was cancelled"))),
        _ if given_up => {
            let reason = why(now.last_cutover.as_deref().unwrap_or("cutover called off: see the run's log"));
            Some(Err(Error::new(Kind::Refused, format!("{reason}; the run is following again"))
                .remedy(format!("remove the cause and run `{}` again; nothing was lost", now.reverse.cutover()))))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
