//! `loadgen check`: compares all that a migration promises, on two deployments,
//! raw: collections and their kinds, options, views, every index specification,
//! shard keys, zones, the owner of every range, balancers, and each document byte
//! by byte. It reads what an application reads, through the routers, so orphans do
//! not count; and what each shard lists besides.
//!
//! Knows nothing about how the data got there, and shares no code with the
//! engine it judges.

pub mod balancer;
mod catalog;
mod describe;
mod documents;
mod fields;
mod filter;
mod indexes;
mod join;
mod left_behind;
mod raw;
mod renames;
mod report;
mod rows;
mod sharding;

use std::{sync::Arc, time::Instant};

use futures_util::{StreamExt, TryStreamExt, stream};

pub use report::{Difference, Report};

use crate::{
    entry::Entry,
    error::{Error, Result},
};
use catalog::Catalog;
use filter::Filter;
use report::{Findings, Seen};
use sharding::metadata::Metadata;

/// Flags of `loadgen check`.
#[derive(Debug, Clone, clap::Args)]
pub struct CheckArgs {
    /// URI of the source: router (mongos) or replica set.
    #[arg(long)]
    pub source: String,
    /// URI of the target.
    #[arg(long)]
    pub target: String,
    #[command(flatten)]
    pub options: CheckOptions,
    /// Print the report as one JSON line.
    #[arg(long)]
    pub json: bool,
}

/// How to compare.
#[derive(Debug, Clone, clap::Args)]
pub struct CheckOptions {
    /// Differences to name; all are counted.
    #[arg(long, default_value_t = 20)]
    pub max_differences: usize,
    /// Collections compared side by side.
    #[arg(long, default_value_t = 4)]
    pub parallel: usize,
    /// Only these are compared: db, db.*, db.name or /expression/. May be given several
    /// times.
    #[arg(long)]
    pub include: Vec<String>,
    /// Left out, besides what is never moved; written the same way.
    #[arg(long)]
    pub exclude: Vec<String>,
    /// What has another name on the target: db=other or db.name=db.other. May be given several
    /// times.
    #[arg(long)]
    pub rename: Vec<String>,
    /// Which source shard became which target shard; else by sorted id.
    #[arg(long, value_name = "SOURCE=TARGET,…", value_delimiter = ',')]
    pub map: Vec<String>,
    /// Accept documents on the target's shards that its router does not show.
    #[arg(long)]
    pub allow_orphans: bool,
    /// What the source's balancer was before, and is to be: full, off or autoSplitOnly.
    #[arg(long, value_name = "MODE")]
    pub source_balancer: Option<String>,
    /// The same of the target's.
    #[arg(long, value_name = "MODE")]
    pub target_balancer: Option<String>,
}

impl Default for CheckOptions {
    fn default() -> Self {
        CheckOptions {
            max_differences: 20,
            parallel: 4,
            include: Vec::new(),
            exclude: Vec::new(),
            rename: Vec::new(),
            map: Vec::new(),
            allow_orphans: false,
            source_balancer: None,
            target_balancer: None,
        }
    }
}

/// Both deployments, and which of their shards belong together.
struct Sides {
    source: Entry,
    target: Entry,
    /// Target shard of each source shard, by position; `None` where their
    /// numbers differ or one side has no router.
    pairs: Option<Vec<usize>>,
    allow_orphans: bool,
}

/// Compares and prints; true where both sides are equal.
pub async fn run(args: CheckArgs) -> Result<bool> {
    let report = compare(&args.source, &args.target, &args.options).await?;
    if args.json {
        println!("{}", serde_json::json!(report))
    } else {
        print!("{report}")
    }
    Ok(report.equal)
}

/// Compares the deployments behind two URIs.
///
/// # Errors
/// `Server` where a side cannot be read; a difference is no error.
pub async fn compare(source_uri: &str, target_uri: &str, options: &CheckOptions) -> Result<Report> {
    let started = Instant::now();
    let pool_max = options.parallel as u32 + 2;
    let source = Entry::connect(source_uri, pool_max).await?;
    let target = Entry::connect(target_uri, pool_max).await?;
    let pairs = shard_pairs(&source, &target, &options.map)?;
    let sides = Sides {
        source,
        target,
        pairs,
        allow_orphans: options.allow_orphans,
    };
    let findings = Arc::new(Findings::new(options.max_differences));
    let filter = Filter::new(&options.include, &options.exclude, &options.rename)?;
    let of_target = filter.of_target();
    let mut metadata = (
        Metadata::read(&sides.source, &filter).await?,
        Metadata::read(&sides.target, &of_target).await?,
    );
    // A cluster has `admin` on its config servers, which no migration reads.
    let shown = Catalog::read(&sides.target.client, &of_target, !sides.target.router).await?;
    let source = Catalog::read(&sides.source.client, &filter, !sides.source.router).await?;
    if filter.leaves_out_databases() {
        metadata.0.keep_databases(|name| source.has_database(name));
        metadata.1.keep_databases(|name| source.has_database(name));
    }
    let both = source.compare(&shown, &findings);
    catalog::compare_shards(&sides, &shown, &metadata, &filter, &findings).await?;
    indexes::compare(&sides, &both, &metadata, &findings).await?;
    sharding::compare(&sides, &metadata, &findings);
    let balancers = balancer::read(&sides).await?;
    if let Some(balancers) = &balancers {
        balancer::compare(balancers, options, &findings);
    }
    let left_behind = left_behind::of(&sides.source).await?;
    let compared = stream::iter(
        both.iter()
            .filter(|collection| collection.holds_documents()),
    )
    .map(|collection| documents::compare(&sides, collection, findings.clone()))
    .buffer_unordered(options.parallel.max(1));
    compared.try_collect::<()>().await?;
    Ok(findings.report(
        Seen {
            namespaces: both.len(),
            left_behind,
            balancers,
        },
        started.elapsed(),
    ))
}

fn shard_pairs(source: &Entry, target: &Entry, map: &[String]) -> Result<Option<Vec<usize>>> {
    if !source.router || !target.router || source.shards.len() != target.shards.len() {
        return Ok(None);
    }
    if map.is_empty() {
        return Ok(Some((0..source.shards.len()).collect()));
    }
    let mut pairs = vec![usize::MAX; source.shards.len()];
    for pair in map {
        let (from, to) = pair
            .split_once('=')
            .ok_or_else(|| Error::new(format!("--map {pair}: write it as source=target")))?;
        pairs[source.shard_index(from)?] = target.shard_index(to)?;
    }
    if pairs.contains(&usize::MAX) {
        Err(Error::new("--map does not name every source shard"))
    } else {
        Ok(Some(pairs))
    }
}
