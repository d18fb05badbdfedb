//! Decides, moves no document: from validation to cutover. `migrate` is the
//! story of a whole run.

pub mod run;
pub mod sides;
pub mod validate;
pub mod balancer;
pub mod layout;
pub mod setup;
pub mod ddl;
pub mod watch;
pub mod stop;
pub mod drive;
pub mod cutover;
pub mod finish;
pub mod summary;
pub mod recorded;
pub mod silence;
pub mod wipe;
pub mod cancel;
pub mod restart;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::cluster::catalog;
use crate::config::{Config, VerifyMode};
use crate::control::drive::Drive;
use crate::control::run::{Phase, Run};
use crate::control::sides::Sides;
use crate::control::stop::Stop;
use crate::control::summary::Summary;
use crate::error::{Error, Kind, Result};
use crate::observe::{api, display};
use crate::verify;

/// API requests that may wait.
const REQUESTS_QUEUE: usize = 16;

/// Moves the source to the target: validate → layout → copy and follow → ready
/// → cutover. Returns when the cutover is done and the grace time is over.
///
/// # Errors
/// By cause; the balancers are put back as found whatever happens.
pub async fn migrate(config: Config) -> Result<Summary> {
    let run = Run::new();
    let stop = Stop::listen()?;
    let (requests, mut received) = mpsc::channel(REQUESTS_QUEUE);
    let snapshot = {
        let run = run.clone();
        Arc::new(move || run.snapshot())
    };
    let api = api::serve(config.api_port, snapshot.clone(), requests).await?;
    tracing::info!("run {}: API on http://127.0.0.1:{}", run.id, api.port);
    let display = display::start(config.progress, Duration::from_secs(config.status_interval_s), snapshot);
    let outcome = migrate_observed(&config, &run, &mut received, &stop).await;
    if let Err(e) = &outcome {
        let phase = if e.kind == Kind::Cancelled { Phase::Cancelled } else { Phase::Failed };
        run.fail(phase, e.to_string());
    }
    api.linger().await;
    drop(display);
    outcome
}

async fn migrate_observed(
    config: &Config,
    run: &Arc<Run>,
    requests: &mut mpsc::Receiver<api::Request>,
    stop: &Stop,
) -> Result<Summary> {
    let connected = drive::unless_stopped(requests, stop, "connecting and validating", async {
        let sides = Sides::connect(config).await?;
        setup::validate(&sides).await?;
        let sides = sides.map(&config.map)?;
        let balancers = setup::balancers(&sides).await?;
        Ok((sides, balancers))
    });
    let (sides, balancers) = connected.await?;
    // From here on the balancers are put back on every way out.
    let outcome = move_data(config, run, &sides, requests, balancers, stop).await;
    if outcome.is_err() {
        setup::restore_balancers(&sides, balancers, run).await;
    }
    outcome
}

async fn move_data(
    config: &Config,
    run: &Arc<Run>,
    sides: &Sides,
    requests: &mut mpsc::Receiver<api::Request>,
    balancers: setup::Balancers,
    stop: &Stop,
) -> Result<Summary> {
    let started = drive::unless_stopped(requests, stop, "preparing the target", async {
        setup::stop_balancers(sides).await?;
        setup::start(config, sides, run).await
    });
    let running = started.await?;
    Drive { config, run, sides, balancers, stop }.to_the_end(running, requests).await
}

/// Runs every check and changes nothing.
pub async fn validate_command(config: Config) -> Result<Vec<validate::Check>> {
    let sides = Sides::connect(&config).await?;
    let catalog = catalog::read(&sides.source).await?;
    validate::run(&sides.source, &sides.target, &catalog).await
}

/// Gives up the run that is recorded on the target, when no process is left.
pub async fn cancel_command(config: Config) -> Result<String> {
    let sides = Sides::connect(&config).await?;
    cancel::cancel(&sides.source, &sides.target).await
}

/// Lets the recorded run copy a source shard anew, or one collection of it.
pub async fn restart_command(config: Config, shard: String, ns: Option<String>) -> Result<String> {
    let ns = ns.map(|ns| restart::namespace(&ns)).transpose()?;
    let sides = Sides::connect(&config).await?;
    restart::restart(&sides.source, &sides.target, &shard, ns.as_ref()).await
}

/// Compares both sides now. Means something only while nobody writes.
pub async fn verify_command(config: Config) -> Result<verify::Report> {
    let sides = Sides::connect(&config).await?.map(&config.map)?;
    let catalog = catalog::read(&sides.source).await?;
    let depth = match config.verify {
        VerifyMode::Digests => verify::Depth::Digests,
        VerifyMode::Counts => verify::Depth::Counts,
        VerifyMode::None => {
            return Err(Error::new(Kind::Config, "verify is `none`").remedy("give --verify digests or counts"));
        }
    };
    let job = verify::Job {
        source: &sides.source,
        target: &sides.target,
        catalog: &catalog,
        pairs: &sides.pairs,
        concurrency: config.verify_concurrency,
        depth,
    };
    verify::run(&job).await
}
