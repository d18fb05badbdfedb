//! DDL as an oplog entry asks for it, owned: what of a command is carried over to the
//! target, and what stops the pair.
//!
//! Pure. What becomes of it is `ddl`'s.

use bson::{RawDocument, RawDocumentBuf, Uuid};

use crate::bson::element::{document, elements};
use crate::cluster::catalog::Namespace;
use crate::cluster::catalog::index::IndexName;
use crate::error::{Error, Kind, Result};
use crate::pair::collection::Traits;
use crate::pair::oplog::entry::Entry;
use crate::pair::oplog::meaning::Meaning;
use crate::position::Position;
use crate::scope::{BUCKETS, Scope, is_users};

/// Where a server keeps the views of a database.
pub const VIEWS: &str = "system.views";
/// What to do about a rename that is not followed. `shard`: the source's, that has it.
pub fn renamed(shard: &str) -> String {
    format!(
        "renames, and `$out`, `mapReduce` and `convertToCapped`, which end in one, stop this run: follow them by the same command with `--renames follow`, or copy that shard again with `shardlift recopy --shard {shard}` with the same --source and --target, then run the same `shardlift migrate` again: all other shards go on where they are"
    )
}
/// The same of a sharded collection, into a cluster that can follow it.
pub const SHARDED_UNFOLLOWED: &str = "follow it by the same command with `--renames follow`; or keep renames off the source until the cutover, and start over with `shardlift migrate --restart`";
/// The same, into a cluster that cannot.
pub const SHARDED_RENAMED: &str = "into a cluster before 6.0 renames of sharded collections cannot be followed: copy the collection as it is now with `shardlift recopy --ns <its name on the target now>`, then run the same `shardlift migrate` again, and keep such renames off the source until the cutover";

/// What a resharding calls the collection that is to take the place of another.
pub const RESHARDING: &str = "system.resharding.";
/// What to do about that.
pub const RESHARDED: &str = "a resharded collection has another shard key, and all its documents anew: reshard it before the migration or after its cutover, and start over with `shardlift migrate --restart`";

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
    Rename {
        uuid: Uuid,
        from: Namespace,
        to: Namespace,
        /// What had the name.
        dropped: Option<Uuid>,
        position: Position,
    },
    /// Options of the collection, of its indexes (`of_indexes`), or both.
    Modify {
        uuid: Uuid,
        of_indexes: bool,
        position: Position,
    },
    /// Something became of the views of databases: of the one that has this name, or of all
    /// (`system.views`).
    Views {
        of: Vec<Namespace>,
        position: Position,
    },
}

impl Ddl {
    /// Reads a DDL entry, by the run's names; None if there is nothing to carry over.
    ///
    /// # Errors
    /// `Unsupported` for what cannot be followed.
    pub fn of(scope: &Scope, entry: &Entry<'_>, meaning: Meaning<'_>) -> Result<Option<Ddl>> {
        let position = entry.position;
        let uuid = || {
            entry
                .uuid
                .ok_or_else(|| entry.unsupported("a command without a collection UUID"))
        };
        Ok(Some(match meaning {
            Meaning::Create { coll } => return create(scope, entry, coll),
            Meaning::Drop { coll: VIEWS } => Ddl::of_views(scope, entry, None)?,
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
            Meaning::Rename { from, to, dropped } => {
                let (uuid, (from, to)) = (uuid()?, renaming(scope, entry, from, to)?);
                Ddl::Rename {
                    uuid,
                    from,
                    to,
                    dropped,
                    position,
                }
            }
            Meaning::Modify => modify(entry, uuid()?),
            Meaning::Refused { command, remedy } => {
                return Err(entry.unsupported(&format!("a `{command}`")).remedy(remedy));
            }
            Meaning::Nothing | Meaning::StartIndexBuild { .. } => return Ok(None),
            _ => return Err(entry.unsupported("a transaction inside another command")),
        }))
    }

    /// An entry about views: a change of one, or the drop of all.
    pub fn of_views(scope: &Scope, entry: &Entry<'_>, view: Option<&str>) -> Result<Ddl> {
        let all = |db: String| Namespace {
            db,
            coll: VIEWS.to_owned(),
        };
        let of = match view {
            Some(view) => vec![named(scope, entry.database(), view)?],
            None => {
                let databases = scope.databases_named(entry.database());
                databases.into_iter().map(all).collect()
            }
        };
        Ok(Ddl::Views {
            of,
            position: entry.position,
        })
    }
}

fn create(scope: &Scope, entry: &Entry<'_>, coll: &str) -> Result<Option<Ddl>> {
    // What a resharding makes counts once it takes the collection's name.
    if matches!(coll, VIEWS | "system.profile") || coll.starts_with(RESHARDING) {
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
    Ok(Some(Ddl::Create {
        uuid,
        ns: named(scope, entry.database(), coll)?,
        traits: Traits::of(entry.o),
        position: entry.position,
    }))
}

/// # Errors
/// `Unsupported` for one that would cross databases on the target: no server keeps a UUID then.
fn renaming(
    scope: &Scope,
    entry: &Entry<'_>,
    from: &str,
    to: &str,
) -> Result<(Namespace, Namespace)> {
    let names = (namespace(scope, entry, from)?, namespace(scope, entry, to)?);
    if names.0.db != names.1.db {
        let what = format!(
            "a rename of {from} to {to}, which would be from {} to {}, another database, on the target ({})",
            names.0,
            names.1,
            scope.renames()
        );
        return Err(entry.unsupported(&what).remedy(CROSSES));
    }
    Ok(names)
}

fn namespace(scope: &Scope, entry: &Entry<'_>, name: &str) -> Result<Namespace> {
    let (db, coll) = name
        .split_once('.')
        .ok_or_else(|| entry.unsupported("a rename without a database"))?;
    if coll.starts_with(BUCKETS) {
        let found = "a `renameCollection` of a time series";
        return Err(entry.unsupported(found).remedy(SERIES_RENAMED));
    }
    named(scope, db, coll)
}

/// # Errors
/// `Unsupported` for what came to be with a name that is another's on the target.
fn named(scope: &Scope, db: &str, coll: &str) -> Result<Namespace> {
    let taken = |e| Error {
        kind: Kind::Unsupported,
        ..e
    };
    Namespace::named(scope, db, coll).map_err(taken)
}

const SERIES_RENAMED: &str = "renames of a time series cannot be followed: rename its buckets back on the source, copy the series again with `shardlift recopy --shard <its name> --ns <series>`, then run the same `shardlift migrate` again; rename it before the migration or after its cutover";

const CROSSES: &str = "renames, and `$out`, `mapReduce` and `convertToCapped`, which end in one, cannot be followed between names that `--rename` takes to different databases: copy the collection as it is now with `shardlift recopy --ns <its name on the target now>`, then run the same `shardlift migrate` again";

fn modify(entry: &Entry<'_>, uuid: Uuid) -> Ddl {
    let mut changed = elements(entry.o).skip(1);
    Ddl::Modify {
        uuid,
        of_indexes: changed.any(|change| change.name == b"index"),
        position: entry.position,
    }
}

/// The specification inside a `createIndexes` entry, which carries the command's
/// name as its first field.
fn without_command(raw: &RawDocument) -> RawDocumentBuf {
    document(elements(raw).skip(1))
}
