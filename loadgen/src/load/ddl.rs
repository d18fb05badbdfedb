//! Changes of collections and indexes while the load runs: create and fill,
//! createIndexes, dropIndexes, drop; unsharded and sharded.
//!
//! Knows nothing about the document load beside it.

use std::{
    sync::{Arc, Mutex, atomic::Ordering},
    time::Duration,
};

use bson::{Document, doc};
use tokio::sync::watch;

use super::{refusal::is_interruption, report::Stats, worker::Shared};
use crate::{
    entry::{Entry, command_on},
    error::Result,
    layout::dice::Dice,
};

const PAUSE: Duration = Duration::from_millis(250);
const DOCUMENTS: i64 = 200;
/// What is to be dropped was never made (26, 27), or an index is still being built
/// (12587): a fault interrupted that.
const NOT_MADE: [i32; 3] = [26, 27, 12_587];
/// A collection or index made in one round is dropped so many rounds later;
/// the last ones stay.
const ROUNDS_KEPT: u64 = 3;

pub(super) struct Ddl {
    pub(super) entry: Entry,
    pub(super) shared: Arc<Shared>,
    pub(super) stats: Arc<Mutex<Stats>>,
    pub(super) stop: watch::Receiver<bool>,
}

impl Ddl {
    pub(super) async fn work(mut self) {
        for round in 0.. {
            for step in 0..4 {
                tokio::select! {
                    _ = tokio::time::sleep(PAUSE) => (),
                    _ = self.stop.changed() => return,
                }
                let gate = self.shared.gate.clone();
                let _pass = gate.read_owned().await;
                if *self.stop.borrow() {
                    return;
                }
                let done = self.step(round, step).await;
                self.record(done);
            }
        }
    }

    async fn step(&self, round: u64, step: u64) -> Result<()> {
        match (step, round.checked_sub(ROUNDS_KEPT)) {
            (0, _) => self.make(round).await,
            (1, _) => self.index(round).await,
            (2, Some(old)) => self.unindex(old).await,
            (3, Some(old)) => self.drop(old).await,
            _ => Ok(()),
        }
    }

    fn record(&self, done: Result<()>) {
        if let Err(error) = done {
            let mut stats = self
                .stats
                .lock()
                .unwrap_or_else(|poisoned| poisoned.into_inner());
            let code = error.code.unwrap_or_default();
            if self.shared.tolerant && (is_interruption(code) || NOT_MADE.contains(&code)) {
                return stats.unknown();
            }
            self.shared.errors.fetch_add(1, Ordering::Relaxed);
            stats.error(format!("ddl: {error}"));
        }
    }

    /// Names hold the load's base, so that one load does not meet what another left.
    fn name(&self, round: u64) -> String {
        format!("ddl_{}_{round}", self.shared.planner.base)
    }

    /// Every other collection is sharded, where there is a router; one of four is
    /// clustered, one of two has a hidden index, where servers know that.
    async fn make(&self, round: u64) -> Result<()> {
        let name = self.name(round);
        if self.entry.router && round % 2 == 1 {
            let ns = format!("shop.{name}");
            self.entry
                .admin(doc! {"shardCollection": ns, "key": {"_id": "hashed"}})
                .await?;
        } else {
            let mut command = doc! {"create": &name};
            if self.entry.abilities.clustered_collections && round % 4 == 2 {
                command.insert("clusteredIndex", doc! {"key": {"_id": 1}, "unique": true});
            }
            command_on(&self.entry.client, "shop", command).await?;
        }
        let mut index = doc! {"key": {"a": 1}, "name": "a_1"};
        if self.entry.abilities.hidden_indexes && round % 4 < 2 {
            index.insert("hidden", true);
        }
        command_on(
            &self.entry.client,
            "shop",
            doc! {"createIndexes": &name, "indexes": [index]},
        )
        .await?;
        let documents: Vec<Document> = (0..DOCUMENTS)
            .map(|i| doc! {"_id": i, "a": i % 7, "round": round as i64})
            .collect();
        let command = doc! {"insert": &name, "documents": documents, "writeConcern": {"w": 1}};
        command_on(&self.entry.client, "shop", command)
            .await
            .map(drop)
    }

    async fn drop(&self, round: u64) -> Result<()> {
        command_on(&self.entry.client, "shop", doc! {"drop": self.name(round)})
            .await
            .map(drop)
    }

    /// The database and name of a loaded collection, the same for the same round.
    fn loaded(&self, round: u64) -> (&'static str, &'static str) {
        let spaces = &self.shared.planner.picker.spaces;
        let spec = &spaces[Dice::new(&[round]).below(spaces.len() as u64) as usize].spec;
        (spec.database, spec.name)
    }

    async fn index(&self, round: u64) -> Result<()> {
        let (database, name) = self.loaded(round);
        // The filter makes each round's index another one than those before it,
        // and than those an earlier load left (every `n` is above it).
        let base = self.shared.planner.base as i64;
        let filter = doc! {"counter": {"$gt": round as i64}, "n": {"$gt": -base}};
        let mut key = doc! {"counter": 1, "status": 1};
        if !self.entry.abilities.filters_tell_indexes_apart {
            key.insert(self.name(round), 1);
        }
        let index = doc! {"key": key, "name": self.name(round), "partialFilterExpression": filter};
        command_on(
            &self.entry.client,
            database,
            doc! {"createIndexes": name, "indexes": [index]},
        )
        .await
        .map(drop)
    }

    async fn unindex(&self, round: u64) -> Result<()> {
        let (database, name) = self.loaded(round);
        command_on(
            &self.entry.client,
            database,
            doc! {"dropIndexes": name, "index": self.name(round)},
        )
        .await
        .map(drop)
    }
}
