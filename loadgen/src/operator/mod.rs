//! A second operator: somebody who works on both deployments while a migration
//! runs, and knows nothing of it. Moves chunks, starts balancers, kills ops,
//! cursors and sessions, makes and drops databases, views and indexes, runs jobs
//! by `applyOps` and `dbCheck`.
//!
//! Every deed is bounded in time, and one that fails is counted: servers fail
//! meanwhile. What it works on is its own, so that no load meets what it moves.
//! Servers that it takes from their set are faults (`faults::rolling`).

mod balancer;
mod chunks;
mod databases;
mod deed;
mod ends;
mod ground;
mod jobs;
mod kills;
mod tally;

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::cluster::Deployment;
use crate::engine::keeper::Keeper;
use crate::error::{Error, Result};
use crate::faults::plan::Side;
use crate::faults::record::Record;
use crate::layout::dice::Dice;
pub use deed::Deed;
use ends::Ends;
pub use ground::{DATABASE, ROLLED};
pub use tally::Tally;

/// How long a balancer may take to stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(25);
/// After the engine began anew: as long as so many deeds take, until the next one that
/// may make it start over. Else it would never get far.
const ANEW_REST_DEEDS: u32 = 6;
const POLL: Duration = Duration::from_millis(100);
/// Between two kills while the engine cuts over.
const DISTURB_PAUSE: Duration = Duration::from_millis(300);
const DISTURB_FOR: Duration = Duration::from_secs(5);

pub struct Operator {
    source: Ends,
    target: Ends,
    record: Arc<Record>,
    tally: Tally,
    seed: u64,
    every: Duration,
    deeds: Vec<Deed>,
    /// Deeds begun, for names that no other has.
    round: std::sync::atomic::AtomicU64,
    stop: watch::Sender<bool>,
    /// Writes to what is moved. Ends with the operator.
    writer: JoinSet<()>,
}

impl Operator {
    /// Makes what it will work on, and begins to write to it. A deed about `every` so
    /// often, of the given kinds (all where empty).
    ///
    /// # Errors
    /// If that cannot be made; nothing fails yet.
    pub async fn start(
        seed: u64,
        every: Duration,
        kinds: &[Deed],
        source: &Deployment,
        target: &Deployment,
        record: Arc<Record>,
    ) -> Result<Operator> {
        let (source, target) = (Ends::of(source), Ends::of(target));
        let deeds = deed::weighted(kinds, source.router.is_some());
        ground::make(&source, &deeds)
            .await
            .map_err(|e| e.context("what the second operator works on"))?;
        let (stop, stopped) = watch::channel(false);
        let tally = Tally::default();
        let mut writer = JoinSet::new();
        writer.spawn(ground::write(source.clone(), seed, tally.writes(), stopped));
        let round = Default::default();
        Ok(Operator {
            deeds,
            source,
            target,
            record,
            tally,
            seed,
            every,
            round,
            stop,
            writer,
        })
    }

    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// True once it started or stopped that side's balancer: nobody can say then what
    /// it is to be in the end.
    pub fn touched_balancer(&self, side: Side) -> bool {
        self.tally.touched_balancer(side)
    }

    /// One deed after the other, for so long.
    pub async fn run(&self, engine: &Keeper, time: Duration) {
        let began = Instant::now();
        let mut dice = Dice::new(&[self.seed, 0x0DEED]);
        while !self.deeds.is_empty() {
            let due = Instant::now() + self.every.mul_f64(0.5 + dice.unit());
            while Instant::now() < due {
                if time <= began.elapsed() {
                    return;
                }
                tokio::time::sleep(POLL).await;
            }
            let deed = dice.pick(&self.deeds);
            let dice = Dice::new(&[self.seed, 0xD0, dice.roll()]);
            if deed.may_end_a_run() && engine.age() < self.every * ANEW_REST_DEEDS {
                self.record.tell(
                    "skip",
                    json!({"deed": deed.name(), "reason": "the engine has just begun anew"}),
                );
                continue;
            }
            self.act(deed, dice, &engine.phase()).await;
        }
    }

    /// Kills what runs on both sides while the engine cuts over: no more than a nuisance.
    pub async fn disturb(&self, engine: &Keeper) {
        let began = Instant::now();
        let mut dice = Dice::new(&[self.seed, 0xD15]);
        while began.elapsed() < DISTURB_FOR {
            tokio::time::sleep(DISTURB_PAUSE).await;
            let deed = dice.pick(&[Deed::KillOps, Deed::KillCursors]);
            self.act(deed, dice.clone(), &engine.phase()).await;
        }
    }

    /// What stands in the way of a cutover, and is for an operator to clear.
    pub async fn heed(&self, obstacles: &[String]) {
        if obstacles
            .iter()
            .any(|obstacle| obstacle.contains("balancer"))
        {
            for side in [Side::Source, Side::Target] {
                let stopped =
                    tokio::time::timeout(STOP_TIMEOUT, balancer::stop(self.ends(side))).await;
                let stopped = matches!(stopped, Ok(Ok(())));
                self.record.tell(
                    "operator heeds",
                    json!({"obstacles": obstacles, "balancer_stopped": stopped}),
                );
            }
        }
    }

    /// No write comes from it after this.
    pub async fn stop_writing(&mut self) {
        let _ = self.stop.send(true);
        while self.writer.join_next().await.is_some() {}
    }

    fn ends(&self, side: Side) -> &Ends {
        if side == Side::Source {
            &self.source
        } else {
            &self.target
        }
    }

    async fn act(&self, deed: Deed, dice: Dice, phase: &str) {
        let began = Instant::now();
        let done = tokio::time::timeout(deed.timeout(), self.attempt(deed, dice)).await;
        let done =
            done.unwrap_or_else(|_| Err(Error::new(format!("not done in {:?}", deed.timeout()))));
        self.tally.count(deed, done.is_ok());
        let took_ms = began.elapsed().as_millis() as u64;
        let (details, error) = match done {
            Ok(details) => (Some(details), None),
            Err(e) => (None, Some(e.message)),
        };
        let fields = json!({"deed": deed.name(), "phase": phase, "took_ms": took_ms, "details": details, "error": error});
        self.record.tell("operator", fields);
    }

    /// What was done, in a few words.
    async fn attempt(&self, deed: Deed, mut dice: Dice) -> Result<String> {
        let round = self
            .round
            .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let (source, target) = (&self.source, &self.target);
        let side = if dice.one_in(2) {
            Side::Source
        } else {
            Side::Target
        };
        match deed {
            Deed::MoveSource => chunks::move_one(source, &mut dice).await,
            Deed::MoveSourceAndBack => chunks::move_and_back(source, &mut dice).await,
            Deed::MoveTarget => chunks::move_one(target, &mut dice).await,
            Deed::MoveTargetAndBack => chunks::move_and_back(target, &mut dice).await,
            Deed::StartBalancer => {
                self.tally.touch_balancer(side);
                balancer::start(self.ends(side), side, &mut dice).await
            }
            Deed::KillOps => kills::ops(self.ends(side), side, &mut dice).await,
            Deed::KillCursors => kills::cursors(self.ends(side), side, &mut dice).await,
            Deed::KillSessions => kills::sessions(self.ends(side), side, &mut dice).await,
            Deed::Database => databases::make_again(source, &mut dice, false).await,
            Deed::DatabaseWithViews => databases::make_again(source, &mut dice, true).await,
            Deed::Respell => databases::respell(source, &mut dice).await,
            Deed::View => databases::view(source, round).await,
            Deed::DbCheck => jobs::db_check(source).await,
            Deed::ApplyOps => jobs::apply_ops(source, &mut dice).await,
            Deed::ApplyOpsSet => jobs::apply_ops_set(source, &mut dice).await,
            Deed::ShortLived => jobs::short_lived(source, round).await,
            Deed::CappedClone => jobs::capped_clone(source, round).await,
            Deed::ConvertToCapped => jobs::convert_to_capped(source, round).await,
        }
    }
}
