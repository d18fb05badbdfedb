//! Work on single collections that takes long and must not stop the tail: DDL
//! and index builds. Chores on one name run one after the other, in the order
//! they were given; those on different names side by side (R4).

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::cluster::catalog::Namespace;
use crate::error::{Error, Result};

/// The chores of one pair. They hold handles themselves: `abort` ends them.
#[derive(Debug, Clone)]
pub struct Chores {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    tasks: Mutex<JoinSet<()>>,
    /// The newest chore of each name; resolves when it ends.
    newest: Mutex<HashMap<Namespace, oneshot::Receiver<()>>>,
    pending: Arc<AtomicUsize>,
    failures: mpsc::Sender<Error>,
}

impl Chores {
    /// Failures go to the returned receiver: the first one stops the pair.
    pub fn new() -> (Self, mpsc::Receiver<Error>) {
        let (failures, receiver) = mpsc::channel(1);
        let inner = Inner { tasks: Mutex::default(), newest: Mutex::default(), pending: Arc::default(), failures };
        (Chores { inner: Arc::new(inner) }, receiver)
    }

    pub fn add(&self, ns: &Namespace, chore: impl Future<Output = Result<()>> + Send + 'static) {
        let (ended, end) = oneshot::channel();
        let before = self.inner.newest.lock().insert(ns.clone(), end);
        self.inner.pending.fetch_add(1, SeqCst);
        let (pending, failures) = (self.inner.pending.clone(), self.inner.failures.clone());
        let mut tasks = self.inner.tasks.lock();
        while tasks.try_join_next().is_some() {}
        tasks.spawn(async move {
            if let Some(before) = before {
                // An error here only says that the chore before ended.
                let _ = before.await;
            }
            let result = chore.await;
            if let Err(error) = result {
                // Full: an earlier failure is on its way already.
                let _ = failures.try_send(error);
            } else {
                pending.fetch_sub(1, SeqCst);
            }
            drop(ended);
        });
    }

    pub fn abort(&self) {
        self.inner.tasks.lock().abort_all();
    }

    /// Chores that have not ended well.
    pub fn pending(&self) -> usize {
        self.inner.pending.load(SeqCst)
    }
}
