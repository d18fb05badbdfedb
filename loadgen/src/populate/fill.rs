//! The documents: built in parallel, inserted in bulk, straight into the shard
//! that owns them or through the router.
//!
//! IMPORTANT: straight inserts are right only while no chunk moves; the
//! balancer was stopped before. A document that its shard owns is logged as any
//! other insert is.

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use bson::{RawDocumentBuf, doc, raw::RawArrayBuf, raw::cstr};
use mongodb::Client;

use super::{CollectionSummary, Summary};
use crate::{
    entry::{Entry, write_on},
    error::{Error, Result},
    layout::{CollectionSpec, Layout},
    owner::OwnerMap,
};

/// Documents built at a time, before they are parted by shard.
const BLOCK_DOCUMENTS: u64 = 1_000;
/// Bytes of documents in one insert command; a message may hold 48 MB, a command
/// document 16 MB.
const INSERT_BYTES_MAX: usize = 8 << 20;

/// One collection being filled.
struct Job {
    spec: CollectionSpec,
    /// Clients by position, and who of them owns what.
    clients: Vec<Client>,
    owners: Option<OwnerMap>,
    bytes: AtomicU64,
}

/// Inserts every document of the layout, over `connections` workers.
pub(super) async fn fill(
    entry: &Entry,
    layout: &Layout,
    connections: u32,
    direct: bool,
) -> Result<Summary> {
    let mut jobs = Vec::new();
    for spec in &layout.collections {
        jobs.push(job(entry, spec, direct).await?);
    }
    let jobs = Arc::new(jobs);
    let blocks = Arc::new(blocks(&jobs));
    let next = Arc::new(AtomicUsize::new(0));
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..connections.max(1) {
        workers.spawn(work(
            jobs.clone(),
            blocks.clone(),
            next.clone(),
            layout.seed,
        ));
    }
    while let Some(done) = workers.join_next().await {
        done.map_err(|panic| Error::new(format!("a populating task died: {panic}")))??;
    }
    let collections = jobs.iter().map(|job| CollectionSummary {
        ns: job.spec.ns(),
        documents: job.spec.count,
        bytes: job.bytes.load(Ordering::Relaxed),
    });
    Ok(Summary {
        collections: collections.collect(),
        ..Summary::default()
    })
}

async fn job(entry: &Entry, spec: &CollectionSpec, direct: bool) -> Result<Job> {
    let direct = direct && entry.router;
    let owners = if direct {
        Some(OwnerMap::read(entry, spec.database, spec.name).await?)
    } else {
        None
    };
    let clients = if direct {
        entry
            .shards
            .iter()
            .map(|shard| shard.client.clone())
            .collect()
    } else {
        vec![entry.client.clone()]
    };
    Ok(Job {
        spec: spec.clone(),
        clients,
        owners,
        bytes: AtomicU64::new(0),
    })
}

/// `(job, first n)` of every block, the collections interleaved so that all
/// shards are busy. A capped collection is one block: its order is content.
fn blocks(jobs: &[Job]) -> Vec<(usize, u64)> {
    let mut blocks = Vec::new();
    for (i, job) in jobs.iter().enumerate() {
        let step = if job.spec.is_capped() {
            usize::MAX
        } else {
            BLOCK_DOCUMENTS as usize
        };
        blocks.extend((0..job.spec.count).step_by(step).map(|first| (i, first)));
    }
    blocks.sort_by_key(|&(i, first)| (first, i));
    blocks
}

async fn work(
    jobs: Arc<Vec<Job>>,
    blocks: Arc<Vec<(usize, u64)>>,
    next: Arc<AtomicUsize>,
    seed: u64,
) -> Result<()> {
    while let Some(&(i, first)) = blocks.get(next.fetch_add(1, Ordering::Relaxed)) {
        let job = &jobs[i];
        let block = if job.spec.is_capped() {
            u64::MAX
        } else {
            BLOCK_DOCUMENTS
        };
        insert_block(
            job,
            first..first.saturating_add(block).min(job.spec.count),
            seed,
        )
        .await?;
    }
    Ok(())
}

async fn insert_block(job: &Job, block: std::ops::Range<u64>, seed: u64) -> Result<()> {
    let mut batches: Vec<Batch> = job.clients.iter().map(|_| Batch::default()).collect();
    for n in block {
        let document = job.spec.document(seed, n, 0);
        let owner = match &job.owners {
            Some(owners) => owners.owner(&job.spec.shard_key(n))?,
            None => 0,
        };
        job.bytes
            .fetch_add(document.as_bytes().len() as u64, Ordering::Relaxed);
        if INSERT_BYTES_MAX < batches[owner].bytes + document.as_bytes().len() {
            std::mem::take(&mut batches[owner])
                .insert(job, owner)
                .await?;
        }
        batches[owner].push(document);
    }
    for (owner, batch) in batches.into_iter().enumerate() {
        batch.insert(job, owner).await?;
    }
    Ok(())
}

#[derive(Default)]
struct Batch {
    documents: RawArrayBuf,
    bytes: usize,
}

impl Batch {
    fn push(&mut self, document: RawDocumentBuf) {
        self.bytes += document.as_bytes().len();
        self.documents.push(document);
    }

    async fn insert(self, job: &Job, owner: usize) -> Result<()> {
        if self.bytes == 0 {
            return Ok(());
        }
        let mut command = RawDocumentBuf::new();
        command.append(cstr!("insert"), job.spec.name);
        command.append(cstr!("ordered"), job.spec.is_capped());
        let concern =
            RawDocumentBuf::try_from(&doc! {"w": 1}).expect("a document of one number is BSON");
        command.append(cstr!("writeConcern"), concern);
        command.append(cstr!("documents"), self.documents);
        write_on(&job.clients[owner], job.spec.database, command)
            .await
            .map(drop)
    }
}
