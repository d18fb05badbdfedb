//! A write command taken apart into its statements, and put together again for one shard.
//!
//! Knows nothing about who owns what.

use bson::raw::CString;
use bson::{Document, RawBsonRef, RawDocument, RawDocumentBuf};

use crate::mongos::reply::Failure;
use crate::mongos::request::Request;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Insert,
    Update,
    Delete,
}

pub(super) struct Statements {
    pub(super) verb: Verb,
    /// Stop at the first that fails.
    pub(super) ordered: bool,
    pub(super) all: Vec<RawDocumentBuf>,
    /// The command without them.
    envelope: RawDocumentBuf,
}

impl Verb {
    fn list(self) -> &'static str {
        match self {
            Verb::Insert => "documents",
            Verb::Update => "updates",
            Verb::Delete => "deletes",
        }
    }
}

impl Statements {
    pub(super) fn of(request: &Request, verb: Verb) -> Result<Statements, Failure> {
        let (mut envelope, mut all) = (RawDocumentBuf::new(), Vec::new());
        for element in request.renamed(&request.name)?.iter_elements() {
            let element = element?;
            let value = element.value()?;
            if element.key().as_str() != verb.list() {
                envelope.append(element.key(), value);
                continue;
            }
            let RawBsonRef::Array(list) = value else {
                return Err(Failure::bad_value("statements must be an array"));
            };
            for statement in list {
                all.push(one(statement?)?);
            }
        }
        read_sequences(&request.sequences, verb.list(), &mut all)?;
        Ok(Statements {
            verb,
            ordered: request.body.get_bool("ordered").unwrap_or(true),
            all,
            envelope,
        })
    }

    /// Body and document sequence of a command with the statements at `indexes`.
    pub(super) fn command(
        &self,
        indexes: &[usize],
        versions: &Document,
    ) -> Result<(RawDocumentBuf, Vec<u8>), Failure> {
        let body = with(&self.envelope, versions)?;
        let list = self.verb.list();
        let bytes: usize = indexes
            .iter()
            .map(|&at| self.all[at].as_bytes().len())
            .sum();
        let section = 4 + list.len() + 1 + bytes;
        let mut sequence = Vec::with_capacity(1 + section);
        sequence.push(1);
        sequence.extend_from_slice(&(section as i32).to_le_bytes());
        sequence.extend_from_slice(list.as_bytes());
        sequence.push(0);
        for &at in indexes {
            sequence.extend_from_slice(self.all[at].as_bytes());
        }
        Ok((body, sequence))
    }
}

/// A command with more fields, which take the place of those of the same name.
pub(super) fn with(command: &RawDocument, fields: &Document) -> Result<RawDocumentBuf, Failure> {
    let mut out = RawDocumentBuf::new();
    for element in command.iter_elements() {
        let element = element?;
        if !fields.contains_key(element.key().as_str()) {
            out.append(element.key(), element.value()?);
        }
    }
    for (name, value) in fields {
        let value = bson::RawBson::try_from(value.clone())?;
        out.append(CString::try_from(name.as_str())?, value);
    }
    Ok(out)
}

fn one(statement: RawBsonRef<'_>) -> Result<RawDocumentBuf, Failure> {
    match statement {
        RawBsonRef::Document(statement) => Ok(statement.to_owned()),
        _ => Err(Failure::bad_value("a statement must be a document")),
    }
}

/// Sections of kind 1: kind, length, name, documents.
fn read_sequences(
    mut sections: &[u8],
    list: &str,
    all: &mut Vec<RawDocumentBuf>,
) -> Result<(), Failure> {
    let torn = || Failure::bad_value("a document sequence is cut short");
    while !sections.is_empty() {
        let length = length_at(sections, 1).ok_or_else(torn)?;
        let section = sections.get(5..1 + length).ok_or_else(torn)?;
        let name_end = section
            .iter()
            .position(|byte| *byte == 0)
            .ok_or_else(torn)?;
        let mut documents = &section[name_end + 1..];
        while section[..name_end] == *list.as_bytes() && !documents.is_empty() {
            let length = length_at(documents, 0).ok_or_else(torn)?;
            let document = documents.get(..length).ok_or_else(torn)?;
            all.push(RawDocumentBuf::from_bytes(document.to_vec())?);
            documents = &documents[length..];
        }
        sections = &sections[1 + length..];
    }
    Ok(())
}

/// A length that counts itself.
fn length_at(bytes: &[u8], at: usize) -> Option<usize> {
    let word = bytes.get(at..at + 4)?;
    let length = i32::from_le_bytes(word.try_into().expect("four bytes were taken"));
    usize::try_from(length).ok().filter(|length| 4 < *length)
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;

    #[test]
    fn statements_in_the_body_and_in_a_sequence_are_the_same() {
        let body = rawdoc! { "insert": "c", "documents": [{ "_id": 1 }, { "_id": 2 }], "ordered": false, "$db": "d" };
        let request = |body: RawDocumentBuf, sequences: Vec<u8>| Request {
            name: "insert".to_owned(),
            db: "d".to_owned(),
            body,
            sequences,
        };
        let whole = Statements::of(&request(body, Vec::new()), Verb::Insert).unwrap();
        assert!(whole.all.len() == 2 && !whole.ordered);
        let (body, sequence) = whole
            .command(&[1], &bson::doc! { "shardVersion": 7 })
            .unwrap();
        let expect = rawdoc! { "insert": "c", "ordered": false, "$db": "d", "shardVersion": 7 };
        assert_eq!(body, expect);
        let again = Statements::of(&request(body, sequence), Verb::Insert).unwrap();
        assert_eq!(again.all, [rawdoc! { "_id": 2 }]);
        let torn = request(rawdoc! { "insert": "c" }, vec![1, 9, 0, 0]);
        assert!(Statements::of(&torn, Verb::Insert).is_err());
    }
}
