//! The units of a pair, each in a document of its own.

use std::collections::HashMap;

use bson::raw::cstr;
use bson::{RawArrayBuf, RawBson, RawDocumentBuf, Uuid, rawdoc};

use super::{COLLECTIONS_OF_PAIR, DELETED_AT_ONCE, PairStore, UNITS};
use crate::error::{Error, Result};
use crate::position::Position;
use crate::state::database::statement;
use crate::state::{CollectionState, FORMAT, PairState, ScanOrder, UnitState, documents};

impl PairStore {
    /// A unit turns from waiting to copying. Must have returned before anything
    /// of it is written.
    pub async fn start_unit(&self, uuid: Uuid, unit: usize, fence: Position) -> Result<i64> {
        let set = rawdoc! {"format": FORMAT, "fence": documents::position_document(fence)};
        let update = rawdoc! {"$set": set, "$setOnInsert": {"settled": false}};
        self.update(
            UNITS,
            [Ok(statement(self.unit_key(uuid, unit), update, true))],
        )
        .await
    }

    /// The only unit of the collection is about to be read from its first document. Does
    /// nothing if the collection is forgotten by now.
    pub async fn begin_whole_read(&self, uuid: Uuid) -> Result<i64> {
        let count = rawdoc! {"$inc": {"whole_reads": 1_i64}};
        self.update(COLLECTIONS_OF_PAIR, [self.change_of(uuid, &count)])
            .await
    }

    /// Of some collection a whole read was begun.
    pub async fn has_whole_reads(&self) -> Result<bool> {
        let filter = rawdoc! {
            "run": self.run.as_str(), "dead": false, "whole_reads": {"$gte": 1_i64},
        };
        let found = self.database.find(COLLECTIONS_OF_PAIR, filter).await?;
        Ok(!found.is_empty())
    }

    /// These are planned anew, and their documents are about to be deleted on the target, as
    /// by `mark_wiping`: one write, for a unit that has begun is not that of another plan, and
    /// what is copied was not planned at another position.
    pub async fn replan(&self, planned: &[CollectionState]) -> Result<i64> {
        let update = |state: &CollectionState| {
            let set = rawdoc! {
                "format": FORMAT, "wiping": true, "natural": state.order == ScanOrder::Natural,
                "whole_reads": 0_i64, "bounds": documents::bounds_array(&state.bounds),
                "planned_at": documents::position_document(state.planned_at),
            };
            (state.uuid, rawdoc! {"$set": set})
        };
        let updates: Vec<_> = planned.iter().map(update).collect();
        self.change(&updates).await
    }

    /// The ranges of these units are about to be deleted on the target.
    pub async fn mark_units_wiping(&self, units: &[(Uuid, usize)]) -> Result<()> {
        let mark = rawdoc! {"$set": {"format": FORMAT, "wiping": true}};
        let units = units
            .iter()
            .map(|(uuid, unit)| Ok(statement(self.unit_key(*uuid, *unit), mark.clone(), false)));
        self.database.update_all(UNITS, units).await.map(drop)
    }

    /// Units that are marked and not forgotten yet.
    pub async fn wiping_units(&self) -> Result<Vec<(Uuid, usize)>> {
        let found = self
            .database
            .find(UNITS, rawdoc! {"run": self.run.as_str(), "wiping": true})
            .await?;
        found
            .iter()
            .map(|raw| documents::unit(raw).map(|(uuid, unit, _)| (uuid, unit)))
            .collect()
    }

    /// Units become waiting again. The same care as with `clear_units`.
    pub async fn forget_units(&self, units: &[(Uuid, usize)]) -> Result<()> {
        for batch in units.chunks(DELETED_AT_ONCE) {
            let one = |(uuid, unit): &(Uuid, usize)| rawdoc! {"q": self.unit_key(*uuid, *unit), "limit": 1};
            let units = RawArrayBuf::from_iter(batch.iter().map(one));
            self.database
                .write(rawdoc! {"delete": UNITS, "deletes": units})
                .await?;
        }
        Ok(())
    }

    /// Sets units back to waiting: all, or those of some collections.
    ///
    /// A late duplicate would forget a unit that has begun again. So call it while no
    /// data plane writes, on a store whose connections the next incarnation waits for.
    pub async fn clear_units(&self, only: Option<&[Uuid]>) -> Result<i64> {
        let run = self.run.as_str();
        let Some(uuids) = only else {
            // As in `create`.
            let all = rawdoc! {"q": {"_id": {"$gte": RawBson::MinKey}, "run": run}, "limit": 0};
            return Ok(self
                .database
                .write(rawdoc! {"delete": UNITS, "deletes": [all]})
                .await?
                .term);
        };
        let mut term = None;
        for batch in uuids.chunks(DELETED_AT_ONCE) {
            let deletes = batch.iter().map(|uuid| {
                let bound =
                    |unit: RawBson| rawdoc! {"uuid": documents::uuid_value(*uuid), "unit": unit};
                let ids = rawdoc! {"$gte": bound(RawBson::MinKey), "$lte": bound(RawBson::MaxKey)};
                rawdoc! {"q": {"_id": ids, "run": run}, "limit": 0}
            });
            let all = rawdoc! {"delete": UNITS, "deletes": RawArrayBuf::from_iter(deletes)};
            term = Some(self.database.write(all).await?.term);
        }
        match term {
            Some(term) => Ok(term),
            None => self.touch(rawdoc! {"$inc": {"beat": 1_i64}}).await,
        }
    }

    /// Puts units into their collections. A unit without one is left by an interrupted
    /// `add`; those of a collection that is being emptied, or is dead, may be of an older plan.
    pub(super) fn place(&self, state: &mut PairState, units: &[RawDocumentBuf]) -> Result<()> {
        let mut by_uuid: HashMap<Uuid, &mut CollectionState> =
            state.collections.iter_mut().map(|c| (c.uuid, c)).collect();
        for raw in units {
            let (uuid, index, unit) = documents::unit(raw)?;
            let Some(collection) = by_uuid.get_mut(&uuid) else {
                continue;
            };
            let has_older = collection.wiping || collection.dead;
            if has_older && collection.units.len() <= index {
                continue;
            }
            let ns = &collection.ns;
            let unknown = || {
                Error::internal(format!(
                    "the stored state of pair {} has no range {index} of {ns}",
                    self.pair
                ))
            };
            *collection.units.get_mut(index).ok_or_else(unknown)? = unit;
        }
        Ok(())
    }

    pub(super) fn unit_key(&self, uuid: Uuid, unit: usize) -> RawDocumentBuf {
        rawdoc! {"_id": documents::unit_id(uuid, unit), "run": self.run.as_str()}
    }

    pub(super) fn unit(&self, uuid: Uuid, index: usize, state: UnitState) -> RawDocumentBuf {
        let mut update = rawdoc! {"$set": documents::unit_fields(state)};
        if state == UnitState::Waiting {
            // A collection that is made anew had one that had begun.
            update.append(cstr!("$unset"), rawdoc! {"fence": true});
        }
        statement(self.unit_key(uuid, index), update, true)
    }
}
