//! Write commands whose documents are written once, into the message that is sent.
//!
//! Knows the layout of BSON and of the three write commands. Sends nothing.

use bson::raw::{CStr, cstr};
use bson::{Binary, RawDocumentBuf, rawdoc};

use crate::bson::element::kind;
use crate::bson::value::ValueRef;
use crate::cluster::dialect::WriteForms;
use crate::pair::collection::Tracked;
use crate::wire::message::{Request, Sequence};

/// Writes BSON documents front to back, one after the other.
#[derive(Debug)]
pub struct RawWriter {
    sequence: Sequence,
    /// Where the open documents and arrays begin.
    open: Vec<usize>,
}

impl RawWriter {
    fn new(field: &str, capacity: usize) -> Self {
        RawWriter {
            sequence: Sequence::new(field, capacity),
            open: Vec::new(),
        }
    }

    fn bytes(&mut self) -> &mut Vec<u8> {
        self.sequence.documents()
    }

    fn begin(&mut self) {
        let bytes = self.sequence.documents();
        self.open.push(bytes.len());
        bytes.extend_from_slice(&[0; size_of::<i32>()]);
    }

    pub fn end(&mut self) {
        let start = self.open.pop().expect("every end has its begin");
        let bytes = self.bytes();
        bytes.push(0);
        let length = (bytes.len() - start) as i32;
        bytes[start..start + size_of::<i32>()].copy_from_slice(&length.to_le_bytes());
    }

    fn name(&mut self, kind: u8, name: &str) {
        let bytes = self.bytes();
        bytes.push(kind);
        bytes.extend_from_slice(name.as_bytes());
        bytes.push(0);
    }

    pub fn begin_document(&mut self, name: &str) {
        self.name(kind::DOCUMENT, name);
        self.begin();
    }

    pub fn begin_array(&mut self, name: &str) {
        self.name(kind::ARRAY, name);
        self.begin();
    }

    /// A document as an array item.
    pub fn begin_item(&mut self, index: usize) {
        use std::io::Write;
        let bytes = self.bytes();
        bytes.push(kind::DOCUMENT);
        match u8::try_from(index) {
            Ok(digit @ 0..=9) => bytes.extend_from_slice(&[b'0' + digit, 0]),
            _ => write!(bytes, "{index}\0").expect("a vector takes any bytes"),
        }
        self.begin();
    }

    fn bool(&mut self, name: &str, value: bool) {
        self.name(kind::BOOLEAN, name);
        self.bytes().push(value.into());
    }

    fn int32(&mut self, name: &str, value: i32) {
        self.name(kind::INT32, name);
        self.bytes().extend_from_slice(&value.to_le_bytes());
    }

    /// A whole document as a field.
    pub fn document(&mut self, name: &str, document: &[u8]) {
        self.name(kind::DOCUMENT, name);
        self.bytes().extend_from_slice(document);
    }

    /// `{_id: …}` as a field.
    fn id_query(&mut self, name: &str, id: ValueRef<'_>) {
        self.begin_document(name);
        self.name(id.kind, "_id");
        self.bytes().extend_from_slice(id.bytes);
        self.end();
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    Insert,
    Update,
    Delete,
}

impl Verb {
    /// The command, and the field of its statements.
    fn names(self) -> (&'static CStr, &'static str) {
        match self {
            Verb::Insert => (cstr!("insert"), "documents"),
            Verb::Update => (cstr!("update"), "updates"),
            Verb::Delete => (cstr!("delete"), "deletes"),
        }
    }
}

/// A write command in the making: its head, and the statements that go with it.
#[derive(Debug)]
pub struct WriteCommand {
    database: String,
    head: RawDocumentBuf,
    writer: RawWriter,
    /// Statements name the `_id` index: without it the plan of a clustered collection counts
    /// as a scan, which a server with `notablescan` refuses (6.0.5; 5.0 refuses the hint).
    hinted: bool,
}

/// Bytes of a statement besides its documents: `q`, field names.
pub const STATEMENT_OVERHEAD_BYTES: usize = 256;

impl WriteCommand {
    /// A command with room for `capacity` bytes of statements.
    ///
    /// It names the collection's UUID, so that it can neither create a collection nor
    /// write to another one of the same name (R8); where servers do not take that, nothing
    /// is dropped while it is under way ([`Tracked::begin_write`]). It has its own write concern, since
    /// the server's default is majority (R7). It skips the target's validator, since the
    /// source took the document.
    pub fn new(
        verb: Verb,
        collection: &Tracked,
        forms: WriteForms,
        ordered: bool,
        capacity: usize,
    ) -> Self {
        let mut command = Self::in_transaction(verb, collection, forms, capacity);
        command.head.append(cstr!("ordered"), ordered);
        command
            .head
            .append(cstr!("writeConcern"), rawdoc! { "w": 1 });
        command
    }

    /// The same command inside a transaction, whose commit has the write concern.
    pub fn in_transaction(
        verb: Verb,
        collection: &Tracked,
        forms: WriteForms,
        capacity: usize,
    ) -> Self {
        let (name, field) = verb.names();
        let mut head = RawDocumentBuf::new();
        head.append(name, &*collection.ns().coll);
        if forms.binds_uuid {
            let uuid = Binary::from(collection.target_uuid());
            head.append(cstr!("collectionUUID"), uuid);
        }
        if verb != Verb::Delete {
            head.append(cstr!("bypassDocumentValidation"), true);
        }
        let hinted = collection.traits.clustered && forms.clustered_hint;
        let database = collection.ns().db;
        WriteCommand {
            database,
            head,
            writer: RawWriter::new(field, capacity),
            hinted,
        }
    }

    pub fn insert(&mut self, document: &[u8]) {
        self.writer.bytes().extend_from_slice(document);
    }

    /// Opens an update statement: `{q: {_id}, upsert, …`; the caller writes `u`
    /// and closes it.
    pub fn begin_update(&mut self, id: ValueRef<'_>, upsert: bool) -> &mut RawWriter {
        self.writer.begin();
        self.writer.id_query("q", id);
        self.writer.bool("upsert", upsert);
        self.hint();
        &mut self.writer
    }

    fn hint(&mut self) {
        if self.hinted {
            self.writer.begin_document("hint");
            self.writer.int32("_id", 1);
            self.writer.end();
        }
    }

    pub fn delete(&mut self, id: ValueRef<'_>) {
        self.writer.begin();
        self.writer.id_query("q", id);
        self.writer.int32("limit", 1);
        self.hint();
        self.writer.end();
    }

    pub fn delete_all(&mut self) {
        self.writer.begin();
        self.writer.document("q", RawDocumentBuf::new().as_bytes());
        self.writer.int32("limit", 0);
        self.writer.end();
    }

    pub fn finish(self) -> Request {
        Request::new(&self.database, self.head).with(self.writer.sequence.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bson::value::Value;
    use crate::cluster::catalog::Namespace;
    use crate::cluster::dialect::Dialect;
    use crate::pair::collection::Traits;
    use bson::{RawBson, RawBsonRef, Uuid};

    #[test]
    fn commands_are_the_documents_they_stand_for() {
        let uuid = Uuid::from_bytes([7; 16]);
        let ns = Namespace {
            db: "d".to_owned(),
            coll: "a.b c".to_owned(),
        };
        let collection = Tracked::new(uuid, ns, Traits::default());
        collection.bind(uuid);
        let forms = Dialect::newest().writes;
        let mut command = WriteCommand::new(Verb::Update, &collection, forms, false, 0);
        let writer = command.begin_update(Value::from(RawBsonRef::Int32(5)).as_ref(), true);
        writer.document("u", rawdoc! { "_id": 5, "x": "y" }.as_bytes());
        writer.end();
        let request = command.finish();
        let head = rawdoc! {
            "update": "a.b c", "collectionUUID": Binary::from(uuid), "bypassDocumentValidation": true, "ordered": false,
            "writeConcern": { "w": 1 }, "$db": "d",
        };
        assert_eq!(request.head(), &*head);
        let mut statements = Sequence::new("updates", 0);
        let statement = rawdoc! { "q": { "_id": 5 }, "upsert": true, "u": { "_id": 5, "x": "y" } };
        statements
            .documents()
            .extend_from_slice(statement.as_bytes());
        assert_eq!(request.sequence(), &statements.finish());
    }

    #[test]
    fn every_kind_of_id_is_asked_for_as_it_is() {
        let id = bson::oid::ObjectId::from_bytes([1; 12]);
        let ids = [
            RawBson::ObjectId(id),
            RawBson::Int32(-5),
            RawBson::Int64(1 << 40),
            RawBson::Double(0.5),
            RawBson::String("x".to_owned()),
            RawBson::Document(rawdoc! { "a": [1, { "b": 2 }] }),
            RawBson::Null,
        ];
        for id in ids {
            let mut writer = RawWriter::new("deletes", 0);
            writer.begin();
            writer.id_query("q", Value::from(id.as_raw_bson_ref()).as_ref());
            writer.end();
            let sequence = writer.sequence.finish();
            let (_, mut statements) = sequence.read().unwrap();
            let expect = rawdoc! { "q": { "_id": id } };
            assert_eq!(statements.next(), Some(&*expect));
        }
    }

    #[test]
    fn items_are_named_by_their_place() {
        let mut writer = RawWriter::new("updates", 0);
        writer.begin();
        writer.begin_array("u");
        for index in 0..12 {
            writer.begin_item(index);
            writer.end();
        }
        writer.end();
        writer.end();
        let sequence = writer.sequence.finish();
        let expect = rawdoc! { "u": vec![RawBson::Document(RawDocumentBuf::new()); 12].into_iter().collect::<bson::RawArrayBuf>() };
        assert_eq!(sequence.read().unwrap().1.next(), Some(&*expect));
    }
}
