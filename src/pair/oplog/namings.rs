//! What a stretch of one shard's oplog says of the names of collections.
//!
//! Pure.

use std::collections::{HashMap, HashSet};

use bson::{RawDocument, Uuid};

use crate::pair::oplog::entry::uuid_of;

/// Fields of which an entry that gives a name has one.
pub(super) const FIELDS: [&str; 3] = ["o.renameCollection", "o.create", "o.applyOps.o.create"];
/// What else of it is read.
pub(super) const OTHER_FIELDS: [&str; 8] = [
    "op",
    "ui",
    "ns",
    "o.to",
    "o.applyOps.op",
    "o.applyOps.ui",
    "o.applyOps.ns",
    "o.applyOps.o.to",
];

#[derive(Debug, Default, PartialEq)]
pub struct Namings {
    /// What each was called before its first rename there, as `db.collection`.
    pub before: HashMap<Uuid, String>,
    /// Made there.
    pub created: HashSet<Uuid>,
    /// Which had each name at some time from its first there on, as `db.collection`.
    pub taken: HashMap<String, HashSet<Uuid>>,
}

impl Namings {
    /// Entries come in the order of the log.
    pub(super) fn note(&mut self, entry: &RawDocument) {
        let is_command = entry.get_str("op").is_ok_and(|op| op == "c");
        let Some(o) = entry.get_document("o").ok().filter(|_| is_command) else {
            return;
        };
        if let Ok(operations) = o.get_array("applyOps") {
            let operations = operations.into_iter().flatten();
            return operations
                .filter_map(|operation| operation.as_document())
                .for_each(|operation| self.note(operation));
        }
        let uuid = entry.get_binary("ui").ok();
        let Some(uuid) = uuid.and_then(|uuid| uuid_of(uuid.bytes)) else {
            return;
        };
        if let Ok(from) = o.get_str("renameCollection") {
            self.before.entry(uuid).or_insert_with(|| from.to_owned());
            self.takes(uuid, o.get_str("to").unwrap_or_default().to_owned());
        } else if let Ok(coll) = o.get_str("create") {
            self.created.insert(uuid);
            let ns = entry.get_str("ns").unwrap_or_default();
            let db = ns.split('.').next().unwrap_or_default();
            self.takes(uuid, format!("{db}.{coll}"));
        }
    }

    fn takes(&mut self, uuid: Uuid, name: String) {
        self.taken.entry(name).or_default().insert(uuid);
    }
}

#[cfg(test)]
mod tests {
    use bson::{Binary, RawArrayBuf, RawDocumentBuf, rawdoc};

    use super::*;

    fn uuid(byte: u8) -> Uuid {
        Uuid::from_bytes([byte; 16])
    }

    fn entry(op: &str, of: u8, o: RawDocumentBuf) -> RawDocumentBuf {
        rawdoc! { "op": op, "ns": "d.$cmd", "ui": Binary::from(uuid(of)), "o": o }
    }

    #[test]
    fn the_first_name_counts_and_only_commands_make_collections() {
        let rename =
            |of, from: &str| entry("c", of, rawdoc! { "renameCollection": from, "to": "d.x" });
        let inside = [
            entry("c", 3, rawdoc! { "create": "in a transaction" }),
            entry("i", 4, rawdoc! { "create": "a user's field" }),
        ];
        let transaction = rawdoc! { "applyOps": RawArrayBuf::from_iter(inside) };
        let entries = [
            rename(1, "d.a"),
            rename(1, "d.x"),
            entry("c", 2, rawdoc! { "create": "c" }),
            rename(2, "d.c"),
            rawdoc! { "op": "c", "o": transaction },
            entry("c", 5, rawdoc! { "drop": "d" }),
        ];
        let mut namings = Namings::default();
        entries.iter().for_each(|entry| namings.note(entry));
        let before = [(1, "d.a"), (2, "d.c")].map(|(of, name)| (uuid(of), name.to_owned()));
        let taken = [
            ("d.x", &[1, 2][..]),
            ("d.c", &[2]),
            ("d.in a transaction", &[3]),
        ];
        let taken = taken.map(|(name, of)| {
            let of: HashSet<_> = of.iter().map(|of| uuid(*of)).collect();
            (name.to_owned(), of)
        });
        assert_eq!(
            namings,
            Namings {
                before: before.into(),
                created: [2, 3].map(uuid).into(),
                taken: taken.into(),
            }
        );
    }
}
