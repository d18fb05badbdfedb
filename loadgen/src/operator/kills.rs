//! Ops, cursors and sessions killed on one server, as an impatient operator or
//! an automation does. Never those of the set itself.
//!
//! Knows nothing about whose they are, but for the engine's connections, which it
//! prefers.

use bson::{Bson, Document, doc};

use crate::error::Result;
use crate::faults::plan::Side;
use crate::layout::dice::Dice;
use crate::operator::ends::Ends;
use crate::wire::link::Link;

/// Ops or cursors at a time.
const AT_ONCE_MAX: usize = 3;
/// Begins the name that the engine gives its connections.
const ENGINE: &str = "shardlift";

pub(super) async fn ops(ends: &Ends, side: Side, dice: &mut Dice) -> Result<String> {
    let mut link = ends.member(dice).await?;
    let running =
        doc! {"type": "op", "active": true, "opid": {"$exists": true}, "client": {"$exists": true}};
    let rows = current(&mut link, doc! {}, running).await?;
    // Not this question itself.
    let rows = rows.into_iter().filter(|row| {
        !row.get("command")
            .is_some_and(|c| c.to_string().contains("$currentOp"))
    });
    let mut killed = Vec::new();
    for row in chosen(rows.collect(), dice) {
        let Some(op) = row.get("opid") else { continue };
        link.command("admin", doc! {"killOp": 1, "op": op.clone()})
            .await?;
        killed.push(describe(&row));
    }
    Ok(format!("{side:?} {}: {}", link.host, killed.join(", ")))
}

pub(super) async fn cursors(ends: &Ends, side: Side, dice: &mut Dice) -> Result<String> {
    let mut link = ends.any_primary(dice).await?;
    let rows = current(
        &mut link,
        doc! {"idleCursors": true},
        doc! {"cursor": {"$exists": true}},
    )
    .await?;
    let mut killed = Vec::new();
    for row in chosen(rows, dice) {
        let id = row
            .get_document("cursor")
            .and_then(|cursor| cursor.get_i64("cursorId"));
        let ns = row.get_str("ns").ok().and_then(|ns| ns.split_once('.'));
        let (Ok(id), Some((database, name))) = (id, ns) else {
            continue;
        };
        let command = doc! {"killCursors": name, "cursors": [id]};
        link.command(database, command).await?;
        killed.push(describe(&row));
    }
    Ok(format!("{side:?} {}: {}", link.host, killed.join(", ")))
}

/// All of one server, with the transactions in them.
pub(super) async fn sessions(ends: &Ends, side: Side, dice: &mut Dice) -> Result<String> {
    let mut link = ends.any_primary(dice).await?;
    link.command("admin", doc! {"killAllSessions": []}).await?;
    Ok(format!("{side:?} {}", link.host))
}

async fn current(link: &mut Link, options: Document, filter: Document) -> Result<Vec<Document>> {
    let mut stage = doc! {"allUsers": true, "localOps": true};
    stage.extend(options);
    let pipeline = vec![doc! {"$currentOp": stage}, doc! {"$match": filter}];
    // A secondary answers it too, where it is asked as one.
    let read = doc! {"mode": "secondaryPreferred"};
    let aggregate = doc! {"aggregate": 1, "pipeline": pipeline, "cursor": {"batchSize": 1000}, "$readPreference": read};
    let reply = link.command("admin", aggregate).await?;
    let batch = reply
        .get_document("cursor")
        .and_then(|cursor| cursor.get_array("firstBatch"));
    Ok(batch
        .into_iter()
        .flatten()
        .filter_map(Bson::as_document)
        .cloned()
        .collect())
}

/// A few, the engine's where it has some, three times in four.
fn chosen(rows: Vec<Document>, dice: &mut Dice) -> Vec<Document> {
    let (engine, others): (Vec<_>, Vec<_>) = rows.into_iter().partition(is_engine);
    let mut from = if engine.is_empty() || dice.one_in(4) {
        others
    } else {
        engine
    };
    let count = from.len().min(1 + dice.below(AT_ONCE_MAX as u64) as usize);
    (0..count)
        .map(|_| from.swap_remove(dice.below(from.len() as u64) as usize))
        .collect()
}

fn is_engine(row: &Document) -> bool {
    let cursor = row.get_document("cursor").ok();
    let begins = |row: &Document| {
        row.get_str("appName")
            .is_ok_and(|name| name.starts_with(ENGINE))
    };
    begins(row) || cursor.is_some_and(begins)
}

fn describe(row: &Document) -> String {
    let text = |field| row.get_str(field).unwrap_or_default();
    format!(
        "{} {} {}",
        if is_engine(row) { ENGINE } else { "other" },
        text("op"),
        text("ns")
    )
}
