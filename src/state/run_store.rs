//! The state shared by all pairs, on the first target shard by id: the run's document,
//! and the options that wait for the finish.
//!
//! Knows nothing about pairs, nor who holds the lease.

use std::time::Duration;

use bson::oid::ObjectId;
use bson::{RawArrayBuf, RawDocumentBuf, rawdoc};

use crate::cluster::catalog::Namespace;
use crate::cluster::deployment::{Shard, Side};
use crate::codes;
use crate::error::{Error, Kind, Result};
use crate::state::database::{StateDatabase, statement};
use crate::state::{FORMAT, HeldBack, Reverse, RunState, Stage, documents, pair_store};

const RUN: &str = "run";
/// Named by the first kind of what is in it.
const EXPIRIES: &str = "expiries";
const MAKING: &str = "making";

/// Cheap to clone.
#[derive(Debug, Clone)]
pub struct RunStore {
    database: StateDatabase,
}

impl RunStore {
    /// `shard` is always the target's first one by id.
    pub fn new(shard: &Shard) -> Self {
        RunStore {
            database: StateDatabase::new(shard),
        }
    }

    /// The same, which waits for the target's majority for as long.
    pub fn waiting(self, patience: Duration) -> Self {
        RunStore {
            database: self.database.waiting(patience),
        }
    }

    /// None if no run is recorded on this target.
    pub async fn load(&self) -> Result<Option<RunState>> {
        let found = self.database.find(RUN, rawdoc! {"_id": RUN}).await?;
        found.first().map(|raw| documents::run(raw)).transpose()
    }

    /// Records a run. May be repeated.
    ///
    /// # Errors
    /// `Refused` if another run is recorded.
    pub async fn create(&self, state: &RunState) -> Result<()> {
        let mine = rawdoc! {"_id": RUN, "id": state.id.as_str()};
        let write = [Ok(statement(mine, documents::run_document(state)?, true))];
        match self.database.update_all(RUN, write).await {
            Err(e) if e.code == Some(codes::DUPLICATE_KEY) => {
                let found = Error::new(Kind::Refused, "another run is recorded on this target");
                Err(found.remedy(
                    "resume it with the same command, or wipe what it copied and start over: \
                     `shardlift migrate --restart`",
                ))
            }
            done => done.map(drop),
        }
    }

    /// Stages only advance: a late duplicate of an earlier write changes nothing.
    ///
    /// # Errors
    /// `Refused` if the run is further already, or no run is recorded.
    pub async fn set_stage(&self, stage: Stage) -> Result<()> {
        let earlier = rawdoc! {"_id": RUN, "stage": {"$in": documents::stages_up_to(stage)}};
        let set = rawdoc! {"$set": {"stage": documents::stage_name(stage)}};
        let written = self
            .database
            .update_all(RUN, [Ok(statement(earlier, set, false))])
            .await?;
        if written.is_some_and(|w| 0 < w.count) {
            return Ok(());
        }
        let found = match self.load().await? {
            Some(state) => format!(
                "the recorded run is already {}",
                documents::stage_name(state.stage)
            ),
            None => "no run is recorded on this target any more".to_owned(),
        };
        let name = documents::stage_name(stage);
        Err(Error::new(Kind::Refused, format!("the run cannot become {name}: {found}"))
            .remedy("make sure that only one process works on this target; what it does now is in `shardlift status`"))
    }

    /// Adds zones that target shards are about to be put into: (shard, zone). May be
    /// repeated.
    pub async fn add_zones(&self, zones: &[(String, String)]) -> Result<()> {
        let zones = RawArrayBuf::from_iter(
            zones
                .iter()
                .map(|(shard, zone)| documents::zone_document(shard, zone)),
        );
        let add = rawdoc! {"$addToSet": {"zones": {"$each": zones}}};
        self.database
            .update_all(RUN, [Ok(statement(rawdoc! {"_id": RUN}, add, false))])
            .await
            .map(drop)
    }

    /// The zones added; none if an older release recorded the run.
    pub async fn load_zones(&self) -> Result<Vec<(String, String)>> {
        let run = self.database.find(RUN, rawdoc! {"_id": RUN}).await?;
        run.first()
            .map_or(Ok(Vec::new()), |raw| documents::zones(raw))
    }

    /// Records the end of the cutover window, ms since 1970. May be repeated.
    pub async fn set_window(&self, ends_ms: u64) -> Result<()> {
        let set = rawdoc! {"$set": {"window_ends_ms": ends_ms as i64}};
        self.database
            .update_all(RUN, [Ok(statement(rawdoc! {"_id": RUN}, set, false))])
            .await
            .map(drop)
    }

    /// The end of the cutover window, ms since 1970. None if it has not begun.
    pub async fn load_window(&self) -> Result<Option<u64>> {
        let run = self.database.find(RUN, rawdoc! {"_id": RUN}).await?;
        let ends_ms = run
            .first()
            .and_then(|raw| raw.get_i64("window_ends_ms").ok());
        Ok(ends_ms.map(|ends_ms| ends_ms.max(0) as u64))
    }

    /// Records how the run came to its phase, in the place of what was. May be repeated.
    pub async fn set_phases(&self, changes: Vec<RawDocumentBuf>) -> Result<()> {
        let set = rawdoc! {"$set": {"phases": RawArrayBuf::from_iter(changes)}};
        self.database
            .update_all(RUN, [Ok(statement(rawdoc! {"_id": RUN}, set, false))])
            .await
            .map(drop)
    }

    /// As recorded; empty if an older release recorded the run.
    pub async fn load_phases(&self) -> Result<Vec<RawDocumentBuf>> {
        let run = self.database.find(RUN, rawdoc! {"_id": RUN}).await?;
        let changes = run.first().and_then(|raw| raw.get_array("phases").ok());
        let changes = changes.into_iter().flatten().flatten();
        Ok(changes
            .filter_map(|change| change.as_document().map(ToOwned::to_owned))
            .collect())
    }

    /// Records whether the run blocks users' writes on that side. May be repeated.
    pub async fn set_write_block(&self, side: Side, on: bool) -> Result<()> {
        let set = match side {
            Side::Source => rawdoc! {"$set": {"write_block": on}},
            Side::Target => rawdoc! {"$set": {"target_write_block": on}},
        };
        self.database
            .update_all(RUN, [Ok(statement(rawdoc! {"_id": RUN}, set, false))])
            .await
            .map(drop)
    }

    /// False too if no run is recorded.
    pub async fn load_write_block(&self, side: Side) -> Result<bool> {
        let run = self.database.find(RUN, rawdoc! {"_id": RUN}).await?;
        let field = match side {
            Side::Source => "write_block",
            Side::Target => "target_write_block",
        };
        let on = run.first().and_then(|raw| raw.get_bool(field).ok());
        Ok(on.unwrap_or(false))
    }

    /// Records that there is no way back after all. May be repeated.
    pub async fn give_up_reverse(&self) -> Result<()> {
        let set = rawdoc! {"$set": {"reverse": documents::reverse_name(Reverse::GivenUp)}};
        self.database
            .update_all(RUN, [Ok(statement(rawdoc! {"_id": RUN}, set, false))])
            .await
            .map(drop)
    }

    /// Notes that a collection of this name is about to be made on the target. May be
    /// repeated.
    pub async fn add_making(&self, ns: &Namespace) -> Result<()> {
        let name = rawdoc! {"_id": documents::making_id(ns)};
        let add = statement(name, rawdoc! {"$set": {"format": FORMAT}}, true);
        self.database.update_all(MAKING, [Ok(add)]).await.map(drop)
    }

    /// Removes the note: the collection is dropped again. May be repeated.
    pub async fn forget_making(&self, ns: &Namespace) -> Result<()> {
        let name = rawdoc! {"q": {"_id": documents::making_id(ns)}, "limit": 1};
        self.database
            .write(rawdoc! {"delete": MAKING, "deletes": [name]})
            .await?;
        // Where an earlier release noted it.
        let pull = rawdoc! {"$pull": {"making": documents::making_id(ns)}};
        self.database
            .update_all(RUN, [Ok(statement(rawdoc! {"_id": RUN}, pull, false))])
            .await
            .map(drop)
    }

    /// Names of the collections that were about to be made while the run was on; none in
    /// what an older release recorded.
    pub async fn load_making(&self) -> Result<Vec<Namespace>> {
        let (run, found) = tokio::try_join!(
            self.database.find(RUN, rawdoc! {"_id": RUN}),
            self.database.find(MAKING, rawdoc! {})
        )?;
        let mut making = run
            .first()
            .map_or(Ok(Vec::new()), |raw| documents::making_in_run(raw))?;
        for raw in &found {
            making.push(documents::making(raw)?);
        }
        Ok(making)
    }

    /// Takes the place of those saved before, all at once.
    pub async fn save_held_back(&self, held_back: &[HeldBack]) -> Result<()> {
        let set = ObjectId::new();
        let statements = held_back.iter().enumerate().map(|(number, held_back)| {
            let id = rawdoc! {"_id": {"set": set, "number": number as i64}};
            Ok(statement(
                id,
                documents::held_back_document(set, number, held_back),
                true,
            ))
        });
        self.database.update_all(EXPIRIES, statements).await?;
        // IMPORTANT: after they are all there; until then the old set counts.
        let written = self
            .database
            .update_all(
                RUN,
                [Ok(statement(
                    rawdoc! {"_id": RUN},
                    rawdoc! {"$set": {"expiries": set}},
                    false,
                ))],
            )
            .await?;
        match written {
            Some(written) if 0 < written.count => Ok(()),
            _ => Err(
                Error::new(Kind::Refused, "no run is recorded on this target any more")
                    .remedy("find out who removed `__shardlift` from the target"),
            ),
        }
    }

    /// The options saved last, in that order; empty if there are none.
    pub async fn load_held_back(&self) -> Result<Vec<HeldBack>> {
        let run = self.database.find(RUN, rawdoc! {"_id": RUN}).await?;
        let Some(set) = run
            .first()
            .and_then(|raw| raw.get_object_id("expiries").ok())
        else {
            return Ok(Vec::new());
        };
        let found = self
            .database
            .find(EXPIRIES, rawdoc! {"_id.set": set})
            .await?;
        found.iter().map(|raw| documents::held_back(raw)).collect()
    }

    /// Forgets the run and all else on this shard, the lease apart: that goes,
    /// and the database with it, when it is released. May be repeated.
    pub async fn remove(&self) -> Result<()> {
        for collection in pair_store::COLLECTIONS {
            self.database.drop(collection).await?;
        }
        self.database.drop(EXPIRIES).await?;
        self.database.drop(MAKING).await?;
        // IMPORTANT: last. While it is there a run is told from a clean target,
        // and whoever finds it completes the removal.
        self.database.drop(RUN).await
    }
}
