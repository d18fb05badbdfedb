//! One process of the engine after the other: how each ended, what that means, and
//! what is started next.
//!
//! Knows nothing about tasks and waiting: that is `keeper`'s.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;

use shardlift::pair::write::missed::FOUND_NOTHING;

use crate::engine::api::{Api, Status};
use crate::engine::child::Child;
use crate::engine::program;
use crate::engine::refusal::{self, Remedy};
use crate::error::{Error, Result};
use crate::faults::record::Record;

/// A server could not be reached, or failed; parked; stopped by a signal.
const RESTART_CODES: [i32; 4] = [3, 5, 9, 130];
/// Refused before anything was touched.
const VALIDATION_CODE: i32 = 4;
/// It does not go on: what happened is not carried over, or its oplog is gone.
const REFUSED_CODE: i32 = 6;
/// Phases that a run comes to once what an older one copied is dropped.
const BEGUN: [&str; 4] = ["copying", "following", "ready", "cutting over"];
/// Between an end and the next start.
const RESTART_PAUSE: Duration = Duration::from_millis(700);
const TAIL_LINES: usize = 40;

/// What is known of the engine now.
pub(super) struct Life {
    program: PathBuf,
    arguments: Vec<String>,
    /// Holds a log for each start.
    work: PathBuf,
    record: Arc<Record>,
    pub(super) child: Option<Child>,
    pub(super) started: Instant,
    ended: Instant,
    pub(super) starts: u64,
    pub(super) api: Option<Api>,
    pub(super) status: Option<Status>,
    /// Ends so far, by code or signal.
    pub(super) ends: BTreeMap<String, u64>,
    /// None where no end is right but one: with code 0.
    pub(super) refusals: Option<Refusals>,
    next: Next,
    /// Cutovers that were called off; and those of the running process.
    pub(super) called_off: u64,
    called_off_now: u64,
    /// None while it is to run on.
    pub(super) outcome: Option<Result<()>>,
}

/// What it rightly refused, and what was done about it.
#[derive(Debug, Clone, Default)]
pub struct Refusals {
    /// By cause.
    pub counts: BTreeMap<&'static str, u64>,
    /// Runs that were begun anew, and shards of one.
    pub begun_anew: u64,
    pub shards_begun_anew: u64,
    /// When the run was begun, for the last time.
    pub(super) last: Option<Instant>,
}

/// What is started next.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Next {
    Migrate,
    /// With `--restart`, until it copies.
    Anew,
    /// `recopy --shard`, then the migration.
    Shard(String),
}

impl Life {
    pub(super) fn new(
        program: &Path,
        arguments: Vec<String>,
        work: &Path,
        record: Arc<Record>,
        may_refuse: bool,
    ) -> Life {
        let now = Instant::now();
        Life {
            program: program.to_owned(),
            arguments,
            work: work.to_owned(),
            record,
            child: None,
            started: now,
            ended: now,
            starts: 0,
            api: None,
            status: None,
            ends: BTreeMap::new(),
            refusals: may_refuse.then(|| Refusals {
                last: Some(now),
                ..Refusals::default()
            }),
            next: Next::Migrate,
            called_off: 0,
            called_off_now: 0,
            outcome: None,
        }
    }

    pub(super) fn start(&mut self) -> Result<()> {
        self.starts += 1;
        let (arguments, log) = (self.arguments_now(), self.log());
        self.child = Some(program::start(
            &self.program,
            arguments,
            Stdio::null(),
            &log,
        )?);
        self.started = Instant::now();
        Ok(())
    }

    fn arguments_now(&self) -> Vec<String> {
        let mut arguments = self.arguments.clone();
        match &self.next {
            Next::Migrate => {}
            Next::Anew => arguments.push("--restart".to_owned()),
            Next::Shard(shard) => {
                let flags = arguments.split_off(
                    arguments
                        .iter()
                        .position(|word| word == "migrate")
                        .unwrap_or(0),
                );
                arguments.extend(["recopy", "--shard", shard].map(str::to_owned));
                arguments.extend(sides(&flags));
            }
        }
        arguments
    }

    fn log(&self) -> PathBuf {
        self.work.join(format!("shardlift-{}.log", self.starts))
    }

    fn log_text(&self) -> String {
        program::log_text(&self.log())
    }

    /// Looks whether it ended, and starts it again.
    pub(super) fn tend(&mut self) -> Result<()> {
        if let Some(child) = &mut self.child {
            if let Some(status) = child.ended()? {
                self.note_end(status);
            } else if self.api.is_none() {
                self.api = program::api_url(&self.log_text()).map(Api::new);
            }
        } else if self.outcome.is_none() && RESTART_PAUSE <= self.ended.elapsed() {
            self.start()?;
        }
        Ok(())
    }

    fn note_end(&mut self, status: ExitStatus) {
        let how = status.signal().map_or_else(
            || format!("code {}", status.code().unwrap_or_default()),
            |signal| format!("signal {signal}"),
        );
        let life_s = self.started.elapsed().as_secs_f64();
        self.record.tell(
            "engine ended",
            json!({"how": how, "life_s": life_s, "start": self.starts}),
        );
        // Where somebody works on the target too, a write may find nothing to change.
        if self.log_text().contains(FOUND_NOTHING) && self.refusals.is_none() {
            self.outcome = Some(Err(
                self.explain("a write of the engine found nothing to change")
            ));
        } else if status.success() {
            match self.next {
                Next::Shard(_) => self.next = Next::Migrate,
                _ => self.outcome = Some(Ok(())),
            }
        } else if status.code() == Some(REFUSED_CODE) && self.refusals.is_some() {
            self.refused();
        } else if status.code().is_some_and(|code| !self.may_go_on(code)) {
            self.outcome = Some(Err(self.explain(&format!(
                "the engine ended with {how}, which no restart helps"
            ))));
        }
        *self.ends.entry(how).or_default() += 1;
        (self.child, self.api, self.status) = (None, None, None);
        self.called_off_now = 0;
        self.ended = Instant::now();
    }

    fn may_go_on(&self, code: i32) -> bool {
        // What starts over asks for all that it needs once more, while servers fail.
        RESTART_CODES.contains(&code) || (code == VALIDATION_CODE && self.next == Next::Anew)
    }

    /// Does what its error says, where that is a refusal it should make.
    fn refused(&mut self) {
        let Some(refusal) = refusal::of(&self.log_text()) else {
            self.outcome = Some(Err(
                self.explain("the engine refused what it should carry over")
            ));
            return;
        };
        let Some(refusals) = &mut self.refusals else {
            return;
        };
        *refusals.counts.entry(refusal.cause).or_default() += 1;
        let remedy = format!("{:?}", refusal.remedy);
        match refusal.remedy {
            Remedy::Anew => {
                (self.next, refusals.last) = (Next::Anew, Some(Instant::now()));
                refusals.begun_anew += 1;
            }
            Remedy::Shard(shard) => {
                self.next = Next::Shard(shard);
                refusals.shards_begun_anew += 1;
            }
        }
        self.record.tell(
            "refused",
            json!({"cause": refusal.cause, "remedy": remedy, "start": self.starts}),
        );
    }

    pub(super) fn note_status(&mut self, status: Option<Status>) {
        if let Some(status) = &status {
            self.called_off += status.cutovers_given_up.saturating_sub(self.called_off_now);
            self.called_off_now = status.cutovers_given_up;
            if self.next == Next::Anew && BEGUN.contains(&status.phase.as_str()) {
                self.next = Next::Migrate;
            }
        }
        self.status = status;
    }

    pub(super) fn explain(&self, message: &str) -> Error {
        let tail = program::tail(&self.log_text(), TAIL_LINES);
        Error::new(format!(
            "{message}\nthe engine's log (start {}) ends with:\n  {tail}",
            self.starts
        ))
        .remedy(format!(
            "see the logs of all its starts in {}",
            self.work.display()
        ))
    }
}

/// The flags that say where source and target are.
fn sides(arguments: &[String]) -> Vec<String> {
    let named = arguments
        .windows(2)
        .filter(|pair| ["--source", "--target"].contains(&pair[0].as_str()));
    named.flatten().cloned().collect()
}
