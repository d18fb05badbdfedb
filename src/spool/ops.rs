//! Ops as bytes, for a spill: those of one collection, in order.
//!
//! ```text
//! uuid 16 bytes, then per op, little endian:
//!   kind u8, position u64, the _id as the one element of a document with an
//!   empty name, length of the body u32, body
//! ```
//!
//! Not kept longer than the process: the form may change at will. Knows nothing
//! about files.

use bson::raw::cstr;
use bson::{RawDocument, RawDocumentBuf, Uuid};

use crate::bson::identity::IdKey;
use crate::error::{Error, Result};
use crate::pair::op::{Op, OpKind};
use crate::pair::position::Position;

/// Bytes of `ops`, all of one collection.
pub fn encode(ops: &[Op]) -> Vec<u8> {
    let uuid = ops.first().map_or(Uuid::from_bytes([0; 16]), |op| op.uuid);
    let mut bytes = Vec::with_capacity(16 + ops.iter().map(|op| op.body.len() + op.id.bytes() + 32).sum::<usize>());
    bytes.extend(uuid.bytes());
    for op in ops {
        assert!(op.uuid == uuid, "the ops of a chunk are of one collection");
        bytes.push(kind_byte(op.kind));
        bytes.extend(op.position.raw().to_le_bytes());
        let mut id = RawDocumentBuf::new();
        id.append(cstr!(""), op.id.value.as_raw_bson_ref());
        bytes.extend(id.as_bytes());
        bytes.extend((op.body.len() as u32).to_le_bytes());
        bytes.extend(&*op.body);
    }
    bytes
}

/// The ops that `encode` was given, without permits. An error is a defect: the
/// bytes' checksum was right.
pub fn decode(bytes: &[u8]) -> Result<Vec<Op>> {
    decode_all(bytes).ok_or_else(|| Error::internal("held ops on disk do not have the form they were written in"))
}

fn decode_all(mut bytes: &[u8]) -> Option<Vec<Op>> {
    let uuid = Uuid::from_bytes(*take(&mut bytes)?);
    let mut ops = Vec::new();
    while !bytes.is_empty() {
        ops.push(decode_op(&mut bytes, uuid)?);
    }
    Some(ops)
}

fn decode_op(bytes: &mut &[u8], uuid: Uuid) -> Option<Op> {
    let [kind] = *take(bytes)?;
    let kind = KINDS.into_iter().find(|&known| kind_byte(known) == kind)?;
    let position = Position::from_raw(u64::from_le_bytes(*take(bytes)?));
    let id_bytes = u32::from_le_bytes(*bytes.first_chunk()?) as usize;
    let id = RawDocument::from_bytes(take_slice(bytes, id_bytes)?).ok()?;
    let (_, id) = id.iter().next()?.ok()?;
    let body_bytes = u32::from_le_bytes(*take(bytes)?) as usize;
    let body = take_slice(bytes, body_bytes)?.into();
    Some(Op { position, uuid, kind, id: IdKey::new(id), body, permit: None })
}

fn take<'a, const N: usize>(bytes: &mut &'a [u8]) -> Option<&'a [u8; N]> {
    let (taken, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(taken)
}

fn take_slice<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(taken)
}

const KINDS: [OpKind; 4] = [OpKind::Insert, OpKind::Replace, OpKind::Delta, OpKind::Delete];

fn kind_byte(kind: OpKind) -> u8 {
    match kind {
        OpKind::Insert => 1,
        OpKind::Replace => 2,
        OpKind::Delta => 3,
        OpKind::Delete => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bson::samples::{any_value, every_type};
    use bson::{Bson, RawBson};
    use proptest::prelude::*;

    fn op(position: u64, kind: OpKind, id: RawBson, body: Vec<u8>) -> Op {
        let uuid = Uuid::from_bytes([7; 16]);
        let id = IdKey::new(id.as_raw_bson_ref());
        Op { position: Position::from_raw(position), uuid, kind, id, body: body.into(), permit: None }
    }

    /// Equal by bytes: `IdKey` alone would take 1 for 1.0.
    fn assert_same(a: &[Op], b: &[Op]) {
        let parts = |op: &Op| (op.position, op.uuid, op.kind, op.id.value.clone(), op.id.hash(), op.body.clone());
        assert_eq!(
            format!("{:?}", a.iter().map(parts).collect::<Vec<_>>()),
            format!("{:?}", b.iter().map(parts).collect::<Vec<_>>())
        );
    }

    #[test]
    fn every_type_of_id_comes_back() {
        let ids = every_type();
        let ops = ids.iter().enumerate().map(|(i, id)| {
            let id = RawBson::from(id.unwrap().1);
            op(i as u64, KINDS[i % KINDS.len()], id, vec![i as u8; i])
        });
        let ops: Vec<Op> = ops.collect();
        assert_same(&decode(&encode(&ops)).unwrap(), &ops);
        assert!(decode(&encode(&[])).unwrap().is_empty());
    }

    fn any_op() -> impl Strategy<Value = (u64, usize, Bson, Vec<u8>)> {
        (any::<u64>(), 0..4usize, any_value(), prop::collection::vec(any::<u8>(), 0..50))
    }

    proptest! {
        #[test]
        fn ops_come_back(ops in prop::collection::vec(any_op(), 0..20)) {
            let ops: Vec<Op> = ops
                .into_iter()
                .map(|(position, kind, id, body)| op(position, KINDS[kind], RawBson::try_from(id).unwrap(), body))
                .collect();
            let bytes = encode(&ops);
            assert_same(&decode(&bytes).unwrap(), &ops);
            // Cut anywhere: a prefix or an error.
            for end in 0..bytes.len() {
                if let Ok(prefix) = decode(&bytes[..end]) {
                    assert_same(&prefix, &ops[..prefix.len()]);
                }
            }
        }

        #[test]
        fn junk_is_an_error_at_worst(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&bytes);
        }
    }
}
