//! A client's command, and the changes it needs before it may travel on.

use bson::raw::{CStr, CString};
use bson::{Bson, Document, RawBsonRef, RawDocument, RawDocumentBuf};

use crate::mongos::reply::Failure;
use crate::wire::message::Message;

/// Never passed on. A routing command on a shard with a session or a
/// transaction number brings the server down; versioned API would refuse it.
const DROPPED: [&str; 6] = [
    "lsid",
    "txnNumber",
    "stmtId",
    "apiVersion",
    "apiStrict",
    "apiDeprecationErrors",
];

#[derive(Debug)]
pub(super) struct Request {
    /// The command: the first key.
    pub(super) name: String,
    pub(super) db: String,
    pub(super) body: RawDocumentBuf,
    pub(super) sequences: Vec<u8>,
}

impl Request {
    /// A command of our own, as if a client had sent it.
    pub(super) fn of(name: &str, db: &str, fields: Document) -> Result<Request, Failure> {
        Ok(Request {
            name: name.to_owned(),
            db: db.to_owned(),
            body: command(db, fields)?,
            sequences: Vec::new(),
        })
    }

    /// # Errors
    /// For a body without a command or `$db`, and for transactions.
    pub(super) fn parse(message: Message) -> Result<Request, Failure> {
        let body = message.body;
        let name = match body.iter_elements().next() {
            Some(element) => element?.key().as_str().to_owned(),
            None => return Err(Failure::bad_value("an empty command")),
        };
        let db = body
            .get_str("$db")
            .map_err(|_| Failure::bad_value(format!("{name} without $db")))?
            .to_owned();
        if body.get("autocommit")?.is_some() {
            let message = "the mongos stand-in runs no transactions; send them straight to a shard";
            return Err(Failure::new(
                263,
                "OperationNotSupportedInTransaction",
                message,
            ));
        }
        Ok(Request {
            name,
            db,
            body,
            sequences: message.sequences,
        })
    }

    /// The value of the first key where it is a string: a collection, mostly.
    pub(super) fn target(&self) -> Option<&str> {
        match self.body.iter().next() {
            Some(Ok((_, RawBsonRef::String(text)))) => Some(text),
            _ => None,
        }
    }

    /// The collection a command names.
    pub(super) fn collection(&self) -> Result<&str, Failure> {
        self.target()
            .ok_or_else(|| Failure::bad_value(format!("{} needs a collection name", self.name)))
    }

    pub(super) fn document(&self) -> Result<Document, Failure> {
        Ok(Document::try_from(self.body.as_ref())?)
    }

    /// The command without the fields that belong to the connection, such as
    /// `$db`; for commands that are built anew from it.
    pub(super) fn options(&self) -> Result<Document, Failure> {
        let mut document = self.document()?;
        document.retain_own();
        Ok(document)
    }

    /// The command under another name, ready to travel.
    pub(super) fn renamed(&self, name: &str) -> Result<RawDocumentBuf, Failure> {
        renamed(&self.body, name)
    }
}

trait RetainOwn {
    fn retain_own(&mut self);
}

impl RetainOwn for Document {
    fn retain_own(&mut self) {
        let foreign = |key: &String| key.starts_with('$') || DROPPED.contains(&key.as_str());
        let keys: Vec<String> = self.keys().filter(|key| foreign(key)).cloned().collect();
        keys.iter().for_each(|key| _ = self.remove(key));
    }
}

/// Copies a command, its first key renamed, without what must not travel.
fn renamed(body: &RawDocument, name: &str) -> Result<RawDocumentBuf, Failure> {
    let name = CString::try_from(name)?;
    let mut out = RawDocumentBuf::new();
    for (index, element) in body.iter_elements().enumerate() {
        let element = element?;
        let key: &CStr = element.key();
        if index == 0 {
            out.append(&name, element.value()?);
        } else if !DROPPED.contains(&key.as_str()) {
            out.append(key, element.value()?);
        }
    }
    Ok(out)
}

/// A command document to send: `fields` on `db`.
pub(super) fn command(db: &str, mut fields: Document) -> Result<RawDocumentBuf, Failure> {
    fields.insert("$db", db);
    Ok(RawDocumentBuf::try_from(&fields)?)
}

/// Copies those of `keys` that are there.
pub(super) fn copy(from: &Document, keys: &[&str], to: &mut Document) {
    for key in keys {
        if let Some(value) = from.get(*key) {
            to.insert(*key, value.clone());
        }
    }
}

/// A document-valued field.
pub(super) fn field<'a>(options: &'a Document, key: &str) -> Result<&'a Document, Failure> {
    options
        .get_document(key)
        .map_err(|_| Failure::bad_value(format!("{key:?} is missing or no document")))
}

/// A string-valued field.
pub(super) fn text<'a>(options: &'a Document, key: &str) -> Result<&'a str, Failure> {
    options
        .get_str(key)
        .map_err(|_| Failure::bad_value(format!("{key:?} is missing or no string")))
}

/// True for `true` and for numbers other than 0.
pub(super) fn is_set(options: &Document, key: &str) -> bool {
    options
        .get(key)
        .is_some_and(|value: &Bson| crate::wire::link::number(value) != 0.0)
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;

    #[test]
    fn sessions_never_travel() {
        let body = rawdoc! {
            "update": "c", "lsid": { "id": 1 }, "txnNumber": 5_i64, "ordered": true, "$db": "d",
        };
        let out = renamed(&body, "clusterUpdate").unwrap();
        assert_eq!(
            out,
            rawdoc! { "clusterUpdate": "c", "ordered": true, "$db": "d" }
        );
    }

    #[test]
    fn transactions_are_refused() {
        let body = rawdoc! { "insert": "c", "autocommit": false, "$db": "d" };
        let message = Message {
            id: 1,
            legacy: false,
            more_to_come: false,
            body,
            sequences: Vec::new(),
        };
        assert_eq!(Request::parse(message).unwrap_err().code(), 263);
    }
}
