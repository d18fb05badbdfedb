//! `bench cutover`: from the last write to done, by size: of documents, of indexes on one
//! collection, of collections (spread over databases, a secondary index each).
//!
//! As an operator would, it waits until the status says that all is verified ahead,
//! then lets some load run and stops it. Timed from the answer to the last write: the
//! request, the markers, the look at what was touched since, until the status says
//! `done` (asked every 10 ms). With `--verify full` (or `counts`) among the engine's
//! arguments there is nothing to wait for, and the cutover compares everything.

use std::time::{Duration, Instant};

use bson::{Bson, doc};
use serde_json::{Map, Value, json};

use crate::bench::Outcome;
use crate::bench::args::Common;
use crate::bench::bulk;
use crate::bench::cases::CONNECTIONS;
use crate::bench::content::{Content, Ids};
use crate::bench::engine::Engine;
use crate::bench::figures::{self, Figures};
use crate::bench::ground::{Ground, host};
use crate::bench::many;
use crate::bench::statements::{self, DATABASE};
use crate::cluster::ReplicaSet;
use crate::error::Result;
use crate::wire::link::Link;

const COLLECTION: &str = "cutover";
const DOC_BYTES: usize = 1_024;
/// Documents of it in the cases that are about the number of collections.
const COLLECTIONS_DOCS: u64 = 1_000;
const PATIENCE: Duration = Duration::from_secs(900);
const POLL: Duration = Duration::from_millis(10);
/// The load until the writes stop: so many updates every so often, for so long.
const UPDATES: usize = 100;
const PAUSE: Duration = Duration::from_millis(50);
const LOAD_TIME: Duration = Duration::from_secs(2);

/// The time from the stop of writes to done, by number of documents and indexes.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Args {
    /// Documents of the largest case [default: 1000000, quick 100000]
    #[arg(long, value_parser = clap::value_parser!(u64).range(100..=50_000_000))]
    docs: Option<u64>,
    /// Collections of the largest case [default: 20000, or as many as open files allow; quick 1000]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    collections: Option<u64>,
    #[command(flatten)]
    pub(super) common: Common,
}

struct Case {
    name: String,
    /// Of the collection that is written to.
    docs: u64,
    indexes: u32,
    /// Besides that one, each with a document and a secondary index.
    collections: u64,
}

pub(super) async fn run(args: &Args, ground: &Ground) -> Result<Outcome> {
    let largest = args.common.size(args.docs, 100_000, 1_000_000);
    let mut cases: Vec<Case> = [0, 10_000, largest]
        .map(|docs| Case {
            name: docs.to_string(),
            docs,
            indexes: 0,
            collections: 0,
        })
        .into();
    cases.dedup_by_key(|case| case.docs);
    cases.push(Case {
        name: "20_indexes".to_owned(),
        docs: largest / 10,
        indexes: 20,
        collections: 0,
    });
    for collections in counts(args)? {
        cases.push(Case {
            name: format!("{collections}_collections"),
            docs: COLLECTIONS_DOCS,
            indexes: 0,
            collections,
        });
    }
    let (mut told, mut most, mut equal) = (Map::new(), 0.0_f64, true);
    for case in &cases {
        let source = populated(ground, case).await?;
        let mut rounds = Vec::new();
        for round in 0..args.common.runs {
            let (figures, same) = measure(ground, case, &source, round).await?;
            most = most.max(figures.get("cutover_ms").unwrap_or_default());
            rounds.push(figures);
            equal &= same;
        }
        told.insert(case.name.clone(), Value::Object(figures::fold(&rounds)));
    }
    let mut json = Map::new();
    json.insert("suite".to_owned(), json!("cutover"));
    json.insert("cutover_ms_max".to_owned(), json!(most.round() as u64));
    json.insert("cases".to_owned(), Value::Object(told));
    Ok(Outcome {
        json,
        plots: Vec::new(),
        equal,
    })
}

/// Collections of the cases that are about their number.
fn counts(args: &Args) -> Result<Vec<u64>> {
    let largest = many::count(args.collections, args.common.size(None, 1_000, 20_000))?;
    let mut counts = vec![0, largest.min(1_000), largest];
    counts.dedup();
    Ok(counts)
}

async fn populated(ground: &Ground, case: &Case) -> Result<ReplicaSet> {
    let source = ground.start("source").await?;
    ground.tell(format!(
        "populating {} documents, {} indexes",
        case.docs, case.indexes
    ));
    let database = source.client().await?.database(DATABASE);
    database.create_collection(COLLECTION).await?;
    let content = content(ground);
    let own = |part| statements::share(0..case.docs, part, CONNECTIONS);
    let streams = (0..CONNECTIONS)
        .map(|part| statements::inserts(&content, COLLECTION, own(part)))
        .collect();
    bulk::write(&host(&source), streams).await?;
    many::make(&source, case.collections, 1).await?;
    if 0 < case.indexes {
        let index = |i| doc! { "key": { "n": 1, format!("f{i}"): 1 }, "name": format!("n_f{i}") };
        let indexes: Vec<Bson> = (0..case.indexes).map(index).map(Bson::Document).collect();
        database
            .run_command(doc! { "createIndexes": COLLECTION, "indexes": indexes })
            .await?;
    }
    Ok(source)
}

async fn measure(
    ground: &Ground,
    case: &Case,
    source: &ReplicaSet,
    round: u32,
) -> Result<(Figures, bool)> {
    let target = ground.start("target").await?;
    let mut engine = Engine::start(ground, source, &target).await?;
    engine.until("ready", PATIENCE).await?;
    let mut figures = Figures::default();
    if verifies_ahead(&ground.common.engine_args) {
        let waited = engine.until_verified(PATIENCE).await?;
        ground.tell(format!(
            "{}: all verified ahead {waited:.1} s after it was ready",
            case.name
        ));
        figures.set("verified_after_s", waited);
    }
    if 0 < case.docs {
        load(ground, case, source, round).await?;
    }
    figures.set(
        "touched",
        engine.status().await?.sum(|pair| pair.documents_touched) as f64,
    );
    let stopped = Instant::now();
    let engine_ms = cut_over(&mut engine, stopped).await?;
    let cutover_ms = stopped.elapsed().as_secs_f64() * 1e3;
    ground.tell(format!(
        "{}: {cutover_ms:.0} ms from the last write to done",
        case.name
    ));
    engine.done().await?;
    figures.set("docs", case.docs as f64);
    figures.set("indexes", f64::from(case.indexes));
    figures.set("collections", case.collections as f64);
    figures.set("cutover_ms", cutover_ms);
    figures.set("engine_cutover_ms", engine_ms as f64);
    Ok((figures, ground.is_equal(source, &target).await?))
}

/// The engine's default, and what it is told to do instead.
fn verifies_ahead(engine_args: &[String]) -> bool {
    let told = engine_args
        .iter()
        .zip(engine_args.iter().skip(1))
        .rfind(|(flag, _)| *flag == "--verify");
    let joined = engine_args
        .iter()
        .rev()
        .find_map(|flag| flag.strip_prefix("--verify="));
    told.map(|(_, mode)| mode.as_str())
        .or(joined)
        .is_none_or(|mode| mode == "digests")
}

/// A light load, so that there is something to stop.
async fn load(ground: &Ground, case: &Case, source: &ReplicaSet, round: u32) -> Result<()> {
    let content = content(ground);
    let mut link = Link::connect(&host(source)).await?;
    let (began, mut value) = (Instant::now(), i64::from(round + 1) << 32);
    let mut documents = statements::uniform(case.docs, 0, 1, ground.common.seed + u64::from(round));
    while began.elapsed() < LOAD_TIME {
        let some: Vec<u64> = documents.by_ref().take(UPDATES).collect();
        for bulk in statements::sets(&content, COLLECTION, some.into_iter(), value) {
            bulk.send(&mut link).await?;
        }
        value += UPDATES as i64;
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

/// Asks until it is done, again where it was refused or called off; the engine's
/// own measure, ms.
async fn cut_over(engine: &mut Engine, stopped: Instant) -> Result<u64> {
    let mut given_up = None;
    while stopped.elapsed() < PATIENCE {
        let status = engine.status().await?;
        if status.phase == "done" {
            return Ok(status.cutover_ms.unwrap_or_default());
        }
        // Not asked yet, or called off since.
        if given_up.is_none_or(|before| before < status.cutovers_given_up) {
            match engine.api().cutover().await? {
                Ok(_) => given_up = Some(status.cutovers_given_up),
                Err(refusal) => eprintln!("          refused: {}", refusal.trim()),
            }
        }
        tokio::time::sleep(POLL).await;
    }
    Err(engine.explain(format!("the cutover is not done after {PATIENCE:?}")))
}

fn content(ground: &Ground) -> Content {
    Content::new(DOC_BYTES, Ids::Random, ground.common.seed)
}
