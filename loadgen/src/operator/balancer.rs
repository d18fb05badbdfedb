//! The balancer of either side, started as an automation would.
//!
//! Knows nothing about what it was before.

use std::time::Duration;

use bson::doc;

use crate::error::Result;
use crate::faults::plan::Side;
use crate::layout::dice::Dice;
use crate::operator::ends::Ends;

const ON_MS_MAX: u64 = 6_000;

/// Stopped again after a while, or left on.
pub(super) async fn start(ends: &Ends, side: Side, dice: &mut Dice) -> Result<String> {
    ends.front()
        .await?
        .command("admin", doc! {"balancerStart": 1, "maxTimeMS": 10_000})
        .await?;
    if dice.one_in(2) {
        return Ok(format!("{side:?}, left on"));
    }
    tokio::time::sleep(Duration::from_millis(dice.below(ON_MS_MAX))).await;
    stop(ends).await?;
    Ok(format!("{side:?}, and stopped"))
}

pub(super) async fn stop(ends: &Ends) -> Result<()> {
    if ends.router.is_none() {
        return Ok(());
    }
    ends.front()
        .await?
        .command("admin", doc! {"balancerStop": 1, "maxTimeMS": 20_000})
        .await
        .map(drop)
}
