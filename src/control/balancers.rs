//! The balancers of both sides: as the run found them, and put back as they were.

use crate::control::balancer::{self, Found};
use crate::control::run::Run;
use crate::control::sides::Sides;
use crate::error::Result;
use crate::state::RunState;

/// The balancers as found, to be put back at the end.
#[derive(Debug, Clone)]
pub struct Balancers {
    pub source: Found,
    pub target: Found,
}

impl Balancers {
    pub fn recorded(run: &RunState) -> Self {
        let found = |enabled, settings: &Option<_>| Found {
            enabled,
            settings: settings.clone(),
        };
        Balancers {
            source: found(run.source_balancer, &run.source_settings),
            target: found(run.target_balancer, &run.target_settings),
        }
    }

    pub fn any_was_on(&self) -> bool {
        [&self.source, &self.target]
            .iter()
            .any(|found| found.enabled == Some(true))
    }
}

/// Reads the settings of each balancer, before anything is stopped.
pub async fn found(sides: &Sides) -> Result<Balancers> {
    let (source, target) = tokio::try_join!(
        balancer::found(&sides.source),
        balancer::found(&sides.target)
    )?;
    Ok(Balancers { source, target })
}

/// Stops both balancers and waits for running migrations.
pub async fn stop(sides: &Sides) -> Result<()> {
    tokio::try_join!(balancer::stop(&sides.source), balancer::stop(&sides.target))?;
    Ok(())
}

/// Puts both balancers back; a failure is a loud warning (the migration itself
/// has its outcome already).
pub async fn restore(sides: &Sides, found: &Balancers, run: &Run) {
    for (side, found) in [
        (&sides.source, &found.source),
        (&sides.target, &found.target),
    ] {
        if let Err(e) = balancer::restore(side, found).await {
            run.warn(format!(
                "the balancer of the {} could not be restored: {e}",
                side.side
            ));
        }
    }
}
