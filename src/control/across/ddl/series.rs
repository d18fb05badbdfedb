//! Changes of time series: their granularity, which their view has as well, and the config
//! servers if they are sharded. So it goes through the router, once for all pairs; all
//! else of them is their buckets' (`pair::ddl::options`, held back until the cutover).

use std::sync::Arc;
use std::time::Duration;

use bson::{RawDocument, rawdoc};

use crate::cluster::admin;
use crate::cluster::catalog::{self, Collection};
use crate::control::across::ddl::Coordinator;
use crate::control::held_back;
use crate::error::Result;

/// Ascending: no time series gets a finer one.
const GRANULARITIES: [&str; 3] = ["seconds", "minutes", "hours"];
/// How long to wait while a shard builds an index of the time series.
const PAUSE: Duration = Duration::from_secs(1);

impl Coordinator {
    /// Gives the target's time series the granularity of these buckets of the source. Nothing
    /// if they are none, or the target has it. Waits for index builds of it.
    pub(super) async fn follow_series(&self, modified: Option<Arc<Collection>>) -> Result<()> {
        let Some(buckets) = modified.filter(|buckets| buckets.ns.time_series().is_some()) else {
            return Ok(());
        };
        loop {
            match self.align_series(&buckets).await {
                Err(e) if admin::is_busy(&e) => {
                    tracing::debug!("{} is changed later: {e}", buckets.ns);
                    tokio::time::sleep(PAUSE).await;
                }
                aligned => return aligned,
            }
        }
    }

    async fn align_series(&self, buckets: &Collection) -> Result<()> {
        let (ns, target) = (&buckets.ns, &self.sides.target);
        let _turn = self.take_turn().await?;
        let there = catalog::read_one(target, ns).await?;
        let Some(uuid) = there.and_then(|there| there.uuid) else {
            return Ok(());
        };
        let wanted = granularity(&buckets.options);
        let mut is_finer = false;
        // One that broke off may have changed it on some of them.
        for shard in &target.shards {
            let listed = catalog::options_of(&shard.client, &ns.db, uuid).await?;
            is_finer |= listed.is_some_and(|listed| granularity(&listed) < wanted);
        }
        let name = wanted.and_then(|place| GRANULARITIES.get(place));
        let Some(name) = name.filter(|_| is_finer) else {
            return Ok(());
        };
        let series = ns.public();
        let change =
            rawdoc! {"collMod": series.coll.as_str(), "timeseries": {"granularity": *name}};
        let sent = held_back::send(target, &series, &change);
        self.until_answered(&series, sent).await
    }
}

/// Its place among all of them.
fn granularity(options: &RawDocument) -> Option<usize> {
    let series = options.get_document("timeseries").ok()?;
    let name = series.get_str("granularity").ok()?;
    GRANULARITIES.iter().position(|other| *other == name)
}
