//! One collection as both sides have it now, against how it was laid out.
//!
//! Asks both sides; what a change means is for `control::layout::owners` and `refined`.

use std::time::Duration;

use bson::Uuid;

use super::{How, PATIENCE, PAUSE, ToFollow, Watch, name};
use crate::cluster::catalog::versions::{self, Row, Versions};
use crate::cluster::catalog::{self, Collection, MapVersion, Sharded};
use crate::cluster::deployment::{Deployment, Side};
use crate::cluster::retry::within;
use crate::control::layout::laid_out::Made;
use crate::control::layout::owners::{self, changed};
use crate::control::layout::refined;
use crate::error::{Error, Result};

/// Looks at a source that has a collection neither sharded nor gone: a drop under way is soon
/// over.
const LOOKS_MAX: u32 = 5;

/// A change on the source.
pub(super) enum Found {
    /// The run.
    Stops(Error),
    Followed(ToFollow),
}

impl Watch {
    pub(super) async fn on_source(
        &self,
        (uuid, before): (Uuid, &Collection),
        now: &Versions,
    ) -> Result<Option<Found>> {
        let Collection { ns, primary, .. } = before;
        let other = |what: String| Found::Stops(changed(Side::Source, &what));
        // A drop under way: its metadata goes first, its shards follow one by one.
        let Some(row) = now.collections.get(&uuid) else {
            return Ok(None);
        };
        let own = ns.own(&self.sides.source.scope).db;
        let home = now.databases.get(&own);
        if home.is_some_and(|home| home.primary != *primary) {
            return Ok(Some(other(format!(
                "the primary shard of database {own} moved"
            ))));
        }
        let Some(sharded) = &before.sharded else {
            return self.sharded_since((uuid, row), before).await;
        };
        let version = sharded.version;
        if version.is_some_and(|before| is_same(row, &before)) {
            return Ok(None);
        }
        let Some(now) = self.read_map(&self.sides.source, (uuid, row)).await? else {
            return Ok(None);
        };
        if refined::is_of(sharded, &now) {
            return Ok(Some(match ns.time_series() {
                Some(_) => Found::Stops(refined::of_series(ns)),
                None => Found::Followed(ToFollow {
                    uuid,
                    ns: row.ns.clone(),
                    how: How::Refined,
                }),
            }));
        }
        let change = owners::change(&owners::intervals(sharded), version, &now);
        Ok(change.map(|change| other(format!("{change} of {} changed", row.ns))))
    }

    async fn sharded_since(
        &self,
        (uuid, row): (Uuid, &Row),
        before: &Collection,
    ) -> Result<Option<Found>> {
        let Some(sharded) = self.read_map(&self.sides.source, (uuid, row)).await? else {
            return Ok(None);
        };
        let now = with(before, sharded);
        let is_series = before.ns.time_series().is_some();
        if owners::stays_in_place(before, &now) && !is_series {
            return Ok(Some(Found::Followed(ToFollow {
                uuid,
                ns: row.ns.clone(),
                how: How::InPlace(before.primary),
            })));
        }
        let stop = if owners::is_sharded_in_place(before, &now) {
            let shard = &self.sides.source.shards[before.primary].id;
            owners::sharded_in_place(&now, shard)
        } else {
            let what = format!("{} was sharded, and a chunk of it moved,", before.ns);
            changed(Side::Source, &what)
        };
        Ok(Some(Found::Stops(stop)))
    }

    /// `by_source`: how the source was found, before the target was.
    pub(super) async fn on_target(
        &self,
        (uuid, before): (Uuid, &Collection),
        made: Option<&Made>,
        now: &Versions,
        by_source: &Versions,
    ) -> Result<Option<String>> {
        let Collection { ns, primary, .. } = before;
        if now
            .databases
            .get(&ns.db)
            .is_none_or(|home| home.primary != self.sides.pairs[*primary])
        {
            return Ok(Some(format!(
                "the primary shard of database {} moved, or it was dropped",
                ns.db
            )));
        }
        let Some(made) = made else { return Ok(None) };
        match (&before.sharded, now.collections.get(&made.uuid)) {
            (None, None) => Ok(None),
            (None, Some(row)) => {
                let there = self.read_map(&self.sides.target, (made.uuid, row)).await?;
                let Some(there) = there else { return Ok(None) };
                let is_alike = self.is_sharded_alike((uuid, before), &there).await?;
                Ok((!is_alike).then(|| format!("{ns} was sharded")))
            }
            (Some(_), None) => Ok(Some(format!("{ns} was dropped or recreated"))),
            (Some(sharded), Some(row)) => {
                if made.version.is_some_and(|before| is_same(row, &before)) {
                    return Ok(None);
                }
                // Dropped since.
                let Some(there) = self.read_map(&self.sides.target, (made.uuid, row)).await? else {
                    return Ok(None);
                };
                let mapped = owners::mapped(sharded, &self.sides.pairs);
                if refined::is_refined((&sharded.key, &mapped), made.version, &there)
                    && self.is_refined_alike(uuid, &there, by_source).await?
                {
                    return Ok(None);
                }
                let change = owners::change(&mapped, made.version, &there);
                Ok(change.map(|change| format!("{change} of {} changed", row.ns)))
            }
        }
    }

    /// Whether the key of the target, which is refined, is so as the source's is. By this run
    /// then: it is being made, or was made and not recorded. The source may be ahead by now.
    async fn is_refined_alike(
        &self,
        uuid: Uuid,
        there: &Sharded,
        by_source: &Versions,
    ) -> Result<bool> {
        // Dropped or renamed since: the next look tells.
        let Some(row) = by_source.collections.get(&uuid) else {
            return Ok(true);
        };
        // IMPORTANT: only now: the target's was read before, and follows the source's.
        let on_source = self.read_map(&self.sides.source, (uuid, row)).await?;
        Ok(on_source.is_none_or(|now| refined::is_begin(&there.key, &now.key)))
    }

    /// The same of a target that is sharded, in its place.
    async fn is_sharded_alike(
        &self,
        (uuid, before): (Uuid, &Collection),
        there: &Sharded,
    ) -> Result<bool> {
        unless_amid_drop(PAUSE, || self.sharded_alike((uuid, before), there)).await
    }

    /// None if the source's is neither sharded nor gone.
    async fn sharded_alike(
        &self,
        (uuid, before): (Uuid, &Collection),
        there: &Sharded,
    ) -> Result<Option<bool>> {
        let source = &self.sides.source;
        let primary = self.sides.pairs[before.primary];
        let is_whole = there.chunks.iter().all(|chunk| chunk.shard == primary);
        // IMPORTANT: all of them, and only now: the source may have been sharded since the look.
        let rows = within(PATIENCE, &name(source), versions::sharded(source, None)).await?;
        let on_source = rows.into_iter().find(|row| row.uuid == uuid);
        let Some(now) = on_source else {
            let shard = &source.shards[before.primary];
            let db = before.ns.own(&source.scope).db;
            let is_gone = catalog::is_gone(&shard.client, &db, uuid).await?;
            return Ok(is_gone.then_some(true));
        };
        let is_begin = refined::is_begin(&there.key, &now.sharded.key);
        let stays = owners::stays_in_place(before, &with(before, now.sharded));
        Ok(Some(is_whole && is_begin && stays))
    }

    /// Reads the chunks of one collection whose version changed. None if it was dropped since.
    async fn read_map(
        &self,
        side: &Deployment,
        (uuid, row): (Uuid, &Row),
    ) -> Result<Option<Sharded>> {
        let rows = within(
            PATIENCE,
            &name(side),
            versions::sharded(side, Some(&row.ns)),
        )
        .await?;
        let row = rows.into_iter().find(|row| row.uuid == uuid);
        Ok(row.map(|row| row.sharded))
    }
}

/// A drop takes the row of a collection first, and the collection off its shard later: where
/// there is neither a row nor an end of it (None), it is looked for again.
async fn unless_amid_drop<F: Future<Output = Result<Option<bool>>>>(
    pause: Duration,
    look: impl Fn() -> F,
) -> Result<bool> {
    for _ in 1..LOOKS_MAX {
        if let Some(found) = look().await? {
            return Ok(found);
        }
        tokio::time::sleep(pause).await;
    }
    Ok(look().await?.unwrap_or(false))
}

fn with(before: &Collection, sharded: Sharded) -> Collection {
    Collection {
        sharded: Some(sharded),
        ..before.clone()
    }
}

fn is_same(row: &Row, before: &MapVersion) -> bool {
    (row.epoch, row.major) == (before.epoch, before.major)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering::SeqCst;

    use super::*;

    #[tokio::test]
    async fn what_is_being_dropped_on_the_source_is_looked_for_again() {
        for (answers, expect) in [
            ([Some(true), None, None, None, None], (true, 1)),
            ([Some(false), None, None, None, None], (false, 1)),
            ([None, Some(true), None, None, None], (true, 2)),
            ([None, None, None, None, Some(true)], (true, 5)),
            ([None; 5], (false, 5)),
        ] {
            let looks = AtomicUsize::new(0);
            let look = || std::future::ready(Ok(answers[looks.fetch_add(1, SeqCst)]));
            let found = unless_amid_drop(Duration::ZERO, look).await.unwrap();
            assert_eq!((found, looks.load(SeqCst)), expect, "{answers:?}");
        }
    }
}
