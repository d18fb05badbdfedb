//! Whether the source's oplog reaches back far enough.
//!
//! The spool keeps what the oplog rolls over, as long as this process runs. A run that
//! stops while it copies may need the oplog from where its copy began.

use bson::{Document, doc};
use futures_util::future::join_all;

use crate::cluster::admin;
use crate::cluster::deployment::{Deployment, Shard};
use crate::control::validate::ask::oplog_end;
use crate::control::validate::{Check, listed};
use crate::error::Result;

const NAME: &str = "source oplog window";
/// It should reach back at least this far, however short the copy.
const WINDOW_S_MIN: u64 = 3_600;
/// What one shard is taken to copy in a second: less than any that was measured.
const COPIED_BYTES_PER_S: u64 = 20_000_000;
/// Databases of the servers' own.
const OWN: [&str; 3] = ["admin", "config", "local"];

/// One shard's oplog against its data.
struct Window {
    shard: String,
    kept_s: u64,
    bytes: u64,
}

/// None if no oplog can be read: another check says so.
pub(super) async fn oplog_window(source: &Deployment) -> Option<Check> {
    let answers = join_all(source.shards.iter().map(window)).await;
    let (mut windows, mut unknown) = (Vec::new(), Vec::new());
    for (shard, answer) in source.shards.iter().zip(answers) {
        match answer {
            Ok(window) => windows.push(window),
            Err(e) => unknown.push(format!("{} not known ({})", shard.id, e.message)),
        }
    }
    (!windows.is_empty()).then(|| decide(&windows, unknown))
}

async fn window(shard: &Shard) -> Result<Window> {
    let (first, last) = (
        oplog_end(&shard.client, 1).await?,
        oplog_end(&shard.client, -1).await?,
    );
    Ok(Window {
        shard: shard.id.clone(),
        kept_s: u64::from(last.saturating_sub(first)),
        bytes: bytes(shard).await?,
    })
}

/// Size of the users' documents on a shard.
async fn bytes(shard: &Shard) -> Result<u64> {
    let mut sum = 0;
    for name in users_databases(shard).await? {
        let stats = admin::ask(&shard.client, &name, doc! {"dbStats": 1}).await?;
        sum += number(&stats, "dataSize");
    }
    Ok(sum)
}

/// Names of the users' databases on a shard.
pub(super) async fn users_databases(shard: &Shard) -> Result<Vec<String>> {
    let list = admin::ask(
        &shard.client,
        "admin",
        doc! {"listDatabases": 1, "nameOnly": true},
    );
    let reply = list.await?;
    let names = reply.get_array("databases")?.iter();
    let names = names
        .filter_map(|db| db.as_document()?.get_str("name").ok())
        .filter(|name| !OWN.contains(name));
    Ok(names.map(str::to_owned).collect())
}

pub(super) fn number(reply: &Document, field: &str) -> u64 {
    let value = reply.get(field);
    let number = value.and_then(|value| {
        let whole = value.as_i64().or(value.as_i32().map(i64::from));
        whole.or(value.as_f64().map(|number| number as i64))
    });
    number.unwrap_or(0).max(0) as u64
}

/// `unknown`: shards that did not answer.
fn decide(windows: &[Window], unknown: Vec<String>) -> Check {
    let (mut short, mut enough) = (unknown, Vec::new());
    for window in windows {
        let copy_s = window.bytes / COPIED_BYTES_PER_S;
        let found = format!(
            "{} {:.1} h of oplog, {:.1} GB to copy in an estimated {:.1} h",
            window.shard,
            window.kept_s as f64 / 3_600.0,
            window.bytes as f64 / 1e9,
            copy_s as f64 / 3_600.0
        );
        if window.kept_s < copy_s.max(WINDOW_S_MIN) {
            short.push(found)
        } else {
            enough.push(found)
        }
    }
    Check::warn_of(
        NAME,
        &short,
        listed(&enough),
        "a run that is stopped for longer than this, or meanwhile loses its spool, may have to start over: raise it with replSetResizeOplog (a young oplog grows by itself)",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oplog_must_outlast_an_hour_and_the_copy() {
        const GB: u64 = 1_000_000_000;
        // kept for so many seconds, so many GB, enough
        let rows = [
            (3_599, 0, false),
            (3_600, 0, true),
            (3_600, 72, true),
            (3_600, 73, false),
            (86_400, 73, true),
        ];
        for (kept_s, gb, enough) in rows {
            let window = Window {
                shard: "a".to_owned(),
                kept_s,
                bytes: gb * GB,
            };
            let check = decide(&[window], Vec::new());
            assert_eq!(check.remedy.is_none(), enough, "{check:?}");
            assert!(!check.has_failed() && check.found.starts_with("a "));
            let window = Window {
                shard: "a".to_owned(),
                kept_s,
                bytes: gb * GB,
            };
            let check = decide(&[window], vec!["b not known (why)".to_owned()]);
            assert!(check.remedy.is_some() && check.found.contains("b not known"));
        }
    }

    #[test]
    fn sizes_are_read_in_whatever_type_they_come() {
        let reply = doc! {"a": 5, "b": 6i64, "c": 7.0, "d": "x"};
        assert_eq!(
            ["a", "b", "c", "d"].map(|field| number(&reply, field)),
            [5, 6, 7, 0]
        );
    }
}
