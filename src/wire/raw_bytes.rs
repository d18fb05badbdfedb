//! Messages that no server sends: each is an error or read as what it says, and reserves no more
//! memory than a message may have.

use bson::{RawArrayBuf, rawdoc};
use proptest::prelude::*;

use crate::bson::samples::{any_or_damaged, every_type};
use crate::limits::MESSAGE_BYTES_MAX;
use crate::wire::cursor;
use crate::wire::link::unpack;
use crate::wire::message::{HEADER_BYTES, Header, OP_MSG, Reply, Sequence};

/// A batch of a cursor, with what else a reply may have.
fn payload() -> Vec<u8> {
    let batch = RawArrayBuf::from_iter([every_type(), rawdoc! { "_id": 1 }]);
    let body = rawdoc! {
        "cursor": { "firstBatch": batch, "id": 7i64, "ns": "d.c" }, "ok": 1.0, "errorLabels": ["a"],
        "code": 91, "errmsg": "x", "codeName": "y",
    };
    [&[0; 5], body.as_bytes()].concat()
}

fn compressed() -> Vec<u8> {
    let payload = payload();
    let packed = zstd::bulk::compress(&payload, 1).unwrap();
    let (inside, bytes) = (OP_MSG.to_le_bytes(), (payload.len() as i32).to_le_bytes());
    [&inside[..], &bytes, &[3], &packed].concat()
}

fn read(payload: Vec<u8>) {
    let bytes = payload.len();
    let Ok(reply) = Reply::read(payload) else {
        return;
    };
    assert_eq!(reply.bytes(), bytes);
    let _ = (reply.fault(), reply.has_label("a"));
    let Some(batch) = reply.batch() else { return };
    let items = reply.slice(batch);
    assert!(items.len() <= bytes);
    let mut documents = cursor::documents(&items[4..items.len() - 1]);
    let good = documents.by_ref().take_while(Result::is_ok).count();
    assert!(
        good <= bytes && documents.next().is_none(),
        "an error is the last"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_header_claims_no_more_than_a_message_has(header in any::<[u8; HEADER_BYTES]>()) {
        if let Ok(header) = Header::read(&header) {
            prop_assert!(header.payload_bytes <= MESSAGE_BYTES_MAX);
        }
    }

    #[test]
    fn a_payload_is_a_reply_or_an_error(payload in any_or_damaged(payload())) {
        read(payload);
    }

    #[test]
    fn a_compressed_payload_is_unpacked_or_an_error(payload in any_or_damaged(compressed())) {
        if let Ok(unpacked) = unpack(&payload) {
            prop_assert!(unpacked.len() <= MESSAGE_BYTES_MAX);
            read(unpacked);
        }
    }

    #[test]
    fn a_sequence_is_read_as_far_as_it_goes(documents in any_or_damaged(every_type().into_bytes())) {
        let mut sequence = Sequence::new("documents", 0);
        sequence.documents().extend_from_slice(&documents);
        let sequence = sequence.finish();
        let (field, read) = sequence.read().unwrap();
        prop_assert_eq!(field, "documents");
        prop_assert!(read.map(|document| document.as_bytes().len()).sum::<usize>() <= documents.len());
    }
}
