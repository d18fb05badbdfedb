//! Rows of a server's answers as raw bytes: what it lists and what it has in
//! `config`, whole cursors of it.
//!
//! Knows nothing about what is in a row.

use bson::{Document, doc};
use futures_util::StreamExt;
use mongodb::Client;

use crate::error::{Doing, Error, Result};

/// More than fit one reply: the server then fills it up by bytes.
const BATCH_ROWS: i32 = 100_000;

/// Every row that a command with a cursor answers.
pub(super) async fn of(client: &Client, database: &str, command: Document) -> Result<Vec<Vec<u8>>> {
    let name = command.keys().next().cloned().unwrap_or_default();
    let doing = || format!("running {name} on {database}");
    let mut cursor = client
        .database(database)
        .run_cursor_command(command)
        .batch()
        .await
        .doing(doing)?;
    let mut rows = Vec::new();
    while let Some(batch) = cursor.next().await {
        for row in batch.doing(doing)?.doc_slices().doing(doing)? {
            let row = row.doing(doing)?;
            let row = row.as_document();
            let row = row
                .ok_or_else(|| Error::new(format!("{name} on {database} answers no documents")))?;
            rows.push(row.as_bytes().to_vec());
        }
    }
    Ok(rows)
}

pub(super) async fn of_config(
    client: &Client,
    collection: &str,
    filter: Document,
) -> Result<Vec<Vec<u8>>> {
    of(
        client,
        "config",
        doc! {"find": collection, "filter": filter, "batchSize": BATCH_ROWS},
    )
    .await
}

pub(super) async fn collections(client: &Client, database: &str) -> Result<Vec<Vec<u8>>> {
    of(
        client,
        database,
        doc! {"listCollections": 1, "cursor": {"batchSize": BATCH_ROWS}},
    )
    .await
}

pub(super) async fn indexes(client: &Client, database: &str, name: &str) -> Result<Vec<Vec<u8>>> {
    of(
        client,
        database,
        doc! {"listIndexes": name, "cursor": {"batchSize": BATCH_ROWS}},
    )
    .await
}
