//! Zones of the target: made the source's as they are listed now.

use crate::cluster::catalog::{self, Namespace, Zone};
use crate::control::across::ddl::Coordinator;
use crate::control::layout::zones;
use crate::error::Result;

impl Coordinator {
    /// Makes the zone ranges of one collection those of the source, if a collection of the run has
    /// the name.
    pub async fn mend_zones(&self, ns: &Namespace) -> Result<()> {
        let _turn = self.take_turn().await?;
        // A name with ranges is refused to what is still to be renamed to it.
        if !self.state.lock().rendezvous.is_taken(&ns.public()) {
            return Ok(());
        }
        let ranges = catalog::zones_of(&self.sides.source, ns).await?;
        self.join_zones(&ranges).await?;
        zones::set(&self.sides.target, ns, &ranges).await?;
        tracing::info!("zones of {ns} are made the source's on the target");
        Ok(())
    }

    /// Puts the target's shards into the zones that the source's are in, and into no others of
    /// these.
    pub async fn mend_shard_zones(&self) -> Result<()> {
        let _turn = self.take_turn().await?;
        let (target, pairs) = (&self.sides.target, &self.sides.pairs);
        let wanted = catalog::shard_zones(&self.sides.source).await?;
        let lacking = zones::lacking(target, &wanted, pairs).await?;
        // IMPORTANT: first: a wipe takes back what it knows of.
        self.runs.add_zones(&lacking).await?;
        zones::join(target, &lacking).await?;
        zones::leave_others(target, &wanted, pairs).await
    }

    /// Puts shards into the zones that these ranges need. The caller has the turn.
    pub(super) async fn join_zones(&self, ranges: &[Zone]) -> Result<()> {
        if ranges.is_empty() {
            return Ok(());
        }
        let on_source = catalog::shard_zones(&self.sides.source).await?;
        let of_run = (&self.sides.pairs[..], &self.runs);
        zones::join_those_of(ranges, on_source, &self.sides.target, of_run).await
    }
}
