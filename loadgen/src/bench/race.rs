//! The engine and a native secondary each follow the same ops, one after the
//! other: what `tail` and `hot` measure.
//!
//! The ops are written while both are down. Then one of them is started, timed
//! until it has applied all, and stopped, then the other; which goes first
//! alternates. Each is timed without its start-up, and begins with servers that have
//! written all they hold to disk: the native secondary has, for it was shut down.

use std::time::Duration;

use bson::{Timestamp, doc};
use serde_json::{Map, Value, json};

use crate::bench::Outcome;
use crate::bench::bulk;
use crate::bench::cases::Case;
use crate::bench::engine::{Engine, Stretch};
use crate::bench::figures::{self, Figures};
use crate::bench::ground::{Ground, host, pid};
use crate::bench::native::{self, Native};
use crate::bench::plot::{Line, Plot};
use crate::cluster::ReplicaSet;
use crate::error::Result;
use crate::wire::link::Link;

/// Longest time for one stretch, whatever its size.
const PATIENCE: Duration = Duration::from_secs(900);
/// Over which a rate is averaged, s.
const RATE_WINDOW_S: f64 = 0.2;

struct Race<'a> {
    ground: &'a Ground,
    source: ReplicaSet,
    target: ReplicaSet,
    /// Down between two measurements.
    native: Option<Native>,
}

/// What one round writes.
struct Work {
    ops: u64,
    /// Position of its last op.
    end: Timestamp,
}

/// Runs all cases on the same servers.
pub(super) async fn run(suite: &str, cases: &[Case], ground: &Ground) -> Result<Outcome> {
    let mut race = Race::prepare(ground, cases).await?;
    let (mut told, mut plots) = (Map::new(), Vec::new());
    for case in cases {
        let mut rounds = Vec::new();
        for round in 0..u64::from(ground.common.runs) {
            let (figures, plot) = race.round(case, round).await?;
            rounds.push(figures);
            plots.push(plot);
        }
        told.insert(case.name.to_owned(), Value::Object(figures::fold(&rounds)));
    }
    let equal = ground.is_equal(&race.source, &race.target).await?;
    let mut json = Map::new();
    json.insert("suite".to_owned(), json!(suite));
    json.insert("cases".to_owned(), Value::Object(told));
    Ok(Outcome { json, plots, equal })
}

impl<'a> Race<'a> {
    /// Fills the source; both followers have all of it, and are down, on return.
    async fn prepare(ground: &'a Ground, cases: &[Case]) -> Result<Race<'a>> {
        let (source, target) = (ground.start("source").await?, ground.start("target").await?);
        let (rounds, seed) = (u64::from(ground.common.runs), ground.common.seed);
        for case in cases {
            ground.tell(format!(
                "populating {}: {} documents of {} bytes",
                case.name,
                case.populated(rounds),
                case.doc_bytes
            ));
            bulk::write(&host(&source), case.population(rounds, seed)).await?;
        }
        ground.tell("initial sync of a native secondary");
        let native = Native::start(ground, &source).await?;
        native.join(&source, &[], PATIENCE).await?;
        let native = native.stop().await?;
        ground.tell("copy by the engine");
        let mut engine = Engine::start(ground, &source, &target).await?;
        engine.until("ready", PATIENCE).await?;
        engine.stop().await?;
        Ok(Race {
            ground,
            source,
            target,
            native: Some(native),
        })
    }

    async fn round(&mut self, case: &Case, round: u64) -> Result<(Figures, Plot)> {
        let (ground, rounds) = (self.ground, u64::from(self.ground.common.runs));
        let streams = case.streams(round, rounds, ground.common.seed);
        let written = bulk::write(&host(&self.source), streams).await?;
        ground.tell(format!(
            "{}: {} ops written in {:.1} s",
            case.name, written.ops, written.seconds
        ));
        let work = Work {
            ops: written.ops,
            end: native::newest(&self.source).await?,
        };
        let (engine, native);
        if round.is_multiple_of(2) {
            native = self.native(&work).await?;
            engine = self.engine(&work).await?;
        } else {
            engine = self.engine(&work).await?;
            native = self.native(&work).await?;
        }
        let figures = figures_of(&work, &engine, &native);
        let rates = [("ops_s", "engine"), ("native_ops_s", "native secondary")];
        let rates = rates.map(|(figure, who)| {
            format!("{who} {:.0} ops/s", figures.get(figure).unwrap_or_default())
        });
        ground.tell(format!("{}: {}", case.name, rates.join(", ")));
        let lines = [("engine", &engine), ("native secondary", &native)];
        let lines = lines
            .map(|(who, stretch)| Line::rate_of(who, &stretch.counts, RATE_WINDOW_S))
            .to_vec();
        Ok((
            figures,
            Plot {
                title: format!("{}, run {}", case.name, round + 1),
                unit: "ops applied per second",
                lines,
            },
        ))
    }

    /// CPU: engine, source, target.
    async fn engine(&self, work: &Work) -> Result<Stretch> {
        tokio::try_join!(write_out(&self.source), write_out(&self.target))?;
        let mut engine = Engine::start(self.ground, &self.source, &self.target).await?;
        let stretch = engine
            .follow(
                work.ops,
                &[pid(&self.source)?, pid(&self.target)?],
                PATIENCE,
            )
            .await?;
        engine.until("ready", PATIENCE).await?;
        engine.stop().await?;
        Ok(stretch)
    }

    /// CPU: native secondary, source.
    async fn native(&mut self, work: &Work) -> Result<Stretch> {
        write_out(&self.source).await?;
        let mut native = self
            .native
            .take()
            .ok_or_else(|| crate::error::Error::new("the native secondary is lost"))?;
        let stretch = native
            .follow(work.end, &[pid(&self.source)?], PATIENCE)
            .await?;
        self.native = Some(native.stop().await?);
        Ok(stretch)
    }
}

/// A checkpoint of the storage engine.
async fn write_out(set: &ReplicaSet) -> Result<()> {
    Link::connect(&host(set))
        .await?
        .command("admin", doc! { "fsync": 1 })
        .await
        .map(drop)
}

fn figures_of(work: &Work, engine: &Stretch, native: &Stretch) -> Figures {
    let ops = work.ops as f64;
    let us_per_op = |stretch: &Stretch, process: usize| {
        stretch.used.cpu_s.get(process).copied().unwrap_or_default() / ops * 1e6
    };
    let (ops_s, native_ops_s) = (ops / engine.used.seconds, ops / native.used.seconds);
    let mut figures = Figures::default();
    figures.set("ops", ops);
    figures.set("ops_s", ops_s);
    figures.set("native_ops_s", native_ops_s);
    figures.set("ratio", ops_s / native_ops_s);
    figures.set("engine_cpu_us_per_op", us_per_op(engine, 0));
    figures.set("source_cpu_us_per_op", us_per_op(engine, 1));
    figures.set("target_cpu_us_per_op", us_per_op(engine, 2));
    figures.set("native_cpu_us_per_op", us_per_op(native, 0));
    figures.set("native_source_cpu_us_per_op", us_per_op(native, 1));
    figures
}
