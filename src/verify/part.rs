//! The parts of a comparison: one collection on one pair of shards.
//!
//! Knows nothing about ranges.

use bson::{RawDocument, Timestamp, Uuid, doc};
use mongodb::Client;

use crate::cluster::catalog::{Catalog, Collection, CollectionKind, Namespace};
use crate::cluster::deployment::{Deployment, Shard};
use crate::cluster::ownership::Ownership;
use crate::error::{Error, Result};
use crate::verify::{Depth, Job};

/// Name of the connections, in server logs and `$currentOp`.
const APP_NAME: &str = "shardlift verify";

/// The order in which documents of both sides are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Along the `_id` index, which the client can compare: ranges.
    Id,
    /// As stored, because the client cannot reproduce the index order: in one range.
    Stored,
    /// As stored, and the order itself is compared (capped collections).
    Natural,
}

/// One collection on one pair.
#[derive(Debug, Clone)]
pub struct Part {
    /// Index of the source shard, and the source's UUID: what a part is known by
    /// beyond one comparison. A recreated namesake is another.
    pub shard: usize,
    pub uuid: Option<Uuid>,
    pub ns: Namespace,
    pub source: Reader,
    pub target: Reader,
    pub order: Order,
    pub clustered: bool,
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

/// The documents of one side that count.
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
    catalog
        .collections
        .iter()
        .filter(|c| c.kind == CollectionKind::Plain)
        .count() as u64
}

/// Every plain collection on every pair. Where a collection does not live on a
/// source shard, nothing counts there and its target must hold nothing.
pub async fn list(job: &Job<'_>) -> Result<Vec<Part>> {
    let readers = Readers::open(job.source, job.target, job.pairs, job.concurrency).await?;
    let mut parts = Vec::new();
    for collection in job
        .catalog
        .collections
        .iter()
        .filter(|c| c.kind == CollectionKind::Plain)
    {
        parts.extend(readers.parts(collection, job.depth)?);
    }
    Ok(parts)
}

/// Connections to every pair: source and target.
pub struct Readers {
    pairs: Vec<(Reader, Reader)>,
    /// The target may hold orphans, too; its owners are those of the source.
    orphans: bool,
}

impl Readers {
    /// Opens connections, one per side for each of `concurrency` ranges. Their reads
    /// include everything acknowledged until now.
    pub async fn open(
        source: &Deployment,
        target: &Deployment,
        pairs: &[usize],
        concurrency: usize,
    ) -> Result<Self> {
        let (sources, targets) =
            tokio::try_join!(readers(source, concurrency), readers(target, concurrency))?;
        let paired = sources.into_iter().enumerate().map(|(shard, reader)| {
            let target = pairs
                .get(shard)
                .and_then(|&target| targets.get(target))
                .cloned();
            Some(reader)
                .zip(target)
                .ok_or_else(|| Error::internal(format!("source shard {shard} has no pair")))
        });
        Ok(Readers {
            pairs: paired.collect::<Result<_>>()?,
            orphans: target.had_users,
        })
    }

    /// A collection on every pair.
    pub fn parts(&self, collection: &Collection, depth: Depth) -> Result<Vec<Part>> {
        let part = |(shard, (source, target)): (usize, &(Reader, Reader))| {
            let counted = counted(collection, shard)?;
            let of_target = if self.orphans {
                counted.clone()
            } else {
                Counted::All
            };
            Ok(Part {
                shard,
                uuid: collection.uuid,
                ns: collection.ns.clone(),
                source: Reader {
                    counted,
                    ..source.clone()
                },
                target: Reader {
                    counted: of_target,
                    ..target.clone()
                },
                order: order(collection, [source, target]),
                clustered: collection.is_clustered(),
                depth,
            })
        };
        self.pairs.iter().enumerate().map(part).collect()
    }
}

/// The documents of a collection that count on a source shard.
fn counted(collection: &Collection, shard: usize) -> Result<Counted> {
    let Some(sharded) = collection
        .sharded
        .as_ref()
        .filter(|_| collection.lives_on(shard))
    else {
        return Ok(if collection.lives_on(shard) {
            Counted::All
        } else {
            Counted::Nothing
        });
    };
    let ownership = Ownership::of(sharded, shard)?;
    Ok(if ownership.owns_all() {
        Counted::All
    } else {
        Counted::Owned(Box::new(ownership))
    })
}

/// Time series are stored by ObjectIds: where both sides can read them along these, they
/// are cut into ranges like others.
fn order(collection: &Collection, sides: [&Reader; 2]) -> Order {
    let is_ranged = || {
        let hinted = sides.iter().all(|side| side.shard.writes.clustered_hint);
        collection.ns.time_series().is_some() && hinted
    };
    match collection {
        c if c.is_capped() => Order::Natural,
        c if c.has_collation() || c.is_clustered() && !is_ranged() => Order::Stored,
        _ => Order::Id,
    }
}

async fn readers(deployment: &Deployment, concurrency: usize) -> Result<Vec<Reader>> {
    let mut readers = Vec::new();
    for shard in &deployment.shards {
        let client = shard.data_client(APP_NAME, concurrency as u32 + 2)?;
        let after = newest(&client).await?;
        readers.push(Reader {
            shard: shard.clone(),
            client,
            after,
            counted: Counted::All,
        });
    }
    Ok(readers)
}

/// The newest operation a shard's primary has acknowledged. Majority reads wait
/// for it, so that `w: 1` writes made just before are seen.
pub async fn newest(client: &Client) -> Result<Option<Timestamp>> {
    let reply = client
        .database("admin")
        .run_command(doc! {"ping": 1})
        .await?;
    Ok(reply.get_timestamp("operationTime").ok())
}
