//! The collections that were made on the target for a pair: their UUIDs, and the versions
//! of their chunk maps if they are sharded.

use bson::{RawDocument, RawDocumentBuf, Uuid, rawdoc};

use super::{COLLECTIONS_OF_PAIR, PairStore};
use crate::cluster::catalog::{Collection, MapVersion, Namespace};
use crate::error::Result;
use crate::position::Position;
use crate::state::{CollectionState, documents};

/// Versions of a sharded collection's chunk maps on both sides, as far as they are known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Versions {
    pub source: Option<MapVersion>,
    pub target: Option<MapVersion>,
}

impl Versions {
    /// As fields to set.
    fn known(&self) -> RawDocumentBuf {
        let mut known = RawDocumentBuf::new();
        if let Some(version) = self.source {
            let version = documents::version_document(version);
            known.append(bson::cstr!("sharded.version"), version);
        }
        if let Some(version) = self.target {
            let version = documents::version_document(version);
            known.append(bson::cstr!("target_version"), version);
        }
        known
    }
}

impl PairStore {
    /// Binds source UUIDs to those of the target's collections.
    pub async fn bind(&self, pairs: &[(Uuid, Uuid)]) -> Result<i64> {
        let set = |target: Uuid| rawdoc! {"$set": {"target_uuid": documents::uuid_value(target)}};
        let updates: Vec<_> = pairs
            .iter()
            .map(|(source, target)| (*source, set(*target)))
            .collect();
        self.change(&updates).await
    }

    /// Stores the name that a collection has on the target by now. Does nothing if it is
    /// forgotten.
    pub async fn set_ns(&self, uuid: Uuid, ns: &Namespace) -> Result<i64> {
        let set = rawdoc! {"$set": {"ns": documents::namespace_document(ns)}};
        self.update(COLLECTIONS_OF_PAIR, [self.change_of(uuid, &set)])
            .await
    }

    /// Stores the name that a collection has on the target since the rename at `position`:
    /// that, and older ones, are not made again. Does nothing if it is forgotten.
    pub async fn renamed(
        &self,
        uuid: Uuid,
        (ns, position): (&Namespace, Position),
        versions: Versions,
    ) -> Result<i64> {
        let mut set = versions.known();
        let at = documents::position_document(position);
        set.append(bson::cstr!("ns"), documents::namespace_document(ns));
        set.append(bson::cstr!("renamed_at"), at);
        let set = rawdoc! {"$set": set};
        self.update(COLLECTIONS_OF_PAIR, [self.change_of(uuid, &set)])
            .await
    }

    /// Stores how a collection is sharded by now, and the version of what was made of that on the
    /// target. Does nothing if it is forgotten, or not recorded yet.
    pub async fn sharded_anew(
        &self,
        collection: &Collection,
        target_version: Option<MapVersion>,
    ) -> Result<i64> {
        let state = CollectionState {
            target_version,
            ..CollectionState::planned(collection, Vec::new())?
        };
        let maps = self.save_maps(std::slice::from_ref(&state)).await?;
        let apart = maps.get(&state.uuid).copied();
        let set = rawdoc! {"$set": documents::sharding_fields(&state, apart)};
        self.update(COLLECTIONS_OF_PAIR, [self.change_of(state.uuid, &set)])
            .await
    }

    /// Stores options that the source changed. Does nothing if the collection is forgotten by
    /// now.
    pub async fn set_options(&self, uuid: Uuid, options: &RawDocument) -> Result<i64> {
        let set = rawdoc! {"$set": {"options": documents::storable(options)}};
        self.update(COLLECTIONS_OF_PAIR, [self.change_of(uuid, &set)])
            .await
    }

    /// Stores versions of the target's chunk maps, by source UUID.
    pub async fn set_target_versions(&self, versions: &[(Uuid, MapVersion)]) -> Result<i64> {
        let set =
            |version| rawdoc! {"$set": {"target_version": documents::version_document(version)}};
        let updates: Vec<_> = versions
            .iter()
            .map(|(source, version)| (*source, set(*version)))
            .collect();
        self.change(&updates).await
    }

    /// Stores versions of both sides' chunk maps, as far as known, by source UUID.
    pub async fn set_versions(&self, versions: &[(Uuid, Versions)]) -> Result<i64> {
        let set = |versions: &Versions| rawdoc! {"$set": versions.known()};
        let updates: Vec<_> = versions
            .iter()
            .map(|(source, versions)| (*source, set(versions)))
            .collect();
        self.change(&updates).await
    }
}
