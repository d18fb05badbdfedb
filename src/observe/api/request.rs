//! What an operator asks of a running process, and what control offers the API.
//!
//! Decides nothing: control answers everything.

use std::fmt;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde::Deserialize;
use tokio::sync::{mpsc, oneshot};

use crate::observe::prepared::Prepared;
use crate::observe::status::Snapshot;

/// A sentence either way: what happens now, or why it cannot.
pub type Answer = std::result::Result<String, String>;

/// What control answers each with a sentence or a refusal, when its phase allows.
#[derive(Debug)]
pub enum Request {
    Cutover {
        /// The source refuses users' writes first.
        block_writes: bool,
        reply: oneshot::Sender<Answer>,
    },
    Cancel(oneshot::Sender<Answer>),
    /// By whom, and why.
    Pause(String, oneshot::Sender<Answer>),
    Resume(oneshot::Sender<Answer>),
    /// 24 h more of the cutover window.
    Extend(oneshot::Sender<Answer>),
    /// A source shard, or a collection, is copied again.
    Recopy(Recopied, oneshot::Sender<Answer>),
}

/// What is copied again: at least one of both is given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recopied {
    /// Id of the source shard; None: all of them.
    #[serde(default)]
    pub shard: Option<String>,
    /// Only this collection, as `db.collection` of the target; on all shards also `db.*`.
    #[serde(default)]
    pub ns: Option<String>,
}

impl Recopied {
    pub fn is_nothing(&self) -> bool {
        self.shard.is_none() && self.ns.is_none()
    }
}

/// As people are told of it.
impl fmt::Display for Recopied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.shard, &self.ns) {
            (Some(shard), Some(ns)) => write!(f, "{ns} of source shard {shard}"),
            (Some(shard), None) => write!(f, "source shard {shard}"),
            (None, Some(ns)) => write!(f, "{ns} of all source shards"),
            (None, None) => write!(f, "nothing"),
        }
    }
}

impl Request {
    pub fn refuse(self, why: &str) {
        let (Request::Cutover { reply, .. }
        | Request::Cancel(reply)
        | Request::Pause(_, reply)
        | Request::Resume(reply)
        | Request::Extend(reply)
        | Request::Recopy(_, reply)) = self;
        // An asker that is gone loses only the answer.
        let _ = reply.send(Err(why.to_owned()));
    }
}

/// What control offers, in any phase, and where it takes requests.
#[derive(Clone)]
pub struct Control {
    pub snapshot: Arc<dyn Fn() -> Snapshot + Send + Sync>,
    /// Changes how fast the run may go.
    pub limit: Arc<dyn Fn(Limits) -> Answer + Send + Sync>,
    /// Asks the servers what a cutover would wait for.
    pub prepare: Arc<dyn Fn() -> BoxFuture<'static, Result<Prepared, String>> + Send + Sync>,
    pub requests: mpsc::Sender<Request>,
}

/// How fast a run may go; None: as before, 0: no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// MiB copied per second.
    pub copy_mb_s: Option<u64>,
    /// Ops applied per second.
    pub ops_s: Option<u64>,
}
