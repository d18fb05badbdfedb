//! What is open on a source shard and could still take effect: transactions and index
//! builds, since when and by whom. A cutover waits for their end, and a start may.
//!
//! Asks and says so; decides nothing.

use bson::{Document, doc};
use futures_util::TryStreamExt;

use crate::cluster::deployment::Shard;
use crate::error::{Error, Result};

/// How many are told.
const TOLD_MAX: i32 = 20;

/// One transaction or index build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    /// The collection of an index build; None: a transaction.
    pub index_of: Option<String>,
    pub for_s: i64,
    /// Address and application, as far as the server tells.
    pub by: String,
}

impl Open {
    /// "for 12 s, by 10.0.0.9:5000 (till)"
    pub fn since(&self) -> String {
        format!("for {} s, by {}", self.for_s, self.by)
    }

    pub fn text(&self) -> String {
        match &self.index_of {
            Some(coll) => format!("an index build of {coll}, {}", self.since()),
            None => format!("a transaction, {}", self.since()),
        }
    }
}

/// Those that have been open for so long, the longest first.
pub async fn on(shard: &Shard, longer_than_s: i64) -> Result<Vec<Open>> {
    let pipeline = [
        doc! {"$currentOp": {"allUsers": true, "idleSessions": true}},
        doc! {"$match": {"$or": [
            {"transaction.timeOpenMicros": {"$gt": longer_than_s * 1_000_000}},
            {"command.createIndexes": {"$exists": true}, "active": true, "secs_running": {"$gte": longer_than_s}},
        ]}},
        // Only these: a name elsewhere in a command may be no UTF-8.
        doc! {"$project": {
            "open_us": "$transaction.timeOpenMicros", "running_s": "$secs_running",
            "index_of": "$command.createIndexes", "app": "$appName",
            "client": {"$ifNull": ["$clientMetadata.mongos.client", "$client"]},
        }},
        doc! {"$sort": {"open_us": -1, "running_s": -1}},
        doc! {"$limit": TOLD_MAX},
    ];
    let admin = shard.client.database("admin");
    let found = admin.aggregate(pipeline).await.map_err(Error::from)?;
    let rows: Vec<Document> = found.try_collect().await.map_err(Error::from)?;
    Ok(rows.iter().map(of_row).collect())
}

fn of_row(row: &Document) -> Open {
    let whole = |name| {
        let value = row.get(name);
        value.and_then(|value| value.as_i64().or(value.as_i32().map(i64::from)))
    };
    let open_us = whole("open_us");
    let index_of = row.get_str("index_of").unwrap_or("a collection").to_owned();
    Open {
        index_of: open_us.is_none().then_some(index_of),
        for_s: open_us.map_or(whole("running_s").unwrap_or(0), |us| us / 1_000_000),
        by: by(row),
    }
}

/// Who it is, from `client` and `app`.
pub fn by(row: &Document) -> String {
    let client = row.get_str("client").unwrap_or("a client it does not name");
    match row.get_str("app") {
        Ok(app) => format!("{client} ({app})"),
        Err(_) => client.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_told_with_its_time_and_its_client() {
        let rows = [
            (
                doc! {"open_us": 12_345_678i64, "client": "10.0.0.9:5000", "app": "till"},
                "a transaction, for 12 s, by 10.0.0.9:5000 (till)",
            ),
            (
                doc! {"running_s": 40i64, "index_of": "orders", "client": "10.0.0.9:5000"},
                "an index build of orders, for 40 s, by 10.0.0.9:5000",
            ),
            (
                doc! {"running_s": 4},
                "an index build of a collection, for 4 s, by a client it does not name",
            ),
        ];
        for (row, expect) in rows {
            assert_eq!(of_row(&row).text(), expect);
        }
    }
}
