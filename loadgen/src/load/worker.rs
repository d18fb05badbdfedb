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
    refusal::{Refusal, TRANSACTION_LOST, is_interruption},
    report::Stats,
    transaction::Transactor,
};
use crate::{entry::Entry, layout::dice::Dice};

/// After an error of the connection or an election, so that a dead server is not hammered.
const ERROR_PAUSE: Duration = Duration::from_millis(20);
/// With `tolerant`: how long an operation is waited for, and what a shaken
/// transaction gets at the end, to be ended.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(10);
const END_TIMEOUT: Duration = Duration::from_secs(60);
/// DuplicateKey (server source, `error_codes.yml`).
const DUPLICATE_KEY: i32 = 11000;
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
    /// Whether servers fail and elect meanwhile.
    pub(super) tolerant: bool,
}

pub(super) struct Worker {
    pub(super) shared: Arc<Shared>,
    pub(super) stats: Arc<Mutex<Stats>>,
    pub(super) entry: Entry,
    /// Where the mix has transactions.
    pub(super) transactor: Option<Transactor>,
    /// True since an interruption: the transactor's connections may be dead.
    pub(super) shaken: bool,
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
            let Some((_pass, due)) = self.pass(due).await else {
                break;
            };
            let refusals = self.run_in_time(plan).await;
            self.record(kind, ops, due.elapsed(), &refusals);
            if refusals.iter().any(|(code, _)| is_interruption(*code)) {
                self.shaken = true;
                tokio::time::sleep(ERROR_PAUSE).await;
            }
        }
        self.end_transactions().await;
    }

    /// Leave to run an operation, and the time its latency counts from: what
    /// was due during a pause is due when the pause ends.
    async fn pass(
        &mut self,
        due: Instant,
    ) -> Option<(tokio::sync::OwnedRwLockReadGuard<()>, Instant)> {
        if let Ok(pass) = self.shared.gate.clone().try_read_owned() {
            return Some((pass, due));
        }
        tokio::select! {
            pass = self.shared.gate.clone().read_owned() => Some((pass, Instant::now())),
            _ = self.stop.changed() => None,
        }
    }

    /// An operation that is given up may still take effect: it is unknown.
    async fn run_in_time(&mut self, plan: Plan) -> Vec<Refusal> {
        if !self.shared.tolerant {
            return self.run(plan).await;
        }
        let in_time = tokio::time::timeout(OPERATION_TIMEOUT, self.run(plan)).await;
        in_time.unwrap_or_else(|_| vec![(0, format!("no answer in {OPERATION_TIMEOUT:?}"))])
    }

    /// Transactions by hand stay on their connections; the primary may be another now.
    async fn reconnect(&mut self) -> Result<(), Refusal> {
        if let Some(transactor) = self.transactor.as_mut().filter(|_| self.shaken) {
            transactor
                .recover(&self.entry)
                .await
                .map_err(|error| (0, error.to_string()))?;
            self.shaken = false;
        }
        Ok(())
    }

    /// Leaves nothing prepared behind.
    async fn end_transactions(&mut self) {
        let deadline = Instant::now() + END_TIMEOUT;
        while self
            .transactor
            .as_ref()
            .is_some_and(Transactor::must_recover)
            && Instant::now() < deadline
        {
            self.shaken = true;
            let _ = tokio::time::timeout(OPERATION_TIMEOUT, self.reconnect()).await;
            tokio::time::sleep(ERROR_PAUSE).await;
        }
    }

    async fn run(&mut self, plan: Plan) -> Vec<Refusal> {
        if matches!(plan, Plan::Commit(_) | Plan::Abort(_))
            && let Err(refusal) = self.reconnect().await
        {
            return vec![refusal];
        }
        let planner = &self.shared.planner;
        match plan {
            Plan::Writes(writes) => {
                let mut refusals = Vec::new();
                for write in writes {
                    refusals.extend(planner.route.send(&planner.picker, write).await);
                }
                refusals
            }
            Plan::Command { space, n, command } => {
                planner
                    .route
                    .command(&planner.picker, space, n, command)
                    .await
            }
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
        let mut stats = self
            .stats
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        stats.record(kind, ops, latency);
        self.shared.ops.fetch_add(ops, Ordering::Relaxed);
        for (code, text) in refusals {
            if self.is_race(kind, *code, text) {
                stats.raced();
            } else if self.shared.tolerant && is_interruption(*code) {
                stats.unknown();
            } else {
                self.shared.errors.fetch_add(1, Ordering::Relaxed);
                stats.error(format!("{}: {code} {}", kind.name(), shorten(text)));
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
                churn
                    || matches!(kind, Kind::Reinserts | Kind::Upserts)
                    || text.contains("index: _id_")
            }
            _ => kind.is_transaction() && TRANSACTION_LOST.contains(&code),
        }
    }
}

/// The part of an error text that is the same for all errors of its sort.
fn shorten(text: &str) -> String {
    let text = text.split(" dup key").next().unwrap_or(text);
    text.chars().take(ERROR_CHARS_MAX).collect()
}
