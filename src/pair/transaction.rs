//! A transaction on the target, and what its answers mean: it took effect, or
//! nothing of it did, or that is not known.
//!
//! Knows nothing about what is written in it.

use std::time::Duration;

use bson::RawDocumentBuf;
use mongodb::ClientSession;
use mongodb::error::{TRANSIENT_TRANSACTION_ERROR, UNKNOWN_TRANSACTION_COMMIT_RESULT};
use mongodb::options::WriteConcern;

use crate::cluster::retry::within;
use crate::error::{Error, Kind, Result};
use crate::pair::bulk::{Writer, refusals};

/// Why it did not come to a commit.
#[derive(Debug)]
pub enum Stop {
    /// The target did not take it: nothing of it took effect.
    NotTaken(Error),
    /// Whether it took effect is not known, or the target is away.
    Fault(Error),
}

/// Dropped before its commit, it is ended by the server.
pub struct Transaction<'a> {
    writer: &'a Writer,
    session: ClientSession,
}

type Step<T> = std::result::Result<T, Stop>;

impl<'a> Transaction<'a> {
    pub async fn begin(writer: &'a Writer) -> Step<Self> {
        let fault = |e: mongodb::error::Error| Stop::Fault(e.into());
        let mut session = writer.client.start_session().await.map_err(fault)?;
        // Its commit is proven by a later majority write, as every write is (R6).
        session.start_transaction().write_concern(WriteConcern::nodes(1)).await.map_err(fault)?;
        Ok(Transaction { writer, session })
    }

    /// One write command. A statement that is refused ends the transaction.
    pub async fn send(&mut self, database: &str, body: RawDocumentBuf) -> Step<()> {
        let database = self.writer.client.database(database);
        let session = &mut self.session;
        let sent = async { Ok(database.run_raw_command(body).session(session).await.map_err(statement_stop)) };
        let reply = answered(self.writer.patience, sent).await?;
        self.writer.check_term(&reply).map_err(Stop::Fault)?;
        match refusals(&reply).map_err(Stop::Fault)?.first() {
            None => Ok(()),
            Some(refusal) => {
                let error = Error::new(Kind::Server, format!("{} (code {})", refusal.message, refusal.code));
                Err(Stop::NotTaken(Error { code: Some(refusal.code), ..error }))
            }
        }
    }

    pub async fn commit(mut self) -> Step<()> {
        let sent = async { Ok(self.session.commit_transaction().await.map_err(commit_stop)) };
        answered(self.writer.patience, sent).await
    }

    /// Where a statement failed the server has ended it by itself; this makes sure.
    pub async fn abort(mut self) {
        let sent = async { Ok(self.session.abort_transaction().await?) };
        let _ = within(self.writer.patience, "the target", sent).await;
    }
}

async fn answered<T>(patience: Duration, sent: impl Future<Output = Result<Step<T>>>) -> Step<T> {
    within(patience, "the target", sent).await.map_err(Stop::Fault)?
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
        // Perhaps it did: another attempt finds out by replaying.
        e => Stop::Fault(Error { kind: Kind::Transient, ..e }),
    }
}
