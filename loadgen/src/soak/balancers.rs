//! What both balancers were before the run, and so are to be after it.
//!
//! Knows nothing about who starts them meanwhile, but for whether somebody did.

use crate::check::{CheckOptions, balancer};
use crate::entry::Entry;
use crate::error::Result;
use crate::faults::plan::Side;
use crate::operator::Operator;
use crate::soak::clusters::Clusters;

/// Modes; None on replica sets.
pub(super) struct Balancers {
    source: Option<String>,
    target: Option<String>,
}

impl Balancers {
    pub(super) async fn read(clusters: &Clusters) -> Result<Balancers> {
        Ok(Balancers {
            source: mode(&clusters.source.uri()).await?,
            target: mode(&clusters.target.uri()).await?,
        })
    }

    /// Nobody can say what one is to be that an operator started meanwhile.
    pub(super) fn expected(
        self,
        operator: Option<&Operator>,
        options: CheckOptions,
    ) -> CheckOptions {
        let touched = |side| operator.is_some_and(|operator| operator.touched_balancer(side));
        CheckOptions {
            source_balancer: self.source.filter(|_| !touched(Side::Source)),
            target_balancer: self.target.filter(|_| !touched(Side::Target)),
            ..options
        }
    }
}

async fn mode(uri: &str) -> Result<Option<String>> {
    let entry = Entry::connect(uri, 2).await?;
    if !entry.router {
        return Ok(None);
    }
    Ok(Some(balancer::mode(&entry).await?))
}
