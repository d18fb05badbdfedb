//! Framing of requests and replies.
//!
//! A message is a header of four little-endian i32 (length, request id, id it
//! answers, opcode) and a payload. Document sequences (`OP_MSG` kind 1) are
//! kept as the bytes they came in: whoever forwards a bulk never decodes it.

use std::io;

use bson::{RawDocument, RawDocumentBuf, rawdoc};
use tokio::io::{AsyncRead, AsyncReadExt};

const HEADER_BYTES: usize = 16;
/// Servers refuse more than 48 000 000 bytes; some room for the envelope.
const MESSAGE_BYTES_MAX: usize = 64 << 20;

const OP_REPLY: i32 = 1;
const OP_QUERY: i32 = 2004;
const OP_MSG: i32 = 2013;

const FLAG_CHECKSUM: u32 = 1;
const FLAG_MORE_TO_COME: u32 = 2;

/// One message, either way.
#[derive(Debug)]
pub struct Message {
    pub id: i32,
    /// True for `OP_QUERY`, which is answered by `OP_REPLY`.
    pub legacy: bool,
    /// True if the sender wants no answer (an unacknowledged write).
    pub more_to_come: bool,
    pub body: RawDocumentBuf,
    /// Kind 1 sections, kind bytes included; empty if there were none.
    pub sequences: Vec<u8>,
}

/// Reads one message; None if the peer closed between two messages.
///
/// # Errors
/// Of the socket, or `InvalidData` for what is not one of the messages above.
pub async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Message>> {
    let mut header = [0; HEADER_BYTES];
    match stream.read_exact(&mut header).await {
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    };
    let total = i32_at(&header, 0)? as usize;
    if !(HEADER_BYTES..=MESSAGE_BYTES_MAX).contains(&total) {
        return Err(invalid(format!("a message of {total} bytes")));
    }
    let mut payload = vec![0; total - HEADER_BYTES];
    stream.read_exact(&mut payload).await?;
    let id = i32_at(&header, 4)?;
    match i32_at(&header, 12)? {
        OP_MSG => parse_msg(id, &payload),
        OP_QUERY => parse_query(id, &payload),
        opcode => Err(invalid(format!("opcode {opcode}"))),
    }
    .map(Some)
}

/// An `OP_MSG`, complete with header.
pub fn encode(id: i32, answers: i32, body: &RawDocument, sequences: &[u8]) -> Vec<u8> {
    let total = HEADER_BYTES + 4 + 1 + body.as_bytes().len() + sequences.len();
    let mut out = Vec::with_capacity(total);
    for field in [total as i32, id, answers, OP_MSG, 0] {
        out.extend_from_slice(&field.to_le_bytes());
    }
    out.push(0);
    out.extend_from_slice(body.as_bytes());
    out.extend_from_slice(sequences);
    out
}

/// An `OP_REPLY` with one document, for a request that came as `OP_QUERY`.
pub fn encode_legacy(answers: i32, body: &RawDocument) -> Vec<u8> {
    const AWAIT_CAPABLE: i32 = 8;
    let total = HEADER_BYTES + 20 + body.as_bytes().len();
    let mut out = Vec::with_capacity(total);
    // header, flags, cursor id (two words), starting from, documents
    for field in [
        total as i32,
        0,
        answers,
        OP_REPLY,
        AWAIT_CAPABLE,
        0,
        0,
        0,
        1,
    ] {
        out.extend_from_slice(&field.to_le_bytes());
    }
    out.extend_from_slice(body.as_bytes());
    out
}

fn parse_msg(id: i32, payload: &[u8]) -> io::Result<Message> {
    let flags = i32_at(payload, 0)? as u32;
    let trailer = if flags & FLAG_CHECKSUM == 0 { 0 } else { 4 };
    let end = payload
        .len()
        .checked_sub(trailer)
        .ok_or_else(|| invalid("a message cut short"))?;
    let (mut body, mut sequences, mut at) = (None, Vec::new(), 4);
    while at < end {
        let section_bytes = i32_at(payload, at + 1)? as usize;
        let section = payload
            .get(at..at + 1 + section_bytes)
            .ok_or_else(|| invalid("a section cut short"))?;
        match section[0] {
            0 => body = Some(document(&section[1..])?),
            1 => sequences.extend_from_slice(section),
            kind => return Err(invalid(format!("a section of kind {kind}"))),
        }
        at += section.len();
    }
    let body = body.ok_or_else(|| invalid("a message without a body"))?;
    Ok(Message {
        id,
        legacy: false,
        more_to_come: flags & FLAG_MORE_TO_COME != 0,
        body,
        sequences,
    })
}

/// `OP_QUERY` carries flags, a C string `db.$cmd`, skip, limit, the command.
fn parse_query(id: i32, payload: &[u8]) -> io::Result<Message> {
    let name = payload.get(4..).unwrap_or_default();
    let name_end = name
        .iter()
        .position(|b| *b == 0)
        .ok_or_else(|| invalid("a query without a name"))?;
    let db = String::from_utf8_lossy(&name[..name_end])
        .split('.')
        .next()
        .unwrap_or("admin")
        .to_owned();
    let at = 4 + name_end + 1 + 8;
    let bytes = i32_at(payload, at)? as usize;
    let query = document(
        payload
            .get(at..at + bytes)
            .ok_or_else(|| invalid("a query cut short"))?,
    )?;
    let mut body = query;
    if !matches!(body.get("$db"), Ok(Some(_))) {
        let db_field = rawdoc! { "$db": db };
        for element in db_field.iter_elements().flatten() {
            body.append(element.key(), element.value().map_err(invalid)?);
        }
    }
    Ok(Message {
        id,
        legacy: true,
        more_to_come: false,
        body,
        sequences: Vec::new(),
    })
}

fn document(bytes: &[u8]) -> io::Result<RawDocumentBuf> {
    RawDocumentBuf::from_bytes(bytes.to_vec()).map_err(invalid)
}

fn i32_at(bytes: &[u8], at: usize) -> io::Result<i32> {
    let word = bytes
        .get(at..at + 4)
        .ok_or_else(|| invalid("a message cut short"))?;
    Ok(i32::from_le_bytes(
        word.try_into().expect("four bytes were taken"),
    ))
}

fn invalid(what: impl ToString) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sequence(name: &str, docs: &[RawDocumentBuf]) -> Vec<u8> {
        let mut content = [name.as_bytes(), &[0]].concat();
        docs.iter()
            .for_each(|d| content.extend_from_slice(d.as_bytes()));
        let mut out = vec![1];
        out.extend_from_slice(&(content.len() as i32 + 4).to_le_bytes());
        out.extend_from_slice(&content);
        out
    }

    #[tokio::test]
    async fn a_message_with_sequences_survives_the_round_trip() {
        let body = rawdoc! { "insert": "c", "$db": "d" };
        let sequences = sequence("documents", &[rawdoc! { "_id": 1 }, rawdoc! { "_id": 2 }]);
        let bytes = encode(7, 3, &body, &sequences);
        let message = read(&mut bytes.as_slice()).await.unwrap().unwrap();
        assert_eq!(
            (message.id, message.legacy, message.more_to_come),
            (7, false, false)
        );
        assert_eq!(message.body, body);
        assert_eq!(message.sequences, sequences);
    }

    #[tokio::test]
    async fn a_query_gets_its_database() {
        let mut payload = vec![0; 4];
        payload.extend_from_slice(b"admin.$cmd\0");
        payload.extend_from_slice(&[0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]);
        payload.extend_from_slice(rawdoc! { "ismaster": 1 }.as_bytes());
        let message = parse_query(1, &payload).unwrap();
        assert!(message.legacy);
        assert_eq!(message.body.get_str("$db").unwrap(), "admin");
    }

    #[tokio::test]
    async fn torn_and_foreign_bytes_are_errors_not_panics() {
        let good = encode(1, 0, &rawdoc! { "ping": 1, "$db": "admin" }, &[]);
        assert!(read(&mut &good[..0]).await.unwrap().is_none());
        assert!(read(&mut &good[..good.len() - 1]).await.is_err());
        assert!(
            read(&mut b"GET / HTTP/1.1\r\n\r\n".as_slice())
                .await
                .is_err()
        );
    }
}
