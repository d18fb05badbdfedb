//! A transaction on the target, and the meaning of its answers: it took effect, nothing
//! of it took effect, or nobody knows.
//!
//! Knows nothing about what is written in it.

use bson::raw::cstr;
use bson::rawdoc;

use crate::error::{Error, Kind, Result};
use crate::pair::write::reply::{found, refusals, written};
use crate::pair::write::target::Target;
use crate::wire::message::{Reply, Request};
use crate::wire::pool::Lease;

/// Why the transaction was not committed, as far as known.
#[derive(Debug)]
pub enum Stop {
    /// The target did not take it: nothing of it took effect.
    NotTaken(Error),
    /// Whether it took effect is not known, or the target is away.
    Fault(Error),
}

/// Dropped before its commit, it is ended by the server.
pub struct Transaction<'a> {
    target: &'a Target,
    /// It has the connection, and so its session, to itself.
    lease: Lease,
    number: i64,
    begun: bool,
}

type Step<T> = std::result::Result<T, Stop>;

/// The server's word for: nothing of it took effect.
const TRANSIENT_TRANSACTION_ERROR: &str = "TransientTransactionError";

impl<'a> Transaction<'a> {
    pub async fn begin(target: &'a Target) -> Step<Self> {
        let leased = target.answer(target.direct.primary()).await;
        let mut lease = leased.map_err(Stop::Fault)?;
        let number = lease.begin_transaction();
        Ok(Transaction {
            target,
            lease,
            number,
            begun: false,
        })
    }

    /// Sends one write command. Returns how many documents it found or made. A refused
    /// statement ends the transaction.
    pub async fn send(&mut self, mut request: Request) -> Step<u64> {
        if !std::mem::replace(&mut self.begun, true) {
            request.append(cstr!("startTransaction"), true);
        }
        let reply = self.answer(request).await.map_err(Stop::Fault)?;
        if let Some(fault) = reply.fault() {
            self.target.direct.learn(&fault);
            // Before the commit is sent nothing takes effect; a target that is away ends the
            // attempt.
            return Err(if fault.kind == Kind::Transient {
                Stop::Fault(fault)
            } else {
                Stop::NotTaken(fault)
            });
        }
        self.target.check_term(reply.body()).map_err(Stop::Fault)?;
        match refusals(reply.body()).map_err(Stop::Fault)?.first() {
            None => Ok(found(reply.body())),
            Some(refusal) => {
                let error = Error::new(
                    Kind::Server,
                    format!("{} (code {})", refusal.message, refusal.code),
                );
                Err(Stop::NotTaken(Error {
                    code: Some(refusal.code),
                    ..error
                }))
            }
        }
    }

    /// Its commit is proven by a later majority write, as every write is (R6).
    pub async fn commit(mut self) -> Step<()> {
        let commit = rawdoc! { "commitTransaction": 1, "writeConcern": { "w": 1 } };
        let reply = self
            .answer(Request::new("admin", commit))
            .await
            .map_err(Stop::Fault)?;
        let Some(fault) = reply.fault().or_else(|| written(reply.body()).err()) else {
            return Ok(());
        };
        self.target.direct.learn(&fault);
        if reply.has_label(TRANSIENT_TRANSACTION_ERROR) && fault.kind != Kind::Transient {
            return Err(Stop::NotTaken(fault));
        }
        // Perhaps it did: another attempt finds out by replaying.
        Err(Stop::Fault(Error {
            kind: Kind::Transient,
            ..fault
        }))
    }

    /// Makes sure it is ended. If a statement failed, the server has already done so.
    pub async fn abort(mut self) {
        // With the default it would wait for the majority to have what was written before.
        let abort = rawdoc! { "abortTransaction": 1, "writeConcern": { "w": 1 } };
        let _ = self.answer(Request::new("admin", abort)).await;
    }

    async fn answer(&mut self, mut request: Request) -> Result<Reply> {
        self.lease.join_session(&mut request);
        request.append(cstr!("txnNumber"), self.number);
        request.append(cstr!("autocommit"), false);
        self.target.answer(self.lease.answer(request)).await
    }
}
