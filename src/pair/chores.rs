//! Work on single collections that takes long and must not stop the tail: DDL
//! and index builds. Chores on one name run one after the other, in the order
//! they were given; those on different names side by side (R4).

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
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
    /// The newest chore of each name, with its number; resolves when it ends, to an error
    /// if not well. One that has ended well is gone.
    newest: Mutex<HashMap<Namespace, (u64, oneshot::Receiver<()>)>>,
    /// Chores that have not succeeded yet, by number.
    pending: Arc<Mutex<BTreeMap<u64, Pending>>>,
    added: AtomicU64,
    failures: mpsc::Sender<Error>,
}

#[derive(Debug)]
struct Pending {
    what: String,
    aside: bool,
    since: Instant,
}

impl Chores {
    /// Failures go to the returned receiver: the first one stops the pair.
    pub fn new() -> (Self, mpsc::Receiver<Error>) {
        let (failures, receiver) = mpsc::channel(1);
        let pending = Arc::default();
        let inner = Inner {
            tasks: Mutex::default(),
            newest: Mutex::default(),
            pending,
            added: AtomicU64::new(0),
            failures,
        };
        (
            Chores {
                inner: Arc::new(inner),
            },
            receiver,
        )
    }

    /// `doing`: the chore in a few words, for the log.
    pub fn add(
        &self,
        doing: &str,
        ns: &Namespace,
        chore: impl Future<Output = Result<()>> + Send + 'static,
    ) {
        self.start(doing, &[ns], false, chore);
    }

    /// Adds a chore on several names: after those before it on any of them, and before those
    /// after it on any of them.
    pub fn add_on_all(
        &self,
        doing: &str,
        names: &[&Namespace],
        chore: impl Future<Output = Result<()>> + Send + 'static,
    ) {
        self.start(doing, names, false, chore);
    }

    /// Adds a chore that is not counted as pending: what it works on holds the watermark
    /// back by itself.
    pub fn add_aside(
        &self,
        doing: &str,
        ns: &Namespace,
        chore: impl Future<Output = Result<()>> + Send + 'static,
    ) {
        self.start(doing, &[ns], true, chore);
    }

    fn start(
        &self,
        doing: &str,
        names: &[&Namespace],
        aside: bool,
        chore: impl Future<Output = Result<()>> + Send + 'static,
    ) {
        let what = format!("{doing} {}", names[0]);
        // As it is taken by others: the buckets of a time series have its name. Each once:
        // nothing waits for itself.
        let names: BTreeSet<Namespace> = names.iter().map(|ns| ns.public()).collect();
        let names: Vec<Namespace> = names.into_iter().collect();
        let number = self.inner.added.fetch_add(1, SeqCst);
        let (ended, before) = self.queue(number, &names);
        self.inner.pending.lock().insert(
            number,
            Pending {
                what,
                aside,
                since: Instant::now(),
            },
        );
        let (pending, failures) = (self.inner.pending.clone(), self.inner.failures.clone());
        let newest = Arc::downgrade(&self.inner);
        let mut tasks = self.inner.tasks.lock();
        while tasks.try_join_next().is_some() {}
        tasks.spawn(async move {
            for before in before {
                if before.await.is_err() {
                    // The chore before it failed: the pair is about to stop.
                    return;
                }
            }
            let panicked = |_| {
                Err(Error::internal(
                    "a chore panicked; its message is on stderr",
                ))
            };
            let result = AssertUnwindSafe(chore)
                .catch_unwind()
                .await
                .unwrap_or_else(panicked);
            if let Err(error) = result {
                // Full: an earlier failure is on its way already.
                let _ = failures.try_send(error);
            } else {
                pending.lock().remove(&number);
                if let Some(inner) = newest.upgrade() {
                    let mut newest = inner.newest.lock();
                    for ns in &names {
                        if newest.get(ns).is_some_and(|(last, _)| *last == number) {
                            newest.remove(ns);
                        }
                    }
                }
                for ended in ended {
                    // Nobody may wait for it.
                    let _ = ended.send(());
                }
            }
        });
    }

    /// Makes the chore of this number the newest of these names. Returns what tells of its
    /// end, and what tells of the ends of those before it.
    fn queue(
        &self,
        number: u64,
        names: &[Namespace],
    ) -> (Vec<oneshot::Sender<()>>, Vec<oneshot::Receiver<()>>) {
        let (mut ended, mut before) = (Vec::new(), Vec::new());
        // IMPORTANT: under one lock: two chores on the same names must not wait for each other.
        let mut newest = self.inner.newest.lock();
        for ns in names {
            let (tell, end) = oneshot::channel();
            ended.push(tell);
            let last = newest.insert(ns.clone(), (number, end));
            before.extend(last.map(|(_, end)| end));
        }
        (ended, before)
    }

    pub fn abort(&self) {
        self.inner.tasks.lock().abort_all();
    }

    /// Waits until every chore has ended, after `abort`.
    pub async fn ended(&self) {
        let mut tasks = std::mem::take(&mut *self.inner.tasks.lock());
        tasks.shutdown().await;
    }

    /// Chores that have not ended well.
    pub fn pending(&self) -> usize {
        self.inner
            .pending
            .lock()
            .values()
            .filter(|chore| !chore.aside)
            .count()
    }

    /// Names that have a chore which has not ended well.
    pub fn names(&self) -> HashSet<Namespace> {
        self.inner.newest.lock().keys().cloned().collect()
    }

    /// Chores that have been running or waiting for longer than `patience`.
    pub fn stuck(&self, patience: Duration) -> Vec<String> {
        let pending = self.inner.pending.lock();
        let stuck = pending
            .values()
            .filter(|chore| patience < chore.since.elapsed());
        stuck
            .map(|chore| format!("{} for {} s", chore.what, chore.since.elapsed().as_secs()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    #[tokio::test]
    async fn a_chore_on_two_names_is_between_those_of_either() {
        let (chores, _failures) = Chores::new();
        let [a, b] = ["a", "b"].map(|coll| Namespace {
            db: "d".to_owned(),
            coll: coll.to_owned(),
        });
        let done: Arc<Mutex<Vec<&str>>> = Arc::default();
        let note = |what: &'static str| {
            let done = done.clone();
            async move {
                // The others go first, if they may.
                tokio::task::yield_now().await;
                done.lock().push(what);
                Ok(())
            }
        };
        chores.add("making", &a, note("a"));
        chores.add("making", &b, note("b"));
        chores.add_on_all("renaming", &[&a, &b, &a], note("both"));
        chores.add("making", &a, note("a again"));
        while chores.pending() != 0 {
            tokio::task::yield_now().await;
        }
        let mut done = done.lock().clone();
        done[..2].sort_unstable();
        assert_eq!(done, ["a", "b", "both", "a again"]);
    }

    #[tokio::test]
    async fn buckets_and_what_takes_the_name_of_their_time_series_are_in_turn() {
        let (chores, _failures) = Chores::new();
        let [buckets, series] = ["system.buckets.x", "x"].map(|coll| Namespace {
            db: "d".to_owned(),
            coll: coll.to_owned(),
        });
        let dropped = Arc::new(AtomicBool::new(false));
        let (drop, seen) = (dropped.clone(), Arc::new(AtomicBool::new(false)));
        chores.add("dropping", &buckets, async move {
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
            drop.store(true, SeqCst);
            Ok(())
        });
        let see = seen.clone();
        chores.add("making", &series, async move {
            see.store(dropped.load(SeqCst), SeqCst);
            Ok(())
        });
        while chores.pending() != 0 {
            tokio::task::yield_now().await;
        }
        assert!(seen.load(SeqCst));
    }

    #[tokio::test]
    async fn what_rests_on_a_chore_that_failed_is_not_done_and_stays_pending() {
        let (chores, mut failures) = Chores::new();
        let ns = Namespace {
            db: "d".to_owned(),
            coll: "c".to_owned(),
        };
        let done = Arc::new(AtomicBool::new(false));
        let then = done.clone();
        chores.add("making", &ns, async { Ok(()) });
        chores.add("making", &ns, async { Err(Error::internal("refused")) });
        chores.add("filling", &ns, async move {
            then.store(true, SeqCst);
            Ok(())
        });
        let failure = failures.recv().await.expect("the second one failed");
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(
            (
                failure.message.as_str(),
                done.load(SeqCst),
                chores.pending()
            ),
            ("refused", false, 2)
        );
    }
}
