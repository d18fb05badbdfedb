//! One connection's worth of load: takes the next due time, runs one operation,
//! records what came of it, until told to stop.
//!
//! Knows nothing about other workers, except what they share: plan, pace, gate.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{RwLock, watch},
    time::Instant,
};

use super::{
    mix::{Kind, Mix},
    pace::Pacer,
    plan::{Plan, Planner},
    report::Stats,
    route::Refusal,
    transaction::Transactor,
};
use crate::{entry::Entry, layout::dice::Dice};

/// After an error of the connection or an election, so that a dead server is not hammered.
const ERROR_PAUSE: Duration = Duration::from_millis(20);
/// DuplicateKey; WriteConflict, NoSuchTransaction (a transaction lost against another
/// write); LockTimeout (server source, `error_codes.yml`).
const DUPLICATE_KEY: i32 = 11000;
const TRANSACTION_LOST: [i32; 3] = [112, 251, 24];
/// Characters of an error text that tell one error from another.
const ERROR_CHARS_MAX: usize = 120;

/// What all workers share.
pub(super) struct Shared {
    pub(super) planner: Planner,
    pub(super) mix: Mix,
    pub(super) pacer: Pacer,
    /// Held for reading by every operation in flight, for writing while paused.
    pub(super) gate: Arc<RwLock<()>>,
    pub(super) ops: AtomicU64,
    pub(super) errors: AtomicU64,
}

pub(super) struct Worker {
    pub(super) shared: Arc<Shared>,
    pub(super) stats: Arc<Mutex<Stats>>,
    pub(super) entry: Entry,
    /// Where the mix has transactions.
    pub(super) transactor: Option<Transactor>,
    pub(super) stop: watch::Receiver<bool>,
}

impl Worker {
    pub(super) async fn work(mut self, number: u64) {
        let mut dice = Dice::new(&[self.shared.planner.seed, 0x10AD, number]);
        let shared = self.shared.clone();
        while !*self.stop.borrow() {
            let kind = shared.mix.pick(&mut dice);
            let (plan, ops) = shared.planner.plan(kind, &mut dice);
            let due = shared.pacer.due(ops);
            tokio::select! {
                _ = tokio::time::sleep_until(due) => (),
                _ = self.stop.changed() => break,
            }
            let Some((_pass, due)) = self.pass(due).await else { break };
            let refusals = self.run(plan).await;
            self.record(kind, ops, due.elapsed(), &refusals);
            if refusals.iter().any(|(code, _)| *code == 0 || is_election(*code)) {
                tokio::time::sleep(ERROR_PAUSE).await;
                self.reconnect().await;
            }
        }
    }

    /// Leave to run an operation, and the time its latency counts from: what
    /// was due during a pause is due when the pause ends.
    async fn pass(&mut self, due: Instant) -> Option<(tokio::sync::OwnedRwLockReadGuard<()>, Instant)> {
        if let Ok(pass) = self.shared.gate.clone().try_read_owned() {
            return Some((pass, due));
        }
        tokio::select! {
            pass = self.shared.gate.clone().read_owned() => Some((pass, Instant::now())),
            _ = self.stop.changed() => None,
        }
    }

    /// Transactions by hand stay on their connections; the primary may be another now.
    async fn reconnect(&mut self) {
        if self.transactor.is_some()
            && let Ok(transactor) = Transactor::connect(&self.entry).await
        {
            self.transactor = Some(transactor);
        }
    }

    async fn run(&mut self, plan: Plan) -> Vec<Refusal> {
        let planner = &self.shared.planner;
        match plan {
            Plan::Writes(writes) => {
                let mut refusals = Vec::new();
                for write in writes {
                    refusals.extend(planner.route.send(&planner.picker, write).await);
                }
                refusals
            }
            Plan::Command { space, n, command } => planner.route.command(&planner.picker, space, n, command).await,
            Plan::Commit(parts) => match &mut self.transactor {
                Some(transactor) => transactor.commit(&parts).await,
                None => Vec::new(),
            },
            Plan::Abort(part) => match &mut self.transactor {
                Some(transactor) => transactor.abort(&part).await,
                None => Vec::new(),
            },
        }
    }

    fn record(&self, kind: Kind, ops: u64, latency: Duration, refusals: &[Refusal]) {
        let mut stats = self.stats.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        stats.record(kind, ops, latency);
        self.shared.ops.fetch_add(ops, Ordering::Relaxed);
        for (code, text) in refusals {
            match self.is_race(kind, *code, text) {
                true => stats.raced(),
                false => {
                    self.shared.errors.fetch_add(1, Ordering::Relaxed);
                    stats.error(format!("{}: {code} {}", kind.name(), shorten(text)));
                }
            }
        }
    }

    /// Lost races that this workload makes by itself.
    fn is_race(&self, kind: Kind, code: i32, text: &str) -> bool {
        match code {
            DUPLICATE_KEY => {
                let churn = self.shared.planner.unique_churn;
                // A document counts as there from when its ordinal is taken, so
                // that another operation may make it before its insert does.
                churn || matches!(kind, Kind::Reinserts | Kind::Upserts) || text.contains("index: _id_")
            }
            _ => kind.is_transaction() && TRANSACTION_LOST.contains(&code),
        }
    }
}

/// Errors of elections and shutdowns (server source, `error_codes.yml`).
fn is_election(code: i32) -> bool {
    matches!(code, 6 | 89 | 91 | 189 | 10107 | 11600 | 11602 | 13435 | 13436)
}

/// The part of an error text that is the same for all errors of its sort.
fn shorten(text: &str) -> String {
    let text = text.split(" dup key").next().unwrap_or(text);
    text.chars().take(ERROR_CHARS_MAX).collect()
}
