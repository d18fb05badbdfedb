//! Indexes of one collection on its target shard: listed, made, dropped. Specifications
//! and names go as they came, byte for byte.
//!
//! Decides nothing.

use std::time::{SystemTime, UNIX_EPOCH};

use bson::raw::cstr;
use bson::{Binary, RawArrayBuf, RawDocument, RawDocumentBuf, Uuid, rawdoc};

use crate::bson::element::{Element, document, elements, kind};
use crate::cluster::catalog::index::{self, IndexName, Listed};
use crate::cluster::catalog::{self, EXPIRY};
use crate::cluster::deployment::Shard;
use crate::cluster::dialect::WriteForms;
use crate::codes;
use crate::error::{Error, Result};
use crate::failpoint;
use crate::pair::collection::Tracked;
use crate::pair::collection::under_way::{is_answered, until_answered};

/// One collection of the target that takes index DDL.
#[derive(Debug)]
pub struct TargetIndexes<'a> {
    shard: &'a Shard,
    pub tracked: &'a Tracked,
    uuid: Uuid,
}

impl<'a> TargetIndexes<'a> {
    /// None if the target has no such collection: dropped, another shard's, or never
    /// made.
    pub fn of(shard: &'a Shard, tracked: &'a Tracked) -> Option<Self> {
        let uuid = tracked.bound_to().filter(|_| tracked.counts())?;
        Some(TargetIndexes {
            shard,
            tracked,
            uuid,
        })
    }

    /// Includes indexes being built: a build goes on without the client that began it.
    pub async fn list(&self) -> Result<Vec<Listed>> {
        let listed =
            catalog::indexes_and_builds_of(self.shard, &self.tracked.ns().db, self.uuid).await;
        listed
            .map(Option::unwrap_or_default)
            .map_err(|e| self.failed(e))
    }

    pub fn forms(&self) -> WriteForms {
        self.shard.writes
    }

    /// Builds them. An expiring one where nothing may expire yet is made with the longest
    /// expiry that `createIndexes` takes, and gets its own at once: if that is not done, it
    /// is not the wanted index, and is built again. In between what is older than 1970 may
    /// go, as it does on the source, too.
    pub async fn create(&self, specs: &[RawDocumentBuf]) -> Result<()> {
        let (expiring, others): (Vec<_>, Vec<_>) = specs
            .iter()
            .cloned()
            .partition(|spec| self.is_changed(spec));
        if !others.is_empty() {
            self.build(others).await?;
        }
        for spec in expiring {
            let seconds = seconds_since_1970() - CLOCKS_APART;
            self.build(vec![index::expiring_after(&spec, seconds)])
                .await?;
            failpoint::hit("expiring-index-built");
            self.run(|coll| modifying(coll, &expiry_of(&spec))).await?;
        }
        Ok(())
    }

    /// Some of them get options by `collMod` once they are built.
    pub fn are_changed(&self, specs: &[RawDocumentBuf]) -> bool {
        specs.iter().any(|spec| self.is_changed(spec))
    }

    fn is_changed(&self, spec: &RawDocument) -> bool {
        self.forms().expiry_never.is_some() && index::expires(spec)
    }

    async fn build(&self, specs: Vec<RawDocumentBuf>) -> Result<()> {
        let build = |coll: &str| {
            let mut command = rawdoc! {
                "createIndexes": coll, "indexes": RawArrayBuf::from_iter(specs),
                "writeConcern": { "w": 1 },
            };
            if self.forms().commit_quorum {
                // With a member down the default quorum waits for ever.
                command.append(cstr!("commitQuorum"), "majority");
            }
            command
        };
        self.run(build).await
    }

    /// Drops all of them in one command, which also stops a build if they are the indexes
    /// of one. Returns false if they are not there in that form.
    pub async fn drop(&self, names: &[IndexName]) -> Result<bool> {
        let rest = rawdoc! { "writeConcern": { "w": 1 } };
        let command = |coll: &str| index::dropping(coll, names, &rest);
        match self.run(command).await {
            Err(e)
                if matches!(
                    e.code,
                    Some(codes::INDEX_NOT_FOUND | codes::NAMESPACE_NOT_FOUND)
                ) =>
            {
                Ok(false)
            }
            result => result.map(|()| true),
        }
    }

    /// Hides an index, or shows it again. Returns false if it is not there.
    pub async fn hide(&self, index: &RawDocument) -> Result<bool> {
        match self.run(|coll| modifying(coll, index)).await {
            Err(e) if e.code == Some(codes::INDEX_NOT_FOUND) => Ok(false),
            result => result.map(|()| true),
        }
    }

    /// Bound to the collection's UUID, or while it cannot be dropped (R8). `command`: by its
    /// name.
    async fn run(&self, command: impl FnOnce(&str) -> RawDocumentBuf) -> Result<()> {
        // IMPORTANT: first: until then it may be renamed.
        let Some(under_way) = self.tracked.begin_write().await else {
            return Ok(());
        };
        let mut command = command(&self.tracked.ns().coll);
        if self.forms().binds_uuid {
            command.append(cstr!("collectionUUID"), Binary::from(self.uuid));
        }
        let database = self.shard.client.database(&self.tracked.ns().db);
        let sent = async { Ok::<_, Error>(database.run_raw_command(command).await?) };
        let result = until_answered(under_way, sent).await;
        let is_over = self.tracked.is_dead() && is_answered(&result);
        match result {
            Err(e) if !is_over => Err(self.failed(e)),
            _ => Ok(()),
        }
    }

    fn failed(&self, e: Error) -> Error {
        e.or_renamed().context(format_args!(
            "changing indexes of {} on target shard {}",
            self.tracked.ns(),
            self.shard.id
        ))
    }
}

/// How far the target's clock may be behind ours, seconds.
const CLOCKS_APART: i64 = 3_600;

fn seconds_since_1970() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs() as i64)
}

/// Name and expiry of an index, in the form that `collMod` takes.
fn expiry_of(spec: &RawDocument) -> RawDocumentBuf {
    let names = [b"name".as_slice(), EXPIRY.as_bytes()];
    document(elements(spec).filter(|option| names.contains(&option.name)))
}

fn modifying(coll: &str, index: &RawDocument) -> RawDocumentBuf {
    let head = rawdoc! { "collMod": coll };
    let index = Element {
        kind: kind::DOCUMENT,
        name: b"index",
        value: index.as_bytes(),
    };
    document(elements(&head).chain([index]))
}
