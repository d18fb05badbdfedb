//! Write commands as raw BSON, built in one buffer without a second copy of
//! any document.
//!
//! Knows the layout of BSON and of the three write commands. Sends nothing.

use bson::{RawBson, RawDocumentBuf, Uuid};

use crate::pair::collection::Tracked;

const TYPE_INT32: u8 = 0x10;
const TYPE_STRING: u8 = 0x02;
const TYPE_DOCUMENT: u8 = 0x03;
const TYPE_ARRAY: u8 = 0x04;
const TYPE_BINARY: u8 = 0x05;
const TYPE_BOOL: u8 = 0x08;
const SUBTYPE_UUID: u8 = 0x04;

/// Writes one BSON document front to back.
#[derive(Debug)]
pub struct RawWriter {
    bytes: Vec<u8>,
    /// Where the open documents and arrays begin.
    open: Vec<usize>,
}

impl RawWriter {
    pub fn new(capacity: usize) -> Self {
        let mut writer = RawWriter { bytes: Vec::with_capacity(capacity + 512), open: Vec::new() };
        writer.begin();
        writer
    }

    fn begin(&mut self) {
        self.open.push(self.bytes.len());
        self.bytes.extend_from_slice(&[0; size_of::<i32>()]);
    }

    pub fn end(&mut self) {
        self.bytes.push(0);
        let start = self.open.pop().expect("every end has its begin");
        let length = (self.bytes.len() - start) as i32;
        self.bytes[start..start + size_of::<i32>()].copy_from_slice(&length.to_le_bytes());
    }

    fn name(&mut self, kind: u8, name: &str) {
        self.bytes.push(kind);
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
    }

    fn index(&mut self, kind: u8, index: usize) {
        use std::io::Write;
        self.bytes.push(kind);
        write!(self.bytes, "{index}").expect("a vector takes any bytes");
        self.bytes.push(0);
    }

    pub fn begin_document(&mut self, name: &str) {
        self.name(TYPE_DOCUMENT, name);
        self.begin();
    }

    pub fn begin_array(&mut self, name: &str) {
        self.name(TYPE_ARRAY, name);
        self.begin();
    }

    pub fn begin_item(&mut self, index: usize) {
        self.index(TYPE_DOCUMENT, index);
        self.begin();
    }

    pub fn string(&mut self, name: &str, value: &str) {
        self.name(TYPE_STRING, name);
        self.bytes.extend_from_slice(&(value.len() as i32 + 1).to_le_bytes());
        self.bytes.extend_from_slice(value.as_bytes());
        self.bytes.push(0);
    }

    pub fn bool(&mut self, name: &str, value: bool) {
        self.name(TYPE_BOOL, name);
        self.bytes.push(value.into());
    }

    pub fn int32(&mut self, name: &str, value: i32) {
        self.name(TYPE_INT32, name);
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    pub fn uuid(&mut self, name: &str, value: Uuid) {
        self.name(TYPE_BINARY, name);
        self.bytes.extend_from_slice(&16i32.to_le_bytes());
        self.bytes.push(SUBTYPE_UUID);
        self.bytes.extend_from_slice(&value.bytes());
    }

    /// A whole document as a field.
    pub fn document(&mut self, name: &str, document: &[u8]) {
        self.name(TYPE_DOCUMENT, name);
        self.bytes.extend_from_slice(document);
    }

    /// A whole document as an array item.
    pub fn item(&mut self, index: usize, document: &[u8]) {
        self.index(TYPE_DOCUMENT, index);
        self.bytes.extend_from_slice(document);
    }

    /// `{_id: …}` as a field.
    pub fn id_query(&mut self, name: &str, id: &RawBson) {
        let mut query = RawDocumentBuf::new();
        query.append(bson::raw::cstr!("_id"), id.clone());
        self.document(name, query.as_bytes());
    }

    pub fn finish(mut self) -> RawDocumentBuf {
        while !self.open.is_empty() {
            self.end();
        }
        RawDocumentBuf::from_bytes(self.bytes).expect("the writer closes what it opens")
    }
}

/// A write command in the making: head, then statements in its array.
#[derive(Debug)]
pub struct WriteCommand {
    writer: RawWriter,
    count: usize,
}

/// What a statement costs besides the bytes of its documents: index, `q`, names.
pub const STATEMENT_OVERHEAD_BYTES: usize = 256;

impl WriteCommand {
    /// `verb` is `insert`, `update` or `delete`; `array` its statements' field.
    /// Bound to the collection's UUID, so that it can neither create a
    /// collection nor hit another of the same name (R8), and with its own
    /// write concern, since the server's default is majority (R7). The source
    /// took the document: the target's validator has no say.
    pub fn new(verb: &str, collection: &Tracked, array: &str, ordered: bool, capacity: usize) -> Self {
        let mut writer = Self::head(verb, collection, ordered, capacity);
        writer.begin_document("writeConcern");
        writer.int32("w", 1);
        writer.end();
        writer.begin_array(array);
        WriteCommand { writer, count: 0 }
    }

    /// One statement of a transaction, whose commit has the write concern.
    pub fn in_transaction(verb: &str, collection: &Tracked, array: &str, capacity: usize) -> Self {
        let mut writer = Self::head(verb, collection, true, capacity);
        writer.begin_array(array);
        WriteCommand { writer, count: 0 }
    }

    fn head(verb: &str, collection: &Tracked, ordered: bool, capacity: usize) -> RawWriter {
        let mut writer = RawWriter::new(capacity);
        writer.string(verb, &collection.ns.coll);
        writer.bool("ordered", ordered);
        writer.uuid("collectionUUID", collection.target_uuid());
        if verb != "delete" {
            writer.bool("bypassDocumentValidation", true);
        }
        writer
    }

    pub fn insert(&mut self, document: &[u8]) {
        self.writer.item(self.count, document);
        self.count += 1;
    }

    /// Opens an update statement: `{q: {_id}, upsert, …`; the caller writes `u`
    /// and closes it.
    pub fn begin_update(&mut self, id: &RawBson, upsert: bool) -> &mut RawWriter {
        self.writer.begin_item(self.count);
        self.count += 1;
        self.writer.id_query("q", id);
        self.writer.bool("upsert", upsert);
        &mut self.writer
    }

    pub fn delete(&mut self, id: &RawBson) {
        self.writer.begin_item(self.count);
        self.count += 1;
        self.writer.id_query("q", id);
        self.writer.int32("limit", 1);
        self.writer.end();
    }

    pub fn delete_all(&mut self) {
        self.writer.begin_item(self.count);
        self.count += 1;
        self.writer.begin_document("q");
        self.writer.end();
        self.writer.int32("limit", 0);
        self.writer.end();
    }

    pub fn finish(self) -> RawDocumentBuf {
        self.writer.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::catalog::Namespace;
    use crate::pair::collection::Traits;
    use bson::{Document, doc, rawdoc};

    #[test]
    fn commands_are_the_documents_they_stand_for() {
        let uuid = Uuid::from_bytes([7; 16]);
        let ns = Namespace { db: "d".to_owned(), coll: "a.b c".to_owned() };
        let collection = Tracked::new(uuid, ns, Traits::default());
        collection.bind(uuid);
        let mut command = WriteCommand::new("update", &collection, "updates", false, 0);
        let writer = command.begin_update(&RawBson::Int32(5), true);
        writer.document("u", rawdoc! { "_id": 5, "x": "y" }.as_bytes());
        writer.end();
        let built = Document::try_from(command.finish().as_ref()).expect("valid BSON");
        let expect = doc! {
            "update": "a.b c", "ordered": false, "collectionUUID": uuid, "bypassDocumentValidation": true, "writeConcern": { "w": 1 },
            "updates": [{ "q": { "_id": 5 }, "upsert": true, "u": { "_id": 5, "x": "y" } }],
        };
        assert_eq!(built, expect);
    }
}
