//! Collections of a recorded run that are dropped on the target, and made there, while no
//! attempt is under way.
//!
//! Decides nothing.

use bson::{Uuid, rawdoc};

use crate::cluster::admin;
use crate::cluster::catalog::{self, Catalog, Collection, CollectionKind, Namespace};
use crate::cluster::deployment::{Deployment, Shard};
use crate::codes;
use crate::control::layout;
use crate::control::layout::dropping::drop_collection;
use crate::control::layout::{laid_out, prepare};
use crate::control::recorded;
use crate::error::{Error, Kind, Result};
use crate::pair::copy::units::Cut;
use crate::position::Position;
use crate::state::pair_store::PairStore;
use crate::state::run_store::RunStore;
use crate::state::{CollectionState, RunState};

/// Both sides of a recorded run, and how its collections are to be cut.
#[derive(Clone, Copy)]
pub struct OfRun<'a> {
    pub source: &'a Deployment,
    pub target: &'a Deployment,
    pub run: &'a RunState,
    pub cut: Cut,
}

/// Drops what was made as `made`, if it is among what is `there`. `shard`: the target's that has
/// it if it is not sharded, over connections of the incarnation.
pub async fn drop_made(
    target: &Deployment,
    shard: &Shard,
    made: Option<Uuid>,
    there: &Catalog,
) -> Result<()> {
    let mut all = there.collections.iter();
    let Some(made) = all.find(|c| c.uuid.is_some() && c.uuid == made) else {
        return Ok(());
    };
    if let Some(series) = dropped_before(made) {
        // IMPORTANT: first: once its buckets are gone, nobody knows it.
        drop_named(shard, &series, CollectionKind::TimeSeries, there).await?;
    }
    drop_collection(target, made).await
}

/// Straight from the shard that has it, where a late drop is waited for (R7).
pub async fn drop_named(
    shard: &Shard,
    ns: &Namespace,
    kind: CollectionKind,
    there: &Catalog,
) -> Result<()> {
    let mut found = there.collections.iter();
    if !found.any(|c| c.kind == kind && c.ns == *ns) {
        return Ok(());
    }
    let drop = rawdoc! {"drop": ns.coll.as_str(), "writeConcern": {"w": "majority"}};
    match admin::run_once(&shard.client, &ns.db, &drop).await {
        Err(e) if e.code != Some(codes::NAMESPACE_NOT_FOUND) => {
            Err(e.context(format_args!("dropping {ns} on the target")))
        }
        _ => Ok(()),
    }
}

/// Makes a collection of the source, without secondary indexes.
pub async fn make(of: OfRun<'_>, collection: &Collection) -> Result<()> {
    let OfRun {
        source,
        target,
        run,
        ..
    } = of;
    let runs = RunStore::new(recorded::first(target));
    // IMPORTANT: first: a wipe must know it.
    runs.add_making(&collection.ns).await?;
    if let Some(sharded) = &collection.sharded {
        let on_source = catalog::shard_zones(source).await?;
        let pairs = (&run.pairs[..], &runs);
        layout::zones::join_those_of(&sharded.zones, on_source, target, pairs).await?;
    }
    layout::create_collection(target, collection, &run.pairs).await
}

/// A pair: its target shard and its store, over connections of the incarnation.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    pub pair: usize,
    pub shard: &'a Shard,
    pub store: &'a PairStore,
}

impl Place<'_> {
    /// Records a collection of the pair that was made, to be copied. Entries on it up to
    /// `planned_at`, and renames of it up to `renamed_at`, are passed.
    pub async fn record(
        &self,
        of: OfRun<'_>,
        collection: &Collection,
        (planned_at, renamed_at): (Position, Position),
    ) -> Result<()> {
        let lives_here = collection.lives_on(self.pair);
        let target_uuid = catalog::local_uuid(self.shard, &collection.ns)
            .await?
            .filter(|_| lives_here);
        if lives_here && target_uuid.is_none() {
            let found = format!(
                "{} was made, and is not on target shard {}",
                collection.ns, self.shard.id
            );
            return Err(Error::new(Kind::Server, found));
        }
        let source = &of.source.shards[self.pair];
        let planned = prepare::planned(of.cut, source, collection, lives_here).await?;
        let target_version = match target_uuid {
            Some(_) => laid_out::version_on(of.target, collection, &of.run.pairs).await?,
            None => None,
        };
        // It may have been given up before, with other ranges.
        self.store.clear_units(Some(&[planned.uuid])).await?;
        self.store
            .add(&CollectionState {
                target_uuid,
                target_version,
                planned_at,
                renamed_at,
                ..planned
            })
            .await
            .map(drop)
    }
}

/// The time series that goes before its buckets. A sharded one goes with them, by the router:
/// its shard alone would leave their metadata.
fn dropped_before(buckets: &Collection) -> Option<Namespace> {
    let series = buckets.ns.time_series();
    series.filter(|_| buckets.sharded.is_none())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::catalog::Sharded;

    #[test]
    fn a_series_is_dropped_on_its_shard_unless_it_is_sharded() {
        let made = |coll: &str, is_sharded: bool| Collection {
            ns: Namespace {
                db: "d".to_owned(),
                coll: coll.to_owned(),
            },
            kind: CollectionKind::Plain,
            uuid: None,
            options: rawdoc! {},
            primary: 0,
            sharded: is_sharded.then(|| Sharded {
                key: rawdoc! {"meta": 1},
                unique: false,
                chunks: Vec::new(),
                zones: Vec::new(),
                version: None,
            }),
            key_index: None,
        };
        for (coll, is_sharded, expect) in [
            ("system.buckets.x", false, Some("x")),
            ("system.buckets.x", true, None),
            ("x", false, None),
        ] {
            let series = dropped_before(&made(coll, is_sharded));
            assert_eq!(
                series.map(|ns| ns.coll),
                expect.map(str::to_owned),
                "{coll}"
            );
        }
    }
}
