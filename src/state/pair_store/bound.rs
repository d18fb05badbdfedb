//! What the target made of a pair's collections: their UUIDs and, of those that are sharded,
//! the versions of their chunk maps.

use bson::{Uuid, rawdoc};

use super::PairStore;
use crate::cluster::catalog::versions::MapVersion;
use crate::error::Result;
use crate::state::documents;

impl PairStore {
    /// Binds source UUIDs to those of the target's collections.
    pub async fn bind(&self, pairs: &[(Uuid, Uuid)]) -> Result<i64> {
        let set = |target: Uuid| rawdoc! {"$set": {"target_uuid": documents::uuid_value(target)}};
        let updates: Vec<_> = pairs.iter().map(|(source, target)| (*source, set(*target))).collect();
        self.change(&updates).await
    }

    /// Of the target's chunk maps, by source UUID.
    pub async fn set_target_versions(&self, versions: &[(Uuid, MapVersion)]) -> Result<i64> {
        let set = |version| rawdoc! {"$set": {"target_version": documents::version_document(version)}};
        let updates: Vec<_> = versions.iter().map(|(source, version)| (*source, set(*version))).collect();
        self.change(&updates).await
    }
}
