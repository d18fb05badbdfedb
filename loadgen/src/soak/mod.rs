//! `loadgen soak`: a migration under load while servers, network and engine
//! fail again and again, and the proof that nothing was lost.
//!
//! Owns the story; the faults, the load, the engine and the check are rooms of
//! their own.

mod args;
mod balancers;
mod clusters;
mod outcome;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use args::Args;

use crate::check::{self, CheckOptions};
use crate::cli::signals;
use crate::engine::keeper::Keeper;
use crate::engine::{arguments, build, cutover, program};
use crate::error::Result;
use crate::faults::clock::Clock;
use crate::faults::elections::Elections;
use crate::faults::plan::Plan;
use crate::faults::record::Record;
use crate::load::{Load, LoadHandle, LoadOptions, LoadReport};
use crate::operator::{self, Operator};
use balancers::Balancers;
use clusters::Clusters;
use outcome::{Outcome, Second};

const EXIT_INTERRUPTED: u8 = 130;
/// How long the load goes on after the engine caught up: past the longest time
/// a write may be waited for.
const LOAD_AFTER_READY: Duration = Duration::from_secs(5);
/// From the last fault to ready, with what follows for every document.
const READY_TIMEOUT: Duration = Duration::from_secs(300);
const DOCUMENTS_PER_S_MIN: u64 = 1_000;
/// How often what stands in the way is looked at, once nothing fails any more.
const HEED_INTERVAL: Duration = Duration::from_secs(5);
const LOAD_CONNECTIONS: u32 = 24;
const LOAD_BULK: u64 = 16;
/// Differences that are named.
const DIFFERENCES_MAX: usize = 50;

/// Runs the soak, or what a signal leaves of it; nothing it started outlives it.
pub async fn run(args: Args) -> Result<ExitCode> {
    let outcome = tokio::select! {
        outcome = story(&args) => outcome?,
        signal = signals::asked_to_stop() => {
            eprintln!("loadgen: {}: engine, load and servers are stopped", signal?);
            return Ok(ExitCode::from(EXIT_INTERRUPTED));
        }
    };
    eprintln!("{}", outcome.text());
    println!("{}", outcome.json());
    Ok(if outcome.check.equal {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn story(args: &Args) -> Result<Outcome> {
    let began = Instant::now();
    let mut work = args.work_dir()?;
    let record = Arc::new(Record::new(args.log()?));
    let program = match &args.engine {
        Some(path) => program::given(path)?,
        None => build::engine(work.path()).await?,
    };
    eprintln!("starting source and target");
    let mut clusters = Clusters::start(args).await?;
    eprintln!("populating {} documents", args.documents);
    clusters.populate(args).await?;
    let mut operator = start_operator(args, &clusters, &record).await?;
    let balancers = Balancers::read(&clusters).await?;
    let elections = Elections::watch(&[&clusters.source, &clusters.target]);
    let load = start_load(args, &clusters.source.uri()).await?;
    let engine_args = arguments::migrate(
        &clusters.source.uri(),
        &clusters.target.uri(),
        &args.engine_args,
    );
    eprintln!("shardlift {}", engine_args.join(" "));
    eprintln!("logs of the engine: {}", work.path().display());
    let engine = Keeper::start(
        &program,
        engine_args,
        work.path(),
        record.clone(),
        args.operators,
    )?;
    let run = Run {
        args,
        engine: &engine,
        record: &record,
        program: &program,
    };
    let moved = run.migrate(&mut clusters, load, operator.as_mut()).await;
    let (load, cutover_ms) = moved.inspect_err(|_| {
        work.keep();
        clusters.keep_logs(work.path());
        eprintln!("\n{}", record.table());
        if let Some(operator) = &operator {
            eprintln!(
                "the second operator did {:?}; failed {:?}",
                operator.tally().done(),
                operator.tally().failed()
            );
        }
    })?;
    eprintln!("comparing both sides byte for byte");
    let options = CheckOptions {
        max_differences: DIFFERENCES_MAX,
        ..CheckOptions::default()
    };
    let options = balancers.expected(operator.as_ref(), options);
    let check = check::compare(&clusters.source.uri(), &clusters.target.uri(), &options).await?;
    if !check.equal {
        work.keep();
        clusters.keep_logs(work.path());
    }
    let second = operator
        .as_ref()
        .map(|operator| Second::of(operator.tally(), &engine));
    let (engine_starts, engine_ends) = (engine.starts(), engine.ends());
    let (elections, seconds) = (elections.count(), began.elapsed().as_secs_f64());
    Ok(Outcome {
        record,
        elections,
        engine_starts,
        engine_ends,
        second,
        load,
        check,
        cutover_ms,
        seconds,
    })
}

/// What a soak has to do with from its start to its end.
struct Run<'a> {
    args: &'a Args,
    engine: &'a Keeper,
    record: &'a Arc<Record>,
    program: &'a Path,
}

impl Run<'_> {
    /// From the first fault to the end of a cutover without any; what the load did,
    /// and how long the cutover took, ms.
    async fn migrate(
        &self,
        clusters: &mut Clusters,
        load: LoadHandle,
        mut operator: Option<&mut Operator>,
    ) -> Result<(LoadReport, u64)> {
        let Run { args, engine, .. } = self;
        eprintln!("faults for {} minutes", args.minutes);
        self.trouble(clusters, operator.as_deref()).await?;
        eprintln!(
            "all faults are over; waiting until the engine is ready ({})",
            engine.phase()
        );
        self.until_ready(operator.as_deref()).await?;
        tokio::time::sleep(LOAD_AFTER_READY).await;
        let load = load.stop().await;
        if let Some(operator) = &mut operator {
            operator.stop_writing().await;
        }
        eprintln!("writes stopped; cutover");
        let patience = self.patience();
        let cutover_ms = match operator.as_deref() {
            Some(operator) => {
                let cutover = cutover::cut_over(engine, self.program, patience);
                tokio::join!(cutover, operator.disturb(engine)).0?
            }
            None => cutover::cut_over(engine, self.program, patience).await?,
        };
        Ok((load, cutover_ms))
    }

    /// Faults, and deeds of the second operator where there is one.
    async fn trouble(&self, clusters: &mut Clusters, operator: Option<&Operator>) -> Result<()> {
        let Run {
            args,
            engine,
            record,
            ..
        } = self;
        let time = Duration::from_secs_f64(args.minutes * 60.0);
        let plan = Plan::new(
            args.seed,
            &args.kinds(),
            Duration::from_secs_f64(args.fault_every_s),
        );
        let clock = Clock::new(
            &mut clusters.source,
            &mut clusters.target,
            Some(*engine),
            Arc::clone(record),
        );
        let mut clock = clock.rolls_on(operator::DATABASE, operator::ROLLED);
        let Some(operator) = operator else {
            return clock.run(plan, time).await;
        };
        let deeds = async {
            operator.run(engine, time).await;
            Ok(())
        };
        tokio::try_join!(clock.run(plan, time), deeds).map(drop)
    }

    async fn until_ready(&self, operator: Option<&Operator>) -> Result<()> {
        let Some(operator) = operator else {
            return self.engine.until_phase("ready", self.patience()).await;
        };
        let heeds = async {
            loop {
                tokio::time::sleep(HEED_INTERVAL).await;
                operator.heed(&self.engine.obstacles()).await;
            }
        };
        tokio::select! {
            ready = self.engine.until_phase("ready", self.patience()) => ready,
            () = heeds => Ok(()),
        }
    }

    /// From the last fault to ready; a whole copy where the engine may start over.
    fn patience(&self) -> Duration {
        let times = if self.args.operators { 2 } else { 1 };
        times * (READY_TIMEOUT + Duration::from_secs(self.args.documents / DOCUMENTS_PER_S_MIN))
    }
}

async fn start_operator(
    args: &Args,
    clusters: &Clusters,
    record: &Arc<Record>,
) -> Result<Option<Operator>> {
    if !args.operators {
        return Ok(None);
    }
    let every = Duration::from_secs_f64(args.deed_every_s);
    Operator::start(
        args.seed,
        every,
        &args.deeds,
        &clusters.source,
        &clusters.target,
        record.clone(),
    )
    .await
    .map(Some)
}

async fn start_load(args: &Args, uri: &str) -> Result<LoadHandle> {
    let options = LoadOptions {
        rate: args.rate,
        seed: args.seed,
        connections: LOAD_CONNECTIONS,
        bulk: LOAD_BULK,
        ddl: args.ddl,
        mix: args.mix.clone(),
        tolerant: true,
        ..LoadOptions::new(uri)
    };
    Load::start(options).await
}
