//! What each pair may take, from what the operator set for the process.

use std::time::Duration;

use crate::cluster::deployment::Deployment;
use crate::config::{Config, Renames};
use crate::control::sides::Sides;
use crate::error::{Error, Kind, Result};
use crate::pair::start::Limits;
use crate::pair::write::statement::FlushLimits;

/// Least memory of a pair, in bytes: two replies for its tail, two for its scans.
const MEMORY_PER_PAIR_MIN: usize = 64 << 20;

/// # Errors
/// `Config` if the budget is too small for that many pairs.
pub fn of(config: &Config, sides: &Sides) -> Result<Limits> {
    let pairs = sides.pairs.len();
    let memory_bytes = config.memory_bytes() / pairs.max(1);
    if memory_bytes < MEMORY_PER_PAIR_MIN {
        let least_mb = (MEMORY_PER_PAIR_MIN * pairs) >> 20;
        let found = format!(
            "memory_mb is {}, too little for {pairs} pairs",
            config.memory_mb
        );
        return Err(
            Error::new(Kind::Config, found).remedy(format!("set memory_mb to {least_mb} or more"))
        );
    }
    Ok(Limits {
        memory_bytes,
        away_max: config.away_max(),
        patience: Duration::from_secs(config.command_timeout_s),
        checkpoint: Duration::from_millis(config.checkpoint_ms),
        scans: config.scans,
        lanes: config.lanes,
        follows_renames: follows_renames(config.renames, &sides.target),
        flush: FlushLimits {
            statements_max: config.bulk_ops_max,
            bytes_max: config.bulk_bytes_max(),
        },
    })
}

/// Whether renames are followed. Where a drop goes by name, a late one would hit a collection that
/// was copied for hours and then got that name (R8). There none of sharded collections is
/// (`pair::ddl::renames`).
pub fn follows_renames(renames: Renames, target: &Deployment) -> bool {
    match renames {
        Renames::Auto => target.drops_by_uuid(),
        Renames::Stop => false,
        Renames::Follow => true,
    }
}
