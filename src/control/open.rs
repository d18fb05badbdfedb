//! Opening a run: connect, find what an earlier process left or validate and
//! record a new one, take the lease.

use crate::cluster::catalog::{self, CollectionKind, Namespace};
use crate::config::Config;
use crate::control::balancer::Found;
use crate::control::run::{Phase, Run};
use crate::control::setup::{self, Balancers};
use crate::control::sides::Sides;
use crate::control::stores::{Stores, check_same};
use crate::error::{Error, Kind, Result};
use crate::failpoint;
use crate::state::lease::Lease;
use crate::state::run_store::RunStore;
use crate::state::{RunState, Stage};

/// A run that this process holds.
pub struct Opened {
    pub sides: Sides,
    pub stores: Stores,
    pub balancers: Balancers,
    lease: Lease,
}

impl Opened {
    /// Renews the lease until it is lost. After the cutover there is none.
    pub async fn keep_lease(&self, run: &Run) -> Error {
        let lost = self.lease.keep().await;
        match run.phase() {
            Phase::Done => std::future::pending().await,
            _ => lost,
        }
    }

    pub async fn release_lease(&self, run: &Run) {
        if run.phase() == Phase::Done {
            return;
        }
        if let Err(e) = self.lease.release().await {
            tracing::warn!("the lease could not be given back, it runs out by itself: {e}");
        }
    }
}

/// # Errors
/// `Refused` if another process holds the target, its state is of other
/// deployments, or validation fails; `Cancelled` state has to be wiped first.
pub async fn open(config: &Config, run: &Run) -> Result<Opened> {
    let sides = Sides::connect(config).await?;
    let first = &sides.target.shards[0];
    let store = RunStore::new(first);
    match store.load().await? {
        Some(state) => take_up(sides, state, run).await,
        None => begin(config, sides, &store, run).await,
    }
}

async fn take_up(mut sides: Sides, state: RunState, run: &Run) -> Result<Opened> {
    check_same(&state, &sides)?;
    if state.stage == Stage::Cancelled {
        return Err(Error::new(
            Kind::Refused,
            format!("run {} was cancelled; what it copied is on the target", state.id),
        )
        .remedy("add `--restart` to wipe what it copied and begin anew"));
    }
    let lease = Lease::take(&sides.target.shards[0], &state.id).await?;
    run.take_up(&state.id);
    tracing::info!("going on with run {}", state.id);
    sides.pairs = state.pairs.clone();
    let balancers = Balancers {
        source: Found { enabled: state.source_balancer },
        target: Found { enabled: state.target_balancer },
    };
    let stores = Stores::new(&sides, &state.id);
    Ok(Opened { sides, stores, balancers, lease })
}

async fn begin(config: &Config, sides: Sides, store: &RunStore, run: &Run) -> Result<Opened> {
    setup::validate(&sides).await?;
    let sides = sides.map(&config.map)?;
    let lease = Lease::take(&sides.target.shards[0], &run.id()).await?;
    let balancers = setup::balancers(&sides).await?;
    let ids = |shards: &[crate::cluster::connect::Shard]| shards.iter().map(|s| s.id.clone()).collect();
    let state = RunState {
        id: run.id(),
        stage: Stage::Planning,
        source_shards: ids(&sides.source.shards),
        target_shards: ids(&sides.target.shards),
        pairs: sides.pairs.clone(),
        source_balancer: balancers.source.enabled,
        target_balancer: balancers.target.enabled,
        views: views(&sides).await?,
    };
    store.create(&state).await?;
    failpoint::hit("run-created");
    tracing::info!("run {}", state.id);
    let stores = Stores::new(&sides, &state.id);
    Ok(Opened { sides, stores, balancers, lease })
}

async fn views(sides: &Sides) -> Result<Vec<Namespace>> {
    let collections = catalog::read(&sides.source).await?.collections;
    Ok(collections.into_iter().filter(|c| c.kind == CollectionKind::View).map(|c| c.ns).collect())
}
