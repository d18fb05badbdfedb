//! `bench memory`: the engine's largest resident memory (`VmHWM`), from its start
//! until it is ready, by size of the data.
//!
//! The source is idle meanwhile, except for the cases of one large transaction.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::bench::Outcome;
use crate::bench::args::Common;
use crate::bench::bulk;
use crate::bench::cases::CONNECTIONS;
use crate::bench::content::{Content, Ids};
use crate::bench::engine::Engine;
use crate::bench::figures::{self, Figures};
use crate::bench::ground::{Ground, host};
use crate::bench::statements::{self, Bulks};
use crate::bench::transaction::Transaction;
use crate::cluster::ReplicaSet;
use crate::error::{Error, Result};
use crate::server::open_files;

const PATIENCE: Duration = Duration::from_secs(900);
const DOC_BYTES: usize = 1_024;
/// The largest document a server takes.
const LARGEST_BYTES: usize = 16 << 20;

/// The engine's largest resident memory: by size of the data, with the largest
/// documents, with many collections, and following one large transaction.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Args {
    /// MB of the smallest case; the others are twice and four times of it
    /// [default: 128, quick 32]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    mb: Option<u64>,
    /// Documents of 16 MB [default: 24, quick 6]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    largest: Option<u64>,
    /// Collections of the last case [default: 20000 or what the limit of open files
    /// allows, quick 500]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    collections: Option<u64>,
    /// MB of one transaction that is followed [default: 500, quick 50]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    transaction_mb: Option<u64>,
    /// Deletes of another one [default: 400000, quick 40000]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    transaction_deletes: Option<u64>,
    /// The transactions only
    #[arg(long)]
    only_transactions: bool,
    #[command(flatten)]
    pub(super) common: Common,
}

struct Case {
    name: String,
    collections: u64,
    /// Of each collection.
    docs: u64,
    doc_bytes: usize,
}

pub(super) async fn run(args: &Args, ground: &Ground) -> Result<Outcome> {
    let (mut told, mut most, mut equal) = (Map::new(), 0.0_f64, true);
    let cases = if args.only_transactions {
        Vec::new()
    } else {
        cases(args, collections(args)?)
    };
    for case in cases {
        let source = ground.start("source").await?;
        ground.tell(format!("populating {}", case.name));
        bulk::write(&host(&source), case.population(args.common.seed)).await?;
        let mut rounds = Vec::new();
        for _ in 0..args.common.runs {
            let (figures, same) = measure(ground, &case, &source).await?;
            most = most.max(figures.get("rss_peak_mb").unwrap_or_default());
            rounds.push(figures);
            equal &= same;
        }
        told.insert(case.name.clone(), Value::Object(figures::fold(&rounds)));
    }
    for transaction in transactions(args) {
        let mut rounds = Vec::new();
        for _ in 0..args.common.runs {
            let (figures, same) = transaction.measure(ground).await?;
            most = most.max(figures.get("rss_peak_mb").unwrap_or_default());
            rounds.push(figures);
            equal &= same;
        }
        told.insert(transaction.name(), Value::Object(figures::fold(&rounds)));
    }
    let mut json = Map::new();
    json.insert("suite".to_owned(), json!("memory"));
    json.insert("rss_peak_mb".to_owned(), json!(most.round() as u64));
    json.insert("cases".to_owned(), Value::Object(told));
    Ok(Outcome {
        json,
        plots: Vec::new(),
        equal,
    })
}

/// # Errors
/// If more collections are asked for than a server has files for.
fn collections(args: &Args) -> Result<u64> {
    let most = open_files::collections_max(0);
    if args.collections.is_some_and(|asked| most < asked) {
        let remedy =
            "raise the limit (`ulimit -n`, two files for each collection) or ask for fewer";
        return Err(Error::new(format!(
            "the limit of open files allows {most} collections only"
        ))
        .remedy(remedy));
    }
    Ok(args.common.size(args.collections, 500, 20_000.min(most)))
}

fn cases(args: &Args, collections: u64) -> Vec<Case> {
    let mb = args.common.size(args.mb, 32, 128);
    let sized = |times: u64| Case {
        name: format!("{}_mb", mb * times),
        collections: 1,
        docs: mb * times * 1_000_000 / DOC_BYTES as u64,
        doc_bytes: DOC_BYTES,
    };
    let mut cases = Vec::from([1, 2, 4].map(sized));
    let largest = args.common.size(args.largest, 6, 24);
    cases.push(Case {
        name: "16_mb_documents".to_owned(),
        collections: 1,
        docs: largest,
        doc_bytes: LARGEST_BYTES,
    });
    cases.push(Case {
        name: format!("{collections}_collections"),
        collections,
        docs: 1,
        doc_bytes: DOC_BYTES,
    });
    cases
}

fn transactions(args: &Args) -> [Transaction; 2] {
    let mb = args.common.size(args.transaction_mb, 50, 500);
    let deletes = args.common.size(args.transaction_deletes, 40_000, 400_000);
    [
        Transaction::Inserts(mb * 1_000_000 / DOC_BYTES as u64),
        Transaction::Deletes(deletes),
    ]
}

async fn measure(ground: &Ground, case: &Case, source: &ReplicaSet) -> Result<(Figures, bool)> {
    let target = ground.start("target").await?;
    let mut engine = Engine::start(ground, source, &target).await?;
    engine.until("ready", PATIENCE).await?;
    let rss_peak_mb = engine.rss_peak_mb()?;
    engine.stop().await?;
    ground.tell(format!("{}: at most {rss_peak_mb:.0} MB", case.name));
    let mut figures = Figures::default();
    figures.set("collections", case.collections as f64);
    figures.set("docs", (case.docs * case.collections) as f64);
    figures.set(
        "data_mb",
        (case.docs * case.collections * case.doc_bytes as u64) as f64 / 1e6,
    );
    figures.set("rss_peak_mb", rss_peak_mb);
    Ok((figures, ground.is_equal(source, &target).await?))
}

impl Case {
    fn population(&self, seed: u64) -> Vec<Bulks> {
        let content = Content::new(self.doc_bytes, Ids::Ascending, seed);
        let stream = |part| {
            let content = content.clone();
            if self.collections == 1 {
                return statements::inserts(
                    &content,
                    "c0",
                    statements::share(0..self.docs, part, CONNECTIONS),
                );
            }
            let docs = self.docs;
            let own = statements::share(0..self.collections, part, CONNECTIONS);
            Box::new(
                own.flat_map(move |n| statements::inserts(&content, &format!("c{n}"), 0..docs)),
            ) as Bulks
        };
        (0..CONNECTIONS).map(stream).collect()
    }
}
