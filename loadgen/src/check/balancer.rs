//! The balancers of both sides, beside what they are to be.
//!
//! Knows nothing about who started or stopped one.

use bson::doc;
use serde::Serialize;

use super::report::Findings;
use super::{CheckOptions, Sides};
use crate::entry::Entry;
use crate::error::Result;

/// Modes as `balancerStatus` tells them: `full`, `off`, `autoSplitOnly`.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Balancers {
    pub source: String,
    pub target: String,
}

/// None where a side has none.
pub(super) async fn read(sides: &Sides) -> Result<Option<Balancers>> {
    if !sides.source.router || !sides.target.router {
        return Ok(None);
    }
    Ok(Some(Balancers {
        source: mode(&sides.source).await?,
        target: mode(&sides.target).await?,
    }))
}

/// Of a sharded deployment.
///
/// # Errors
/// `Server` where its router does not answer.
pub async fn mode(entry: &Entry) -> Result<String> {
    let status = entry.admin(doc! {"balancerStatus": 1}).await?;
    Ok(status.get_str("mode").unwrap_or_default().to_owned())
}

pub(super) fn compare(found: &Balancers, options: &CheckOptions, findings: &Findings) {
    let sides = [
        ("source", &options.source_balancer, &found.source),
        ("target", &options.target_balancer, &found.target),
    ];
    for (side, wanted, found) in sides {
        if let Some(wanted) = wanted.as_ref().filter(|wanted| *wanted != found) {
            findings.add("config.settings", "balancer", || {
                format!("{wanted} expected on the {side}, it is {found}")
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_balancer_is_compared_with_what_it_is_to_be() {
        let found = Balancers {
            source: "full".to_owned(),
            target: "off".to_owned(),
        };
        for (source, target, count) in [
            (None, None, 0),
            (Some("full"), Some("off"), 0),
            (Some("off"), None, 1),
            (Some("off"), Some("full"), 2),
        ] {
            let findings = Findings::new(10);
            let of = |mode: Option<&str>| mode.map(str::to_owned);
            let options = CheckOptions {
                source_balancer: of(source),
                target_balancer: of(target),
                ..CheckOptions::default()
            };
            compare(&found, &options, &findings);
            assert_eq!(
                findings
                    .report(Default::default(), Duration::ZERO)
                    .difference_count,
                count
            );
        }
    }
}
