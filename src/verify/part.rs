//! The parts of a comparison: one collection on one pair of shards.
//!
//! Knows nothing about ranges.

use bson::{RawDocument, Timestamp, doc};
use mongodb::Client;

use crate::cluster::catalog::{Catalog, Collection, CollectionKind, Namespace};
use crate::cluster::connect::{Deployment, Shard};
use crate::cluster::ownership::Ownership;
use crate::error::{Error, Result};
use crate::verify::{Depth, Job};

/// Name of the connections, in server logs and `$currentOp`.
const APP_NAME: &str = "shardlift verify";

/// In which order documents of both sides are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Along the `_id` index, which the client can compare: ranges.
    Id,
    /// As stored, where the client cannot tell the index order: one range.
    Stored,
    /// As stored, and the order itself is compared (capped collections).
    Natural,
}

/// One collection on one pair.
#[derive(Debug)]
pub struct Part {
    pub ns: Namespace,
    pub source: Reader,
    pub target: Reader,
    pub order: Order,
    pub depth: Depth,
}

/// One side of a part.
#[derive(Debug, Clone)]
pub struct Reader {
    pub shard: Shard,
    pub client: Client,
    /// Reads see everything acknowledged before this cluster time.
    pub after: Option<Timestamp>,
    pub counted: Counted,
}

/// Which documents of one side count.
#[derive(Debug, Clone)]
pub enum Counted {
    All,
    /// Those the shard owns: orphans are left out (R8).
    Owned(Box<Ownership>),
    /// None: the collection does not live on this shard.
    Nothing,
}

impl Counted {
    #[inline]
    pub fn counts(&self, document: &RawDocument) -> bool {
        match self {
            Counted::All => true,
            Counted::Owned(ownership) => ownership.owns(document),
            Counted::Nothing => false,
        }
    }
}

/// Collections that are compared.
pub fn collection_count(catalog: &Catalog) -> u64 {
    catalog.collections.iter().filter(|c| c.kind == CollectionKind::Plain).count() as u64
}

/// Every plain collection on every pair. Where a collection does not live on a
/// source shard, nothing counts there and its target must hold nothing.
pub async fn list(job: &Job<'_>) -> Result<Vec<Part>> {
    let sources = readers(job.source, job.concurrency).await?;
    let targets = readers(job.target, job.concurrency).await?;
    let mut parts = Vec::new();
    for collection in job.catalog.collections.iter().filter(|c| c.kind == CollectionKind::Plain) {
        for (shard, reader) in sources.iter().enumerate() {
            let target = job.pairs.get(shard).and_then(|&t| targets.get(t));
            let target = target.ok_or_else(|| Error::internal(format!("source shard {shard} has no pair")))?;
            let source = Reader { counted: counted(collection, shard)?, ..reader.clone() };
            let ns = collection.ns.clone();
            parts.push(Part { ns, source, target: target.clone(), order: order(collection), depth: job.depth });
        }
    }
    Ok(parts)
}

/// What counts of a collection on a source shard.
fn counted(collection: &Collection, shard: usize) -> Result<Counted> {
    let Some(sharded) = collection.sharded.as_ref().filter(|_| collection.lives_on(shard)) else {
        return Ok(if collection.lives_on(shard) { Counted::All } else { Counted::Nothing });
    };
    let ownership = Ownership::of(sharded, shard)?;
    Ok(if ownership.owns_all() { Counted::All } else { Counted::Owned(Box::new(ownership)) })
}

fn order(collection: &Collection) -> Order {
    let clustered = collection.options.get("clusteredIndex").is_ok_and(|c| c.is_some());
    match collection {
        c if c.is_capped() => Order::Natural,
        c if c.has_collation() || clustered => Order::Stored,
        _ => Order::Id,
    }
}

/// One reader per shard. Each side of each range has a connection.
async fn readers(deployment: &Deployment, concurrency: usize) -> Result<Vec<Reader>> {
    let mut readers = Vec::new();
    for shard in &deployment.shards {
        let client = shard.data_client(APP_NAME, concurrency as u32 + 2)?;
        let after = newest(&client).await?;
        readers.push(Reader { shard: shard.clone(), client, after, counted: Counted::All });
    }
    Ok(readers)
}

/// The newest operation a shard's primary has acknowledged. Majority reads wait
/// for it, so that `w: 1` writes made just before are seen.
async fn newest(client: &Client) -> Result<Option<Timestamp>> {
    let reply = client.database("admin").run_command(doc! {"ping": 1}).await?;
    Ok(reply.get_timestamp("operationTime").ok())
}
