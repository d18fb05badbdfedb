//! Updates and deletes of one flush in one transaction: the target then commits,
//! and writes its own oplog, once for thousands of them (tuning.md has what that
//! saves).
//!
//! Only a way to be faster. Where the target does not take the transaction
//! nothing of it took effect, and the flush goes statement by statement, where a
//! refusal names its document. Knows nothing about refusals.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use bson::RawDocumentBuf;
use mongodb::ClientSession;
use mongodb::error::{TRANSIENT_TRANSACTION_ERROR, UNKNOWN_TRANSACTION_COMMIT_RESULT};
use mongodb::options::WriteConcern;

use crate::cluster::retry::within;
use crate::error::{Error, Kind, Result};
use crate::failpoint;
use crate::pair::bulk::{Writer, refusals};

/// A command and its database.
pub struct Part {
    pub database: String,
    pub body: RawDocumentBuf,
}

/// Whether the next flush is tried in one transaction: where values of a unique
/// index go round, one refusal undoes a whole flush, so a while passes after each.
#[derive(Debug, Default)]
pub struct AtOnce {
    pause: AtomicU32,
}

/// Flushes sent statement by statement after one that was not taken.
const PAUSE: u32 = 8;

impl AtOnce {
    pub fn is_due(&self) -> bool {
        self.pause.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_err()
    }

    pub fn note(&self, taken: bool) {
        if !taken {
            self.pause.store(PAUSE, Relaxed);
        }
    }
}

/// Fewer statements are not worth a commit of their own.
pub const STATEMENTS_MIN: usize = 16;

enum Stop {
    /// The target did not take it: nothing of it took effect.
    NotTaken(Error),
    /// Whether it took effect is not known, or the target is away.
    Fault(Error),
}

impl Writer {
    /// True if all is acknowledged; false if nothing of it took effect.
    ///
    /// # Errors
    /// `Transient` if an answer was lost, is late, or is of another term: the
    /// pair goes back to its last checkpoint.
    pub async fn in_one_transaction(&self, parts: impl Iterator<Item = Part>) -> Result<bool> {
        match self.transact(parts).await {
            Ok(()) => Ok(true),
            Err(Stop::NotTaken(e)) => {
                tracing::debug!("the target did not take a flush at once: {e}");
                Ok(false)
            }
            Err(Stop::Fault(e)) => Err(e.context("writing to the target")),
        }
    }

    async fn transact(&self, parts: impl Iterator<Item = Part>) -> std::result::Result<(), Stop> {
        let fault = |e: mongodb::error::Error| Stop::Fault(e.into());
        let mut session = self.client.start_session().await.map_err(fault)?;
        session.start_transaction().write_concern(WriteConcern::nodes(1)).await.map_err(fault)?;
        for part in parts {
            if let Err(stop) = self.statement(&mut session, part).await {
                if let Stop::NotTaken(_) = &stop {
                    // IMPORTANT: before anything of it is sent again. The server has
                    // ended it by itself where a statement failed; this makes sure.
                    let _ = within(self.patience, "the target", async { Ok(session.abort_transaction().await?) }).await;
                }
                return Err(stop);
            }
        }
        failpoint::hit("flush-before-commit");
        let commit = async { Ok(session.commit_transaction().await.map_err(commit_stop)) };
        within(self.patience, "the target", commit).await.map_err(Stop::Fault)??;
        failpoint::hit("flush-committed");
        Ok(())
    }

    async fn statement(&self, session: &mut ClientSession, part: Part) -> std::result::Result<(), Stop> {
        let database = self.client.database(&part.database);
        let sent = async { Ok(database.run_raw_command(part.body).session(session).await.map_err(statement_stop)) };
        let reply = within(self.patience, "the target", sent).await.map_err(Stop::Fault)??;
        self.check_term(&reply).map_err(Stop::Fault)?;
        match refusals(&reply).map_err(Stop::Fault)?.first() {
            None => Ok(()),
            Some(refusal) => Err(Stop::NotTaken(Error::new(Kind::Server, refusal.message.clone()))),
        }
    }
}

/// A fault before the commit was sent.
fn statement_stop(e: mongodb::error::Error) -> Stop {
    let transient = e.contains_label(TRANSIENT_TRANSACTION_ERROR);
    match Error::from(e) {
        e if e.kind == Kind::Transient || e.code.is_none() && !transient => Stop::Fault(e),
        e => Stop::NotTaken(e),
    }
}

/// Whether it took effect must be known.
fn commit_stop(e: mongodb::error::Error) -> Stop {
    let aborted = e.contains_label(TRANSIENT_TRANSACTION_ERROR) && !e.contains_label(UNKNOWN_TRANSACTION_COMMIT_RESULT);
    match Error::from(e) {
        e if aborted && e.kind != Kind::Transient => Stop::NotTaken(e),
        e => Stop::Fault(Error { kind: Kind::Transient, ..e }),
    }
}
