//! From two URIs to running pairs: everything before the first document moves.

use std::collections::HashSet;
use std::sync::Arc;

use futures_util::future::{join_all, try_join_all};
use tokio::sync::mpsc;

use crate::cluster::admin;
use crate::cluster::catalog::{self, Catalog, CollectionKind};
use crate::cluster::connect::{Deployment, Topology};
use crate::config::Config;
use crate::control::balancer::{self, Found};
use crate::control::ddl::{self, Coordinator};
use crate::control::run::{Phase, Run};
use crate::control::sides::Sides;
use crate::control::{layout, validate};
use crate::error::{Error, Kind, Result};
use crate::pair::compile::FlushLimits;
use crate::pair::ddl::Request;
use crate::pair::oplog::{Oplog, Start};
use crate::pair::run::{Limits, Pair, PairTasks, Plan};

/// Requests for DDL that may wait; pairs wait beyond.
const DDL_QUEUE: usize = 64;

/// What a pair cannot do without, bytes: two replies for its tail, two for its scans.
const MEMORY_PER_PAIR_MIN: usize = 64 << 20;

/// The balancers as found, to be put back whatever happens.
#[derive(Debug, Clone, Copy)]
pub struct Balancers {
    pub source: Found,
    pub target: Found,
}

/// A migration under way.
pub struct Running {
    pub pairs: Vec<Arc<Pair>>,
    pub tasks: Vec<PairTasks>,
    pub coordinator: Arc<Coordinator>,
    pub ddl: mpsc::Receiver<Request>,
}

/// Runs every check; the first thing a migration does.
///
/// # Errors
/// `Refused`, naming every check that failed with its remedy.
pub async fn validate(sides: &Sides) -> Result<()> {
    let catalog = catalog::read(&sides.source).await?;
    let checks = validate::run(&sides.source, &sides.target, &catalog).await?;
    for check in checks.iter().filter(|check| check.ok) {
        tracing::info!("validated {}: {}", check.name, check.found);
    }
    let failed: Vec<_> = checks.iter().filter(|check| !check.ok).collect();
    if failed.is_empty() {
        return Ok(());
    }
    let found: Vec<String> = failed.iter().map(|c| format!("{}: {}", c.name, c.found)).collect();
    let remedies: Vec<&str> = failed.iter().filter_map(|c| c.remedy.as_deref()).collect();
    Err(Error::new(Kind::Refused, found.join("\n  ")).remedy(remedies.join("\n  ")))
}

/// Whether each balancer is on, before anything is stopped.
pub async fn balancers(sides: &Sides) -> Result<Balancers> {
    let found = |side: Arc<Deployment>| async move {
        let enabled = match side.topology {
            Topology::Sharded => Some(admin::balancer_enabled(&side.entry).await?),
            Topology::ReplicaSet => None,
        };
        Ok::<_, Error>(Found { enabled })
    };
    let (source, target) = tokio::try_join!(found(sides.source.clone()), found(sides.target.clone()))?;
    Ok(Balancers { source, target })
}

/// Stops both balancers and waits for running migrations.
pub async fn stop_balancers(sides: &Sides) -> Result<()> {
    tokio::try_join!(balancer::stop(&sides.source), balancer::stop(&sides.target))?;
    Ok(())
}

/// Puts both balancers back; a failure is a loud warning (the migration itself
/// has its outcome already).
pub async fn restore_balancers(sides: &Sides, found: Balancers, run: &Run) {
    for (side, found) in [(&sides.source, found.source), (&sides.target, found.target)] {
        if let Err(e) = balancer::restore(side, found).await {
            run.warn(format!("the balancer of the {} could not be put back: {e}", side.side));
        }
    }
}

/// Makes the target's layout and starts every pair.
pub async fn start(config: &Config, sides: &Sides, run: &Arc<Run>) -> Result<Running> {
    let limits = limits(config, sides.pairs.len())?;
    run.enter(Phase::Layout);
    // IMPORTANT: positions first, then the catalog: what changes between the
    // two is in the oplog after the positions (R1).
    let starts = newest(sides).await?;
    let mut catalog = catalog::read(&sides.source).await?;
    let local = try_join_all(sides.source.shards.iter().map(|shard| ddl::local_uuids(shard, &catalog))).await?;
    // Dropped between the two reads: no pair would see its drop.
    catalog.collections.retain(|c| c.uuid.is_none_or(|uuid| local.iter().any(|local| local.contains(&uuid))));
    // IMPORTANT: after both: a collection that no pair tracks and that is
    // written to later must have been seen being created.
    let catalog_positions = newest(sides).await?;
    layout::create_all(&sides.target, &catalog, &sides.pairs).await?;
    let coordinator = Coordinator::new(sides.clone(), &catalog, &local);
    let (requests, ddl) = mpsc::channel(DDL_QUEUE);

    run.enter(Phase::Copying);
    let plans = sides.source.shards.iter().enumerate().map(|(index, source)| {
        let target = &sides.target.shards[sides.pairs[index]];
        Plan {
            index,
            source: source.clone(),
            target: target.clone(),
            app_name: format!("shardlift/{}/{index}/1", run.id),
            start: starts[index],
            catalog_position: catalog_positions[index].position,
            collections: held_by(&catalog, &local[index]),
            requests: requests.clone(),
            limits,
        }
    });
    let started = join_all(plans.map(Pair::start)).await.into_iter().collect::<Result<Vec<_>>>()?;
    let (pairs, tasks): (Vec<_>, Vec<_>) = started.into_iter().unzip();
    run.set_pairs(pairs.iter().map(|pair| (pair.name.clone(), pair.metrics.clone())).collect());
    Ok(Running { pairs, tasks, coordinator, ddl })
}

async fn newest(sides: &Sides) -> Result<Vec<Start>> {
    let oplogs = sides.source.shards.iter().map(|s| Oplog::new(s.client.clone(), &s.id));
    try_join_all(oplogs.map(|oplog| async move { oplog.newest().await })).await
}

fn held_by(catalog: &Catalog, local: &HashSet<bson::Uuid>) -> Vec<catalog::Collection> {
    let held = catalog.collections.iter().filter(|c| c.kind == CollectionKind::Plain);
    held.filter(|c| c.uuid.is_some_and(|uuid| local.contains(&uuid))).cloned().collect()
}

/// # Errors
/// `Config` if the budget is too small for that many pairs.
fn limits(config: &Config, pairs: usize) -> Result<Limits> {
    let memory_bytes = config.memory_bytes() / pairs.max(1);
    if memory_bytes < MEMORY_PER_PAIR_MIN {
        let least_mb = (MEMORY_PER_PAIR_MIN * pairs) >> 20;
        let found = format!("memory_mb is {}, too little for {pairs} pairs", config.memory_mb);
        return Err(Error::new(Kind::Config, found).remedy(format!("set memory_mb to {least_mb} or more")));
    }
    Ok(Limits {
        memory_bytes,
        range_bytes: config.range_bytes(),
        scans: config.scans,
        lanes: config.lanes,
        flush: FlushLimits { ops_max: config.bulk_ops_max, bytes_max: config.bulk_bytes_max() },
    })
}
