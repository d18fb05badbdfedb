//! One decoded change to one document, borrowed from a server's reply or owned.

use bson::{RawBsonRef, RawDocument, Uuid};

use crate::bson::identity::IdKey;
use crate::pair::budget::Permit;
use crate::pair::position::Position;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpKind {
    /// The body is the whole document; it is written over whatever is there.
    Insert,
    /// The body is the whole document; nothing is written where none is.
    Replace,
    /// The body is a `$v: 2` diff in the server's own oplog form.
    Delta,
    /// No body.
    Delete,
}

/// An op as it lies in an oplog entry.
#[derive(Debug, Clone, Copy)]
pub struct OpRef<'a> {
    /// Where the op takes effect: its own entry, or its transaction's commit.
    pub position: Position,
    pub uuid: Uuid,
    pub kind: OpKind,
    pub id: RawBsonRef<'a>,
    /// Empty for deletes.
    pub body: &'a [u8],
}

/// An op that outlives the reply it came in.
#[derive(Debug)]
pub struct Op {
    pub position: Position,
    pub uuid: Uuid,
    pub kind: OpKind,
    pub id: IdKey,
    pub body: Box<[u8]>,
    /// Never read: gives its bytes back when the op is applied or discarded.
    pub permit: Option<Permit>,
}

/// What an op costs besides its body, bytes.
const OP_OVERHEAD_BYTES: usize = 160;

impl OpRef<'_> {
    /// Copies the op out of its reply, its bytes out of the reply's permit.
    pub fn to_owned(self, id: IdKey, permit: &mut Permit) -> Op {
        let permit = Some(permit.split(self.body.len() + OP_OVERHEAD_BYTES));
        Op { position: self.position, uuid: self.uuid, kind: self.kind, id, body: self.body.into(), permit }
    }
}

impl Op {
    /// What the body is; None for deletes.
    pub fn document(&self) -> Option<&RawDocument> {
        let read = |body| RawDocument::from_bytes(body).expect("the body of an op was a document when it was decoded");
        (self.kind != OpKind::Delete).then(|| read(&self.body))
    }
}
