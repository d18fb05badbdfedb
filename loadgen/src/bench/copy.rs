//! `bench copy`: the engine's copy of an idle source, beside what both servers
//! allow and MongoDB's own initial sync of the same data.
//!
//! - `scan_s`: reading everything from the source, no target: ranges of `_id` over two
//!   connections where `_id`s ascend on the disk, else in the order of the disk
//! - `write_s`: writing prebuilt inserts in the order of `_id` into an empty server, two
//!   connections
//! - `floor_s`: the larger of both, or their servers' CPU over all cores: no copy
//!   through a client can be faster
//! - `copy_s`: as `Engine::copy` says; `start_s` is what lies before it
//! - `native_s`: as `Native::join` says

use std::sync::Arc;
use std::time::{Duration, Instant};

use bson::doc;
use serde_json::{Map, json};

use crate::bench::args::Common;
use crate::bench::bulk::{self, Bulk};
use crate::bench::content::{Content, Ids};
use crate::bench::engine::{Engine, Stretch};
use crate::bench::figures::{self, Figures};
use crate::bench::ground::{Ground, host, pid};
use crate::bench::native::Native;
use crate::bench::plot::{Line, Plot};
use crate::bench::process::{Meter, Used};
use crate::bench::statements::{self, Bulks, DATABASE};
use crate::bench::{Outcome, scan};
use crate::cluster::ReplicaSet;
use crate::error::{Error, Result};

const DOCS: u64 = 1_000_000;
/// Where documents are large there are fewer.
const BYTES_MAX: u64 = 1 << 30;
const QUICK_PART: u64 = 10;
/// Connections of the write-only measurement.
const WRITERS: usize = 2;
/// Ranges of a collection that are read side by side.
const SCAN_PARTS: u64 = 4;
const PATIENCE: Duration = Duration::from_secs(900);
const RATE_WINDOW_S: f64 = 0.2;

/// The copy of an idle source, beside scan only, write only and MongoDB's own
/// initial sync of the same data.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Args {
    /// Documents [default: 1000000, where they are large 1 GiB of them, quick a tenth]
    #[arg(long, value_parser = clap::value_parser!(u64).range(100..=100_000_000))]
    docs: Option<u64>,
    /// Bytes of a document: 200, 1024, 102400, …
    #[arg(long, default_value_t = 1_024, value_parser = parse_bytes)]
    doc_bytes: usize,
    /// Order of the `_id`s on the source's disk
    #[arg(long, value_enum, default_value = "ascending")]
    ids: Ids,
    /// Collections they are parted into
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    collections: u64,
    #[command(flatten)]
    pub(super) common: Common,
}

/// What is copied.
struct Data {
    content: Content,
    collections: Vec<String>,
    /// Of each collection.
    docs: u64,
}

/// The engine's copy, with what came before and after.
struct Copied {
    stretch: Stretch,
    start_s: f64,
    rss_peak_mb: f64,
}

pub(super) async fn run(args: &Args, ground: &Ground) -> Result<Outcome> {
    let full = DOCS.min(BYTES_MAX / args.doc_bytes as u64);
    let docs = args.common.size(args.docs, full / QUICK_PART, full);
    let data = Data {
        content: Content::new(args.doc_bytes, args.ids, args.common.seed),
        collections: (0..args.collections).map(|i| format!("c{i}")).collect(),
        docs: docs / args.collections,
    };
    let source = ground.start("source").await?;
    ground.tell(format!(
        "populating {} documents of {} bytes",
        data.total(),
        data.content.bytes()
    ));
    let on_disk = (0..data.docs).collect();
    bulk::write(&host(&source), data.streams(WRITERS, &on_disk)).await?;
    let (mut rounds, mut plots, mut equal) = (Vec::new(), Vec::new(), true);
    for round in 0..args.common.runs {
        let (figures, plot, same) = measure(ground, &data, &source, round).await?;
        rounds.push(figures);
        plots.push(plot);
        equal &= same;
    }
    let mut json = Map::new();
    json.insert("suite".to_owned(), json!("copy"));
    json.insert(
        "ids".to_owned(),
        json!(if args.ids == Ids::Random {
            "random"
        } else {
            "ascending"
        }),
    );
    json.insert("collections".to_owned(), json!(args.collections));
    json.extend(figures::fold(&rounds));
    Ok(Outcome { json, plots, equal })
}

async fn measure(
    ground: &Ground,
    data: &Data,
    source: &ReplicaSet,
    round: u32,
) -> Result<(Figures, Plot, bool)> {
    let scan = scan_only(ground, data, source).await?;
    let write = write_only(ground, data).await?;
    // By turns, so that neither always finds the warmer source; and at once, for the machine
    // may be slower in a minute.
    let target = ground.start("target").await?;
    let (copied, native);
    if round.is_multiple_of(2) {
        copied = copy(ground, source, &target).await?;
        native = initial_sync(ground, source).await?;
    } else {
        native = initial_sync(ground, source).await?;
        copied = copy(ground, source, &target).await?;
    }
    let equal = ground.is_equal(source, &target).await?;
    let figures = figures_of(ground, data, &scan, &write, &copied, &native);
    let line = Line::rate_of("engine", &copied.stretch.counts, RATE_WINDOW_S);
    let plot = Plot {
        title: format!("copy, run {}", round + 1),
        unit: "documents copied per second",
        lines: vec![line],
    };
    Ok((figures, plot, equal))
}

/// CPU: of the source.
async fn scan_only(ground: &Ground, data: &Data, source: &ReplicaSet) -> Result<Used> {
    let client = source.client().await?;
    // A connection is made, and the collections are known.
    client
        .database(DATABASE)
        .run_command(doc! { "ping": 1 })
        .await?;
    let ranges = match data.content.ids() {
        Ids::Ascending => scan::ranges(
            &data.collections,
            &data.content.bounds(data.docs, SCAN_PARTS),
        ),
        Ids::Random => scan::whole(&data.collections),
    };
    let meter = Meter::now(&[pid(source)?])?;
    let (documents, _) = scan::read(&client, ranges).await?;
    let used = meter.used()?;
    ground.tell(format!("scan only: {:.2} s", used.seconds));
    if documents == data.total() {
        Ok(used)
    } else {
        Err(Error::new(format!(
            "the scan found {documents} of {} documents",
            data.total()
        )))
    }
}

/// CPU: of the server written to, which is gone afterwards.
async fn write_only(ground: &Ground, data: &Data) -> Result<Used> {
    let scratch = ground.start("scratch").await?;
    let database = scratch.client().await?.database(DATABASE);
    for collection in &data.collections {
        database.create_collection(collection).await?;
    }
    let mut by_id: Vec<u64> = (0..data.docs).collect();
    by_id.sort_unstable_by_key(|n| data.content.id(*n));
    let prebuilt: Vec<Vec<Bulk>> = data
        .streams(WRITERS, &by_id.into())
        .into_iter()
        .map(Iterator::collect)
        .collect();
    let streams = prebuilt.into_iter().map(Vec::into_iter).collect();
    let meter = Meter::now(&[pid(&scratch)?])?;
    bulk::write(&host(&scratch), streams).await?;
    let used = meter.used()?;
    ground.tell(format!("write only: {:.2} s", used.seconds));
    Ok(used)
}

/// Onto an empty target. CPU: engine, source, target.
async fn copy(ground: &Ground, source: &ReplicaSet, target: &ReplicaSet) -> Result<Copied> {
    let began = Instant::now();
    let mut engine = Engine::start(ground, source, target).await?;
    let stretch = engine.copy(&[pid(source)?, pid(target)?], PATIENCE).await?;
    let start_s = began.elapsed().as_secs_f64() - stretch.used.seconds;
    ground.tell(format!("copy by the engine: {:.2} s", stretch.used.seconds));
    engine.until("ready", PATIENCE).await?;
    let rss_peak_mb = engine.rss_peak_mb()?;
    engine.stop().await?;
    Ok(Copied {
        stretch,
        start_s,
        rss_peak_mb,
    })
}

/// CPU: the new member, source.
async fn initial_sync(ground: &Ground, source: &ReplicaSet) -> Result<Used> {
    let native = Native::start(ground, source).await?;
    let used = native.join(source, &[pid(source)?], PATIENCE).await?;
    ground.tell(format!("native initial sync: {:.2} s", used.seconds));
    native.leave(source).await?;
    Ok(used)
}

fn figures_of(
    ground: &Ground,
    data: &Data,
    scan: &Used,
    write: &Used,
    copied: &Copied,
    native: &Used,
) -> Figures {
    let Copied {
        stretch: Stretch { used, .. },
        start_s,
        rss_peak_mb,
        ..
    } = copied;
    let docs = data.total() as f64;
    let us_per_doc = |cpu_s: f64| cpu_s / docs * 1e6;
    let cpu_floor_s = (scan.cpu_s[0] + write.cpu_s[0]) / ground.cores();
    let floor_s = scan.seconds.max(write.seconds).max(cpu_floor_s);
    let mut figures = Figures::default();
    figures.set("docs", docs);
    figures.set("doc_bytes", data.content.bytes() as f64);
    figures.set("copy_s", used.seconds);
    figures.set("scan_s", scan.seconds);
    figures.set("write_s", write.seconds);
    figures.set("cpu_floor_s", cpu_floor_s);
    figures.set("floor_s", floor_s);
    figures.set("ratio", used.seconds / floor_s);
    figures.set("native_s", native.seconds);
    figures.set("native_ratio", used.seconds / native.seconds);
    figures.set("start_s", *start_s);
    figures.set("engine_cpu_us_per_doc", us_per_doc(used.cpu_s[0]));
    figures.set(
        "server_cpu_us_per_doc",
        us_per_doc(used.cpu_s[1] + used.cpu_s[2]),
    );
    figures.set("native_cpu_us_per_doc", us_per_doc(native.cpu_s[0]));
    figures.set("rss_peak_mb", *rss_peak_mb);
    figures
}

impl Data {
    fn total(&self) -> u64 {
        self.docs * self.collections.len() as u64
    }

    /// All inserts in this order, for `connections` connections.
    fn streams(&self, connections: usize, order: &Arc<[u64]>) -> Vec<Bulks> {
        // Whole commands by turns, so that the order is the disk's too.
        let block = bulk::STATEMENTS_MAX;
        let stream = |part: usize| {
            let of = |collection: &String| {
                let order = order.clone();
                let own = (0..order.len())
                    .filter(move |at| at / block % connections == part)
                    .map(move |at| order[at]);
                statements::inserts(&self.content, collection, own)
            };
            Box::new(
                self.collections
                    .iter()
                    .map(of)
                    .collect::<Vec<_>>()
                    .into_iter()
                    .flatten(),
            ) as Bulks
        };
        (0..connections).map(stream).collect()
    }
}

fn parse_bytes(text: &str) -> std::result::Result<usize, String> {
    match text.parse() {
        Ok(bytes) if (64..=15 << 20).contains(&bytes) => Ok(bytes),
        _ => Err("give a number of bytes, from 64 to 15728640".to_owned()),
    }
}
