//! DDL as an oplog entry asks for it, owned: what of a command is carried over to the
//! target, and what stops the pair.
//!
//! Pure. What becomes of it is `ddl`'s.

use bson::{RawDocument, RawDocumentBuf, Uuid};

use crate::bson::element::{document, elements};
use crate::cluster::catalog::Namespace;
use crate::cluster::catalog::index::IndexName;
use crate::error::Result;
use crate::pair::collection::Traits;
use crate::pair::oplog::entry::Entry;
use crate::pair::oplog::meaning::Meaning;
use crate::position::Position;
use crate::scope::is_users;

/// Where a server keeps the views of a database.
pub const VIEWS: &str = "system.views";

/// One DDL on one collection, owned.
#[derive(Debug)]
pub enum Ddl {
    Create {
        uuid: Uuid,
        ns: Namespace,
        traits: Traits,
        position: Position,
    },
    Drop {
        uuid: Uuid,
        position: Position,
    },
    CreateIndexes {
        uuid: Uuid,
        specs: Vec<RawDocumentBuf>,
        position: Position,
    },
    DropIndexes {
        uuid: Uuid,
        names: Vec<IndexName>,
        position: Position,
    },
    /// All views of a database: by itself, or as part of the database's drop.
    DropViews {
        db: String,
        position: Position,
    },
}

impl Ddl {
    /// Reads a DDL entry; None if there is nothing to carry over.
    pub fn of(entry: &Entry<'_>, meaning: Meaning<'_>) -> Result<Option<Ddl>> {
        let position = entry.position;
        let uuid = || {
            entry
                .uuid
                .ok_or_else(|| entry.unsupported("a command without a collection UUID"))
        };
        Ok(Some(match meaning {
            Meaning::Create { coll } => return create(entry, coll),
            Meaning::Drop { coll: VIEWS } => Ddl::DropViews {
                db: entry.database().to_owned(),
                position,
            },
            Meaning::Drop { .. } => Ddl::Drop {
                uuid: uuid()?,
                position,
            },
            Meaning::CreateIndexes { specs } => {
                let specs = specs.into_iter().map(without_command).collect();
                Ddl::CreateIndexes {
                    uuid: uuid()?,
                    specs,
                    position,
                }
            }
            Meaning::CommitIndexBuild { specs, .. } => {
                let specs = specs.into_iter().map(ToOwned::to_owned).collect();
                Ddl::CreateIndexes {
                    uuid: uuid()?,
                    specs,
                    position,
                }
            }
            Meaning::AbortIndexBuild { specs, .. } => Ddl::DropIndexes {
                uuid: uuid()?,
                names: specs.into_iter().map(IndexName::of).collect(),
                position,
            },
            Meaning::DropIndex { name } => Ddl::DropIndexes {
                uuid: uuid()?,
                names: vec![IndexName::new(name)],
                position,
            },
            Meaning::Refused { command, remedy } => {
                return Err(entry.unsupported(&format!("a `{command}`")).remedy(remedy));
            }
            Meaning::Nothing | Meaning::StartIndexBuild { .. } => return Ok(None),
            _ => return Err(entry.unsupported("a transaction inside another command")),
        }))
    }
}

fn create(entry: &Entry<'_>, coll: &str) -> Result<Option<Ddl>> {
    if matches!(coll, VIEWS | "system.profile") {
        return Ok(None);
    }
    if !is_users(entry.database(), coll) {
        return Err(entry.unsupported(&format!(
            "the creation of `{coll}` (an internal collection)"
        )));
    }
    let uuid = entry
        .uuid
        .ok_or_else(|| entry.unsupported("a create without a collection UUID"))?;
    let ns = Namespace {
        db: entry.database().to_owned(),
        coll: coll.to_owned(),
    };
    Ok(Some(Ddl::Create {
        uuid,
        ns,
        traits: Traits::of(entry.o),
        position: entry.position,
    }))
}

/// The specification inside a `createIndexes` entry, which carries the command's
/// name as its first field.
fn without_command(raw: &RawDocument) -> RawDocumentBuf {
    document(elements(raw).skip(1))
}
