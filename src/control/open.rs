//! Opening a run: connect, find what an earlier process left or validate and
//! record a new one, take the lease.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::cluster::catalog::{self, CollectionKind, Namespace};
use crate::cluster::deployment::Shard;
use crate::cluster::probe;
use crate::codes;
use crate::config::Config;
use crate::control::balancer;
use crate::control::balancers::{self, Balancers};
use crate::control::found_file::FoundFile;
use crate::control::left_behind;
use crate::control::limits;
use crate::control::phases;
use crate::control::recorded;
use crate::control::recorded::wipe;
use crate::control::run::Run;
use crate::control::sides::Sides;
use crate::control::stores::Stores;
use crate::control::validate;
use crate::control::waiting;
use crate::control::window::Window;
use crate::control::write_block;
use crate::error::{Error, Kind, Policy, Result};
use crate::failpoint;
use crate::pair::oplog::cursor::Oplog;
use crate::pair::oplog::feed::Feed;
use crate::spool::log::{self, OplogLog};
use crate::spool::quota::Quota;
use crate::state::lease::Lease;
use crate::state::run_store::RunStore;
use crate::state::{Reverse, RunState, Stage};

/// A run that this process holds.
pub struct Opened {
    pub sides: Sides,
    pub stores: Stores,
    pub balancers: Balancers,
    /// One per source shard.
    pub feeds: Vec<Arc<Feed>>,
    /// The cutover window.
    pub window: Arc<Window>,
    pub reverse: Reverse,
    /// An earlier process validated it. A way back is not judged again: its target is meant to
    /// be closed to users.
    pub is_taken_up: bool,
    lease: Lease,
}

impl Opened {
    /// Renews the lease until another process holds it. While the target is away
    /// nobody can take it, and each attempt asks for it again.
    pub async fn keep_lease(&self) -> Error {
        loop {
            let lost = self.lease.keep().await;
            if lost.kind.policy() != Policy::Retry {
                return lost;
            }
            tracing::warn!("{}", lost.message);
        }
    }

    /// # Errors
    /// `Refused` if another process took the lease.
    pub async fn renew_lease(&self) -> Result<()> {
        self.lease.renew().await
    }

    /// Ends the feeds and removes the spool: the run is done.
    pub async fn remove_spool(&self, config: &Config, run: &Run) -> Result<()> {
        for feed in &self.feeds {
            feed.remove().await?;
        }
        remove_spool(config, &run.id())
    }

    pub async fn release_lease(&self) {
        if let Err(e) = self.lease.release().await {
            tracing::warn!("the lease could not be released; it expires by itself: {e}");
        }
    }
}

/// # Errors
/// `Refused` if another process holds the target, its state is of other
/// deployments, or validation fails; `Cancelled` state has to be wiped first.
pub async fn open(config: &Config, run: &Run) -> Result<Opened> {
    let connecting = Box::pin(Sides::connect(config));
    let sides = waiting::told(run, "both sides to be reached", None, connecting).await?;
    let opening = Box::pin(open_on(config, sides.clone(), run));
    waiting::told(run, "both sides to be validated", Some(&sides), opening).await
}

async fn open_on(config: &Config, sides: Sides, run: &Run) -> Result<Opened> {
    let store = RunStore::new(&sides.target.shards[0]);
    let read = store.load().await;
    let recorded = told_by_validation(config, &sides, read).await?;
    let recorded = if config.restart {
        wipe_recorded(config, &sides, &store, run).await?;
        store.load().await?
    } else {
        recorded
    };
    match recorded {
        Some(state) => take_up(config, sides, state, run).await,
        None if config.turned => Err(Error::internal("no way back is recorded")),
        None => {
            recorded::sweep(&sides.target).await;
            begin(config, sides, &store, run).await
        }
    }
}

/// Where servers do not let us read what is recorded, validation says so, with all the rest.
async fn told_by_validation<T>(config: &Config, sides: &Sides, read: Result<T>) -> Result<T> {
    if let Err(e) = &read
        && e.code == Some(codes::MAJORITY_READS_NOT_ENABLED)
    {
        validate::require(config, sides, &BTreeSet::new()).await?;
    }
    read
}

async fn wipe_recorded(config: &Config, sides: &Sides, store: &RunStore, run: &Run) -> Result<()> {
    let to_wipe = wipe::to_wipe(&sides.target.unfiltered()).await?;
    let Some(recorded) = store.load().await? else {
        return Ok(());
    };
    recorded::check(&recorded, &sides.target).await?;
    recorded::is_no_way_back(&recorded)?;
    recorded::is_followed_by_none(&sides.source).await?;
    // A cancelled run may be wiped for another source.
    if recorded.stage != Stage::Cancelled {
        recorded::check(&recorded, &sides.source).await?;
    }
    write_block::lift(&sides.source, store).await?;
    // IMPORTANT: first. What cannot start over must not cost what is there.
    validate::require(config, sides, &to_wipe).await?;
    limits::of(config, &sides.clone().map(&config.map)?)?;
    let lease = Lease::take(&sides.target.shards[0], &run.id()).await?;
    // The lease goes with the rest of what is recorded.
    tokio::select! {
        wiped = wipe_alone(sides, &recorded) => wiped?,
        lost = lease.keep() => return Err(lost),
    }
    remove_spool(config, &recorded.id)
}

async fn wipe_alone(sides: &Sides, recorded: &RunState) -> Result<()> {
    // The new run finds them as the old one did. A cancelled one has put them
    // back, and the operator may have changed them since.
    if recorded.stage != Stage::Cancelled {
        let Balancers { source, target } = Balancers::recorded(recorded);
        balancer::restore(&sides.source, &source).await?;
        balancer::restore(&sides.target, &target).await?;
    }
    // All of the old run, whatever the new one is about.
    wipe::wipe(&sides.target.unfiltered()).await
}

/// Removes what is left of a run's spool on this host.
fn remove_spool(config: &Config, run: &str) -> Result<()> {
    let dir = config.spool_path()?.join(run);
    match std::fs::remove_dir_all(&dir) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!("the spool {} could not be removed: {e}", dir.display());
            Ok(())
        }
        _ => Ok(()),
    }
}

/// One feed per pair, with its spool in a folder of its own.
fn feeds(config: &Config, sides: &Sides, run: &str) -> Result<Vec<Arc<Feed>>> {
    let bytes_max = config.spool_bytes_max();
    let quota = Arc::new(Quota::new(bytes_max));
    let open = |(pair, shard): (usize, &Shard)| {
        let dir = config.spool_path()?.join(run).join(pair.to_string());
        let limits = log::Limits {
            bytes_max,
            segment_bytes: SEGMENT_BYTES,
            cache_bytes: CACHE_BYTES,
            stored_bytes: STORED_BYTES_MAX.min(bytes_max / STORED_SHARE),
        };
        let log = OplogLog::open(&dir, limits, quota.clone())?;
        let away_max = config.away_max();
        let client = shard.data_client(FEED_NAME, FEED_CONNECTIONS)?;
        let direct = shard.direct(&client, FEED_NAME, FEED_CONNECTIONS as usize);
        let oplog = Oplog::new(client, &shard.id, away_max);
        let oplog = oplog.of_forms(sides.source.dialect.reads);
        Ok(Arc::new(Feed::new(
            oplog,
            direct,
            log,
            away_max,
            Duration::from_secs(config.command_timeout_s),
        )))
    };
    sides.source.shards.iter().enumerate().map(open).collect()
}

/// Name of the feeds' connections to the source.
const FEED_NAME: &str = "shardlift-feed";
/// One for the cursor, one for single entries, one spare.
const FEED_CONNECTIONS: u32 = 3;
/// Size at which a segment of the spool is closed. Trimming frees whole segments.
const SEGMENT_BYTES: u64 = 64 << 20;
/// Up to here, and to this part of its bound, a spool is not compressed: of followed inserts
/// compressing took half of the engine's own time (benches/log.md).
const STORED_BYTES_MAX: u64 = 4 << 30;
const STORED_SHARE: u64 = 8;
/// Newest blocks of a spool kept in memory: the largest reply fits.
const CACHE_BYTES: usize = 20 << 20;

async fn take_up(config: &Config, mut sides: Sides, state: RunState, run: &Run) -> Result<Opened> {
    tokio::try_join!(
        recorded::check(&state, &sides.source),
        recorded::check(&state, &sides.target)
    )?;
    recorded::goes_as_asked(&state, config)?;
    if state.stage == Stage::Cancelled {
        return Err(Error::new(
            Kind::Refused,
            format!(
                "run {} was cancelled; what it copied is on the target",
                state.id
            ),
        )
        .remedy("add `--restart` to wipe what it copied and start over"));
    }
    same_scope(&state, config)?;
    validate::require_release(&sides)?;
    sides.scope(&state.scope);
    if state.reverse == Reverse::Itself {
        sides.target = Arc::new(sides.target.with_users_before());
    }
    let lease = Lease::take(&sides.target.shards[0], &state.id).await?;
    run.take_up(&state.id);
    tracing::info!("resuming run {}", state.id);
    sides.pairs = state.pairs.clone();
    let balancers = Balancers::recorded(&state);
    let stores = Stores::new(&sides, &state.id);
    phases::recall(run, &stores.run).await;
    let feeds = feeds(config, &sides, &state.id)?;
    FoundFile::of(&state.id, state.source_shards.clone(), &balancers).write(&config.spool_path()?);
    left_behind::tell(&sides, &balancers, run).await;
    let window = Window::new(config.window_h, stores.run.load_window().await?);
    let window = Arc::new(window);
    Ok(Opened {
        sides,
        stores,
        balancers,
        feeds,
        window,
        reverse: state.reverse,
        is_taken_up: state.reverse != Reverse::Itself,
        lease,
    })
}

async fn begin(config: &Config, sides: Sides, store: &RunStore, run: &Run) -> Result<Opened> {
    let followed = recorded::is_followed_by_none(&sides.source).await;
    told_by_validation(config, &sides, followed).await?;
    validate::require(config, &sides, &BTreeSet::new()).await?;
    if config.reverse {
        recorded::has_no_run(&sides.source).await?;
    }
    let sides = sides.map(&config.map)?;
    limits::of(config, &sides)?;
    let lease = Lease::take(&sides.target.shards[0], &run.id()).await?;
    let balancers = balancers::found(&sides).await?;
    let ids = |shards: &[Shard]| shards.iter().map(|s| s.id.clone()).collect();
    let (source, target) = tokio::try_join!(
        probe::identity(&sides.source),
        probe::identity(&sides.target)
    )?;
    let state = RunState {
        id: run.id(),
        stage: Stage::Planning,
        source_shards: ids(&sides.source.shards),
        target_shards: ids(&sides.target.shards),
        source_identity: Some(source),
        target_identity: Some(target),
        pairs: sides.pairs.clone(),
        source_balancer: balancers.source.enabled,
        target_balancer: balancers.target.enabled,
        source_settings: balancers.source.settings.clone(),
        target_settings: balancers.target.settings.clone(),
        views: views(&sides).await?,
        scope: sides.source.scope.clone(),
        reverse: if config.reverse {
            Reverse::Wanted
        } else {
            Reverse::No
        },
    };
    store.create(&state).await?;
    failpoint::hit("run-created");
    tracing::info!("run {}", state.id);
    let stores = Stores::new(&sides, &state.id);
    let feeds = feeds(config, &sides, &state.id)?;
    FoundFile::of(&state.id, state.source_shards.clone(), &balancers).write(&config.spool_path()?);
    left_behind::tell(&sides, &balancers, run).await;
    Ok(Opened {
        sides,
        stores,
        balancers,
        feeds,
        window: Arc::new(Window::new(config.window_h, None)),
        reverse: state.reverse,
        is_taken_up: false,
        lease,
    })
}

/// # Errors
/// `Refused` if the run was begun with other filters or renames.
fn same_scope(state: &RunState, config: &Config) -> Result<()> {
    let (filters, renames) = (state.scope.filters(), state.scope.renames());
    let (found, what) = if *filters != config.filters() {
        let given = config.filters();
        (format!("{filters}, and is given {given}"), "filters")
    } else if *renames != config.rename {
        let given = &config.rename;
        (format!("{renames}, and is given {given}"), "renames")
    } else {
        return Ok(());
    };
    let found = format!("run {} was begun with {found}", state.id);
    Err(Error::new(Kind::Refused, found).remedy(format!(
        "give the {what} that it was begun with; or add `--restart` to wipe what it copied and start over with these"
    )))
}

async fn views(sides: &Sides) -> Result<Vec<Namespace>> {
    let collections = catalog::read(&sides.source).await?.collections;
    Ok(collections
        .into_iter()
        .filter(|c| c.kind == CollectionKind::View)
        .map(|c| c.ns)
        .collect())
}
