//! Connections of one kind, kept for the next caller.
//!
//! Knows nothing about which server is primary.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bson::RawDocumentBuf;
use mongodb::options::ServerAddress;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::{Error, Result};
use crate::wire::link::Link;
use crate::wire::message::Request;
use crate::wire::way::Way;

/// A connection idle for longer may have been dropped on the way without notice.
const IDLE_MAX: Duration = Duration::from_secs(180);

/// Connections to servers of one replica set.
#[derive(Debug, Clone)]
pub struct Pool {
    way: Way,
    idle: Arc<Mutex<Vec<(Instant, Link)>>>,
    room: Arc<Semaphore>,
    admission: Option<Arc<Admission>>,
}

/// The check that a new connection must pass before it is used.
#[derive(Debug)]
pub struct Admission {
    pub database: &'static str,
    /// A `find` that shows a document as long as we may work there.
    pub find: RawDocumentBuf,
    /// The error if it shows none.
    pub refused: Error,
}

impl Admission {
    async fn check(&self, link: &mut Link) -> Result<()> {
        let reply = link
            .call(Request::new(self.database, self.find.clone()))
            .await?;
        let cursor = reply.body().get_document("cursor");
        let found = cursor
            .and_then(|cursor| cursor.get_array("firstBatch"))
            .is_ok_and(|batch| batch.into_iter().next().is_some());
        if found {
            Ok(())
        } else {
            Err(self.refused.clone())
        }
    }
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
        Pool {
            way,
            idle: Arc::default(),
            room: Arc::new(Semaphore::new(links_max)),
            admission: None,
        }
    }

    pub fn admitted_by(self, admission: Admission) -> Self {
        Pool {
            admission: Some(Arc::new(admission)),
            ..self
        }
    }

    /// A connection to this server; waits while all are in use.
    ///
    /// # Errors
    /// `Transient` if the server cannot be reached, `Connect` if it does not let us in,
    /// the admission's if that is refused.
    pub async fn at(&self, address: &ServerAddress) -> Result<Lease> {
        let room = self.room.clone().acquire_owned().await;
        self.lease(
            address,
            room.map_err(|_| Error::internal("a pool was closed"))?,
        )
        .await
    }

    /// Like `at`, but returns None while all are in use.
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
            None => self.open(address).await?,
        };
        Ok(Lease {
            link: Some(link),
            pool: self.clone(),
            _room: room,
        })
    }

    async fn open(&self, address: &ServerAddress) -> Result<Link> {
        let mut link = Link::open(&self.way, address).await?;
        if let Some(admission) = &self.admission {
            admission.check(&mut link).await?;
        }
        Ok(link)
    }

    /// Closes the connections that wait to be used again.
    pub fn forget(&self) {
        self.idle.lock().clear();
    }
}

impl Lease {
    /// The pool and the server that the connection belongs to.
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
