//! Replies: what a command answered, or why it failed.

use bson::{Bson, Document, RawDocumentBuf, doc};

/// A failed command. A server's own error goes to the client as it came.
#[derive(Debug)]
pub(super) enum Failure {
    /// Code 0: none, as a router's own words to some commands.
    Own {
        code: i32,
        name: &'static str,
        message: String,
    },
    Passed(RawDocumentBuf),
}

pub(super) type Answer = Result<RawDocumentBuf, Failure>;

impl Failure {
    pub(super) fn new(code: i32, name: &'static str, message: impl Into<String>) -> Self {
        Failure::Own {
            code,
            name,
            message: message.into(),
        }
    }

    pub(super) fn without_code(message: impl Into<String>) -> Self {
        Failure::new(0, "", message)
    }

    /// CollectionUUIDMismatch of a database that is not there.
    pub(super) fn other_uuid(db: &str, coll: &str, uuid: Bson) -> Self {
        let reply = doc! {
            "ok": 0.0, "errmsg": "Collection UUID does not match that specified", "code": 361,
            "codeName": "CollectionUUIDMismatch", "db": db, "collectionUUID": uuid, "expectedCollection": coll,
            "actualCollection": null,
        };
        Failure::Passed(
            RawDocumentBuf::try_from(&reply).expect("numbers and strings make a document"),
        )
    }

    pub(super) fn bad_value(message: impl Into<String>) -> Self {
        Failure::new(2, "BadValue", message)
    }

    pub(super) fn namespace_not_found(ns: &str) -> Self {
        Failure::new(26, "NamespaceNotFound", format!("ns not found: {ns}"))
    }

    pub(super) fn namespace_not_sharded(ns: &str) -> Self {
        Failure::new(118, "NamespaceNotSharded", format!("{ns} is not sharded"))
    }

    /// A reply we cannot make sense of, or that cannot be built.
    pub(super) fn internal(message: impl ToString) -> Self {
        Failure::new(
            1,
            "InternalError",
            format!("mongos stand-in: {}", message.to_string()),
        )
    }

    pub(super) fn code(&self) -> i32 {
        match self {
            Failure::Own { code, .. } => *code,
            Failure::Passed(reply) => reply.get_i32("code").unwrap_or(0),
        }
    }

    /// As the answer about one statement of a write says it.
    pub(super) fn write_error(self) -> Document {
        let reply = self.into_reply();
        let code = reply.get_i32("code").unwrap_or(0);
        doc! { "code": code, "errmsg": reply.get_str("errmsg").unwrap_or_default() }
    }

    pub(super) fn into_reply(self) -> RawDocumentBuf {
        match self {
            Failure::Passed(reply) => reply,
            Failure::Own {
                code,
                name,
                message,
            } => {
                let mut reply = doc! { "ok": 0.0, "errmsg": message };
                if code != 0 {
                    reply.extend(doc! { "code": code, "codeName": name });
                }
                RawDocumentBuf::try_from(&reply).expect("numbers and strings make a document")
            }
        }
    }
}

impl From<bson::error::Error> for Failure {
    fn from(e: bson::error::Error) -> Self {
        Failure::internal(e)
    }
}

/// `{…, ok: 1}`.
pub(super) fn ok(mut fields: Document) -> Answer {
    fields.insert("ok", 1.0);
    Ok(RawDocumentBuf::try_from(&fields)?)
}

/// A reply without what only its server meant (`$clusterTime` and the like).
pub(super) fn stripped(reply: Document) -> Document {
    let foreign = |key: &str| {
        key.starts_with('$') || matches!(key, "operationTime" | "lastCommittedOpTime" | "ok")
    };
    reply.into_iter().filter(|(key, _)| !foreign(key)).collect()
}
