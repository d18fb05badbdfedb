//! The meaning of each command in the oplog: one row for each that a 6.0 server can write
//! (those it can apply), and what becomes of it here.
//!
//! Pure. A command without a row is unknown to 6.0 and stops the pair (R12).

use bson::{RawArray, RawBsonRef, RawDocument, Uuid};

use crate::bson::element::{elements, field, kind, string};
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
    /// Nothing if it changes nothing; else refused.
    CollMod(&'static str),
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
    ("collMod", Fate::CollMod(OPTIONS_CHANGED)),
    ("renameCollection", Fate::Refused(RENAMED)),
    // Logged as creation, inserts and rename; by itself only by servers before 6.0.
    ("convertToCapped", Fate::Refused(RENAMED)),
    ("emptycapped", Fate::Refused(EMPTIED)),
    ("importCollection", Fate::Refused(IMPORTED)),
    // Members compare their data.
    ("dbCheck", Fate::Nothing),
];

const OPTIONS_CHANGED: &str = "changed options cannot be followed: change them before the migration or after its cutover, and start over with `shardlift migrate --restart`";
const RENAMED: &str = "renames cannot be followed, and `$out`, `mapReduce` and `convertToCapped` end in one: keep all of them off the source until the cutover, and start over with `shardlift migrate --restart`";
const EMPTIED: &str = "the emptying of a capped collection cannot be followed: copy that source shard again with `shardlift recopy --shard <its name>`, or start over with `shardlift migrate --restart`";
const IMPORTED: &str = "the documents of an imported collection are not in the oplog: once it is there, start over with `shardlift migrate --restart`";
const UNKNOWN: &str = "MongoDB 6.0 has no known command of that name: start over with `shardlift migrate --restart` once it no longer runs on the source, and report it";

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
            Fate::CollMod(_) if elements(self.o).count() == 1 => Meaning::Nothing,
            Fate::CollMod(remedy) | Fate::Refused(remedy) => Meaning::Refused { command, remedy },
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
mod tests {
    use super::*;
    use bson::{RawDocumentBuf, Timestamp, rawdoc};

    use crate::pair::op::OpKind::{Delete, Insert, Replace, Unclear};

    /// The commands that 6.0.5 can apply, as its own table names them.
    const COMMANDS_OF_6_0: &str = "create createIndexes startIndexBuild commitIndexBuild abortIndexBuild collMod dbCheck \
        dropDatabase drop deleteIndex deleteIndexes dropIndex dropIndexes renameCollection importCollection applyOps \
        convertToCapped emptycapped commitTransaction abortTransaction";

    #[test]
    fn every_command_that_the_server_can_write_has_exactly_one_row() {
        let commands: Vec<&str> = COMMANDS_OF_6_0.split_whitespace().collect();
        for command in &commands {
            assert_eq!(
                ROWS.iter().filter(|(name, _)| name == command).count(),
                1,
                "{command}"
            );
        }
        assert_eq!(
            ROWS.len(),
            commands.len(),
            "a row of a command that the server has not"
        );
    }

    fn meaning(o: RawDocumentBuf) -> String {
        let raw = rawdoc! {"op": "c", "ns": "a.$cmd", "o": o};
        format!("{:?}", Entry::read(&raw).expect("readable").meaning())
    }

    #[test]
    fn what_is_not_carried_over_is_refused_with_a_remedy_of_its_own() {
        let refused = |name: &str| {
            meaning(RawDocumentBuf::from_iter([(
                bson::raw::CString::try_from(name).unwrap(),
                1,
            )]))
        };
        let mut remedies = std::collections::BTreeMap::new();
        for name in [
            "renameCollection",
            "emptycapped",
            "importCollection",
            "neverHeardOf",
        ] {
            let text = refused(name);
            assert!(
                text.starts_with("Ok(Refused") && text.contains(name),
                "{text}"
            );
            remedies.insert(
                text.split_once("remedy").expect("it has one").1.to_owned(),
                name,
            );
        }
        assert_eq!(remedies.len(), 4, "{remedies:?}");
        let changed = meaning(rawdoc! {"collMod": "c", "validator": {}});
        assert!(
            changed.contains("Refused") && changed.contains("options"),
            "{changed}"
        );
    }

    #[test]
    fn what_changes_no_data_is_nothing() {
        for o in [
            rawdoc! {"collMod": "c"},
            rawdoc! {"dbCheck": "d.c", "type": "batch", "md5": "x"},
            rawdoc! {"dbCheck": "admin.$cmd", "type": "start"},
            rawdoc! {"dropDatabase": 1},
            rawdoc! {},
        ] {
            assert_eq!(meaning(o.clone()), "Ok(Nothing)", "{o:?}");
        }
    }

    #[test]
    fn transactions_are_told_apart_by_their_last_entry() {
        let none = rawdoc! {"ts": Timestamp { time: 0, increment: 0 }, "t": -1i64};
        let some = rawdoc! {"ts": Timestamp { time: 4, increment: 2 }, "t": 1i64};
        let entry = |o: bson::RawDocumentBuf, previous: &bson::RawDocumentBuf| {
            rawdoc! {"op": "c", "ns": "admin.$cmd", "o": o, "lsid": {"id": 1}, "txnNumber": 3i64, "prevOpTime": previous.clone()}
        };
        let check = |raw: bson::RawDocumentBuf, expect: &str| {
            let meaning = format!(
                "{:?}",
                Entry::read(&raw)
                    .expect("readable")
                    .meaning()
                    .expect("known")
            );
            let name = meaning.split_whitespace().next();
            assert_eq!(name, Some(expect), "{meaning}");
        };
        check(entry(rawdoc! {"applyOps": []}, &none), "Apply");
        check(
            entry(rawdoc! {"applyOps": [], "partialTxn": true}, &none),
            "Part",
        );
        check(
            entry(rawdoc! {"applyOps": [], "count": 9i64}, &some),
            "ApplyChain",
        );
        check(
            entry(rawdoc! {"applyOps": [], "prepare": true}, &some),
            "Part",
        );
        check(entry(rawdoc! {"commitTransaction": 1}, &some), "Commit");
        check(entry(rawdoc! {"abortTransaction": 1}, &some), "Abort");
    }

    #[test]
    fn what_a_users_apply_ops_made_is_unclear_and_what_a_transaction_did_is_not() {
        let zero = Timestamp {
            time: 0,
            increment: 0,
        };
        let set =
            rawdoc! {"op": "u", "ns": "a.b", "ui": ui(), "o": {"$set": {"a": 1}}, "o2": {"_id": 1}};
        let replace =
            rawdoc! {"op": "u", "ns": "a.b", "ui": ui(), "o": {"_id": 1, "a": 2}, "o2": {"_id": 1}};
        let insert = rawdoc! {"op": "i", "ns": "a.b", "ui": ui(), "o": {"_id": 1, "a": 2}};
        let odd = rawdoc! {"op": "i", "ns": "a.b", "ui": ui(), "o": {"_id": 1, "a": zero}};
        let delete = rawdoc! {"op": "d", "ns": "a.b", "ui": ui(), "o": {"_id": 1}};
        let kinds = |raw: &RawDocument| {
            let entry = Entry::read(raw).expect("readable");
            let ops: Vec<_> = entry
                .operations(entry.position)
                .expect("it has some")
                .map(|op| op.unwrap())
                .collect();
            ops.iter()
                .map(|op| op.crud(op.position).expect("known").kind)
                .collect::<Vec<_>>()
        };
        let ops: bson::RawArrayBuf = [&set, &replace, &insert, &odd, &delete]
            .into_iter()
            .cloned()
            .collect();
        let users =
            rawdoc! {"op": "c", "ns": "admin.$cmd", "o": {"applyOps": ops, "lsid": {"id": 1}}};
        assert_eq!(kinds(&users), [Unclear, Unclear, Insert, Unclear, Unclear]);
        let ops: bson::RawArrayBuf = [replace, odd, delete].into_iter().collect();
        let transaction = rawdoc! {
            "op": "c", "ns": "admin.$cmd", "o": {"applyOps": ops}, "lsid": {"id": 1}, "txnNumber": 3i64,
        };
        assert_eq!(kinds(&transaction), [Replace, Insert, Delete]);
    }

    fn ui() -> bson::Binary {
        Uuid::from_bytes([3; 16]).into()
    }
}
