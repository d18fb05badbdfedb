//! Runs transactions: by the driver's sessions where the entry has sessions, by
//! hand straight on the shards where it is the stand-in for mongos.
//!
//! Knows nothing about what the transactions write.

use bson::Document;
use mongodb::{Client, ClientSession};

use super::{
    plan::Part,
    refusal::{Refusal, refusal, refusals},
};
use crate::{
    cluster::transactions::{TransactionSession, Write},
    entry::Entry,
    error::{Doing, Error, Result},
};

/// Runs one transaction at a time.
pub(super) enum Transactor {
    /// A replica set or a real mongos.
    Driver(Box<ClientSession>, Client),
    /// Commands straight to the shards' primaries.
    Shards(Box<TransactionSession>),
}

impl Transactor {
    pub(super) async fn connect(entry: &Entry) -> Result<Self> {
        if !entry.stand_in {
            let session = entry
                .client
                .start_session()
                .await
                .doing(|| "starting a session".into())?;
            return Ok(Transactor::Driver(Box::new(session), entry.client.clone()));
        }
        let shards: Vec<_> = entry
            .shards
            .iter()
            .map(|shard| (shard.id.clone(), shard.hosts.clone()))
            .collect();
        let session = TransactionSession::connect(&shards).await;
        let session =
            session.map_err(|error| Error::new(format!("reaching the shards: {error}")))?;
        Ok(Transactor::Shards(Box::new(session)))
    }

    /// After an interruption: connects to the new primaries and ends what was
    /// left prepared.
    pub(super) async fn recover(&mut self, entry: &Entry) -> Result<()> {
        if let Transactor::Shards(session) = self {
            return session
                .recover()
                .await
                .map_err(|e| Error::new(format!("reaching the shards: {e}")));
        }
        *self = Transactor::connect(entry).await?;
        Ok(())
    }

    /// True if a transaction would stay prepared were it not recovered.
    pub(super) fn must_recover(&self) -> bool {
        matches!(self, Transactor::Shards(session) if session.may_be_prepared())
    }

    /// Writes all parts and commits; across shards where there are several.
    pub(super) async fn commit(&mut self, parts: &[Part]) -> Vec<Refusal> {
        match self {
            Transactor::Driver(session, client) => match write(session, client, parts).await {
                Ok(()) => session
                    .commit_transaction()
                    .await
                    .err()
                    .iter()
                    .map(refusal)
                    .collect(),
                Err(refusal) => abandon(session, refusal).await,
            },
            Transactor::Shards(session) => {
                let parts: Vec<_> = parts.iter().map(by_hand).collect();
                let done = match &parts[..] {
                    [part] => session.commit(part).await,
                    parts => session.commit_across(parts).await,
                };
                outcome(done)
            }
        }
    }

    /// Writes and aborts.
    pub(super) async fn abort(&mut self, part: &Part) -> Vec<Refusal> {
        match self {
            Transactor::Driver(session, client) => {
                match write(session, client, std::slice::from_ref(part)).await {
                    Ok(()) => session
                        .abort_transaction()
                        .await
                        .err()
                        .iter()
                        .map(refusal)
                        .collect(),
                    Err(refusal) => abandon(session, refusal).await,
                }
            }
            Transactor::Shards(session) => outcome(session.prepare_and_abort(&by_hand(part)).await),
        }
    }
}

fn by_hand((shard, commands): &Part) -> (usize, Vec<Write>) {
    (
        *shard,
        commands
            .iter()
            .map(|(database, command)| Write::new(database, command.clone()))
            .collect(),
    )
}

fn outcome(done: crate::error::Result<()>) -> Vec<Refusal> {
    done.err()
        .map(|error| (error.code.unwrap_or_default(), error.message))
        .into_iter()
        .collect()
}

/// Best effort: a refused write has ended the transaction already.
async fn abandon(session: &mut ClientSession, refusal: Refusal) -> Vec<Refusal> {
    let _ = session.abort_transaction().await;
    vec![refusal]
}

async fn write(
    session: &mut ClientSession,
    client: &Client,
    parts: &[Part],
) -> std::result::Result<(), Refusal> {
    session
        .start_transaction()
        .await
        .map_err(|error| refusal(&error))?;
    for (database, command) in parts.iter().flat_map(|(_, commands)| commands) {
        let reply = client
            .database(database)
            .run_command(command.clone())
            .session(&mut *session)
            .await;
        let reply: Document = reply.map_err(|error| refusal(&error))?;
        if let Some(first) = refusals(&reply).into_iter().next() {
            return Err(first);
        }
    }
    Ok(())
}
