//! Connections of one kind, kept for the next caller.
//!
//! Knows nothing about which server is primary.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mongodb::options::ServerAddress;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::{Error, Result};
use crate::wire::link::Link;
use crate::wire::way::Way;

/// One that was idle for longer may have been forgotten on its way: nobody would say so.
const IDLE_MAX: Duration = Duration::from_secs(180);

/// Connections to servers of one replica set.
#[derive(Debug, Clone)]
pub struct Pool {
    way: Way,
    idle: Arc<Mutex<Vec<(Instant, Link)>>>,
    room: Arc<Semaphore>,
}

/// A connection for one caller. It goes back when dropped, if it can be used again.
#[derive(Debug)]
pub struct Lease {
    /// None once it is dropped.
    link: Option<Link>,
    pool: Pool,
    _room: OwnedSemaphorePermit,
}

impl Pool {
    /// At most `links_max` connections at a time; none is opened before it is needed.
    pub fn new(way: Way, links_max: usize) -> Self {
        Pool { way, idle: Arc::default(), room: Arc::new(Semaphore::new(links_max)) }
    }

    /// A connection to this server; waits while all are in use.
    ///
    /// # Errors
    /// `Transient` if the server cannot be reached, `Connect` if it does not let us in.
    pub async fn at(&self, address: &ServerAddress) -> Result<Lease> {
        let room = self.room.clone().acquire_owned().await;
        self.lease(address, room.map_err(|_| Error::internal("a pool was closed"))?).await
    }

    /// The same for what is not worth waiting for: None while all are in use.
    pub async fn spare(&self, address: &ServerAddress) -> Option<Lease> {
        let room = self.room.clone().try_acquire_owned().ok()?;
        self.lease(address, room).await.ok()
    }

    async fn lease(&self, address: &ServerAddress, room: OwnedSemaphorePermit) -> Result<Lease> {
        let idle = {
            let mut idle = self.idle.lock();
            idle.retain(|(since, _)| since.elapsed() < IDLE_MAX);
            let found = idle.iter().rposition(|(_, link)| link.address() == address);
            found.map(|at| idle.swap_remove(at).1)
        };
        let link = match idle {
            Some(link) => link,
            None => Link::open(&self.way, address).await?,
        };
        Ok(Lease { link: Some(link), pool: self.clone(), _room: room })
    }

    /// What waits to be used again is closed.
    pub fn forget(&self) {
        self.idle.lock().clear();
    }
}

impl Lease {
    /// Where it leads, and what else leads there.
    pub fn place(&self) -> (Pool, ServerAddress) {
        (self.pool.clone(), self.address().clone())
    }
}

impl Deref for Lease {
    type Target = Link;

    fn deref(&self) -> &Link {
        self.link.as_ref().expect("there until it is dropped")
    }
}

impl DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut Link {
        self.link.as_mut().expect("there until it is dropped")
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(link) = self.link.take().filter(Link::is_clean) {
            self.pool.idle.lock().push((Instant::now(), link));
        }
    }
}
