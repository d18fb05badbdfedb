//! Collections that are emptied and copied anew, and how often in a row.

use bson::{RawDocumentBuf, Uuid, rawdoc};

use super::{COLLECTIONS_OF_PAIR, PairStore, UNITS};
use crate::error::Result;
use crate::position::Position;
use crate::state::{FORMAT, documents};

impl PairStore {
    /// How often, with this one, a collection of one unit is copied anew without having been
    /// settled in between. One that is marked already has been counted.
    pub async fn times_anew(&self, uuid: Uuid) -> Result<i64> {
        let key = rawdoc! {"_id": documents::uuid_value(uuid), "run": self.run.as_str()};
        let stored = self.database.find(COLLECTIONS_OF_PAIR, key).await?;
        let number = |stored: &RawDocumentBuf| stored.get_i64("anew").unwrap_or(0);
        let times = stored.first().map_or(0, number);
        if stored.first().is_some_and(|stored| is(stored, "wiping")) {
            return Ok(times);
        }
        let unit = self.database.find(UNITS, self.unit_key(uuid, 0)).await?;
        let is_settled = unit.first().is_some_and(|unit| is(unit, "settled"));
        Ok(if is_settled { 1 } else { times + 1 })
    }

    /// As `mark_wiping`, and in the same write how often they are copied anew, and up to where
    /// their copy is to show their ops.
    pub async fn mark_anew(&self, times: &[(Uuid, i64)], shown: Position) -> Result<i64> {
        let mark = |(uuid, times): &(Uuid, i64)| {
            let set = rawdoc! {"format": FORMAT, "wiping": true, "anew": *times};
            // It may have been planned later than what gave up another.
            let shown = rawdoc! {"planned_at": documents::position_document(shown)};
            (*uuid, rawdoc! {"$set": set, "$max": shown})
        };
        let updates: Vec<_> = times.iter().map(mark).collect();
        self.change(&updates).await
    }
}

fn is(stored: &RawDocumentBuf, field: &str) -> bool {
    stored.get_bool(field).unwrap_or(false)
}
