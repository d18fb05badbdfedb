//! One client of the source, with a session in its own hand: it does ops one after the
//! other, and finds the new primary after an election.
//!
//! Knows nothing about where ops come from.

use std::time::Duration;

use bson::spec::BinarySubtype;
use bson::{Binary, Document, RawDocumentBuf, Utf8Lossy, Uuid, doc};

use super::across::Across;
use super::op::{Command, Deed, Op};
use super::tally::{Answer, Tally};
use super::value::append;
use crate::error::Result;
use crate::wire::link::{self, Link};

/// What the end of a transaction is answered that was aborted by an error.
const NO_SUCH_TRANSACTION: i32 = 251;
pub(super) const NAMESPACE_NOT_FOUND: i32 = 26;
const PRIMARY_TIMEOUT: Duration = Duration::from_secs(30);

pub(super) struct Client {
    hosts: Vec<String>,
    link: Link,
    session: Document,
    /// Of the last retryable write or transaction.
    number: i64,
    /// To the shards of a cluster.
    across: Option<Across>,
    pub(super) tally: Tally,
}

impl Client {
    /// `hosts` of the set's members, or of the router.
    pub(super) async fn connect(hosts: Vec<String>, across: Option<Across>) -> Result<Client> {
        let link = link::connect_primary(&hosts, PRIMARY_TIMEOUT).await?;
        let id = Binary {
            subtype: BinarySubtype::Uuid,
            bytes: Uuid::new().bytes().to_vec(),
        };
        Ok(Client {
            hosts,
            link,
            session: doc! {"id": id},
            number: 0,
            across,
            tally: Tally::default(),
        })
    }

    /// Does it, and counts what became of it.
    ///
    /// # Errors
    /// If the source has no primary any more.
    pub(super) async fn run(&mut self, op: &Op) -> Result<()> {
        let answers = match &op.deed {
            Deed::Commands(commands) => self.commands(commands, |_| true).await?,
            Deed::Steps(commands) => self.commands(commands, is_as_good_as_done).await?,
            Deed::Transaction { commands, commit } => match &mut self.across {
                Some(across) => vec![across.run(commands, *commit).await?],
                None => self.transaction(commands, *commit).await?,
            },
        };
        self.tally.note(op.kind, &answers);
        Ok(())
    }

    /// Up to the first whose answer ends it.
    async fn commands(
        &mut self,
        commands: &[Command],
        goes_on: fn(Answer) -> bool,
    ) -> Result<Vec<Answer>> {
        let mut answers = Vec::new();
        for command in commands {
            let mut body = command.body.clone();
            if command.retryable {
                self.number += 1;
                self.sign(&mut body);
            }
            let answer = self.send(&command.database, body).await?;
            answers.push(answer);
            if !goes_on(answer) {
                break;
            }
        }
        Ok(answers)
    }

    /// One answer for all of it.
    async fn transaction(&mut self, commands: &[Command], commit: bool) -> Result<Vec<Answer>> {
        self.number += 1;
        let mut answer = Answer::Done;
        for (at, command) in commands.iter().enumerate() {
            let mut body = command.body.clone();
            self.sign(&mut body);
            append(&mut body, "autocommit", false);
            if at == 0 {
                append(&mut body, "startTransaction", true);
            }
            answer = self.send(&command.database, body).await?;
            if answer != Answer::Done {
                break;
            }
        }
        let end = if commit && answer == Answer::Done {
            "commitTransaction"
        } else {
            "abortTransaction"
        };
        let mut body = RawDocumentBuf::new();
        append(&mut body, end, 1);
        self.sign(&mut body);
        append(&mut body, "autocommit", false);
        let ended = self.send("admin", body).await?;
        // What was refused is aborted already, which is an error of the end, too.
        Ok(vec![match answer {
            Answer::Done => ended,
            Answer::Partly => Answer::Refused(NO_SUCH_TRANSACTION),
            broken => broken,
        }])
    }

    fn sign(&self, body: &mut RawDocumentBuf) {
        append(body, "lsid", bson::Bson::Document(self.session.clone()));
        append(body, "txnNumber", self.number);
    }

    async fn send(&mut self, database: &str, mut body: RawDocumentBuf) -> Result<Answer> {
        append(&mut body, "$db", database);
        let Ok(reply) = self.link.call(&body, &[]).await else {
            self.link = link::connect_primary(&self.hosts, PRIMARY_TIMEOUT).await?;
            return Ok(Answer::Lost);
        };
        // A document of ours may be in it, whose texts are none.
        let Utf8Lossy(reply) = Utf8Lossy::<Document>::try_from(reply.as_ref())?;
        let Some((code, _)) = link::fault(&reply) else {
            return Ok(Answer::Done);
        };
        if is_of_an_election(code) {
            self.link = link::connect_primary(&self.hosts, PRIMARY_TIMEOUT).await?;
            return Ok(Answer::Lost);
        }
        // Some of several statements may have been taken.
        let some = reply.get("n").is_some_and(|n| 0.0 < link::number(n));
        Ok(if some && reply.contains_key("writeErrors") {
            Answer::Partly
        } else {
            Answer::Refused(code)
        })
    }
}

fn is_as_good_as_done(answer: Answer) -> bool {
    matches!(answer, Answer::Done | Answer::Refused(NAMESPACE_NOT_FOUND))
}

/// Not the primary (any more), interrupted by a change of its state, shutting down; or a
/// router did not reach it.
pub(super) fn is_of_an_election(code: i32) -> bool {
    let of_server = [91, 189, 10107, 11600, 11602, 13435, 13436];
    let of_router = [6, 7, 89, 133, 9001];
    of_server.contains(&code) || of_router.contains(&code)
}
