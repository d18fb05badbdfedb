//! The database `__shardlift` on one target shard: majority reads, and majority writes
//! that are bounded in time and report their term.
//!
//! Knows nothing about what the documents mean.

use std::future::Future;
use std::time::{Duration, Instant};

use bson::{Document, RawArrayBuf, RawBson, RawDocumentBuf, rawdoc};
use futures_util::TryStreamExt;
use mongodb::Client;

use crate::cluster::admin;
use crate::cluster::deployment::Shard;
use crate::cluster::retry::while_stale;
use crate::codes;
use crate::error::{Error, Kind, Result, is_passing};
use crate::state::DATABASE;

/// How long a majority is waited for: longer than an election (10 s by default).
const MAJORITY_WAIT: Duration = Duration::from_secs(20);
/// How long to wait for an answer. The driver itself would wait for ever for a frozen
/// server.
const ANSWER_WAIT: Duration = Duration::from_secs(30);

/// Most statements, and most bytes, of one write command. Far below the
/// server's limits (100 000 and 48 MB), so that one command stays short.
const BATCH_STATEMENTS: usize = 1_000;
const BATCH_BYTES: usize = 8 << 20;

/// Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct StateDatabase {
    client: Client,
    pub(super) shard: String,
    /// How long a majority is waited for beyond the first time.
    patience: Duration,
}

/// A write that a majority acknowledged.
#[derive(Debug, Clone, Copy)]
pub(super) struct Written {
    /// Documents matched, inserted or deleted.
    pub(super) count: i64,
    /// `opTime.t` of the reply.
    pub(super) term: i64,
}

impl StateDatabase {
    pub(super) fn new(shard: &Shard) -> Self {
        StateDatabase {
            client: shard.client.clone(),
            shard: shard.id.clone(),
            patience: Duration::ZERO,
        }
    }

    pub(super) fn waiting(self, patience: Duration) -> Self {
        StateDatabase { patience, ..self }
    }

    /// Runs a write command with majority acknowledgement. Repeats it where the shard
    /// does not know yet what it owns, or the majority is slow.
    ///
    /// # Errors
    /// `Transient` for a lost connection, a missing answer, or a majority that does not
    /// acknowledge in time: nobody knows then whether the write took effect. `Parked` if
    /// the majority was waited for as long as allowed.
    pub(super) async fn run(&self, command: RawDocumentBuf) -> Result<Document> {
        let since = Instant::now();
        loop {
            match self.run_once(command.clone()).await {
                Err(e)
                    if e.code != Some(codes::WRITE_CONCERN_FAILED) || self.patience.is_zero() =>
                {
                    return Err(e);
                }
                Err(e) if self.patience < since.elapsed() => {
                    return Err(parked(e, since.elapsed()));
                }
                Err(e) => tracing::warn!("waiting for a majority of the target: {}", e.message),
                done => return done,
            }
        }
    }

    async fn run_once(&self, mut command: RawDocumentBuf) -> Result<Document> {
        let wait_ms = i64::try_from(MAJORITY_WAIT.as_millis()).unwrap_or(i64::MAX);
        command.append(
            bson::cstr!("writeConcern"),
            rawdoc! {"w": "majority", "wtimeout": wait_ms},
        );
        let database = self.client.database(DATABASE);
        while_stale(ANSWER_WAIT, || async {
            let reply = self
                .answer(async { Ok(database.run_raw_command(command.clone()).await?) })
                .await?;
            refused(&reply).map_err(|e| self.context(e))?;
            Ok(reply)
        })
        .await
    }

    /// Runs an `insert`, `update` or `delete`, whose replies have the term (seen on
    /// 6.0.5, replica sets and `--shardsvr`, also for writes that change nothing;
    /// `findAndModify` has none).
    pub(super) async fn write(&self, command: RawDocumentBuf) -> Result<Written> {
        let reply = self.run(command).await?;
        let term = reply
            .get_document("opTime")
            .ok()
            .and_then(|t| t.get_i64("t").ok());
        let term = term.ok_or_else(|| {
            self.context(Error::new(
                Kind::Server,
                "a write was answered without a term",
            ))
        })?;
        let count = reply
            .get_i32("n")
            .map(i64::from)
            .or_else(|_| reply.get_i64("n"))
            .unwrap_or(0);
        Ok(Written { count, term })
    }

    /// Update statements, as many commands as it takes, in order. None if there
    /// are no statements.
    pub(super) async fn update_all(
        &self,
        collection: &str,
        statements: impl IntoIterator<Item = Result<RawDocumentBuf>>,
    ) -> Result<Option<Written>> {
        let mut sum: Option<Written> = None;
        let mut batch = Batch::default();
        for statement in statements {
            let statement = statement?;
            if batch.is_full_before(&statement) {
                sum = Some(add(
                    sum,
                    self.write(std::mem::take(&mut batch).update(collection))
                        .await?,
                ));
            }
            batch.push(&statement);
        }
        match batch.count {
            0 => Ok(sum),
            _ => Ok(Some(add(sum, self.write(batch.update(collection)).await?))),
        }
    }

    /// Documents that a majority has, in order of `_id`.
    pub(super) async fn find(
        &self,
        collection: &str,
        filter: RawDocumentBuf,
    ) -> Result<Vec<RawDocumentBuf>> {
        self.find_fields(collection, filter, rawdoc! {}).await
    }

    /// Like `find` for all documents, but returns only their `_id`.
    pub(super) async fn find_ids(&self, collection: &str) -> Result<Vec<RawDocumentBuf>> {
        self.find_fields(collection, rawdoc! {}, rawdoc! {"_id": 1})
            .await
    }

    async fn find_fields(
        &self,
        collection: &str,
        filter: RawDocumentBuf,
        fields: RawDocumentBuf,
    ) -> Result<Vec<RawDocumentBuf>> {
        let command = rawdoc! {
        "find": collection, "filter": filter, "projection": fields, "sort": {"_id": 1},
        "readConcern": {"level": "majority"}};
        let database = self.client.database(DATABASE);
        let cursor = self
            .answer(async { Ok(database.run_raw_cursor_command(command).await?) })
            .await?;
        let mut cursor = cursor.with_type::<RawDocumentBuf>();
        let mut found = Vec::new();
        while let Some(document) = self.answer(async { Ok(cursor.try_next().await?) }).await? {
            found.push(document);
        }
        Ok(found)
    }

    /// No error if it is not there.
    pub(super) async fn drop(&self, collection: &str) -> Result<()> {
        match self.run(rawdoc! {"drop": collection}).await {
            Err(e) if e.code != Some(codes::NAMESPACE_NOT_FOUND) => Err(e),
            _ => Ok(()),
        }
    }

    async fn answer<T>(&self, asked: impl Future<Output = Result<T>>) -> Result<T> {
        match tokio::time::timeout(ANSWER_WAIT, asked).await {
            Ok(answer) => answer.map_err(|e| self.context(e)),
            Err(_) => Err(self.context(Error::new(
                Kind::Transient,
                format!("no answer in {ANSWER_WAIT:?}"),
            ))),
        }
    }

    fn context(&self, e: Error) -> Error {
        e.context(format_args!("the state on target shard {}", self.shard))
    }
}

fn parked(e: Error, waited: Duration) -> Error {
    let found = format!(
        "no majority of the target acknowledged a write for {} s: {}",
        waited.as_secs(),
        e.message
    );
    let remedy = "nothing is lost: bring the target's members back, or see why they do not keep up, and run the same command; away_max_s sets how long a run waits";
    Error {
        code: e.code,
        ..Error::new(Kind::Parked, found).remedy(remedy)
    }
}

/// Statements of one command to be.
#[derive(Default)]
struct Batch {
    statements: RawArrayBuf,
    count: usize,
    bytes: usize,
}

impl Batch {
    fn is_full_before(&self, next: &RawDocumentBuf) -> bool {
        let bytes = self.bytes + next.as_bytes().len();
        0 < self.count && (BATCH_STATEMENTS <= self.count || BATCH_BYTES < bytes)
    }

    fn push(&mut self, statement: &RawDocumentBuf) {
        self.statements.push(statement.clone());
        self.count += 1;
        self.bytes += statement.as_bytes().len();
    }

    fn update(self, collection: &str) -> RawDocumentBuf {
        rawdoc! {"update": collection, "updates": self.statements}
    }
}

/// One statement of an `update`; `u` is a replacement, modifiers or a pipeline.
pub(super) fn statement(q: RawDocumentBuf, u: impl Into<RawBson>, upsert: bool) -> RawDocumentBuf {
    rawdoc! {"q": q, "u": u.into(), "upsert": upsert}
}

fn add(sum: Option<Written>, next: Written) -> Written {
    Written {
        count: next.count + sum.map_or(0, |s| s.count),
        term: next.term,
    }
}

/// Checks a reply with `ok: 1` for an error it may still have.
fn refused(reply: &Document) -> Result<()> {
    let errors = reply.get_array("writeErrors").ok();
    if let Some(first) = errors.and_then(|errors| errors.first()?.as_document()) {
        let code = first.get_i32("code").unwrap_or(0);
        let text = first.get_str("errmsg").unwrap_or("no reason given");
        let kind = if is_passing(code) {
            Kind::Transient
        } else {
            Kind::Server
        };
        return Err(Error {
            code: Some(code),
            ..Error::new(kind, format!("{text} (code {code})"))
        });
    }
    admin::acknowledged(reply)
}

#[cfg(test)]
mod tests {
    use bson::doc;

    use super::*;

    #[test]
    fn what_a_reply_says_beside_ok_is_not_passed_over() {
        let rows = [
            (doc! {"n": 1}, None),
            (
                doc! {"writeErrors": [{"code": 11000, "errmsg": "x"}]},
                Some((Kind::Server, 11000)),
            ),
            (
                doc! {"writeErrors": [{"code": 11602, "errmsg": "x"}]},
                Some((Kind::Transient, 11602)),
            ),
            (
                doc! {"writeConcernError": {"code": 64, "errmsg": "x"}},
                Some((Kind::Transient, 64)),
            ),
        ];
        for (reply, expect) in rows {
            let found = refused(&reply).err().map(|e| (e.kind, e.code.unwrap_or(0)));
            assert_eq!(found, expect, "{reply}");
        }
    }

    #[test]
    fn a_batch_is_closed_by_count_and_by_bytes() {
        let small = rawdoc! {"a": 1};
        let mut batch = Batch::default();
        for _ in 0..BATCH_STATEMENTS {
            assert!(!batch.is_full_before(&small));
            batch.push(&small);
        }
        assert!(batch.is_full_before(&small));
        let large = rawdoc! {"a": "x".repeat(BATCH_BYTES)};
        let mut batch = Batch::default();
        assert!(
            !batch.is_full_before(&large),
            "one document goes alone however large it is"
        );
        batch.push(&small);
        assert!(batch.is_full_before(&large));
    }
}
