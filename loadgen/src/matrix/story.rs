//! One cell: a whole live migration, with a kill and elections on the way, and the proof
//! that both sides are equal.
//!
//! Knows nothing about other cells.

use std::fmt;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::check::{self, CheckOptions};
use crate::engine::keeper::Keeper;
use crate::engine::{arguments, cutover};
use crate::error::{Error, Result};
use crate::faults::elections::Elections;
use crate::faults::record::Record;
use crate::layout::dice::Dice;
use crate::load::mix::Kind;
use crate::load::{Load, LoadHandle, LoadOptions, LoadReport};
use crate::matrix::Settings;
use crate::matrix::cell::{Cell, Topology};
use crate::matrix::ground::Ground;
use crate::populate::{self, PopulateArgs};

/// For one step of the engine.
const PATIENCE: Duration = Duration::from_secs(180);
/// Beyond any sum of steps that go well.
const CELL_MAX: Duration = Duration::from_secs(480);
/// Of the engine: the first, one after a kill, and some that an election ended.
const STARTS_MAX: u64 = 8;
const POLL: Duration = Duration::from_millis(50);
/// In which a copy is under way, or done.
const MOVING: [&str; 3] = ["copying", "following", "ready"];
const LOAD_CONNECTIONS: u32 = 6;
/// More transactions than other loads have: a short one must have some of each kind.
const MIX: &str = "all,transactions=40,cross_shard=20,aborts=20,large_transactions=2";
/// What the balancers are to be in the end: loadgen stops that of a source it populates.
const BALANCERS: (&str, &str) = ("off", "full");

/// What a cell that passed has to tell.
#[derive(Debug, Clone)]
pub struct Passed {
    pub documents: u64,
    pub writes: u64,
    /// Writes in transactions.
    pub in_transactions: u64,
    pub engine_starts: u64,
    /// On both sides.
    pub elections: u64,
    pub cutover_ms: u64,
    pub seconds: f64,
    /// None for replica sets.
    pub routers: Option<Routers>,
}

/// What the router of each side was.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Routers {
    pub source: String,
    pub target: String,
}

impl fmt::Display for Routers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.source, &self.target) {
            (source, target) if source == target => f.write_str(source),
            (source, target) => write!(f, "{source}, {target}"),
        }
    }
}

/// Runs a cell; its files go to `work`, which is there and empty.
///
/// # Errors
/// If anything failed or differs. The logs of all servers are in `work` then.
pub async fn prove(cell: &Cell, settings: &Settings, work: &Path) -> Result<Passed> {
    let began = Instant::now();
    let ground = Ground::start(cell, settings, work).await?;
    let story = Story {
        cell,
        settings,
        work,
        ground: &ground,
    };
    let proven = tokio::time::timeout(CELL_MAX, story.run()).await;
    let proven =
        proven.unwrap_or_else(|_| Err(Error::new(format!("it is not over after {CELL_MAX:?}"))));
    let routers = ground.routers();
    match proven {
        Ok(passed) => Ok(Passed {
            seconds: began.elapsed().as_secs_f64(),
            routers,
            ..passed
        }),
        Err(e) => {
            ground.keep_logs(work);
            Err(match routers {
                Some(routers) => e.context(format!("with the routers {routers}")),
                None => e,
            })
        }
    }
}

/// Resolves once the engine ended more often than the trouble explains; the log of its
/// last life is whole then.
async fn restless(engine: &Keeper) -> Error {
    while engine.starts() < STARTS_MAX || engine.phase() != "down" {
        tokio::time::sleep(POLL).await;
    }
    engine.explain("the engine ends again and again")
}

struct Story<'a> {
    cell: &'a Cell,
    settings: &'a Settings,
    work: &'a Path,
    ground: &'a Ground,
}

impl Story<'_> {
    async fn run(&self) -> Result<Passed> {
        let (source, target) = (&self.ground.source, &self.ground.target);
        let populated = PopulateArgs {
            docs: self.settings.docs,
            seed: self.settings.seed,
            capped: true,
            types: true,
            ..PopulateArgs::new(source.deployment.uri())
        };
        populate::populate(&populated).await?;
        let elections = Elections::watch(&[&source.deployment, &target.deployment]);
        let load = self.start_load().await?;
        let engine = self.start_engine()?;
        let moved = tokio::select! {
            moved = self.trouble(&engine) => moved,
            e = restless(&engine) => Err(e),
        };
        let load = load.stop().await;
        moved?;
        self.ensure_served(&load)?;
        let cutover_ms = cutover::cut_over(&engine, &self.settings.program, PATIENCE).await?;
        let documents = self.compare().await?;
        let transactions = Kind::ALL.iter().filter(|(kind, _)| kind.is_transaction());
        let in_transactions = transactions
            .filter_map(|(_, name)| load.by_kind.get(name))
            .map(|report| report.ops);
        Ok(Passed {
            documents,
            writes: load.ops,
            in_transactions: in_transactions.sum(),
            engine_starts: engine.starts(),
            elections: elections.count(),
            cutover_ms,
            seconds: 0.0,
            routers: None,
        })
    }

    async fn start_load(&self) -> Result<LoadHandle> {
        let options = LoadOptions {
            rate: self.settings.rate,
            seed: self.settings.seed,
            connections: LOAD_CONNECTIONS,
            mix: MIX.parse().map_err(|e: String| Error::new(e))?,
            ddl: true,
            unique_churn: true,
            tolerant: true,
            ..LoadOptions::new(self.ground.source.load_uri.clone())
        };
        Load::start(options).await
    }

    fn start_engine(&self) -> Result<Keeper> {
        let (source, target) = (&self.ground.source.uri, &self.ground.target.uri);
        let log = File::create(self.work.join("record.jsonl"))?;
        Keeper::start(
            &self.settings.program,
            arguments::migrate(source, target, &self.settings.engine_args),
            self.work,
            Arc::new(Record::new(Box::new(log))),
            false,
        )
    }

    /// A kill once it moves data; where routers are real, the end of one of each side; an
    /// election on either side once it follows; until it is ready and the load went on for
    /// long enough.
    async fn trouble(&self, engine: &Keeper) -> Result<()> {
        let began = Instant::now();
        let time = Duration::from_secs_f64(self.settings.seconds);
        let mut dice = Dice::new(&[self.settings.seed, 0x3A7]);
        engine
            .until("moving", PATIENCE, |phase| MOVING.contains(&phase))
            .await?;
        tokio::time::sleep(time.mul_f64(dice.unit() / 8.0)).await;
        let starts = engine.starts();
        engine.signal(libc::SIGKILL);
        while engine.starts() == starts {
            engine.ensure_well()?;
            tokio::time::sleep(POLL).await;
        }
        engine
            .until_phase("ready", PATIENCE)
            .await
            .map_err(|e| e.context("after a kill"))?;
        for end in [&self.ground.source, &self.ground.target] {
            end.restart_router().await?;
        }
        for end in [&self.ground.source, &self.ground.target] {
            let sets = end.deployment.sets();
            let shards = match self.cell.topology {
                Topology::ReplicaSet => 1,
                Topology::Sharded => sets.len() - 1,
            };
            sets[dice.below(shards as u64) as usize].elect().await?;
            tokio::time::sleep(time.mul_f64(dice.unit() / 8.0)).await;
        }
        tokio::time::sleep(time.saturating_sub(began.elapsed())).await;
        engine
            .until_phase("ready", PATIENCE)
            .await
            .map_err(|e| e.context("after elections"))
    }

    /// # Errors
    /// If the load was refused something: then it asked for what the release does not know.
    fn ensure_served(&self, load: &LoadReport) -> Result<()> {
        if load.error_count == 0 {
            return Ok(());
        }
        Err(Error::new(format!("the load was refused writes:\n{load}")))
    }

    /// Documents compared.
    async fn compare(&self) -> Result<u64> {
        let sharded = self.cell.topology == Topology::Sharded;
        let mode = |mode: &str| sharded.then(|| mode.to_owned());
        let options = CheckOptions {
            source_balancer: mode(BALANCERS.0),
            target_balancer: mode(BALANCERS.1),
            ..CheckOptions::default()
        };
        let (source, target) = (&self.ground.source, &self.ground.target);
        for end in [source, target] {
            end.flush_routers().await?;
        }
        let (from, to) = (source.deployment.uri(), target.deployment.uri());
        let report = check::compare(&from, &to, &options).await?;
        if report.equal {
            return Ok(report.documents);
        }
        Err(Error::new(format!("both sides differ:\n{report}")))
    }
}
