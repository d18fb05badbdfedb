//! One run of the engine, from an empty ground to the comparison of both sides, for many
//! cases side by side: each has databases of its own.
//!
//! Knows nothing about what is done with one that failed.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;

use super::Settings;
use super::across::Across;
use super::client::Client;
use super::ground::Ground;
use super::op::{ORDINARY, Op, second};
use super::plan::Plan;
use super::tally::Tally;
use super::trouble::Trouble;
use crate::check::{self, CheckOptions, Difference};
use crate::engine::keeper::Keeper;
use crate::engine::{arguments, cutover};
use crate::error::{Error, Result};
use crate::faults::record::Record;
use crate::layout::dice::Dice;

/// For one step of the engine.
const PATIENCE: Duration = Duration::from_secs(90);
/// In which a cutover that was called off for good reasons succeeds.
const CUTOVER_PATIENCE: Duration = Duration::from_secs(10);
/// A run that goes well starts the engine once, and once more a kill.
const STARTS_MAX: u64 = 8;
const POLL: Duration = Duration::from_millis(50);
/// From the engine's start until the writes stop.
pub(super) const SPAN: Duration = Duration::from_secs(4);
const OF_PACE: u64 = 0xF3;
const DIFFERENCES_MAX: usize = 200;

/// What one client does, and in which database.
#[derive(Debug, Clone)]
pub(super) struct Case {
    pub(super) seed: u64,
    pub(super) database: String,
    /// Places of the ops that are done; all of them if None.
    pub(super) kept: Option<Vec<usize>>,
}

/// How a run ended.
pub(super) enum Verdict {
    Equal,
    Differ(Vec<Difference>),
    /// The engine did not come to its end.
    Stopped(Error),
}

impl Case {
    pub(super) fn whole(seed: u64) -> Case {
        Case {
            seed,
            database: format!("s{seed}"),
            kept: None,
        }
    }

    pub(super) fn plan(&self, settings: &Settings) -> Plan {
        let plan = Plan::of(
            self.seed,
            &self.database,
            settings.source.into(),
            settings.cluster(),
        );
        match &self.kept {
            None => plan,
            Some(kept) => plan.only(kept),
        }
    }

    /// Its databases trade their names, and so do two collections of one.
    fn renames(&self) -> [String; 4] {
        let (one, other) = (&self.database, second(&self.database));
        let [a, b, ..] = ORDINARY;
        [
            format!("{one}={other}"),
            format!("{other}={one}"),
            format!("{one}.{a}={other}.{b}"),
            format!("{one}.{b}={other}.{a}"),
        ]
    }

    /// Whether a difference is in a database of it.
    pub(super) fn owns(&self, difference: &Difference) -> bool {
        let database = difference.ns.split('.').next().unwrap_or_default();
        database == self.database || database == second(&self.database)
    }
}

/// What all runs of a process share.
pub(super) struct Runs<'a> {
    pub(super) settings: &'a Settings,
    pub(super) ground: &'a Ground,
    pub(super) work: &'a Path,
    pub(super) tally: Tally,
}

impl Runs<'_> {
    /// The engine once; `trouble` seeds what happens to it.
    ///
    /// # Errors
    /// If the servers, or this program, failed: that says nothing about the engine.
    pub(super) async fn run(&mut self, cases: &[Case], trouble: u64) -> Result<Verdict> {
        self.tally.engine_runs += 1;
        let work = self.work.join(format!("run{}", self.tally.engine_runs));
        fs::create_dir(&work)?;
        self.ground.empty().await?;
        let mut clients = self.clients(cases).await?;
        let first = clients.iter_mut().map(Writer::before);
        try_join_all(first).await?;
        let renames = self.renames(cases);
        let engine = self.start_engine(&work, &renames)?;
        let trouble = Trouble::of(trouble, SPAN);
        let meanwhile = async {
            tokio::try_join!(
                try_join_all(clients.iter_mut().map(Writer::during)),
                trouble.happen(&engine, self.ground),
            )
        };
        let (_, troubled) = meanwhile.await?;
        self.tally.add(&troubled);
        for writer in &clients {
            self.tally.add(&writer.client.tally);
        }
        let verdict = tokio::select! {
            verdict = self.finish(&engine, renames) => verdict?,
            e = restless(&engine) => Verdict::Stopped(e),
        };
        drop(engine);
        match verdict {
            Verdict::Equal => fs::remove_dir_all(&work)?,
            _ => self.ground.keep_logs(&work),
        }
        Ok(verdict)
    }

    async fn clients(&self, cases: &[Case]) -> Result<Vec<Writer>> {
        let hosts = self.ground.front();
        let entry = self.ground.entry().await?;
        let writers = cases.iter().map(async |case| {
            let plan = case.plan(self.settings);
            let across = match entry.clone() {
                Some(entry) => Some(Across::connect(entry).await?),
                None => None,
            };
            Ok::<_, Error>(Writer {
                client: Client::connect(hosts.clone(), across).await?,
                dice: Dice::new(&[OF_PACE, case.seed]),
                plan,
            })
        });
        try_join_all(writers).await
    }

    fn renames(&self, cases: &[Case]) -> Vec<String> {
        let cases = cases.iter().filter(|_| self.settings.renamed);
        cases.flat_map(Case::renames).collect()
    }

    fn start_engine(&self, work: &Path, renames: &[String]) -> Result<Keeper> {
        let spool = work.join("spool").display().to_string();
        let mut more = vec!["--spool-dir".to_owned(), spool];
        for rename in renames {
            more.extend(["--rename".to_owned(), rename.clone()]);
        }
        more.extend(self.settings.engine_args.iter().cloned());
        let (source, target) = (self.ground.source.uri(), self.ground.target.uri());
        let log = fs::File::create(work.join("record.jsonl"))?;
        Keeper::start(
            &self.settings.program,
            arguments::migrate(&source, &target, &more),
            work,
            Arc::new(Record::new(Box::new(log))),
            false,
        )
    }

    async fn finish(&self, engine: &Keeper, renames: Vec<String>) -> Result<Verdict> {
        if let Err(e) = engine.until_phase("ready", PATIENCE).await {
            return Ok(Verdict::Stopped(e));
        }
        let moved = cutover::cut_over(engine, &self.settings.program, CUTOVER_PATIENCE).await;
        let differences = self.differences(renames).await?;
        Ok(match moved {
            Ok(_) if differences.is_empty() => Verdict::Equal,
            Ok(_) => Verdict::Differ(differences),
            // The engine may have found them itself. What it does last is not done yet.
            Err(e) => match of_documents(differences) {
                found if found.is_empty() => Verdict::Stopped(e),
                found => Verdict::Differ(found),
            },
        })
    }

    async fn differences(&self, rename: Vec<String>) -> Result<Vec<Difference>> {
        let options = CheckOptions {
            max_differences: DIFFERENCES_MAX,
            rename,
            ..CheckOptions::default()
        };
        let (source, target) = (self.ground.source.uri(), self.ground.target.uri());
        let report = check::compare(&source, &target, &options).await?;
        Ok(report.differences)
    }
}

fn of_documents(mut differences: Vec<Difference>) -> Vec<Difference> {
    differences.retain(|found| found.kind.contains("document"));
    differences
}

/// One case under way.
struct Writer {
    client: Client,
    plan: Plan,
    dice: Dice,
}

impl Writer {
    async fn before(&mut self) -> Result<()> {
        for op in &self.plan.ops[..self.plan.before] {
            self.client.run(op).await?;
        }
        Ok(())
    }

    /// The rest, spread over the time.
    async fn during(&mut self) -> Result<()> {
        let rest: &[Op] = &self.plan.ops[self.plan.before..];
        let pause = SPAN.div_f64(1.0 + rest.len() as f64);
        for op in rest {
            tokio::time::sleep(pause.mul_f64(2.0 * self.dice.unit())).await;
            self.client.run(op).await?;
        }
        Ok(())
    }
}

/// Resolves once the engine ended more often than the trouble explains.
async fn restless(engine: &Keeper) -> Error {
    while engine.starts() < STARTS_MAX || engine.phase() != "down" {
        tokio::time::sleep(POLL).await;
    }
    engine.explain("the engine ends again and again")
}
