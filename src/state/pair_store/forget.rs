//! Forgetting what nothing meets any more: dead collections, those of an earlier plan, and
//! parts of chunk maps that no collection names.

use std::collections::HashSet;

use bson::oid::ObjectId;
use bson::{RawArrayBuf, RawBson, RawDocumentBuf, Uuid, rawdoc};

use super::{CHUNKS, COLLECTIONS_OF_PAIR, DELETED_AT_ONCE, PairStore, maps};
use crate::error::Result;
use crate::state::{CollectionState, documents};

impl PairStore {
    /// Removes dead collections that no pair meets again.
    pub async fn forget(&self, uuids: &[Uuid]) -> Result<()> {
        self.clear_units(Some(uuids)).await?;
        for batch in uuids.chunks(DELETED_AT_ONCE) {
            let ids = RawArrayBuf::from_iter(batch.iter().map(|uuid| documents::uuid_value(*uuid)));
            let dead = |ids: RawArrayBuf| rawdoc! {"_id": {"$in": ids}, "run": self.run.as_str(), "dead": true};
            let sets = self.named_by(dead(ids.clone())).await?;
            let delete =
                rawdoc! {"delete": COLLECTIONS_OF_PAIR, "deletes": [{"q": dead(ids), "limit": 0}]};
            self.database.write(delete).await?;
            self.forget_sets(&sets).await?;
        }
        Ok(())
    }

    /// Removes collections of an earlier plan, and everything that only they name.
    pub(super) async fn forget_all_but(&self, kept: &[CollectionState]) -> Result<()> {
        let kept: HashSet<Uuid> = kept.iter().map(|c| c.uuid).collect();
        let stored = self.database.find_ids(COLLECTIONS_OF_PAIR).await?;
        let old = stored.iter().filter_map(|raw| {
            let known = raw
                .get_binary("_id")
                .ok()
                .and_then(|id| Some(Uuid::from_bytes(id.bytes.try_into().ok()?)));
            let stays = known.is_some_and(|uuid| kept.contains(&uuid));
            let id = raw.get("_id").ok().flatten().filter(|_| !stays)?;
            Some(rawdoc! {"q": {"_id": RawBson::from(id)}, "limit": 1})
        });
        for batch in old.collect::<Vec<_>>().chunks(DELETED_AT_ONCE) {
            let old = RawArrayBuf::from_iter(batch.iter().cloned());
            self.database
                .write(rawdoc! {"delete": COLLECTIONS_OF_PAIR, "deletes": old})
                .await?;
        }
        self.forget_unnamed().await
    }

    /// Removes parts of chunk maps that no collection names: those of an interrupted
    /// `add`, or of a map that was replaced.
    ///
    /// IMPORTANT: only while nothing is being added here, since an `add` stores the parts
    /// first.
    pub async fn forget_unnamed(&self) -> Result<()> {
        let parts = self.database.find_ids(CHUNKS).await?;
        if parts.is_empty() {
            return Ok(());
        }
        let named: HashSet<ObjectId> = self.named_by(rawdoc! {}).await?.into_iter().collect();
        let unnamed: HashSet<ObjectId> = parts
            .iter()
            .filter_map(|raw| documents::set_of(raw))
            .collect();
        let unnamed: Vec<ObjectId> = unnamed.difference(&named).copied().collect();
        self.forget_sets(&unnamed).await
    }

    /// The sets of parts that these collections name.
    async fn named_by(&self, mut filter: RawDocumentBuf) -> Result<Vec<ObjectId>> {
        filter.append(bson::cstr!("sharded.parts.set"), rawdoc! {"$exists": true});
        let naming = self.database.find(COLLECTIONS_OF_PAIR, filter).await?;
        let set = |raw: &RawDocumentBuf| Ok(documents::apart(raw)?.map(|apart| apart.set));
        naming
            .iter()
            .filter_map(|raw| set(raw).transpose())
            .collect()
    }

    /// One by one, by name: a late duplicate deletes nothing that was named since.
    async fn forget_sets(&self, sets: &[ObjectId]) -> Result<()> {
        for batch in sets.chunks(DELETED_AT_ONCE) {
            let parts = batch
                .iter()
                .map(|set| rawdoc! {"q": maps::parts_of(*set), "limit": 0});
            let parts = RawArrayBuf::from_iter(parts);
            self.database
                .write(rawdoc! {"delete": CHUNKS, "deletes": parts})
                .await?;
        }
        Ok(())
    }
}
