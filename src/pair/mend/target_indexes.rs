//! Indexes of one collection on its target shard: listed, made, dropped. Specifications
//! and names go as they came, byte for byte.
//!
//! Decides nothing.

use bson::{RawArrayBuf, RawDocumentBuf, Uuid, rawdoc};

use crate::cluster::catalog;
use crate::cluster::catalog::index::{self, IndexName, Listed};
use crate::cluster::deployment::Shard;
use crate::codes;
use crate::error::{Error, Result};
use crate::pair::collection::Tracked;

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
            catalog::indexes_and_builds_of(self.shard, &self.tracked.ns.db, self.uuid).await;
        listed
            .map(Option::unwrap_or_default)
            .map_err(|e| self.failed(e))
    }

    pub async fn create(&self, specs: &[RawDocumentBuf]) -> Result<()> {
        let specs = RawArrayBuf::from_iter(specs.iter().cloned());
        // With a member down the default quorum waits for ever.
        self.run(rawdoc! {
            "createIndexes": self.tracked.ns.coll.as_str(), "indexes": specs, "commitQuorum": "majority",
            "writeConcern": { "w": 1 }, "collectionUUID": bson::Binary::from(self.uuid),
        })
        .await
    }

    /// Drops all of them in one command, which also stops a build if they are the indexes
    /// of one. Returns false if they are not there in that form.
    pub async fn drop(&self, names: &[IndexName]) -> Result<bool> {
        let rest =
            rawdoc! { "writeConcern": { "w": 1 }, "collectionUUID": bson::Binary::from(self.uuid) };
        let command = index::dropping(&self.tracked.ns.coll, names, &rest);
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

    async fn run(&self, command: RawDocumentBuf) -> Result<()> {
        let result = self
            .shard
            .client
            .database(&self.tracked.ns.db)
            .run_raw_command(command)
            .await;
        let result = result.map(drop).map_err(|e| self.failed(Error::from(e)));
        if self.tracked.is_dead() {
            Ok(())
        } else {
            result
        }
    }

    fn failed(&self, e: Error) -> Error {
        e.context(format_args!(
            "changing indexes of {} on target shard {}",
            self.tracked.ns, self.shard.id
        ))
    }
}
