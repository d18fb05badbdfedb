//! Holds copying while it would hurt: a secondary of the source is far behind, the target's
//! majority is, or too much of a target server's cache waits to be written to disk.
//! Following goes on meanwhile: it adds little, and what waits would only grow.
//!
//! `reasons` decides. What cannot be asked holds nothing.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bson::{Bson, Document, doc};
use futures_util::future::join_all;

use crate::cluster::deployment::Shard;
use crate::cluster::retry::within;
use crate::cluster::{admin, hello};
use crate::config::Config;
use crate::control::run::Run;
use crate::control::sides::Sides;
use crate::error::Result;

const POLL: Duration = Duration::from_secs(3);
/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The most that each may be before copying holds; 0: it never does.
#[derive(Debug, Clone, Copy)]
pub struct Most {
    source_lag_s: u64,
    target_lag_s: u64,
    dirty_percent: u64,
}

impl Most {
    pub fn of(config: &Config) -> Self {
        Most {
            source_lag_s: config.source_lag_max_s,
            target_lag_s: config.target_lag_max_s,
            dirty_percent: config.target_dirty_max,
        }
    }
}

/// One figure of one shard.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Figure {
    /// "a secondary of source shard a is", for people.
    what: String,
    value: u64,
    most: u64,
    /// What follows the number.
    unit: &'static str,
}

/// Looks again and again, for as long as this future is polled.
pub async fn keep(sides: Sides, run: Arc<Run>, most: Most) {
    let mut holding = BTreeSet::new();
    loop {
        let source = sides.source.shards.iter().map(|shard| source(shard, most));
        let target = sides.target.shards.iter().map(|shard| target(shard, most));
        let (source, target) = tokio::join!(join_all(source), join_all(target));
        let figures: Vec<Figure> = source.into_iter().chain(target).flatten().collect();
        let reasons = reasons(&figures, &mut holding);
        run.hold_copying(reasons);
        tokio::time::sleep(POLL).await;
    }
}

/// Why copying holds now. `holding`: what it held for the last time, and does now. It goes
/// on only well below the most, so that it does not flutter.
fn reasons(figures: &[Figure], holding: &mut BTreeSet<String>) -> Vec<String> {
    let exceeds = |figure: &&Figure| {
        let held = holding.contains(&figure.what);
        let most = if held {
            figure.most * 3 / 4
        } else {
            figure.most
        };
        figure.most != 0 && most < figure.value
    };
    let over: Vec<&Figure> = figures.iter().filter(exceeds).collect();
    let text = |figure: &&Figure| {
        let Figure {
            what,
            value,
            most,
            unit,
        } = figure;
        format!("{what} {value} {unit}, more than {most}")
    };
    *holding = over.iter().map(|figure| figure.what.clone()).collect();
    over.iter().map(text).collect()
}

async fn source(shard: &Shard, most: Most) -> Vec<Figure> {
    let asked = within(PATIENCE, "a source shard", slowest_secondary_s(shard));
    let figure = |value| Figure {
        what: format!(
            "a secondary of source shard {} is behind its primary by",
            shard.id
        ),
        value,
        most: most.source_lag_s,
        unit: "s",
    };
    asked.await.ok().flatten().map(figure).into_iter().collect()
}

async fn target(shard: &Shard, most: Most) -> Vec<Figure> {
    let lag = within(PATIENCE, "a target shard", majority_lag_s(shard));
    let dirty = within(PATIENCE, "a target shard", dirty_percent(shard));
    let (lag, dirty) = tokio::join!(lag, dirty);
    let id = &shard.id;
    let lag = lag.ok().flatten().map(|value| Figure {
        what: format!("the majority of target shard {id} is behind its primary by"),
        value,
        most: most.target_lag_s,
        unit: "s",
    });
    let dirty = dirty.ok().flatten().map(|value| Figure {
        what: format!("of the cache of target shard {id} there waits to be written to disk"),
        value,
        most: most.dirty_percent,
        unit: "%",
    });
    lag.into_iter().chain(dirty).collect()
}

async fn slowest_secondary_s(shard: &Shard) -> Result<Option<u64>> {
    let status = admin::ask(&shard.client, "admin", doc! {"replSetGetStatus": 1}).await?;
    // Members may be behind on purpose.
    let config = admin::ask(&shard.client, "admin", doc! {"replSetGetConfig": 1}).await;
    Ok(slowest_s(&status, &config.unwrap_or_default()))
}

/// From `replSetGetStatus` and `replSetGetConfig`.
fn slowest_s(status: &Document, config: &Document) -> Option<u64> {
    let members = |of: &Document| -> Vec<Document> {
        let all = of.get_array("members").into_iter().flatten();
        all.filter_map(Bson::as_document).cloned().collect()
    };
    let config = config.get_document("config").cloned().unwrap_or_default();
    let is_delayed = |member: &Document| {
        let delays = |of: &Document| {
            let delay = ["secondaryDelaySecs", "slaveDelay"].map(|name| of.get(name).cloned());
            delay
                .into_iter()
                .flatten()
                .any(|delay| delay.as_i64().or(delay.as_i32().map(i64::from)) != Some(0))
        };
        let id = member.get("_id");
        members(&config)
            .iter()
            .any(|of| of.get("_id") == id && delays(of))
    };
    let of_state = |state: &str| {
        let members = members(status).into_iter();
        let state = state.to_owned();
        members.filter(move |member| member.get_str("stateStr").is_ok_and(|is| is == state))
    };
    let at_ms =
        |member: &Document| Some(member.get_datetime("optimeDate").ok()?.timestamp_millis());
    let primary_ms = of_state("PRIMARY").find_map(|member| at_ms(&member))?;
    let behind_ms = of_state("SECONDARY")
        .filter(|member| !is_delayed(member))
        .filter_map(|member| Some(primary_ms - at_ms(&member)?));
    Some(behind_ms.max().unwrap_or(0).max(0) as u64 / 1_000)
}

/// An idle server's newest writes are the same.
async fn majority_lag_s(shard: &Shard) -> Result<Option<u64>> {
    let hello = hello::hello(&shard.client).await?;
    let wall_ms = |name| {
        let write = hello.get_document("lastWrite").ok()?;
        Some(write.get_datetime(name).ok()?.timestamp_millis())
    };
    let lag = wall_ms("lastWriteDate").zip(wall_ms("majorityWriteDate"));
    Ok(lag.map(|(last, majority)| (last - majority).max(0) as u64 / 1_000))
}

async fn dirty_percent(shard: &Shard) -> Result<Option<u64>> {
    let command = doc! {
        "serverStatus": 1, "repl": 0, "metrics": 0, "locks": 0, "tcmalloc": 0, "sharding": 0,
    };
    Ok(dirty_of(
        &admin::ask(&shard.client, "admin", command).await?,
    ))
}

/// From `serverStatus`; None for an engine without such a cache.
fn dirty_of(status: &Document) -> Option<u64> {
    let cache = status
        .get_document("wiredTiger")
        .ok()?
        .get_document("cache")
        .ok()?;
    let number = |name| {
        let value = cache.get(name)?;
        let whole = value.as_i64().or(value.as_i32().map(i64::from));
        whole.map(|number| number as f64).or(value.as_f64())
    };
    let most = number("maximum bytes configured").filter(|most| 0.0 < *most)?;
    Some((100.0 * number("tracked dirty bytes in the cache")? / most) as u64)
}

#[cfg(test)]
mod tests {
    use bson::DateTime;

    use super::*;

    #[test]
    fn copying_holds_above_the_most_and_goes_on_well_below_it() {
        let mut holding = BTreeSet::new();
        // value, the most, holds
        let rows = [
            (30, 30, false),
            (31, 30, true),
            (23, 30, true),
            (22, 30, false),
            (30, 30, false),
            (1_000, 0, false),
        ];
        for (value, most, holds) in rows {
            let figure = Figure {
                what: "shard a is".to_owned(),
                value,
                most,
                unit: "s",
            };
            let found = reasons(&[figure], &mut holding);
            assert_eq!(!found.is_empty(), holds, "{value} of {most}: {found:?}");
        }
        let figures = [1, 40].map(|value| Figure {
            what: format!("shard {value} is behind by"),
            value,
            most: 30,
            unit: "s",
        });
        assert_eq!(
            reasons(&figures, &mut holding),
            ["shard 40 is behind by 40 s, more than 30"]
        );
    }

    #[test]
    fn a_secondary_that_is_behind_on_purpose_does_not_count() {
        let member = |id: i32, state: &str, at_s: i64| {
            let at = DateTime::from_millis(at_s * 1_000);
            Bson::Document(doc! {"_id": id, "stateStr": state, "optimeDate": at})
        };
        let status = |members: Vec<Bson>| doc! {"members": members};
        let set = status(vec![
            member(0, "PRIMARY", 100),
            member(1, "SECONDARY", 93),
            member(2, "SECONDARY", 40),
            member(3, "RECOVERING", 1),
        ]);
        let delayed = |name: &str| {
            doc! {"config": {"members": [{"_id": 1, name: 0i64}, {"_id": 2, name: 60i64}]}}
        };
        assert_eq!(slowest_s(&set, &doc! {}), Some(60));
        assert_eq!(slowest_s(&set, &delayed("secondaryDelaySecs")), Some(7));
        assert_eq!(slowest_s(&set, &delayed("slaveDelay")), Some(7));
        assert_eq!(
            slowest_s(&status(vec![member(0, "PRIMARY", 9)]), &doc! {}),
            Some(0)
        );
        assert_eq!(
            slowest_s(&status(vec![member(0, "SECONDARY", 9)]), &doc! {}),
            None
        );
    }

    #[test]
    fn the_dirty_part_of_a_cache_is_read_in_whatever_type_it_comes() {
        let of = |dirty: Bson, most: Bson| {
            let cache =
                doc! {"tracked dirty bytes in the cache": dirty, "maximum bytes configured": most};
            dirty_of(&doc! {"wiredTiger": {"cache": cache}})
        };
        assert_eq!(of(Bson::Int32(5), Bson::Int64(20)), Some(25));
        assert_eq!(of(Bson::Double(5.0), Bson::Double(10.0)), Some(50));
        assert_eq!(of(Bson::Int32(5), Bson::Int32(0)), None);
        assert_eq!(dirty_of(&doc! {}), None);
    }
}
