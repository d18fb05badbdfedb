//! The target shard as one incarnation writes to it: one command, one term, one wait.
//!
//! Every command is sent once. A connection that is lost while one is under way
//! ends the attempt: whether it took effect is not known, and sending it again on
//! another connection could let it run twice, late (R7).
//!
//! Knows nothing about what is written, or what a refusal means.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bson::{RawBsonRef, RawDocument, RawDocumentBuf, rawdoc};

use crate::bson::identity::{self, IdKey};
use crate::cluster::dialect::WriteForms;
use crate::cluster::direct::Direct;
use crate::cluster::ranges::id_hint;
use crate::cluster::retry::{while_stale, within};
use crate::error::{Error, Kind, Result};
use crate::pair::collection::Tracked;
use crate::pair::collection::under_way::until_answered;
use crate::pair::write::reply::{Said, found, is_stale, made, refusals, refused_error};
use crate::state::{Incarnation, same_term};
use crate::wire::message::{Reply, Request, number};

#[derive(Debug, Clone)]
pub struct Target {
    pub direct: Direct,
    /// All writes must be acknowledged in its term (R7).
    pub incarnation: Incarnation,
    /// How it is written to.
    pub forms: WriteForms,
    /// How long a command may stay unanswered.
    pub patience: Duration,
}

impl Target {
    /// One write command. On a collection that is gone, every statement is
    /// refused by itself (code 361, seen on 6.0.5); once it is dead none is sent. Where the shard does not know what it owns the command is sent
    /// again.
    pub(in crate::pair) async fn write(
        &self,
        collection: &Tracked,
        command: impl Fn() -> Request,
    ) -> Result<Said> {
        let Some(under_way) = collection.begin_write().await else {
            return Ok(Said::default());
        };
        let sent_before = AtomicBool::new(false);
        let send = || async {
            let command = command();
            let ordered = command.head().get_bool("ordered").unwrap_or(true);
            let again = sent_before.swap(true, Relaxed);
            let reply = self.command(command).await?;
            let refused = refusals(reply.body())?;
            if let Some(stale) = refused.iter().find(|refusal| is_stale(refusal, ordered)) {
                return Err(refused_error(collection, stale));
            }
            let found = if again {
                None
            } else {
                Some(found(reply.body()))
            };
            let made = if collection.traits.capped {
                made(reply.body())
            } else {
                Vec::new()
            };
            Ok(Said {
                refused,
                found,
                made,
            })
        };
        let said = until_answered(under_way, while_stale(self.patience, send)).await;
        said.map_err(|e| e.context(writing_to(collection)))
    }

    /// Sends one command, once, and checks the term that its reply was given in.
    ///
    /// # Errors
    /// `Transient` if the answer was lost, is late, or is of another term: the
    /// pair goes back to its last checkpoint.
    pub(in crate::pair) async fn command(&self, request: Request) -> Result<Reply> {
        let reply = self.answer(self.direct.run(request)).await?;
        self.check_term(reply.body())?;
        Ok(reply)
    }

    /// Waits for an answer, for so long; what went wrong tells where the primary may be.
    pub(in crate::pair) async fn answer<T>(
        &self,
        answer: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let answer = within(self.patience, "the target", answer).await;
        answer.inspect_err(|e| self.direct.learn(e))
    }

    /// # Errors
    /// `Transient` if a reply is of another term.
    pub(in crate::pair) fn check_term(&self, reply: &RawDocument) -> Result<()> {
        let time = reply.get_document("opTime");
        match time.ok().and_then(|time| number(time, "t")) {
            Some(term) => same_term(self.incarnation.term, term),
            // Not every reply has a term; the next checkpoint checks it.
            None => Ok(()),
        }
    }

    /// True if the target has any of these documents, whatever they hold.
    pub(in crate::pair) async fn has_any(
        &self,
        collection: &Tracked,
        ids: &[IdKey],
    ) -> Result<bool> {
        self.first_of(collection, ids)
            .await
            .map(|found| found.is_some())
    }

    /// One of these documents, as the target has it.
    pub(in crate::pair) async fn first_of(
        &self,
        collection: &Tracked,
        ids: &[IdKey],
    ) -> Result<Option<RawDocumentBuf>> {
        let hint = id_hint(self.forms.clustered_hint || !collection.traits.clustered);
        let find = rawdoc! {
            "find": &*collection.ns().coll, "filter": { "_id": identity::any_of(ids) }, "hint": hint, "limit": 1,
            "singleBatch": true,
        };
        let reply = self
            .command(Request::new(&collection.ns().db, find))
            .await?;
        let cursor = reply.body().get_document("cursor");
        let batch = cursor.and_then(|cursor| cursor.get_array("firstBatch"));
        let first = batch.map(|batch| batch.into_iter().next());
        let first = first.map_err(|_| {
            Error::new(Kind::Server, "the target answered a find without documents")
        })?;
        let document = |found: RawBsonRef<'_>| found.as_document().map(RawDocument::to_owned);
        Ok(first.transpose()?.and_then(document))
    }
}

/// What was being done, for an error's text.
pub(in crate::pair) fn writing_to(collection: &Tracked) -> String {
    format!("writing to {} on the target", collection.ns())
}
