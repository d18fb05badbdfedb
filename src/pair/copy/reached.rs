//! A server of the source that has reached a fence, and reads that stay on it (R2).
//!
//! A read that asks for the fence itself (`afterClusterTime`) waits for every prepared
//! document in its way, and a hanging coordinator makes it wait for ever. A read with
//! majority concern alone does not wait. On a server that has reached the fence it shows
//! the fence: what is still prepared there commits later, and is held.
//!
//! Knows nothing about units.

use std::sync::Arc;

use bson::oid::ObjectId;
use bson::{Timestamp, doc};
use mongodb::Client;
use mongodb::options::{SelectionCriteria, ServerAddress};

use crate::cluster::direct::{election, primary};
use crate::error::{Error, Kind, Result};
use crate::position::Position;

/// A collection that nobody has: no document of it can be prepared.
const NOBODYS: &str = "__shardlift_fence";

/// One server process, by the election that made it the primary.
#[derive(Debug)]
pub struct Reached {
    address: ServerAddress,
    election: ObjectId,
}

impl Reached {
    /// Waits until the primary has `fence` in its majority view. `database`: any
    /// that may be read.
    pub async fn fence(source: &Client, database: &str, fence: Position) -> Result<Self> {
        let (address, election) = primary(source).await?;
        let reached = Reached { address, election };
        reached.wait(source, database, fence).await?;
        Ok(reached)
    }

    /// Waits until this server has `position` in its majority view.
    pub async fn wait(&self, source: &Client, database: &str, position: Position) -> Result<()> {
        let read = doc! {
            "find": NOBODYS, "limit": 1, "singleBatch": true,
            "readConcern": { "level": "majority", "afterClusterTime": Timestamp::from(position) },
        };
        let database = source.database(database);
        database
            .run_command(read)
            .selection_criteria(only(&self.address))
            .await?;
        Ok(())
    }

    /// Reads go to this server and no other.
    pub fn address(&self) -> &ServerAddress {
        &self.address
    }

    /// Checks that this is still the same process. Call it once a cursor is open: a
    /// process started since may not have reached the fence when it opened the cursor.
    ///
    /// # Errors
    /// `Transient` if it may be another one.
    pub async fn check(&self, source: &Client) -> Result<()> {
        if election(source, only(&self.address)).await? == self.election {
            return Ok(());
        }
        Err(Error::new(
            Kind::Transient,
            format!("{} was elected again", self.address),
        ))
    }
}

fn only(address: &ServerAddress) -> SelectionCriteria {
    let address = address.clone();
    SelectionCriteria::Predicate(Arc::new(move |server| *server.address() == address))
}
