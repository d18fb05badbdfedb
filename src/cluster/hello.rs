//! What a server says first about itself, on every release.
//!
//! Knows nothing about what the answer means.

use bson::{Document, doc};
use mongodb::Client;
use mongodb::error::ErrorKind;
use mongodb::options::SelectionCriteria;

use crate::codes;

/// The answer of the server that the client chooses by itself.
///
/// # Errors
/// The driver's.
pub async fn hello(client: &Client) -> mongodb::error::Result<Document> {
    asked(client, None).await
}

/// The answer of a server that fits `of`.
///
/// # Errors
/// The driver's.
pub async fn hello_of(client: &Client, of: SelectionCriteria) -> mongodb::error::Result<Document> {
    asked(client, Some(of)).await
}

/// Servers before 4.4.2 and 4.2.10 know it by its older name only, and answer alike.
async fn asked(client: &Client, of: Option<SelectionCriteria>) -> mongodb::error::Result<Document> {
    match by_name(client, "hello", of.clone()).await {
        Err(e) if matches!(&*e.kind, ErrorKind::Command(c) if c.code == codes::COMMAND_NOT_FOUND) => {
            by_name(client, "isMaster", of).await
        }
        answer => answer,
    }
}

async fn by_name(
    client: &Client,
    name: &str,
    of: Option<SelectionCriteria>,
) -> mongodb::error::Result<Document> {
    let admin = client.database("admin");
    let asked = admin.run_command(doc! {name: 1});
    match of {
        Some(of) => asked.selection_criteria(of).await,
        None => asked.await,
    }
}
