//! One oplog entry, read in one pass over its raw bytes, and what it means.
//!
//! Pure. Kinds and fields as seen on 6.0 (FACTS: "Oplog entries"); whatever is
//! not known here becomes `Meaning::Unsupported`, which stops the pair (R12).

use bson::{RawBsonRef, RawDocument, Uuid};

use crate::error::{Error, Kind, Result};
use crate::pair::op::{OpKind, OpRef};
use crate::pair::position::{Mark, Position};

/// The fields of an entry that matter here, or of one operation inside an
/// `applyOps`, which has no `ts`.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    pub position: Position,
    /// Term of the oplog entry; -1 if it has none.
    pub term: i64,
    /// `i`, `u`, `d`, `c`, `n` …
    pub op: &'a str,
    pub ns: &'a str,
    pub uuid: Option<Uuid>,
    pub o: &'a RawDocument,
    pub o2: Option<&'a RawDocument>,
    pub from_migrate: bool,
    /// `lsid` as raw bytes and `txnNumber`.
    pub session: Option<(&'a RawDocument, i64)>,
    /// The entry before this one in its transaction; None for the first.
    pub previous: Option<Position>,
    /// Wall clock of the source, ms since 1970; 0 if it has none.
    pub wall_ms: u64,
}

/// What a command entry asks for.
#[derive(Debug)]
pub enum Meaning<'a> {
    /// Operations that take effect here.
    Apply(&'a bson::RawArray),
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
        name: &'a str,
    },
    /// Nothing to do for the target.
    Nothing,
    /// A command this release does not carry over: its name.
    Unsupported(&'a str),
}

impl<'a> Entry<'a> {
    pub fn read(raw: &'a RawDocument) -> Result<Self> {
        let mut entry = Entry {
            position: Position::default(),
            term: -1,
            op: "",
            ns: "",
            uuid: None,
            o: raw,
            o2: None,
            from_migrate: false,
            session: None,
            previous: None,
            wall_ms: 0,
        };
        let (mut lsid, mut txn_number) = (None, None);
        for element in raw {
            let (name, value) = element?;
            match (name.as_str(), value) {
                ("ts", RawBsonRef::Timestamp(ts)) => entry.position = ts.into(),
                ("t", RawBsonRef::Int64(term)) => entry.term = term,
                ("op", RawBsonRef::String(op)) => entry.op = op,
                ("ns", RawBsonRef::String(ns)) => entry.ns = ns,
                ("ui", RawBsonRef::Binary(b)) => entry.uuid = uuid_of(b.bytes),
                ("o", RawBsonRef::Document(o)) => entry.o = o,
                ("o2", RawBsonRef::Document(o2)) => entry.o2 = Some(o2),
                ("fromMigrate", RawBsonRef::Boolean(b)) => entry.from_migrate = b,
                ("lsid", RawBsonRef::Document(id)) => lsid = Some(id),
                ("txnNumber", RawBsonRef::Int64(number)) => txn_number = Some(number),
                ("prevOpTime", RawBsonRef::Document(time)) => entry.previous = previous_of(time),
                ("wall", RawBsonRef::DateTime(wall)) => entry.wall_ms = wall.timestamp_millis().max(0) as u64,
                _ => {}
            }
        }
        entry.session = lsid.zip(txn_number);
        Ok(entry)
    }

    pub fn mark(&self) -> Mark {
        Mark { position: self.position, term: self.term }
    }

    pub fn database(&self) -> &'a str {
        self.ns.split_once('.').map_or(self.ns, |(db, _)| db)
    }

    /// In a database that is never migrated.
    pub fn is_internal(&self) -> bool {
        is_internal_database(self.database())
    }

    pub fn is_crud(&self) -> bool {
        matches!(self.op, "i" | "u" | "d")
    }

    /// The op of an `i`, `u` or `d`, taking effect at `position`.
    pub fn crud(&self, position: Position) -> Result<OpRef<'a>> {
        let uuid = self.uuid.ok_or_else(|| self.unsupported("an op without collection UUID"))?;
        let is_delta = self.o.get("diff")?.is_some_and(|d| d.as_document().is_some()) && self.o.get("$v")?.is_some();
        let (kind, id_holder, body) = match self.op {
            "i" => (OpKind::Insert, self.o, self.o.as_bytes()),
            "d" => (OpKind::Delete, self.o, &[][..]),
            "u" if is_delta => (OpKind::Delta, self.o2.unwrap_or(self.o), self.o.as_bytes()),
            "u" if self.o.get("$v")?.is_some() || self.o.get("$set")?.is_some() || self.o.get("$unset")?.is_some() => {
                return Err(self.unsupported("an update in the old `$v: 1` form"));
            }
            "u" => (OpKind::Replace, self.o2.unwrap_or(self.o), self.o.as_bytes()),
            _ => return Err(self.unsupported("an op of unknown kind")),
        };
        let id = crate::bson::locate::id_of(id_holder).ok_or_else(|| self.unsupported("an op without `_id`"))?;
        Ok(OpRef { position, uuid, kind, id, body })
    }

    /// What a `c` entry asks for.
    pub fn meaning(&self) -> Result<Meaning<'a>> {
        let Some(first) = self.o.into_iter().next() else { return Ok(Meaning::Nothing) };
        let (command, value) = first?;
        let coll = || value.as_str().ok_or_else(|| self.unsupported("a command without collection name"));
        Ok(match command.as_str() {
            "applyOps" => self.apply_ops(value)?,
            "commitTransaction" => match self.previous {
                Some(previous) => Meaning::Commit { previous },
                None => return Err(self.unsupported("a commit without its prepare")),
            },
            "abortTransaction" => Meaning::Abort,
            "create" => Meaning::Create { coll: coll()? },
            "drop" => Meaning::Drop { coll: coll()? },
            "createIndexes" => Meaning::CreateIndexes { specs: vec![self.o] },
            "startIndexBuild" => Meaning::StartIndexBuild { build: self.build()? },
            "commitIndexBuild" => Meaning::CommitIndexBuild { build: self.build()?, specs: self.specs()? },
            "abortIndexBuild" => Meaning::AbortIndexBuild { build: self.build()?, specs: self.specs()? },
            "dropIndexes" | "deleteIndexes" | "dropIndex" | "deleteIndex" => Meaning::DropIndex {
                name: self.o.get_str("index").map_err(|_| self.unsupported("a dropIndexes without name"))?,
            },
            // Every collection of the database was dropped by an entry of its own.
            "dropDatabase" => Meaning::Nothing,
            other => Meaning::Unsupported(other),
        })
    }

    fn apply_ops(&self, value: RawBsonRef<'a>) -> Result<Meaning<'a>> {
        let ops = value.as_array().ok_or_else(|| self.unsupported("an applyOps without operations"))?;
        let is = |field| self.o.get(field).ok().flatten().and_then(RawBsonRef::as_bool).unwrap_or(false);
        Ok(match (is("prepare") || is("partialTxn"), self.previous, self.session) {
            (true, _, _) => Meaning::Part,
            (false, Some(previous), Some(_)) => Meaning::ApplyChain { previous },
            _ => Meaning::Apply(ops),
        })
    }

    /// The operations of an `applyOps` entry, prepared or not.
    pub fn operations(&self) -> Result<&'a bson::RawArray> {
        self.o.get_array("applyOps").map_err(|_| self.unsupported("a part of a transaction without operations"))
    }

    fn build(&self) -> Result<Uuid> {
        let build = self.o.get_binary("indexBuildUUID").ok().and_then(|b| uuid_of(b.bytes));
        build.ok_or_else(|| self.unsupported("an index build without UUID"))
    }

    fn specs(&self) -> Result<Vec<&'a RawDocument>> {
        let specs =
            self.o.get_array("indexes").map_err(|_| self.unsupported("an index build without specifications"))?;
        let documents = specs.into_iter().map(|spec| Ok(spec?.as_document()));
        let documents: Result<Option<Vec<_>>> = documents.collect();
        documents?.ok_or_else(|| self.unsupported("an index specification that is no document"))
    }

    /// The error that stops a pair at this entry.
    pub fn unsupported(&self, what: &str) -> Error {
        let text = format!("the source's oplog holds {what}, at {} (op `{}` on `{}`)", self.position, self.op, self.ns);
        Error::new(Kind::Unsupported, text)
            .remedy("this release cannot carry it over: begin anew when such commands no longer run on the source")
    }
}

pub fn is_internal_database(db: &str) -> bool {
    matches!(db, "admin" | "config" | "local" | "__shardlift")
}

fn uuid_of(bytes: &[u8]) -> Option<Uuid> {
    bytes.try_into().ok().map(Uuid::from_bytes)
}

/// `prevOpTime` of a first entry is `Timestamp(0, 0)`.
fn previous_of(time: &RawDocument) -> Option<Position> {
    let position = Position::from(time.get_timestamp("ts").ok()?);
    (position != Position::default()).then_some(position)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::{Timestamp, rawdoc};

    fn uuid() -> bson::Binary {
        Uuid::from_bytes([3; 16]).into()
    }

    #[test]
    fn crud_entries_become_ops() {
        let ts = Timestamp { time: 5, increment: 1 };
        let o = |doc: bson::RawDocumentBuf| doc;
        for (op, o, o2, expect) in [
            ("i", o(rawdoc! {"_id": 1, "a": 2}), None, OpKind::Insert),
            ("d", o(rawdoc! {"_id": 1}), None, OpKind::Delete),
            ("u", o(rawdoc! {"$v": 2, "diff": {"u": {"a": 3}}}), Some(rawdoc! {"k": 9, "_id": 1}), OpKind::Delta),
            ("u", o(rawdoc! {"_id": 1, "a": 4}), Some(rawdoc! {"_id": 1}), OpKind::Replace),
            // A replacement whose document has a field called diff is no delta.
            ("u", o(rawdoc! {"_id": 1, "diff": {"x": 1}}), Some(rawdoc! {"_id": 1}), OpKind::Replace),
        ] {
            let mut raw = rawdoc! {"ts": ts, "t": 1i64, "op": op, "ns": "a.b", "ui": uuid(), "o": o};
            if let Some(o2) = o2 {
                raw.append(bson::raw::cstr!("o2"), o2);
            }
            let entry = Entry::read(&raw).expect("readable");
            let op = entry.crud(entry.position).expect("crud");
            assert_eq!((op.kind, op.id), (expect, RawBsonRef::Int32(1)));
        }
    }

    #[test]
    fn old_deltas_and_unknown_commands_stop_the_pair() {
        let raw = rawdoc! {"op": "u", "ns": "a.b", "ui": uuid(), "o": {"$v": 1, "$set": {"a": 1}}, "o2": {"_id": 1}};
        assert!(Entry::read(&raw).expect("readable").crud(Position::default()).is_err());
        let raw = rawdoc! {"op": "c", "ns": "a.$cmd", "ui": uuid(), "o": {"collMod": "b"}};
        assert!(matches!(Entry::read(&raw).expect("readable").meaning(), Ok(Meaning::Unsupported("collMod"))));
    }

    #[test]
    fn transactions_are_told_apart_by_their_last_entry() {
        let none = rawdoc! {"ts": Timestamp { time: 0, increment: 0 }, "t": -1i64};
        let some = rawdoc! {"ts": Timestamp { time: 4, increment: 2 }, "t": 1i64};
        let entry = |o: bson::RawDocumentBuf, previous: &bson::RawDocumentBuf| {
            rawdoc! {"op": "c", "ns": "admin.$cmd", "o": o, "lsid": {"id": 1}, "txnNumber": 3i64, "prevOpTime": previous.clone()}
        };
        let check = |raw: bson::RawDocumentBuf, expect: &str| {
            let meaning = format!("{:?}", Entry::read(&raw).expect("readable").meaning().expect("known"));
            assert!(meaning.starts_with(expect), "{meaning} is not {expect}");
        };
        check(entry(rawdoc! {"applyOps": []}, &none), "Apply(");
        check(entry(rawdoc! {"applyOps": [], "partialTxn": true}, &none), "Part");
        check(entry(rawdoc! {"applyOps": [], "count": 9i64}, &some), "ApplyChain");
        check(entry(rawdoc! {"applyOps": [], "prepare": true}, &some), "Part");
        check(entry(rawdoc! {"commitTransaction": 1}, &some), "Commit");
        check(entry(rawdoc! {"abortTransaction": 1}, &some), "Abort");
    }
}
