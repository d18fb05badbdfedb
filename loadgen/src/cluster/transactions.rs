//! Transactions sent straight to the shards, with session and number in our
//! own hand: the stand-in runs none, and the driver cannot run one over two
//! shards without a mongos.
//!
//! For local clusters without authentication. Knows nothing about ownership:
//! the caller writes to a shard what that shard owns, else the oplog entries
//! carry `fromMigrate`.

use std::time::Duration;

use bson::{Binary, Bson, Document, Uuid, doc, spec::BinarySubtype};

use crate::error::{Error, Result};
use crate::wire::link::{self, Link};

const PRIMARY_TIMEOUT: Duration = Duration::from_secs(20);

/// A write command (`insert`, `update`, `delete`) on a database.
#[derive(Debug, Clone)]
pub struct Write {
    pub db: String,
    pub command: Document,
}

impl Write {
    pub fn new(db: &str, command: Document) -> Self {
        Write {
            db: db.to_owned(),
            command,
        }
    }
}

/// One shard's part of a transaction: index of the shard, what it writes.
pub type Part = (usize, Vec<Write>);

/// One session: one transaction at a time. Make several to run several.
#[derive(Debug)]
pub struct TransactionSession {
    lsid: Bson,
    number: i64,
    shards: Vec<Participant>,
    /// Shard on which `number` may be prepared by our hand and not ended yet.
    prepared: Option<usize>,
}

#[derive(Debug)]
struct Participant {
    id: String,
    hosts: Vec<String>,
    link: Link,
}

/// NoSuchTransaction: nothing of it is left (server source, `error_codes.yml`).
const NO_SUCH_TRANSACTION: i32 = 251;

impl TransactionSession {
    /// Connects to the primary of each shard: `(id, "set/host:port,…")`, as
    /// `listShards` gives them. `recover` after an election.
    pub async fn connect(shards: &[(String, String)]) -> Result<Self> {
        let mut participants = Vec::new();
        for (id, hosts) in shards {
            let hosts = link::members(hosts);
            let link = link::connect_primary(&hosts, PRIMARY_TIMEOUT).await?;
            participants.push(Participant {
                id: id.clone(),
                hosts,
                link,
            });
        }
        let id = Uuid::new().bytes().to_vec();
        let lsid = Bson::Binary(Binary {
            subtype: BinarySubtype::Uuid,
            bytes: id,
        });
        Ok(TransactionSession {
            lsid,
            number: 0,
            shards: participants,
            prepared: None,
        })
    }

    /// Connects to the primaries anew, and aborts what an interruption left
    /// prepared: it would stay so for ever. May be called until it succeeds.
    pub async fn recover(&mut self) -> Result<()> {
        for participant in &mut self.shards {
            participant.link = link::connect_primary(&participant.hosts, PRIMARY_TIMEOUT).await?;
        }
        let Some(shard) = self.prepared else {
            return Ok(());
        };
        match self.abort_prepared(shard).await {
            Err(e) if e.code == Some(NO_SUCH_TRANSACTION) => {
                self.prepared = None;
                Ok(())
            }
            outcome => outcome,
        }
    }

    /// True if `recover` has a transaction to abort.
    pub fn may_be_prepared(&self) -> bool {
        self.prepared.is_some()
    }

    /// A transaction on one shard, committed with majority.
    pub async fn commit(&mut self, part: &Part) -> Result<()> {
        self.begin();
        let outcome = match self.write(part, false).await {
            Ok(()) => self.finish(part.0, doc! { "commitTransaction": 1 }).await,
            Err(e) => Err(e),
        };
        self.abort_on_error(std::slice::from_ref(part), outcome)
            .await
    }

    /// A transaction over several shards: written on each, then prepared and
    /// committed on all by the coordinator, which is the first one.
    pub async fn commit_across(&mut self, parts: &[Part]) -> Result<()> {
        let [first, ..] = parts else {
            return Err(Error::new("a transaction without parts"));
        };
        self.begin();
        let outcome = match self.write_all(parts).await {
            Ok(()) => self.coordinate(first.0, parts).await,
            Err(e) => Err(e),
        };
        self.abort_on_error(parts, outcome).await
    }

    /// A transaction that is written and then aborted. Nothing of it reaches
    /// the oplog: it was never prepared.
    pub async fn abort(&mut self, part: &Part) -> Result<()> {
        self.begin();
        self.write(part, false).await?;
        self.finish(part.0, doc! { "abortTransaction": 1 }).await
    }

    /// A transaction that is prepared (so it is in the oplog) and then aborted.
    pub async fn prepare_and_abort(&mut self, part: &Part) -> Result<()> {
        self.prepare(part).await?;
        self.abort_prepared(part.0).await
    }

    /// Leaves a prepared transaction open on one shard and returns its prepare
    /// time; end it with `commit_prepared` or `abort_prepared`.
    pub async fn prepare(&mut self, part: &Part) -> Result<bson::Timestamp> {
        self.begin();
        let outcome = match self.write(part, false).await {
            Ok(()) => {
                self.prepared = Some(part.0);
                self.send_admin(part.0, doc! { "prepareTransaction": 1 })
                    .await
            }
            Err(e) => Err(e),
        };
        let reply = self
            .abort_on_error(std::slice::from_ref(part), outcome)
            .await?;
        reply
            .get_timestamp("prepareTimestamp")
            .map_err(|e| Error::new(e.to_string()))
    }

    /// Commits what `prepare` left, at its prepare time or later.
    pub async fn commit_prepared(&mut self, shard: usize, at: bson::Timestamp) -> Result<()> {
        self.finish(
            shard,
            doc! { "commitTransaction": 1, "commitTimestamp": at },
        )
        .await?;
        self.prepared = None;
        Ok(())
    }

    /// Aborts what `prepare` left.
    pub async fn abort_prepared(&mut self, shard: usize) -> Result<()> {
        self.finish(shard, doc! { "abortTransaction": 1 }).await?;
        self.prepared = None;
        Ok(())
    }

    fn begin(&mut self) {
        self.number += 1;
    }

    async fn write_all(&mut self, parts: &[Part]) -> Result<()> {
        for (index, part) in parts.iter().enumerate() {
            self.write(part, index == 0).await?;
        }
        Ok(())
    }

    async fn write(&mut self, (shard, writes): &Part, coordinator: bool) -> Result<()> {
        for (index, write) in writes.iter().enumerate() {
            let mut command = self.numbered(write.command.clone());
            if index == 0 {
                command.insert("startTransaction", true);
                if coordinator {
                    command.insert("coordinator", true);
                }
            }
            self.shards[*shard].link.command(&write.db, command).await?;
        }
        Ok(())
    }

    async fn coordinate(&mut self, coordinator: usize, parts: &[Part]) -> Result<()> {
        let participants = parts
            .iter()
            .map(|(shard, _)| doc! { "shardId": &self.shards[*shard].id });
        let command = doc! { "coordinateCommitTransaction": 1, "participants": participants.collect::<Vec<_>>() };
        self.finish(coordinator, command).await
    }

    async fn finish(&mut self, shard: usize, command: Document) -> Result<()> {
        self.send_admin(shard, command).await.map(|_| ())
    }

    async fn send_admin(&mut self, shard: usize, command: Document) -> Result<Document> {
        let mut command = self.numbered(command);
        command.insert("writeConcern", doc! { "w": "majority" });
        self.shards[shard].link.command("admin", command).await
    }

    fn numbered(&self, mut command: Document) -> Document {
        command.insert("lsid", doc! { "id": self.lsid.clone() });
        command.insert("txnNumber", self.number);
        command.insert("autocommit", false);
        command
    }

    /// Best effort: what failed may have ended the transaction already.
    async fn abort_on_error<T>(&mut self, parts: &[Part], outcome: Result<T>) -> Result<T> {
        if outcome.is_err() {
            for (shard, _) in parts {
                let _ = self.abort_prepared(*shard).await;
            }
        }
        outcome
    }
}
