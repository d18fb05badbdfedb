//! One decoded change to one document, borrowed from a server's reply or owned.

use bson::Uuid;
use bytes::Bytes;

use crate::bson::identity::IdKey;
use crate::bson::locate::{self, Look};
use crate::bson::value::ValueRef;
use crate::pair::budget::Permit;
use crate::pair::origin::Kept;
use crate::position::Position;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpKind {
    /// The body is the whole document; it is written over whatever is there.
    Insert,
    /// The body is the whole document; nothing is written where none is.
    Replace,
    /// The body is a delta in the server's own oplog form (`oplog::delta`).
    Delta,
    /// No body.
    Delete,
    /// No body. Only the source knows what became of the document, and it is read again
    /// from there (R3).
    Unclear,
}

/// An op inside an oplog entry, borrowed.
#[derive(Debug, Clone, Copy)]
pub struct OpRef<'a> {
    /// Where the op takes effect: its own entry, or its transaction's commit.
    pub position: Position,
    pub uuid: Uuid,
    pub kind: OpKind,
    pub id: ValueRef<'a>,
    /// Empty for deletes, and where the document is unclear.
    pub body: &'a [u8],
}

/// An op that outlives the reply it came in.
#[derive(Debug)]
pub struct Op {
    pub position: Position,
    pub uuid: Uuid,
    pub kind: OpKind,
    pub id: IdKey,
    pub body: Bytes,
    /// At the body's document.
    pub look: Look,
    /// Never read: gives its bytes back when the op is applied or discarded. None where
    /// the origin's does that.
    pub permit: Option<Permit>,
}

impl OpRef<'_> {
    /// The op with its body as its origin gave it.
    pub fn kept(self, id: IdKey, Kept { body, permit }: Kept) -> Op {
        // Now, for its bytes were read a moment ago: a lane comes to them much later.
        let look = if self.body.is_empty() {
            Look::default()
        } else {
            locate::look(locate::raw(self.body))
        };
        Op {
            position: self.position,
            uuid: self.uuid,
            kind: self.kind,
            id,
            body,
            look,
            permit,
        }
    }
}

impl Op {
    /// The same without saying what it does: its document is to be read again.
    pub fn unclear(self) -> Op {
        Op {
            kind: OpKind::Unclear,
            body: Bytes::new(),
            look: Look::default(),
            ..self
        }
    }
}

#[cfg(test)]
impl Op {
    pub fn delete(position: Position, uuid: Uuid, id: IdKey) -> Op {
        Op {
            position,
            uuid,
            kind: OpKind::Delete,
            id,
            body: Bytes::new(),
            look: Look::default(),
            permit: None,
        }
    }
}
