//! What a write was refused with, and what that says: a lost connection, a transaction that
//! was lost, or neither.
//!
//! Knows nothing about which of them a load bears.

use bson::Document;
use mongodb::error::{Error, ErrorKind};

/// A write that was refused: the server's code and text.
pub(super) type Refusal = (i32, String);

/// The driver got no answer.
const NO_ANSWER: i32 = 0;
const NO_SUCH_TRANSACTION: i32 = 251;
/// A transaction lost against another write, or against DDL beside it: WriteConflict,
/// NoSuchTransaction, LockTimeout, SnapshotUnavailable (server source, `error_codes.yml`).
pub(super) const TRANSACTION_LOST: [i32; 4] = [112, NO_SUCH_TRANSACTION, 24, 246];

/// Lost connections, elections, shutdowns, servers that cannot be reached in
/// time (server source, `error_codes.yml`).
pub(super) fn is_interruption(code: i32) -> bool {
    let connection = matches!(code, NO_ANSWER | 6 | 7 | 89 | 133 | 202 | 279 | 317 | 9001);
    let election = matches!(
        code,
        91 | 189 | 10058 | 10107 | 11600 | 11601 | 11602 | 13435 | 13436
    );
    let time = matches!(code, 50 | 64 | 237 | 262 | 290 | 384);
    // StaleDbVersion, StaleConfig: a new primary that has not read the chunk map.
    let metadata = matches!(code, 249 | 13388);
    connection || election || time || metadata
}

/// What a driver would go by. A router passes on whatever code a shard had, and says by a
/// label what it means: the write may have taken effect, or the transaction did not.
fn labelled(code: i32, has: impl Fn(&str) -> bool) -> i32 {
    if is_interruption(code) {
        code
    } else if has("RetryableWriteError") || has("UnknownTransactionCommitResult") {
        NO_ANSWER
    } else if has("TransientTransactionError") {
        NO_SUCH_TRANSACTION
    } else {
        code
    }
}

pub(super) fn refusal(error: &Error) -> Refusal {
    match &*error.kind {
        ErrorKind::Command(command) => {
            let code = labelled(command.code, |label| error.contains_label(label));
            (code, command.message.clone())
        }
        _ => (NO_ANSWER, error.to_string()),
    }
}

pub(super) fn refusals_of_many(error: &Error) -> Vec<Refusal> {
    match &*error.kind {
        ErrorKind::InsertMany(many) => {
            let code = |code| labelled(code, |label| error.contains_label(label));
            let each = many.write_errors.iter().flatten();
            let concern = many.write_concern_error.iter();
            each.map(|error| (code(error.code), error.message.clone()))
                .chain(concern.map(|error| (code(error.code), error.message.clone())))
                .collect()
        }
        _ => vec![refusal(error)],
    }
}

/// What a reply that is well by itself complains of.
pub(super) fn refusals(reply: &Document) -> Vec<Refusal> {
    let labels = reply.get_array("errorLabels").ok();
    let has = |label: &str| {
        let mut labels = labels.into_iter().flatten();
        labels.any(|each| each.as_str() == Some(label))
    };
    let each = reply.get_array("writeErrors").into_iter().flatten();
    let concern = reply.get_document("writeConcernError");
    let show = |error: &Document| {
        let code = error.get_i32("code").unwrap_or_default();
        let text = error.get_str("errmsg").unwrap_or_default();
        (labelled(code, has), text.to_owned())
    };
    let errors = each.filter_map(|error| error.as_document());
    errors.chain(concern).map(show).collect()
}

#[cfg(test)]
mod tests {
    use bson::doc;

    use super::*;

    #[test]
    fn a_label_says_what_a_code_means() {
        let rows = [
            (239, "TransientTransactionError", NO_SUCH_TRANSACTION),
            (283, "TransientTransactionError", NO_SUCH_TRANSACTION),
            (63, "TransientTransactionError", NO_SUCH_TRANSACTION),
            (96, "RetryableWriteError", NO_ANSWER),
            (150, "RetryableWriteError", NO_ANSWER),
            (261, "UnknownTransactionCommitResult", NO_ANSWER),
            // An election stays one: connections are to be made anew.
            (11600, "TransientTransactionError", 11600),
            (112, "TransientTransactionError", NO_SUCH_TRANSACTION),
            (11000, "", 11000),
            (239, "AnotherLabel", 239),
        ];
        for (code, label, expected) in rows {
            assert_eq!(labelled(code, |l| l == label), expected, "{code} {label}");
        }
        let both = [
            "TransientTransactionError",
            "UnknownTransactionCommitResult",
        ];
        assert_eq!(labelled(239, |label| both.contains(&label)), NO_ANSWER);
    }

    #[test]
    fn a_reply_carries_its_labels_beside_its_errors() {
        let error = doc! {"index": 0, "code": 239, "errmsg": "too old"};
        let bare = doc! {"ok": 1, "writeErrors": [error.clone()]};
        assert_eq!(refusals(&bare), [(239, "too old".to_owned())]);
        let in_transaction = doc! {
            "ok": 1, "writeErrors": [error], "errorLabels": ["TransientTransactionError"],
        };
        let lost = [(NO_SUCH_TRANSACTION, "too old".to_owned())];
        assert_eq!(refusals(&in_transaction), lost);
        let late = doc! {"code": 96, "errmsg": "late"};
        let unknown = doc! {
            "ok": 1, "writeConcernError": late, "errorLabels": ["RetryableWriteError"],
        };
        assert_eq!(refusals(&unknown), [(NO_ANSWER, "late".to_owned())]);
        assert!(refusals(&doc! {"ok": 1, "n": 1}).is_empty());
    }
}
