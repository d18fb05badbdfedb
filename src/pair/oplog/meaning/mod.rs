//! The meaning of each command in the oplog: one row for each that a 6.0 server can write
//! (those it can apply), and what becomes of it here.
//!
//! Pure. A command without a row is unknown to 6.0 and stops the pair (R12).

use bson::{RawArray, RawBsonRef, RawDocument, Uuid};

use crate::bson::element::{field, kind, string};
use crate::error::{Error, Result};
use crate::pair::oplog::entry::{Entry, uuid_of};
use crate::position::Position;

/// What a command entry asks for.
#[derive(Debug)]
pub enum Meaning<'a> {
    /// Operations that take effect here.
    Apply,
    /// Last part of an unprepared transaction; the parts before lie at
    /// `previous` and further back.
    ApplyChain {
        previous: Position,
    },
    /// Part of a transaction whose effect comes with its commit.
    Part,
    /// A prepared transaction commits; its last part lies at `previous`.
    Commit {
        previous: Position,
    },
    Abort,
    Create {
        coll: &'a str,
    },
    Drop {
        coll: &'a str,
    },
    /// Index specifications that exist from here on.
    CreateIndexes {
        specs: Vec<&'a RawDocument>,
    },
    StartIndexBuild {
        build: Uuid,
    },
    CommitIndexBuild {
        build: Uuid,
        specs: Vec<&'a RawDocument>,
    },
    AbortIndexBuild {
        build: Uuid,
        specs: Vec<&'a RawDocument>,
    },
    DropIndex {
        name: &'a [u8],
    },
    /// The collection of the entry has another name from here on, both as `db.collection`.
    Rename {
        from: &'a str,
        to: &'a str,
        /// What had the name is dropped by it.
        dropped: Option<Uuid>,
    },
    /// Options of the collection, or of one of its indexes, are others from here on.
    Modify,
    /// Nothing to do for the target.
    Nothing,
    /// A command that is not carried over, and what to do about it.
    Refused {
        command: &'a str,
        remedy: &'static str,
    },
}

/// What becomes of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// Its operations, or those of its transaction, are applied.
    ApplyOps,
    CommitTransaction,
    AbortTransaction,
    Create,
    Drop,
    CreateIndexes,
    StartIndexBuild,
    CommitIndexBuild,
    AbortIndexBuild,
    DropIndexes,
    Rename,
    CollMod,
    Nothing,
    Refused(&'static str),
}

const ROWS: [(&str, Fate); 20] = [
    ("applyOps", Fate::ApplyOps),
    ("commitTransaction", Fate::CommitTransaction),
    ("abortTransaction", Fate::AbortTransaction),
    ("create", Fate::Create),
    ("drop", Fate::Drop),
    // Every collection of the database was dropped by an entry of its own.
    ("dropDatabase", Fate::Nothing),
    ("createIndexes", Fate::CreateIndexes),
    ("startIndexBuild", Fate::StartIndexBuild),
    ("commitIndexBuild", Fate::CommitIndexBuild),
    ("abortIndexBuild", Fate::AbortIndexBuild),
    ("dropIndexes", Fate::DropIndexes),
    ("dropIndex", Fate::DropIndexes),
    ("deleteIndexes", Fate::DropIndexes),
    ("deleteIndex", Fate::DropIndexes),
    ("collMod", Fate::CollMod),
    ("renameCollection", Fate::Rename),
    // Logged as creation, inserts and rename; by itself only by servers before those known.
    ("convertToCapped", Fate::Refused(CONVERTED)),
    ("emptycapped", Fate::Refused(EMPTIED)),
    ("importCollection", Fate::Refused(IMPORTED)),
    // Members compare their data.
    ("dbCheck", Fate::Nothing),
];

const CONVERTED: &str = "a conversion that is logged as one command cannot be followed: copy the collection again with `shardlift recopy --shard <its name> --ns <collection>`, then run the same `shardlift migrate` again";
const EMPTIED: &str = "the emptying of a capped collection cannot be followed: copy it again with `shardlift recopy --shard <its name> --ns <collection>`, then run the same `shardlift migrate` again";
const IMPORTED: &str = "the documents of an imported collection are not in the oplog: once it is there, copy that source shard again with `shardlift recopy --shard <its name>`, then run the same `shardlift migrate` again";
const UNKNOWN: &str = "MongoDB 6.0 has no known command of that name: once it no longer runs on the source, copy that shard again with `shardlift recopy --shard <its name>`, then run the same `shardlift migrate` again, and report it";

fn fate_of(command: &str) -> Fate {
    ROWS.iter()
        .find(|(name, _)| *name == command)
        .map_or(Fate::Refused(UNKNOWN), |(_, fate)| *fate)
}

impl<'a> Entry<'a> {
    /// The meaning of a `c` entry.
    pub fn meaning(&self) -> Result<Meaning<'a>> {
        let Some(first) = self.o.into_iter().next() else {
            return Ok(Meaning::Nothing);
        };
        let (command, value) = first?;
        let command = command.as_str();
        let coll = || {
            value
                .as_str()
                .ok_or_else(|| self.unsupported("a command without a collection name"))
        };
        Ok(match fate_of(command) {
            Fate::ApplyOps => self.apply_ops()?,
            Fate::CommitTransaction => match self.previous {
                Some(previous) => Meaning::Commit { previous },
                None => return Err(self.unsupported("a commit without its prepare")),
            },
            Fate::AbortTransaction => Meaning::Abort,
            Fate::Create => Meaning::Create { coll: coll()? },
            Fate::Drop => Meaning::Drop { coll: coll()? },
            Fate::CreateIndexes => Meaning::CreateIndexes {
                specs: vec![self.o],
            },
            Fate::StartIndexBuild => Meaning::StartIndexBuild {
                build: self.build()?,
            },
            Fate::CommitIndexBuild => Meaning::CommitIndexBuild {
                build: self.build()?,
                specs: self.specs()?,
            },
            Fate::AbortIndexBuild => Meaning::AbortIndexBuild {
                build: self.build()?,
                specs: self.specs()?,
            },
            Fate::DropIndexes => Meaning::DropIndex {
                name: self
                    .index_name()
                    .ok_or_else(|| self.unsupported("a dropIndexes without a name"))?,
            },
            Fate::Rename => self.rename()?,
            Fate::CollMod => Meaning::Modify,
            Fate::Refused(remedy) => Meaning::Refused { command, remedy },
            Fate::Nothing => Meaning::Nothing,
        })
    }

    fn apply_ops(&self) -> Result<Meaning<'a>> {
        let is = |field| {
            let flag = self
                .o
                .get(field)
                .map_err(|_| self.unsupported("an applyOps that cannot be read"))?;
            Ok::<_, Error>(flag.and_then(RawBsonRef::as_bool).unwrap_or(false))
        };
        Ok(
            match (
                is("prepare")? || is("partialTxn")?,
                self.previous,
                self.session,
            ) {
                (true, _, _) => Meaning::Part,
                (false, Some(previous), Some(_)) => Meaning::ApplyChain { previous },
                _ => Meaning::Apply,
            },
        )
    }

    /// The operations of an `applyOps`, a transaction's or a user's own, taking effect
    /// at `position`.
    pub fn operations(
        &self,
        position: Position,
    ) -> Result<impl Iterator<Item = Result<Entry<'a>>>> {
        let ops: &RawArray = self
            .o
            .get_array("applyOps")
            .map_err(|_| self.unsupported("an applyOps without operations"))?;
        // That of a transaction has a session; so have its parts.
        let (by_apply_ops, prepared) = (self.session.is_none(), self.prepared);
        let operation = move |op: RawBsonRef<'a>| {
            let inner = Entry::read(op.as_document()?).map(|inner| Entry {
                position,
                by_apply_ops,
                prepared,
                ..inner
            });
            Some(inner).filter(|op| !op.as_ref().is_ok_and(Entry::deletes_nothing))
        };
        Ok(ops.into_iter().filter_map(move |op| match op {
            Ok(op) => operation(op),
            Err(e) => Some(Err(e.into())),
        }))
    }

    fn rename(&self) -> Result<Meaning<'a>> {
        let name = |field| {
            let name = self.o.get_str(field);
            name.map_err(|_| self.unsupported("a rename without names"))
        };
        let uuid = |target: RawBsonRef<'_>| uuid_of(target.as_binary()?.bytes);
        let no_uuid = || self.unsupported("a rename over a collection that it does not tell");
        let dropped = match self.o.get("dropTarget")? {
            None | Some(RawBsonRef::Boolean(false)) => None,
            Some(target) => Some(uuid(target).ok_or_else(no_uuid)?),
        };
        Ok(Meaning::Rename {
            from: name("renameCollection")?,
            to: name("to")?,
            dropped,
        })
    }

    fn build(&self) -> Result<Uuid> {
        let build = self
            .o
            .get_binary("indexBuildUUID")
            .ok()
            .and_then(|b| uuid_of(b.bytes));
        build.ok_or_else(|| self.unsupported("an index build without a UUID"))
    }

    /// A server takes one that is not UTF-8.
    fn index_name(&self) -> Option<&'a [u8]> {
        let name = field(self.o.as_bytes(), b"index").filter(|name| name.kind == kind::STRING)?;
        Some(string(name.value)?.0)
    }

    fn specs(&self) -> Result<Vec<&'a RawDocument>> {
        let specs = self
            .o
            .get_array("indexes")
            .map_err(|_| self.unsupported("an index build without specifications"))?;
        let documents = specs.into_iter().map(|spec| Ok(spec?.as_document()));
        let documents: Result<Option<Vec<_>>> = documents.collect();
        documents?.ok_or_else(|| self.unsupported("an index specification that is not a document"))
    }
}

#[cfg(test)]
mod tests;
