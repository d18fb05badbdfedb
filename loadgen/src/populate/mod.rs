//! `loadgen populate`: fills a deployment with seeded content that covers every
//! kind of collection, index and `_id` a migration must carry. The same seed
//! gives the same bytes.
//!
//! Knows nothing about migrations and local clusters: only a URI.

mod fill;
mod prepare;
pub mod types;

use std::time::Instant;

use serde::Serialize;

use crate::{
    entry::Entry,
    error::{Doing, Result},
    layout::Layout,
};

/// Flags of `loadgen populate`.
#[derive(Debug, Clone, clap::Args)]
pub struct PopulateArgs {
    /// URI of the router (mongos) or replica set to fill.
    #[arg(long)]
    pub uri: String,
    /// Seed of all content.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Documents of all collections together.
    #[arg(long, default_value_t = 300_000)]
    pub docs: u64,
    /// Connections that insert side by side.
    #[arg(long, default_value_t = 4)]
    pub connections: u32,
    /// Insert straight into the owning shards; with `false`, through the router.
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
    pub direct: bool,
    /// Drop the databases of the layout first.
    #[arg(long)]
    pub drop: bool,
    /// Make the capped collection too.
    #[arg(long)]
    pub capped: bool,
    /// Make the collections with every BSON type and extreme documents too.
    #[arg(long)]
    pub types: bool,
    /// Print the summary as one JSON line.
    #[arg(long)]
    pub json: bool,
}

impl PopulateArgs {
    /// The defaults of the flags, for callers without a command line.
    pub fn new(uri: impl Into<String>) -> Self {
        PopulateArgs {
            uri: uri.into(),
            seed: 1,
            docs: 300_000,
            connections: 4,
            direct: true,
            drop: false,
            capped: false,
            types: false,
            json: false,
        }
    }
}

/// What was written.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Summary {
    pub documents: u64,
    pub bytes: u64,
    pub seconds: f64,
    pub collections: Vec<CollectionSummary>,
}

#[derive(Debug, Clone, Serialize)]
pub struct CollectionSummary {
    pub ns: String,
    pub documents: u64,
    pub bytes: u64,
}

/// Fills the deployment and prints the summary.
pub async fn run(args: PopulateArgs) -> Result<()> {
    let summary = populate(&args).await?;
    if args.json {
        println!("{}", serde_json::json!(summary))
    } else {
        print!("{summary}")
    }
    Ok(())
}

/// Fills the deployment; the library form of [`run`].
///
/// # Errors
/// `Server` when a collection of the layout exists already and `drop` is not set.
pub async fn populate(args: &PopulateArgs) -> Result<Summary> {
    let started = Instant::now();
    let entry = Entry::connect(&args.uri, args.connections + 4).await?;
    let layout = Layout::new(args.seed, args.docs, args.capped);
    if args.drop {
        drop_all(&entry, &layout).await?;
    }
    prepare::prepare(&entry, &layout).await?;
    let mut summary = fill::fill(&entry, &layout, args.connections, args.direct).await?;
    prepare::views(&entry).await?;
    if args.types {
        summary.collections.extend(types::create(&entry).await?);
    }
    layout.write(&entry).await?;
    summary.documents = summary
        .collections
        .iter()
        .map(|collection| collection.documents)
        .sum();
    summary.bytes = summary
        .collections
        .iter()
        .map(|collection| collection.bytes)
        .sum();
    summary.seconds = started.elapsed().as_secs_f64();
    Ok(summary)
}

async fn drop_all(entry: &Entry, layout: &Layout) -> Result<()> {
    let mut names: Vec<&str> = layout
        .collections
        .iter()
        .map(|spec| spec.database)
        .collect();
    names.extend(["loadgen", types::DATABASE]);
    names.sort();
    names.dedup();
    for name in names {
        entry
            .client
            .database(name)
            .drop()
            .await
            .doing(|| format!("dropping database {name}"))?;
    }
    Ok(())
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for collection in &self.collections {
            writeln!(
                f,
                "{:<32} {:>9} documents {:>12} bytes",
                collection.ns, collection.documents, collection.bytes
            )?;
        }
        let average = self.bytes / self.documents.max(1);
        writeln!(
            f,
            "populated {} documents, {:.1} MB ({average} bytes on average) in {:.1} s",
            self.documents,
            self.bytes as f64 / 1e6,
            self.seconds
        )
    }
}
