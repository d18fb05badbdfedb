//! Write commands of many statements, and connections that send them as fast as
//! the server answers.
//!
//! Knows nothing about what is written.

use std::time::{Duration, Instant};

use bson::raw::{CStr, cstr};
use bson::{Document, RawDocument, RawDocumentBuf, rawdoc};
use tokio::task::JoinSet;

use crate::error::{Error, Result};
use crate::wire::link::{self, Link, number};

/// Statements of one command.
pub(super) const STATEMENTS_MAX: usize = 1_000;
/// Bytes of statements at which a command is closed; a message may hold 48 MB.
pub(super) const BYTES_MAX: usize = 8 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Insert,
    Update,
    Delete,
}

/// One command, ready to be sent.
pub(super) struct Bulk {
    kind: Kind,
    body: RawDocumentBuf,
    /// A document sequence (`OP_MSG` kind 1); its size is set when it is sealed.
    sequence: Vec<u8>,
    pub(super) statements: usize,
}

impl Bulk {
    /// Unordered, `w: 1`.
    pub(super) fn new(kind: Kind, database: &str, collection: &str) -> Bulk {
        let (command, field): (&CStr, &CStr) = match kind {
            Kind::Insert => (cstr!("insert"), cstr!("documents")),
            Kind::Update => (cstr!("update"), cstr!("updates")),
            Kind::Delete => (cstr!("delete"), cstr!("deletes")),
        };
        let mut body = RawDocumentBuf::new();
        body.append(command, collection);
        body.append(cstr!("ordered"), false);
        body.append(cstr!("writeConcern"), rawdoc! { "w": 1 });
        body.append(cstr!("$db"), database);
        let mut sequence = vec![1, 0, 0, 0, 0];
        sequence.extend_from_slice(field.as_str().as_bytes());
        sequence.push(0);
        Bulk {
            kind,
            body,
            sequence,
            statements: 0,
        }
    }

    pub(super) fn push(&mut self, statement: &RawDocument) {
        self.sequence.extend_from_slice(statement.as_bytes());
        self.statements += 1;
    }

    pub(super) fn is_full(&self) -> bool {
        STATEMENTS_MAX <= self.statements || BYTES_MAX <= self.sequence.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.statements == 0
    }

    pub(super) fn sealed(mut self) -> Bulk {
        // All but the kind byte.
        let size = (self.sequence.len() - 1) as i32;
        self.sequence[1..5].copy_from_slice(&size.to_le_bytes());
        self
    }

    /// Sends it; how many documents it changed, which is how many entries it left
    /// in the oplog.
    pub(super) async fn send(&self, link: &mut Link) -> Result<u64> {
        let reply = link.call(&self.body, &self.sequence).await?;
        let reply = Document::try_from(reply.as_ref())?;
        if let Some((code, message)) = link::fault(&reply) {
            return Err(Error::new(format!(
                "{:?} of {} statements: {message} (code {code})",
                self.kind, self.statements
            )));
        }
        let count = |name: &str| reply.get(name).map_or(0.0, number) as u64;
        Ok(match self.kind {
            Kind::Update => count("nModified"),
            Kind::Insert | Kind::Delete => count("n"),
        })
    }
}

/// What was written, and how long it took from the first command to the last
/// answer.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Written {
    pub(super) ops: u64,
    pub(super) seconds: f64,
}

/// Sends every stream over a connection of its own, side by side.
///
/// # Errors
/// The first one; the other connections end with it.
pub(super) async fn write<S>(host: &str, streams: Vec<S>) -> Result<Written>
where
    S: Iterator<Item = Bulk> + Send + 'static,
{
    let mut links = Vec::new();
    for _ in &streams {
        links.push(Link::connect(host).await?);
    }
    let began = Instant::now();
    let mut connections = JoinSet::new();
    for (mut link, stream) in links.into_iter().zip(streams) {
        connections.spawn(async move {
            let mut ops = 0;
            for bulk in stream {
                ops += bulk.send(&mut link).await?;
            }
            Ok::<u64, Error>(ops)
        });
    }
    let mut written = Written::default();
    while let Some(ended) = connections.join_next().await {
        written.ops += ended.map_err(|e| Error::new(format!("a writing task died: {e}")))??;
    }
    written.seconds = began.elapsed().as_secs_f64();
    Ok(written)
}

/// A stream that ends after a time.
pub(super) fn lasting<S: Iterator<Item = Bulk>>(
    stream: S,
    time: Duration,
) -> impl Iterator<Item = Bulk> {
    let end = Instant::now() + time;
    stream.take_while(move |_| Instant::now() < end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_bulk_tells_its_size() {
        let mut bulk = Bulk::new(Kind::Delete, "d", "c");
        assert!(bulk.is_empty());
        let statement = rawdoc! { "q": { "_id": 1 }, "limit": 1 };
        bulk.push(&statement);
        let bulk = bulk.sealed();
        assert_eq!(
            bulk.sequence.len(),
            1 + 4 + "deletes\0".len() + statement.as_bytes().len()
        );
        assert_eq!(
            bulk.sequence[1..5],
            ((bulk.sequence.len() - 1) as i32).to_le_bytes()
        );
    }

    #[test]
    fn a_bulk_is_full_by_statements_or_bytes() {
        let mut bulk = Bulk::new(Kind::Insert, "d", "c");
        (0..STATEMENTS_MAX).for_each(|_| bulk.push(&rawdoc! {}));
        assert!(bulk.is_full());
        let mut bulk = Bulk::new(Kind::Insert, "d", "c");
        bulk.push(&rawdoc! { "a": "x".repeat(BYTES_MAX) });
        assert!(bulk.is_full());
    }
}
