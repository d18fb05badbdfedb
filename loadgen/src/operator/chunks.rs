//! Chunks moved by the router, on either side.
//!
//! Knows nothing about who owned what when the migration began.

use bson::{Bson, Document, doc};

use crate::error::{Error, Result};
use crate::layout::dice::Dice;
use crate::operator::ends::Ends;
use crate::operator::ground::{DATABASE, RANGED};
use crate::wire::link::Link;

struct Chunk {
    bounds: [Document; 2],
    shard: String,
}

pub(super) async fn move_one(ends: &Ends, dice: &mut Dice) -> Result<String> {
    let mut link = ends.front().await?;
    let chunk = any_chunk(&mut link, dice).await?;
    let to = elsewhere(ends, &chunk, dice)?;
    move_chunk(&mut link, &chunk, &to, false).await?;
    Ok(format!("{} from {} to {to}", chunk.bounds[0], chunk.shard))
}

pub(super) async fn move_and_back(ends: &Ends, dice: &mut Dice) -> Result<String> {
    let mut link = ends.front().await?;
    let chunk = any_chunk(&mut link, dice).await?;
    let to = elsewhere(ends, &chunk, dice)?;
    // What it leaves must be gone before it can come back.
    move_chunk(&mut link, &chunk, &to, true).await?;
    move_chunk(&mut link, &chunk, &chunk.shard, false).await?;
    Ok(format!(
        "{} from {} to {to} and back",
        chunk.bounds[0], chunk.shard
    ))
}

async fn move_chunk(link: &mut Link, chunk: &Chunk, to: &str, wait_for_delete: bool) -> Result<()> {
    let bounds = chunk.bounds.to_vec();
    let command = doc! {
        "moveChunk": format!("{DATABASE}.{RANGED}"), "bounds": bounds, "to": to, "_waitForDelete": wait_for_delete,
    };
    link.command("admin", command).await.map(drop)
}

fn elsewhere(ends: &Ends, chunk: &Chunk, dice: &mut Dice) -> Result<String> {
    let others: Vec<&String> = ends
        .shards
        .iter()
        .filter(|shard| **shard != chunk.shard)
        .collect();
    if others.is_empty() {
        return Err(Error::new("there is no other shard"));
    }
    Ok(dice.pick(&others).clone())
}

async fn any_chunk(link: &mut Link, dice: &mut Dice) -> Result<Chunk> {
    let ns = format!("{DATABASE}.{RANGED}");
    let rows = find(link, doc! {"find": "collections", "filter": {"_id": ns}}).await?;
    let uuid = rows.first().and_then(|row| row.get("uuid").cloned());
    let uuid = uuid.ok_or_else(|| Error::new("it is not sharded there now"))?;
    let rows = find(link, doc! {"find": "chunks", "filter": {"uuid": uuid}}).await?;
    if rows.is_empty() {
        return Err(Error::new("it has no chunks there now"));
    }
    let row = &rows[dice.below(rows.len() as u64) as usize];
    let bound = |field| row.get_document(field).cloned().unwrap_or_default();
    let shard = row.get_str("shard").unwrap_or_default().to_owned();
    Ok(Chunk {
        bounds: [bound("min"), bound("max")],
        shard,
    })
}

async fn find(link: &mut Link, command: Document) -> Result<Vec<Document>> {
    let reply = link.command("config", command).await?;
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
