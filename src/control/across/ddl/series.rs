//! Changes of time series: their granularity, which their view has as well, and the config
//! servers if they are sharded. So it goes through the router, once for all pairs; all
//! else of them is their buckets' (`pair::ddl::options`, held back until the cutover).

use std::sync::Arc;

use bson::{RawDocument, rawdoc};

use crate::cluster::catalog::{self, Collection};
use crate::control::across::ddl::Coordinator;
use crate::control::held_back;
use crate::control::layout::series::series_of;
use crate::error::Result;

impl Coordinator {
    /// Gives the target's time series the granularity of these buckets of the source. Nothing
    /// if they are none, or the target has it.
    pub(super) async fn follow_series(&self, modified: Option<Arc<Collection>>) -> Result<()> {
        let Some(buckets) = modified else {
            return Ok(());
        };
        let Some(series) = buckets.ns.time_series() else {
            return Ok(());
        };
        let granularity = |buckets: &Collection| {
            let of: &RawDocument = series_of(buckets)?;
            Ok::<_, crate::error::Error>(of.get_str("granularity").unwrap_or_default().to_owned())
        };
        let wanted = granularity(&buckets)?;
        let target = &self.sides.target;
        let _turn = self.take_turn().await?;
        let there = catalog::read_one(target, &buckets.ns).await?;
        let Some(there) = there.filter(|there| there.uuid.is_some()) else {
            return Ok(());
        };
        if granularity(&there)? == wanted {
            return Ok(());
        }
        let change =
            rawdoc! {"collMod": series.coll.as_str(), "timeseries": {"granularity": wanted}};
        let sent = held_back::send(target, &series, &change);
        self.until_answered(&series, sent).await
    }
}
