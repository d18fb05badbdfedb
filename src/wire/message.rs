//! Framing of requests and replies: `OP_MSG`, inside `OP_COMPRESSED` where both
//! sides agreed on it.
//! <https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol/>
//!
//! A request's documents are written once, into the section they travel in; a
//! reply is one buffer, read into once. Knows nothing about connections.

use std::io;

use bson::raw::{CStr, cstr};
use bson::{RawBson, RawBsonRef, RawDocument, RawDocumentBuf};

use crate::bson::element::{cstring, field, kind};
use crate::bson::locate;
use crate::error::{Error, Kind};
use crate::limits::MESSAGE_BYTES_MAX;

pub(super) const HEADER_BYTES: usize = 16;
pub(super) const OP_MSG: i32 = 2013;
pub(super) const OP_COMPRESSED: i32 = 2012;

const FLAG_CHECKSUM: u32 = 1;
const SECTION_BODY: u8 = 0;
const SECTION_SEQUENCE: u8 = 1;

/// A command, and the documents that go with it.
#[derive(Debug, Clone)]
pub struct Request {
    head: RawDocumentBuf,
    sequence: Sequence,
}

/// Documents of one field of a command, one after the other. They weigh nothing
/// in the command itself, so their sum may be more than a document.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sequence {
    /// The whole section, or nothing.
    bytes: Vec<u8>,
}

impl Request {
    pub fn new(database: &str, mut head: RawDocumentBuf) -> Self {
        head.append(cstr!("$db"), database);
        Request {
            head,
            sequence: Sequence::default(),
        }
    }

    pub fn with(self, sequence: Sequence) -> Self {
        Request { sequence, ..self }
    }

    /// One more field of the command.
    pub fn append(&mut self, name: &CStr, value: impl Into<RawBson>) {
        self.head.append(name, value.into());
    }

    /// The command without its documents.
    pub fn head(&self) -> &RawDocument {
        &self.head
    }

    pub fn sequence(&self) -> &Sequence {
        &self.sequence
    }

    /// Flags, body and sequence, as they follow the header; the last two as they lie.
    pub(super) fn parts(&self) -> [&[u8]; 3] {
        // No flags; a section of kind 0.
        const BEGIN: [u8; 5] = [0, 0, 0, 0, SECTION_BODY];
        [&BEGIN, self.head.as_bytes(), &self.sequence.bytes]
    }

    /// Size of the request without its header.
    pub fn bytes(&self) -> usize {
        self.parts().iter().map(|part| part.len()).sum()
    }
}

impl Sequence {
    /// `capacity`: bytes of its documents.
    pub fn new(field: &str, capacity: usize) -> Self {
        let mut bytes = Vec::with_capacity(capacity + field.len() + 6);
        bytes.push(SECTION_SEQUENCE);
        bytes.extend_from_slice(&[0; size_of::<i32>()]);
        bytes.extend_from_slice(field.as_bytes());
        bytes.push(0);
        Sequence { bytes }
    }

    /// The buffer for the next document: append whole documents only.
    pub fn documents(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// The field and the documents of a finished sequence.
    pub fn read(&self) -> Option<(&str, impl Iterator<Item = &RawDocument>)> {
        let (field, mut rest) = cstring(self.bytes.get(5..)?)?;
        let documents = std::iter::from_fn(move || {
            let bytes = i32::from_le_bytes(*rest.first_chunk()?);
            let (document, after) = rest.split_at_checked(usize::try_from(bytes).ok()?)?;
            rest = after;
            RawDocument::from_bytes(document).ok()
        });
        Some((std::str::from_utf8(field).ok()?, documents))
    }

    pub fn finish(mut self) -> Self {
        let length = (self.bytes.len() - 1) as i32;
        self.bytes[1..1 + size_of::<i32>()].copy_from_slice(&length.to_le_bytes());
        self
    }
}

/// A header: length of the message, request id, id it answers, opcode.
pub(super) fn header(payload_bytes: usize, id: i32, opcode: i32) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    for (field, value) in
        header
            .chunks_exact_mut(4)
            .zip([(HEADER_BYTES + payload_bytes) as i32, id, 0, opcode])
    {
        field.copy_from_slice(&value.to_le_bytes());
    }
    header
}

/// The fields of a received header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) payload_bytes: usize,
    pub(super) answers: i32,
    pub(super) opcode: i32,
}

impl Header {
    /// # Errors
    /// `InvalidData` for a length no message has.
    pub(super) fn read(header: &[u8; HEADER_BYTES]) -> io::Result<Header> {
        let total = word(header, 0)? as usize;
        if !(HEADER_BYTES..=MESSAGE_BYTES_MAX + HEADER_BYTES).contains(&total) {
            return Err(invalid(format!("a message of {total} bytes")));
        }
        Ok(Header {
            payload_bytes: total - HEADER_BYTES,
            answers: word(header, 8)?,
            opcode: word(header, 12)?,
        })
    }
}

/// A reply, as it came.
#[derive(Debug)]
pub struct Reply {
    bytes: Vec<u8>,
    body_end: usize,
}

/// Where the body begins: after flags and section kind.
const BODY_AT: usize = 5;

impl Reply {
    /// # Errors
    /// `InvalidData` for what is no `OP_MSG` of one body.
    pub(super) fn read(payload: Vec<u8>) -> io::Result<Reply> {
        let flags = word(&payload, 0)? as u32;
        let trailer = if flags & FLAG_CHECKSUM == 0 { 0 } else { 4 };
        let body_end = payload.len().saturating_sub(trailer);
        let body = payload
            .get(BODY_AT..body_end)
            .filter(|_| payload[4] == SECTION_BODY);
        match body.map(RawDocument::from_bytes) {
            Some(Ok(_)) => Ok(Reply {
                bytes: payload,
                body_end,
            }),
            Some(Err(e)) => Err(invalid(format!("a reply that is not a document: {e}"))),
            None => Err(invalid("a reply without a body".to_owned())),
        }
    }

    pub fn body(&self) -> &RawDocument {
        locate::raw(&self.bytes[BODY_AT..self.body_end])
    }

    /// Bytes it takes.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// The error that the server reports; None if the command itself did not fail.
    pub fn fault(&self) -> Option<Error> {
        let body = self.body();
        if number(body, "ok") == Some(1) {
            return None;
        }
        let message = body.get_str("errmsg").unwrap_or("no text");
        // A router leaves it out of some refusals.
        let Some(code) = number(body, "code").and_then(|code| i32::try_from(code).ok()) else {
            return Some(Error::new(Kind::Server, format!("{message} (no code)")));
        };
        Some(Error::answered(
            code,
            body.get_str("codeName").unwrap_or("no name"),
            message,
        ))
    }

    /// Whether the server put this label on its failure.
    pub fn has_label(&self, label: &str) -> bool {
        let Ok(labels) = self.body().get_array("errorLabels") else {
            return false;
        };
        labels
            .into_iter()
            .flatten()
            .any(|l| l.as_str() == Some(label))
    }

    /// The byte range of a cursor's batch, as an array.
    pub(super) fn batch(&self) -> Option<std::ops::Range<usize>> {
        let cursor =
            field(self.body().as_bytes(), b"cursor").filter(|c| c.kind == kind::DOCUMENT)?;
        let batch = [b"nextBatch".as_slice(), b"firstBatch"]
            .into_iter()
            .find_map(|name| field(cursor.value, name));
        // Length and end, at least.
        let is_whole = |b: &[u8]| size_of::<i32>() < b.len() && b.last() == Some(&0);
        let batch = batch
            .filter(|b| b.kind == kind::ARRAY && is_whole(b.value))?
            .value;
        let start = batch.as_ptr() as usize - self.bytes.as_ptr() as usize;
        Some(start..start + batch.len())
    }

    pub(super) fn slice(&self, range: std::ops::Range<usize>) -> &[u8] {
        &self.bytes[range]
    }
}

/// A number of any type as an integer.
pub fn number(document: &RawDocument, name: &str) -> Option<i64> {
    match document.get(name).ok().flatten()? {
        RawBsonRef::Int32(n) => Some(i64::from(n)),
        RawBsonRef::Int64(n) => Some(n),
        RawBsonRef::Double(n) => Some(n as i64),
        RawBsonRef::Boolean(b) => Some(i64::from(b)),
        _ => None,
    }
}

pub(super) fn word(bytes: &[u8], at: usize) -> io::Result<i32> {
    let word = bytes.get(at..).and_then(|rest| rest.first_chunk());
    word.map(|word| i32::from_le_bytes(*word))
        .ok_or_else(|| invalid("a message cut short".to_owned()))
}

pub(super) fn invalid(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::rawdoc;

    fn payload(body: &RawDocument) -> Vec<u8> {
        [&[0, 0, 0, 0, SECTION_BODY], body.as_bytes()].concat()
    }

    #[test]
    fn a_request_is_its_head_and_its_documents() {
        let mut documents = Sequence::new("documents", 0);
        let document = rawdoc! { "_id": 1 };
        documents.documents().extend_from_slice(document.as_bytes());
        let request = Request::new("d", rawdoc! { "insert": "c" }).with(documents.finish());
        let expect = [
            [0; 5].as_slice(),
            rawdoc! { "insert": "c", "$db": "d" }.as_bytes(),
            &[1, 28, 0, 0, 0],
            b"documents\0",
            document.as_bytes(),
        ]
        .concat();
        assert_eq!(request.parts().concat(), expect);
        assert_eq!(request.bytes(), expect.len());
        assert_eq!(
            header(expect.len(), 7, OP_MSG)[..8],
            [(expect.len() as u8 + 16), 0, 0, 0, 7, 0, 0, 0]
        );
    }

    #[test]
    fn replies_tell_what_failed() {
        let reply = |body: RawDocumentBuf| Reply::read(payload(&body)).unwrap();
        assert!(reply(rawdoc! { "ok": 1.0, "n": 1 }).fault().is_none());
        let labels =
            rawdoc! { "ok": 0, "code": 91, "errmsg": "x", "codeName": "Y", "errorLabels": ["L"] };
        let down = reply(labels);
        let fault = down.fault().unwrap();
        assert_eq!(
            (fault.kind, fault.code, fault.message.as_str()),
            (Kind::Transient, Some(91), "x (Y, code 91)")
        );
        assert!(down.has_label("L") && !down.has_label("M"));
        assert_eq!(
            reply(rawdoc! { "ok": 0.0, "code": 26 })
                .fault()
                .unwrap()
                .kind,
            Kind::Server
        );
        let uncoded = reply(rawdoc! { "ok": 0.0, "errmsg": "a boundary key" })
            .fault()
            .unwrap();
        assert_eq!(
            (uncoded.code, uncoded.message.as_str()),
            (None, "a boundary key (no code)")
        );
    }

    #[test]
    fn what_is_no_reply_is_an_error() {
        let good = payload(&rawdoc! { "ok": 1 });
        for bad in [&good[..good.len() - 1], &good[..3], &[], b"GET / HTTP/1.1"] {
            assert!(Reply::read(bad.to_vec()).is_err(), "{bad:?}");
        }
        assert!(Header::read(b"GET / HTTP/1.1\r\n").is_err());
        // A checksum is passed over.
        let checked = [&[1, 0, 0, 0], &good[4..], &[9; 4]].concat();
        assert_eq!(Reply::read(checked).unwrap().body(), &*rawdoc! { "ok": 1 });
    }
}
