//! `bench collections`: the time from start to ready of many collections of few documents
//! each, by their number: what a collection costs, and how that grows.
//!
//! - `layout_s`: from the engine's start until it copies
//! - `copy_s`: until all documents are copied
//! - `ready_s`: until the indexes are built and it is ready
//! - `ms_per_collection`: `ready_s` over the number of collections
//! - `verified_s`: all of them verified, from the moment it is ready

use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use crate::bench::Outcome;
use crate::bench::args::Common;
use crate::bench::engine::Engine;
use crate::bench::figures::{self, Figures};
use crate::bench::ground::{Ground, pid};
use crate::bench::many;
use crate::cluster::ReplicaSet;
use crate::error::Result;

const PATIENCE: Duration = Duration::from_secs(1_800);

/// The time from start to ready of many small collections, by their number.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Args {
    /// Collections of the larger case; the other has a quarter [default: 20000, or as many as
    /// open files allow; quick 1000]
    #[arg(long, value_parser = clap::value_parser!(u64).range(4..=100_000))]
    collections: Option<u64>,
    /// Documents of each
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(i64).range(1..=10_000))]
    docs: i64,
    #[command(flatten)]
    pub(super) common: Common,
}

pub(super) async fn run(args: &Args, ground: &Ground) -> Result<Outcome> {
    let largest = many::count(args.collections, args.common.size(None, 1_000, 20_000))?;
    let (mut told, mut equal) = (Map::new(), true);
    for collections in [largest / 4, largest] {
        let source = ground.start("source").await?;
        ground.tell(format!("populating {collections} collections"));
        many::make(&source, collections, args.docs).await?;
        let mut rounds = Vec::new();
        for _ in 0..args.common.runs {
            let (figures, same) = measure(ground, &source, collections).await?;
            rounds.push(figures);
            equal &= same;
        }
        let figures = Value::Object(figures::fold(&rounds));
        told.insert(format!("{collections}_collections"), figures);
    }
    let mut json = Map::new();
    json.insert("suite".to_owned(), json!("collections"));
    json.insert("docs_each".to_owned(), json!(args.docs));
    json.insert("cases".to_owned(), Value::Object(told));
    Ok(Outcome {
        json,
        plots: Vec::new(),
        equal,
    })
}

async fn measure(
    ground: &Ground,
    source: &ReplicaSet,
    collections: u64,
) -> Result<(Figures, bool)> {
    let target = ground.start("target").await?;
    let began = Instant::now();
    let mut engine = Engine::start(ground, source, &target).await?;
    let stretch = engine
        .copy(&[pid(source)?, pid(&target)?], PATIENCE)
        .await?;
    let copied_s = began.elapsed().as_secs_f64();
    engine.until("ready", PATIENCE).await?;
    let ready_s = began.elapsed().as_secs_f64();
    ground.tell(format!(
        "{collections} collections: ready after {ready_s:.1} s"
    ));
    let verified_s = engine.until_verified(PATIENCE).await?;
    let mut figures = Figures::default();
    figures.set("collections", collections as f64);
    figures.set("layout_s", copied_s - stretch.used.seconds);
    figures.set("copy_s", stretch.used.seconds);
    figures.set("ready_s", ready_s);
    figures.set("ms_per_collection", ready_s * 1e3 / collections as f64);
    figures.set("verified_s", verified_s);
    figures.set("engine_cpu_s", stretch.used.cpu_s[0]);
    figures.set("rss_peak_mb", engine.rss_peak_mb()?);
    engine.stop().await?;
    Ok((figures, ground.is_equal(source, &target).await?))
}
