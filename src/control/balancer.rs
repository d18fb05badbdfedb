//! The balancer of both sides: stopped for the run, put back as found.

use crate::cluster::connect::Deployment;
use crate::error::Result;

/// Whether the balancer was on when the run began; None for replica sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    pub enabled: Option<bool>,
}

/// Stops the balancer and waits until no migration runs on any shard.
pub async fn stop(_deployment: &Deployment) -> Result<Found> {
    Err(crate::error::Error::internal("not yet"))
}

/// Puts the balancer back as found. A failure is for a loud warning only.
pub async fn restore(_deployment: &Deployment, _found: Found) -> Result<()> {
    Err(crate::error::Error::internal("not yet"))
}
