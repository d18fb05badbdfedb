//! One oplog entry, read in one pass over its raw bytes, and the op it holds.
//!
//! Pure. Kinds and fields as seen on 4.2 to 6.0. What commands mean is `meaning`'s.

use bson::{RawDocument, Uuid};

use crate::bson::element::{Element, elements, field, kind, string};
use crate::bson::locate;
use crate::error::{Error, Kind, Result};
use crate::pair::op::{OpKind, OpRef};
use crate::pair::oplog::delta;
use crate::position::{Mark, Position};
use crate::scope::is_internal;

/// Of a document without elements: its length and its end.
const EMPTY_BYTES: usize = 5;
/// What to do about an entry of which nothing else is known. Whatever it says, a copy that
/// begins after it has it.
pub const COPY_SHARD: &str = "this release cannot follow it: copy that shard again with `shardlift recopy --shard <its name>`, then run the same `shardlift migrate` again, and report it";
/// The same of an entry on one collection, which its shard has.
pub const COPY_COLLECTION: &str = "this release cannot follow it: copy that collection again, by the name it has now, with `shardlift recopy --shard <its name> --ns <collection>` (the whole shard, without --ns, if there is none such any more), then run the same `shardlift migrate` again, and report it";
/// Where a server keeps the views of a database.
const OF_VIEWS: &str = ".system.views";

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
    /// An operation of a user's own `applyOps`, which does not say what it made of its
    /// document: its updates upsert, by any operator.
    pub by_apply_ops: bool,
    /// An operation of a prepared transaction: documents may show it before its commit entry
    /// is there.
    pub prepared: bool,
    /// `lsid` as raw bytes and `txnNumber`.
    pub session: Option<(&'a [u8], i64)>,
    /// The entry before this one in its transaction; None for the first.
    pub previous: Option<Position>,
    /// Wall clock of the source, ms since 1970; 0 if it has none.
    pub wall_ms: u64,
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
            by_apply_ops: false,
            prepared: false,
            session: None,
            previous: None,
            wall_ms: 0,
        };
        let (mut lsid, mut txn_number) = (None, None);
        let mut walked = EMPTY_BYTES;
        for element in elements(raw) {
            walked += element.bytes();
            let Element { kind, name, value } = element;
            match (name, kind) {
                (b"ts", kind::TIMESTAMP) => entry.position = Position::from_raw(word(value)),
                (b"t", kind::INT64) => entry.term = word(value) as i64,
                (b"op", kind::STRING) => entry.op = text(value)?,
                (b"ns", kind::STRING) => entry.ns = text(value)?,
                (b"ui", kind::BINARY) => entry.uuid = value.get(5..).and_then(uuid_of),
                (b"o", kind::DOCUMENT) => entry.o = RawDocument::from_bytes(value)?,
                (b"o2", kind::DOCUMENT) => entry.o2 = Some(RawDocument::from_bytes(value)?),
                (b"fromMigrate", kind::BOOLEAN) => entry.from_migrate = value != [0],
                (b"lsid", kind::DOCUMENT) => lsid = Some(value),
                (b"txnNumber", kind::INT64) => txn_number = Some(word(value) as i64),
                (b"prevOpTime", kind::DOCUMENT) => entry.previous = previous_of(value),
                (b"wall", kind::DATE) => entry.wall_ms = (word(value) as i64).max(0) as u64,
                _ => {}
            }
        }
        if walked != raw.as_bytes().len() {
            let broken = entry.unsupported("an entry that cannot be read to its end");
            // No copy passes it: whose it is, is not known.
            return Err(broken.remedy(COPY_SHARD));
        }
        entry.session = lsid.zip(txn_number);
        Ok(entry)
    }

    /// Position and term alone, of an entry of the oplog.
    ///
    /// # Errors
    /// `Server` if it has no position.
    pub fn mark_of(raw: &RawDocument) -> Result<Mark> {
        let mut mark = Mark {
            position: Position::default(),
            term: -1,
        };
        for element in elements(raw) {
            match (element.name, element.kind) {
                (b"ts", kind::TIMESTAMP) => mark.position = Position::from_raw(word(element.value)),
                (b"t", kind::INT64) => mark.term = word(element.value) as i64,
                _ => {}
            }
        }
        if mark.position == Position::default() {
            let found = "the source's oplog holds an entry without a position";
            return Err(Error::new(Kind::Server, found));
        }
        Ok(mark)
    }

    pub fn mark(&self) -> Mark {
        Mark {
            position: self.position,
            term: self.term,
        }
    }

    pub fn database(&self) -> &'a str {
        self.ns.split_once('.').map_or(self.ns, |(db, _)| db)
    }

    /// Whether the entry is in a database of which nothing is ever migrated.
    pub fn is_internal(&self) -> bool {
        is_internal(self.database())
    }

    /// A chunk moves, has moved, or was to: what both of its shards write. So do shards that
    /// clean up after an earlier move. Or a collection was sharded (since 6.0).
    pub fn tells_of_a_move(&self) -> bool {
        let begins_with = |o2: &RawDocument, name: &[u8]| {
            elements(o2).next().is_some_and(|first| first.name == name)
        };
        match self.op {
            "n" => self.o2.is_some_and(|o2| {
                begins_with(o2, b"sessionMigrateCloneStart") || begins_with(o2, b"shardCollection")
            }),
            // Counting orphans updates a row again and again.
            "u" => self.ns == "config.migrationCoordinators",
            _ => matches!(
                self.ns,
                "config.migrationCoordinators" | "config.rangeDeletions"
            ),
        }
    }

    /// The server's feature compatibility version changes.
    pub fn changes_fcv(&self) -> bool {
        let id = self.o2.and_then(|o2| o2.get_str("_id").ok());
        self.ns == "admin.system.version" && id == Some("featureCompatibilityVersion")
    }

    /// Whether an entry of a sharded collection that is marked `fromMigrate` is one shard's
    /// copy or clean-up of another's documents. It then does not count, since the owner
    /// writes its own entry (R8). For inserts the document decides instead. In other
    /// collections the mark says nothing: cloning into a capped collection and moving a
    /// primary set it too.
    pub fn is_of_a_move(&self) -> bool {
        self.from_migrate && self.op != "i"
    }

    /// A view was created, changed or dropped: a server keeps those of a database as
    /// documents.
    pub fn is_of_views(&self) -> bool {
        self.is_crud() && self.ns.ends_with(OF_VIEWS) && !self.is_internal()
    }

    /// A delete by a user's `applyOps` in a collection that is not there: it is logged, too,
    /// without a UUID.
    pub fn deletes_nothing(&self) -> bool {
        self.by_apply_ops && self.op == "d" && self.uuid.is_none()
    }

    pub fn is_crud(&self) -> bool {
        matches!(self.op, "i" | "u" | "d")
    }

    /// The op of an `i`, `u` or `d`, taking effect at `position`.
    pub fn crud(&self, position: Position) -> Result<OpRef<'a>> {
        let uuid = self
            .uuid
            .ok_or_else(|| self.unsupported("an op without a collection UUID"))?;
        let (kind, id_holder) = match self.op {
            // Not stored as it is logged (seen on 6.0.5).
            "i" if self.by_apply_ops && locate::needs_literal(self.o) => (OpKind::Unclear, self.o),
            "i" => (OpKind::Insert, self.o),
            // Logged also where there was no document.
            "d" if self.by_apply_ops => (OpKind::Unclear, self.o),
            "d" => (OpKind::Delete, self.o),
            "u" => (self.update()?, self.o2.unwrap_or(self.o)),
            _ => return Err(self.unsupported("an op of unknown kind")),
        };
        let body = match kind {
            OpKind::Insert | OpKind::Replace | OpKind::Delta => self.o.as_bytes(),
            OpKind::Delete | OpKind::Unclear => &[],
        };
        let id = locate::id_of(id_holder).ok_or_else(|| self.unsupported("an op without `_id`"))?;
        Ok(OpRef {
            position,
            uuid,
            kind,
            id,
            body,
        })
    }

    fn update(&self) -> Result<OpKind> {
        if self.by_apply_ops {
            return Ok(OpKind::Unclear);
        }
        match delta::is_delta(self.o) {
            Some(false) => Ok(OpKind::Replace),
            // Shown before, it would be replayed over itself.
            Some(true) if self.prepared && delta::may_move_fields(self.o.as_bytes()) => {
                Ok(OpKind::Unclear)
            }
            Some(true) => Ok(OpKind::Delta),
            None => Err(self.unsupported("an update in a form that is not known")),
        }
    }

    /// The error that stops a pair at this entry.
    pub fn unsupported(&self, what: &str) -> Error {
        let by = if self.by_apply_ops {
            " by a user's `applyOps`"
        } else {
            ""
        };
        let text = format!(
            "the source's oplog holds {what}{by}, at {} (op `{}` on `{}`)",
            self.position, self.op, self.ns
        );
        let is_write_to_one = self.is_crud() && self.uuid.is_some();
        Error::new(Kind::Unsupported, text).remedy(if is_write_to_one {
            COPY_COLLECTION
        } else {
            COPY_SHARD
        })
    }
}

/// Eight bytes, little endian; a timestamp's seconds are the high half.
fn word(value: &[u8]) -> u64 {
    value
        .first_chunk()
        .map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

fn text(value: &[u8]) -> Result<&str> {
    let text = string(value).map_or(value, |(text, _)| text);
    std::str::from_utf8(text).map_err(|_| {
        let name = String::from_utf8_lossy(text);
        Error::new(
            Kind::Unsupported,
            format!("the source's oplog holds a name that is not UTF-8: {name:?}"),
        )
        .remedy("drop or rename what has such a name on the source; copy that shard again with `shardlift recopy --shard <its name>`, then run the same `shardlift migrate` again")
    })
}

pub(in crate::pair) fn uuid_of(bytes: &[u8]) -> Option<Uuid> {
    bytes.try_into().ok().map(Uuid::from_bytes)
}

/// `prevOpTime` of a first entry is `Timestamp(0, 0)`.
fn previous_of(time: &[u8]) -> Option<Position> {
    let ts = field(time, b"ts").filter(|ts| ts.kind == kind::TIMESTAMP)?;
    Some(Position::from_raw(word(ts.value))).filter(|position| *position != Position::default())
}

#[cfg(test)]
mod tests;
