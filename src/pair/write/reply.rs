//! The meaning of the target's reply to a write command. Knows nothing about what is done
//! about it.

use bson::{RawBsonRef, RawDocument};

use crate::bson::element::elements;
use crate::codes;
use crate::error::{self, Error, Kind, Result};
use crate::pair::collection::Tracked;
use crate::wire::message::number;

/// A statement the target refused: its index in the command, and why.
#[derive(Debug)]
pub(in crate::pair) struct Refusal {
    pub(in crate::pair) index: usize,
    pub(in crate::pair) code: i32,
    pub(in crate::pair) message: String,
    /// The unique index is `_id_`.
    pub(in crate::pair) on_id: bool,
}

/// The target's answer to a write command.
#[derive(Debug, Default)]
pub(in crate::pair) struct Said {
    pub(in crate::pair) refused: Vec<Refusal>,
    /// Documents found or made. None where it was sent more than once: what the first one
    /// removed the next does not find.
    pub(in crate::pair) found: Option<u64>,
    /// Places of the statements that made a document, ascending.
    pub(in crate::pair) made: Vec<usize>,
}

impl Refusal {
    /// One we do not even ask for.
    pub(in crate::pair) fn ours() -> Self {
        Refusal {
            index: 0,
            code: 0,
            message: "no command can express this write".to_owned(),
            on_id: false,
        }
    }
}

pub(in crate::pair) fn refusals(reply: &RawDocument) -> Result<Vec<Refusal>> {
    written(reply)?;
    let Ok(errors) = reply.get_array("writeErrors") else {
        return Ok(Vec::new());
    };
    let refusal = |error: bson::error::Result<RawBsonRef<'_>>| {
        let error = error.ok()?.as_document()?;
        let id_only = |pattern: &RawDocument| elements(pattern).map(|key| key.name).eq([b"_id"]);
        Some(Refusal {
            index: number(error, "index").and_then(|index| usize::try_from(index).ok())?,
            code: number(error, "code").and_then(|code| i32::try_from(code).ok())?,
            message: error.get_str("errmsg").unwrap_or_default().to_owned(),
            on_id: error.get_document("keyPattern").is_ok_and(id_only),
        })
    };
    let all: Option<Vec<_>> = errors.into_iter().map(refusal).collect();
    all.ok_or_else(|| {
        Error::new(
            Kind::Server,
            "the target's reply holds a write error of unknown form",
        )
    })
}

/// Documents that the statements of a write command found or made.
pub(in crate::pair) fn found(reply: &RawDocument) -> u64 {
    number(reply, "n")
        .and_then(|n| u64::try_from(n).ok())
        .unwrap_or(0)
}

/// Places of the statements of an update that made a document, in their order.
pub(in crate::pair) fn made(reply: &RawDocument) -> Vec<usize> {
    let upserted = reply.get_array("upserted").into_iter().flatten();
    let place = |made: bson::error::Result<RawBsonRef<'_>>| {
        usize::try_from(number(made.ok()?.as_document()?, "index")?).ok()
    };
    upserted.filter_map(place).collect()
}

/// # Errors
/// `Transient` or `Server`, by its code, if the write was executed, but not acknowledged
/// as it should be.
pub(in crate::pair) fn written(reply: &RawDocument) -> Result<()> {
    let Ok(concern) = reply.get_document("writeConcernError") else {
        return Ok(());
    };
    let message = concern.get_str("errmsg").unwrap_or("no text");
    let code = number(concern, "code").and_then(|code| i32::try_from(code).ok());
    let kind = if code.is_some_and(error::is_passing) {
        Kind::Transient
    } else {
        Kind::Server
    };
    let message = format!("the target could not acknowledge a write: {message}");
    Err(Error {
        code,
        ..Error::new(kind, message)
    })
}

/// Whether the shard did not know what it owns, as 6.0.5 reports it for a statement, and
/// the command may be sent again. Other statements of it may have been executed.
/// Unordered ones may run twice: nothing else on their documents is under way, and a
/// repeated statement leaves its own outcome unchanged. In an ordered command a document
/// may occur twice, so it is repeated only if the first statement was the stale one.
pub(in crate::pair) fn is_stale(refusal: &Refusal, ordered: bool) -> bool {
    refusal.code == codes::STALE_CONFIG && (!ordered || refusal.index == 0)
}

pub(in crate::pair) fn refused_error(collection: &Tracked, refusal: &Refusal) -> Error {
    let message = format!(
        "the target refused a write to {}: {} (code {})",
        collection.ns(),
        refusal.message,
        refusal.code
    );
    let kind = if error::is_passing(refusal.code) {
        Kind::Transient
    } else {
        Kind::Server
    };
    let error = Error {
        code: Some(refusal.code),
        ..Error::new(kind, message)
    };
    error
        .remedy("read the server's text; nothing is lost on the source")
        .or_renamed()
}
