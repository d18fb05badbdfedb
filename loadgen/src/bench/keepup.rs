//! `bench keepup`: what the source takes while the engine follows, and while a
//! native secondary follows instead.
//!
//! The load writes one-field updates of random documents as fast as the source
//! answers. The lag of the engine is what its status says; that of the secondary
//! the time between the newest writes (`lastAppliedWallTime`) of both members.

use std::time::Duration;

use serde_json::{Map, json};

use crate::bench::Outcome;
use crate::bench::args::Common;
use crate::bench::bulk::{self, Written};
use crate::bench::cases::CONNECTIONS;
use crate::bench::content::{Content, Ids};
use crate::bench::engine::Engine;
use crate::bench::figures::{self, Figures, percentile};
use crate::bench::ground::{Ground, host};
use crate::bench::native::{LagOf, Native};
use crate::bench::plot::{Line, Plot};
use crate::bench::statements::{self, Bulks};
use crate::cluster::ReplicaSet;
use crate::error::Result;

const COLLECTION: &str = "keepup";
const DOC_BYTES: usize = 1_024;
const SAMPLE: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(900);

/// Writing as fast as the source takes it while the engine follows, beside the
/// same with a native secondary that follows instead.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Args {
    /// Seconds of writes for each of the two [default: 60, quick 10]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    seconds: Option<u64>,
    /// Documents of 1 KB the updates choose from [default: 500000, quick 50000]
    #[arg(long, value_parser = clap::value_parser!(u64).range(100..=50_000_000))]
    docs: Option<u64>,
    #[command(flatten)]
    pub(super) common: Common,
}

struct Load {
    content: Content,
    docs: u64,
    time: Duration,
    seed: u64,
}

/// What one follower was measured with.
struct Kept {
    written: Written,
    /// `(s, ms)`.
    lags: Vec<(f64, f64)>,
    lag_end_ms: f64,
}

pub(super) async fn run(args: &Args, ground: &Ground) -> Result<Outcome> {
    let load = Load {
        content: Content::new(DOC_BYTES, Ids::Random, args.common.seed),
        docs: args.common.size(args.docs, 50_000, 500_000),
        time: Duration::from_secs(args.common.size(args.seconds, 10, 60)),
        seed: args.common.seed,
    };
    let (source, target) = (ground.start("source").await?, ground.start("target").await?);
    ground.tell(format!(
        "populating {} documents of {DOC_BYTES} bytes",
        load.docs
    ));
    bulk::write(&host(&source), load.population()).await?;
    let (mut rounds, mut plots) = (Vec::new(), Vec::new());
    for round in 0..u64::from(args.common.runs) {
        // By turns, so that neither always finds the larger oplog.
        let (engine, native);
        if round.is_multiple_of(2) {
            native = with_native(ground, &load, &source, round).await?;
            engine = with_engine(ground, &load, &source, &target, round).await?;
        } else {
            engine = with_engine(ground, &load, &source, &target, round).await?;
            native = with_native(ground, &load, &source, round).await?;
            catch_up(ground, &source, &target, native.written.ops).await?;
        }
        rounds.push(figures_of(&engine, &native));
        let lines = vec![
            Line::new("engine", engine.lags),
            Line::new("native secondary", native.lags),
        ];
        plots.push(Plot {
            title: format!("lag under full load, run {}", round + 1),
            unit: "ms",
            lines,
        });
    }
    let equal = ground.is_equal(&source, &target).await?;
    let mut json = Map::new();
    json.insert("suite".to_owned(), json!("keepup"));
    json.insert("seconds".to_owned(), json!(load.time.as_secs()));
    json.extend(figures::fold(&rounds));
    Ok(Outcome { json, plots, equal })
}

async fn with_engine(
    ground: &Ground,
    load: &Load,
    source: &ReplicaSet,
    target: &ReplicaSet,
    round: u64,
) -> Result<Kept> {
    let mut engine = Engine::start(ground, source, target).await?;
    engine.until("ready", PATIENCE).await?;
    let applied = engine.applied().await?;
    let host = host(source);
    let mut write = std::pin::pin!(bulk::write(&host, load.streams(round * 2)));
    let (began, mut lags) = (std::time::Instant::now(), Vec::new());
    let mut ticks = tokio::time::interval(SAMPLE);
    let written = loop {
        tokio::select! {
            written = &mut write => break written?,
            _ = ticks.tick() => lags.push((began.elapsed().as_secs_f64(), engine.status().await?.lag_ms as f64)),
        }
    };
    let lag_end_ms = engine.status().await?.lag_ms as f64;
    tell(ground, "engine", &written);
    engine
        .until_applied(applied + written.ops, PATIENCE)
        .await?;
    engine.stop().await?;
    Ok(Kept {
        written,
        lags,
        lag_end_ms,
    })
}

/// Applies `ops` that were written while no engine ran: both sides are to be equal at the end.
async fn catch_up(
    ground: &Ground,
    source: &ReplicaSet,
    target: &ReplicaSet,
    ops: u64,
) -> Result<()> {
    let mut engine = Engine::start(ground, source, target).await?;
    engine.until_applied(ops, PATIENCE).await?;
    engine.stop().await
}

async fn with_native(
    ground: &Ground,
    load: &Load,
    source: &ReplicaSet,
    round: u64,
) -> Result<Kept> {
    let native = Native::start(ground, source).await?;
    native.join(source, &[], PATIENCE).await?;
    let mut lag = LagOf::connect(source, &native).await?;
    let host = host(source);
    let mut write = std::pin::pin!(bulk::write(&host, load.streams(round * 2 + 1)));
    let (began, mut lags) = (std::time::Instant::now(), Vec::new());
    let mut ticks = tokio::time::interval(SAMPLE);
    let written = loop {
        tokio::select! {
            written = &mut write => break written?,
            _ = ticks.tick() => lags.push((began.elapsed().as_secs_f64(), lag.ms().await?)),
        }
    };
    let lag_end_ms = lag.ms().await?;
    tell(ground, "native secondary", &written);
    native.leave(source).await?;
    Ok(Kept {
        written,
        lags,
        lag_end_ms,
    })
}

fn tell(ground: &Ground, follower: &str, written: &Written) {
    let rate = written.ops as f64 / written.seconds;
    ground.tell(format!(
        "{} ops written, {rate:.0} ops/s, followed by the {follower}",
        written.ops
    ));
}

impl Load {
    fn population(&self) -> Vec<Bulks> {
        let own = |part| statements::share(0..self.docs, part, CONNECTIONS);
        (0..CONNECTIONS)
            .map(|part| statements::inserts(&self.content, COLLECTION, own(part)))
            .collect()
    }

    /// `stretch`: how many were written before; no value comes twice.
    fn streams(&self, stretch: u64) -> Vec<Bulks> {
        let stream = |part| {
            let documents = statements::uniform(self.docs, part, CONNECTIONS, self.seed + stretch);
            let first = ((stretch + 1) << 36) as i64 + (part << 32) as i64;
            let endless = statements::sets(&self.content, COLLECTION, documents, first);
            Box::new(bulk::lasting(endless, self.time)) as Bulks
        };
        (0..CONNECTIONS).map(stream).collect()
    }
}

impl Kept {
    fn ops_s(&self) -> f64 {
        self.written.ops as f64 / self.written.seconds
    }

    fn lag_ms(&self, percent: f64) -> f64 {
        let mut lags: Vec<f64> = self.lags.iter().map(|(_, ms)| *ms).collect();
        lags.sort_by(f64::total_cmp);
        percentile(&lags, percent)
    }
}

fn figures_of(engine: &Kept, native: &Kept) -> Figures {
    let mut figures = Figures::default();
    figures.set("source_ops_s", engine.ops_s());
    figures.set("source_ops_s_native", native.ops_s());
    figures.set("ratio", engine.ops_s() / native.ops_s());
    figures.set("lag_p50_ms", engine.lag_ms(50.0));
    figures.set("lag_p99_ms", engine.lag_ms(99.0));
    figures.set("lag_end_ms", engine.lag_end_ms);
    figures.set("native_lag_p50_ms", native.lag_ms(50.0));
    figures.set("native_lag_p99_ms", native.lag_ms(99.0));
    figures.set("native_lag_end_ms", native.lag_end_ms);
    figures
}
