//! Straight to the primary of a shard: the driver knows where it is, what moves
//! data goes there without it.

use std::sync::Arc;
use std::time::Duration;

use bson::oid::ObjectId;
use mongodb::options::{SelectionCriteria, ServerAddress};
use mongodb::{Client, ServerType};
use parking_lot::Mutex;

use crate::cluster::hello;
use crate::codes;
use crate::error::{Error, Kind, Result};
use crate::wire::message::{Reply, Request};
use crate::wire::pool::{Admission, Lease, Pool};
use crate::wire::way::Way;

/// How often a waiting reader checks for another primary.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// Connections to one shard. Clones share them.
#[derive(Debug, Clone)]
pub struct Direct {
    client: Client,
    pool: Pool,
    primary: Arc<Mutex<Option<ServerAddress>>>,
}

impl Direct {
    pub fn new(client: Client, way: Way, links_max: usize) -> Self {
        Direct {
            client,
            pool: Pool::new(way, links_max),
            primary: Arc::default(),
        }
    }

    /// Every connection must be admitted before it is used.
    pub fn admitted_by(self, admission: Admission) -> Self {
        Direct {
            pool: self.pool.admitted_by(admission),
            ..self
        }
    }

    /// A connection to the server that was the primary at the last look.
    ///
    /// # Errors
    /// `Transient` if there is none, or it cannot be reached.
    pub async fn primary(&self) -> Result<Lease> {
        let known = self.primary.lock().clone();
        let address = match known {
            Some(address) => address,
            None => {
                let address = primary(&self.client).await?.0;
                *self.primary.lock() = Some(address.clone());
                address
            }
        };
        let lease = self.at(&address).await;
        lease.inspect_err(|e| self.learn(e))
    }

    /// A connection to this server.
    pub async fn at(&self, address: &ServerAddress) -> Result<Lease> {
        self.pool.at(address).await
    }

    /// Sends one command to the primary, once; returns its reply if it succeeded. The
    /// caller reports errors by `learn`, since it may have stopped waiting earlier.
    ///
    /// # Errors
    /// `Transient` if the answer is lost or there is another primary; else by the code
    /// that the server gives.
    pub async fn run(&self, request: Request) -> Result<Reply> {
        self.primary().await?.call(request).await
    }

    /// Waits for `read` as long as no server other than `address` is seen to be primary.
    /// A frozen server closes no connection.
    ///
    /// # Errors
    /// The read's; `Transient` if another is primary.
    pub async fn while_primary<T>(
        &self,
        address: &ServerAddress,
        read: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let other = async {
            loop {
                tokio::time::sleep(LOOK_AGAIN).await;
                if let Ok((primary, _)) = primary(&self.client).await
                    && primary != *address
                {
                    return Error::new(
                        Kind::Transient,
                        format!("{primary} is primary now, no longer {address}"),
                    );
                }
            }
        };
        tokio::select! {
            read = read => read,
            other = other => Err(other),
        }
    }

    /// Notes an error that is not the command's own: the primary is looked up again,
    /// since other connections may be as dead as this one.
    pub fn learn(&self, e: &Error) {
        if e.kind == Kind::Transient && e.code != Some(codes::STALE_CONFIG) {
            *self.primary.lock() = None;
            self.pool.forget();
        }
    }
}

/// Address of the primary, and its election.
pub async fn primary(client: &Client) -> Result<(ServerAddress, ObjectId)> {
    let found: Arc<Mutex<Option<ServerAddress>>> = Arc::default();
    let see = found.clone();
    let primary = SelectionCriteria::Predicate(Arc::new(move |server| {
        let is_primary = server.server_type() == ServerType::RsPrimary;
        if is_primary {
            *see.lock() = Some(server.address().clone());
        }
        is_primary
    }));
    let election = election(client, primary).await?;
    let address = found.lock().clone();
    Ok((
        address.ok_or_else(|| Error::internal("a server answered that was not chosen"))?,
        election,
    ))
}

/// The election that made a server the primary. As long as it stands its process is the
/// same: one that was started again is primary only by another.
///
/// # Errors
/// `Transient` if it is no primary.
pub async fn election(client: &Client, of: SelectionCriteria) -> Result<ObjectId> {
    let hello = hello::hello_of(client, of).await?;
    let election = hello.get_object_id("electionId");
    election.map_err(|_| Error::new(Kind::Transient, "a server is no longer the primary"))
}
