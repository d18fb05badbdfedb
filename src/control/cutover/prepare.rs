//! Asks the source's shards who still writes, and what is open.
//!
//! Only when somebody asks, for about a second: nothing is counted meanwhile. `Prepared`
//! says what it means.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bson::{Bson, Document, doc};
use futures_util::TryStreamExt;
use futures_util::future::join_all;

use crate::cluster::admin;
use crate::cluster::deployment::Shard;
use crate::cluster::retry::within;
use crate::config::VerifyMode;
use crate::control::open_ops;
use crate::control::run::Run;
use crate::control::sides::Sides;
use crate::error::{Error, Result};
use crate::observe::prepared::{self, Compares, Prepared, Writes};
use crate::scope::Scope;

/// Time between the two looks at what was written.
const SPAN: Duration = Duration::from_secs(1);
/// How often writers are looked for meanwhile.
const LOOKS: u32 = 5;
/// How long a shard may take to answer all of it.
const PATIENCE: Duration = Duration::from_secs(15);
/// How many namespaces of a shard are told.
const NAMESPACES_MAX: usize = 20;

/// What a cutover would wait for now.
pub async fn look(run: &Run, sides: &Sides, verify: VerifyMode) -> Prepared {
    let shards = sides
        .source
        .shards
        .iter()
        .map(|shard| within(PATIENCE, "the source shard", of_shard(shard)));
    let found = join_all(shards).await;
    let now = run.snapshot();
    let named = found.into_iter().zip(&now.pairs).map(|(found, pair)| {
        let shard = found.unwrap_or_else(|e| prepared::Shard {
            unasked: Some(e.message),
            ..prepared::Shard::default()
        });
        prepared::Shard {
            name: pair.name.clone(),
            gap_ms: pair.lag_ms,
            ..shard
        }
    });
    let compares = match verify {
        VerifyMode::Digests => Compares::Rest,
        VerifyMode::Full => Compares::All,
        VerifyMode::Counts | VerifyMode::None => Compares::Nothing,
    };
    Prepared::of(&now, named.collect(), compares)
}

async fn of_shard(shard: &Shard) -> Result<prepared::Shard> {
    let before = written(shard).await?;
    let mut clients = BTreeMap::new();
    for _ in 0..LOOKS {
        tokio::time::sleep(SPAN / LOOKS).await;
        writers(shard, &mut clients).await?;
    }
    let after = written(shard).await?;
    let open = open_ops::on(shard, 0).await?;
    Ok(prepared::Shard {
        writes: writes(&before, &after, SPAN.as_secs_f64(), &clients),
        open: open.iter().map(open_ops::Open::text).collect(),
        ..prepared::Shard::default()
    })
}

/// Writes by namespace of the run since the server started, as `top` counts them.
async fn written(shard: &Shard) -> Result<BTreeMap<String, i64>> {
    let top = admin::ask(&shard.client, "admin", doc! {"top": 1}).await?;
    Ok(counted(&top, &shard.scope))
}

fn counted(top: &Document, scope: &Scope) -> BTreeMap<String, i64> {
    let whole = |of: &Document, name: &str| {
        let count = of.get_document(name).ok().and_then(|of| of.get("count"));
        count
            .and_then(|count| count.as_i64().or(count.as_i32().map(i64::from)))
            .unwrap_or(0)
    };
    let totals = top.get_document("totals").into_iter().flatten();
    // The servers' own, and what filters leave out, no cutover waits for.
    let in_scope = |ns: &str| {
        let name = ns.split_once('.');
        name.is_some_and(|(db, coll)| scope.has(db, coll))
    };
    let users = totals.filter(|(ns, _)| in_scope(ns));
    let count = |(ns, of): (&String, &Bson)| {
        let of = of.as_document()?;
        let all = ["insert", "update", "remove"].map(|kind| whole(of, kind));
        Some((ns.clone(), all.iter().sum()))
    };
    users.filter_map(count).collect()
}

/// Adds those who write at this moment, by namespace.
async fn writers(shard: &Shard, seen: &mut BTreeMap<String, BTreeSet<String>>) -> Result<()> {
    let pipeline = [
        doc! {"$currentOp": {"allUsers": true}},
        doc! {"$match": {"active": true, "$or": [
            {"op": {"$in": ["insert", "update", "remove"]}}, {"command.findAndModify": {"$exists": true}},
        ]}},
        doc! {"$project": {
            "ns": 1, "app": "$appName", "client": {"$ifNull": ["$clientMetadata.mongos.client", "$client"]},
        }},
    ];
    let admin = shard.client.database("admin");
    let mut found = admin.aggregate(pipeline).await.map_err(Error::from)?;
    while let Some(row) = found.try_next().await.map_err(Error::from)? {
        if let Ok(ns) = row.get_str("ns") {
            seen.entry(ns.to_owned())
                .or_default()
                .insert(open_ops::by(&row));
        }
    }
    Ok(())
}

/// Namespaces that were written to between two looks, most first.
fn writes(
    before: &BTreeMap<String, i64>,
    after: &BTreeMap<String, i64>,
    span_s: f64,
    clients: &BTreeMap<String, BTreeSet<String>>,
) -> Vec<Writes> {
    let of = |(ns, count): (&String, &i64)| {
        let written = count - before.get(ns).unwrap_or(&0);
        let clients = clients.get(ns).into_iter().flatten().cloned().collect();
        (0 < written).then(|| Writes {
            ns: ns.clone(),
            ops_per_s: written as f64 / span_s,
            clients,
        })
    };
    let mut writes: Vec<Writes> = after.iter().filter_map(of).collect();
    writes.sort_by(|a, b| b.ops_per_s.total_cmp(&a.ops_per_s));
    writes.truncate(NAMESPACES_MAX);
    writes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scope::filters::Filters;
    use crate::scope::renames::Renames;

    #[test]
    fn what_was_written_between_two_looks_is_told_most_first() {
        let top = |a: i64, b: i32, own: i64| {
            let count = |n: Bson| doc! {"insert": {"time": 1, "count": n}, "queries": {"count": 9}};
            doc! {"totals": {
                "note": "all times in microseconds", "config.x": count(Bson::Int64(own)),
                "d.a": count(Bson::Int64(a)), "d.b": count(Bson::Int32(b)), "d.c": count(Bson::Int32(5)),
                "other.x": count(Bson::Int64(own)),
            }}
        };
        let filters = Filters {
            include: vec!["d.*".parse().unwrap()],
            exclude: Vec::new(),
        };
        let scope = Scope::new(filters, Renames::default(), true);
        let of = |top: Document| counted(&top, &scope);
        let (before, after) = (of(top(10, 10, 10)), of(top(14, 30, 90)));
        let clients = BTreeMap::from([("d.b".to_owned(), BTreeSet::from(["h:1".to_owned()]))]);
        let found = writes(&before, &after, 2.0, &clients);
        let expect = [("d.b", 10.0, 1), ("d.a", 2.0, 0)];
        let found: Vec<(&str, f64, usize)> = found
            .iter()
            .map(|w| (w.ns.as_str(), w.ops_per_s, w.clients.len()))
            .collect();
        assert_eq!(found, expect);
    }
}
