//! What one client does in one step, and what makes it: a few dice, the names, and what
//! the release takes.
//!
//! Knows nothing about sending it.

use bson::{Document, RawDocumentBuf};

use super::cluster::SHARDED;
use super::value;
use crate::abilities::Abilities;
use crate::layout::dice::Dice;

/// Of any kind and any name, but never capped.
pub(super) const ORDINARY: [&str; 5] = ["a", "b", "c", "d", "о.dd-й"];
/// Capped some of the time.
pub(super) const CAPPED: [&str; 2] = ["cap", "cap2"];
/// Its documents have field names twice: 6.0.5 ends at an update of one by a pipeline.
pub(super) const DUPLICATES: &str = "dup";

/// What there is to change in a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cluster {
    /// The engine follows renames into the target.
    pub renames: bool,
}

impl Cluster {
    /// Names of its shards.
    pub(super) const SHARDS: [&str; 2] = ["shard0", "shard1"];
}

/// One step.
#[derive(Debug, Clone, PartialEq)]
pub struct Op {
    /// As it is counted.
    pub kind: &'static str,
    pub deed: Deed,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Deed {
    /// One after the other, whatever becomes of the one before.
    Commands(Vec<Command>),
    /// The same up to the first that is not done: what follows is for what it made. That
    /// there was nothing to drop is as good.
    Steps(Vec<Command>),
    /// All in one transaction, which is then committed or aborted.
    Transaction {
        commands: Vec<Command>,
        commit: bool,
    },
}

#[derive(Debug, Clone, PartialEq)]
pub struct Command {
    pub database: String,
    pub body: RawDocumentBuf,
    /// As a retryable write.
    pub retryable: bool,
}

/// Makes the ops of one seed.
pub(super) struct Maker<'a> {
    pub(super) dice: Dice,
    pub(super) abilities: Abilities,
    pub(super) database: &'a str,
    /// None: a replica set.
    pub(super) cluster: Option<Cluster>,
}

impl Maker<'_> {
    pub(super) fn ordinary(&mut self) -> &'static str {
        self.dice.pick(&ORDINARY)
    }

    /// A sharded one, too.
    pub(super) fn uncapped(&mut self) -> &'static str {
        match self.cluster {
            Some(_) if self.dice.one_in(2) => self.dice.pick(&SHARDED),
            _ => self.ordinary(),
        }
    }

    /// Of any sort.
    pub(super) fn collection(&mut self) -> &'static str {
        if self.cluster.is_some() && self.dice.one_in(2) {
            return self.dice.pick(&SHARDED);
        }
        match self.dice.below(8) {
            0 => self.dice.pick(&CAPPED),
            1 => DUPLICATES,
            _ => self.ordinary(),
        }
    }

    pub(super) fn dollars(&self) -> bool {
        self.abilities.dollar_names
    }

    /// The second database of the seed.
    pub(super) fn other_database(&self) -> String {
        second(self.database)
    }

    pub(super) fn ns(&self, collection: &str) -> String {
        format!("{}.{collection}", self.database)
    }

    /// On the seed's own database.
    pub(super) fn command(&self, body: Document) -> Command {
        Command::new(self.database, value::raw(&body))
    }
}

impl Command {
    pub(super) fn new(database: &str, body: RawDocumentBuf) -> Command {
        Command {
            database: database.to_owned(),
            body,
            retryable: false,
        }
    }

    pub(super) fn on_admin(body: Document) -> Command {
        Command::new("admin", value::raw(&body))
    }
}

/// What the ops of a seed on `database` may touch besides.
pub(super) fn second(database: &str) -> String {
    format!("{database}x")
}
