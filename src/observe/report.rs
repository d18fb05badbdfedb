//! The report at the end of a run: JSON, or a page that needs nothing else. That of a way back
//! keeps what the file tells of the migration before it, also of an earlier process.
//!
//! Holds no secrets: connection strings come redacted.

use std::fs::OpenOptions;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, Kind, Result};
use crate::observe::api::PAGE;
use crate::observe::history::History;
use crate::observe::reverse;
use crate::observe::status::Snapshot;

/// The page shows what stands here, if anything does, and asks no process.
const PLACE: &str = "<!-- report -->";
/// What stands there.
const BEGIN: &str = "<script type=\"application/json\" id=\"report\">";
const END: &str = "</script>";

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    pub shardlift: String,
    /// The way that was gone last: a migration, or its way back.
    #[serde(flatten)]
    pub way: Way,
    /// The migration whose way back that is; null if the file did not tell of it.
    pub before: Option<Way>,
    /// Every setting by its name.
    pub settings: Value,
}

/// A migration, or a way back. Counters are those of the last process.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Way {
    /// The run as it ended: phase, counters, warnings, error.
    pub status: Snapshot,
    /// What was copied, followed and verified; null unless the run is done.
    pub summary: Value,
    /// Lag and rates over the time of the run, as far as this host knows.
    pub history: History,
}

/// That the report can be written, before anything else is done.
///
/// # Errors
/// `Config` if it cannot.
pub fn check(path: &str) -> Result<()> {
    let mut create = OpenOptions::new();
    let made = create.create(true).append(true).open(path);
    made.map(drop).map_err(|e| cannot(path, &e))
}

/// `settings`: every one by its name.
///
/// # Errors
/// `Config` if the disk does not take it.
pub fn write(path: &str, way: Way, settings: Value) -> Result<()> {
    let report = Report {
        shardlift: env!("CARGO_PKG_VERSION").to_owned(),
        before: before(&way, read(path)),
        way,
        settings,
    };
    let text = json(&report);
    let is_page = Path::new(path)
        .extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case("html"));
    let text = if is_page { page(&text) } else { text };
    std::fs::write(path, text).map_err(|e| cannot(path, &e))
}

/// The report that is there; None if there is none, or something else.
fn read(path: &str) -> Option<Report> {
    let text = std::fs::read_to_string(path).ok()?;
    let data = match text.split_once(BEGIN) {
        Some((_, rest)) => rest.split_once(END)?.0,
        None => &text,
    };
    serde_json::from_str(data).ok()
}

/// Of what is `there`, the migration whose way back this is.
fn before(way: &Way, there: Option<Report>) -> Option<Way> {
    let there = there?;
    let mut told = [Some(there.way), there.before].into_iter().flatten();
    told.find(|told| reverse::id_of(&told.status.run_id) == way.status.run_id)
}

fn json(report: &Report) -> String {
    serde_json::to_string_pretty(report).expect("a report has string keys and plain values only")
}

/// The same page as a running process shows, with its data in it.
fn page(json: &str) -> String {
    // Nothing in the data can end the element it stands in.
    let json = json.replace('<', "\\u003c");
    PAGE.replacen(PLACE, &format!("{BEGIN}{json}{END}"), 1)
}

fn cannot(path: &str, e: &std::io::Error) -> Error {
    Error::new(
        Kind::Config,
        format!("the report cannot be written to {path}: {e}"),
    )
    .remedy("give a file in a folder that is there and can be written to")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::phase::Phase;
    use crate::observe::status::tests::copying;

    fn way(run_id: &str, phase: Phase) -> Way {
        let mut status = copying();
        (status.run_id, status.phase) = (run_id.to_owned(), phase);
        status.warnings.push("</script><b>".to_owned());
        Way {
            status,
            summary: Value::Null,
            history: History::default(),
        }
    }

    #[test]
    fn a_report_is_read_again_and_nothing_in_it_can_break_out_of_a_page() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["r.json", "r.html"] {
            let path = dir.path().join(name);
            let path = path.to_str().unwrap();
            std::fs::write(path, "no report").unwrap();
            write(path, way("r1", Phase::Copying), Value::Null).unwrap();
            let back = read(path).unwrap();
            assert_eq!(back.way.status.warnings, ["</script><b>"], "{name}");
            assert_eq!(back.way.status.phase, Phase::Copying);
        }
    }

    #[test]
    fn that_of_a_way_back_keeps_the_migration_before_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("r.html");
        let path = path.to_str().unwrap();
        let rows = [
            ("r1", Phase::Done, None),
            ("r1-reverse", Phase::Stopped, Some(Phase::Done)),
            ("r1-reverse", Phase::Done, Some(Phase::Done)),
            ("r2-reverse", Phase::Done, None),
            ("r3", Phase::Failed, None),
        ];
        for (run_id, phase, expect) in rows {
            write(path, way(run_id, phase), Value::Null).unwrap();
            let told = read(path).unwrap();
            assert_eq!(told.way.status.run_id, run_id);
            let before = told.before.map(|before| before.status.phase);
            assert_eq!(before, expect, "{run_id} {phase}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_made_is_told_before_the_run() {
        let e = check("/no such folder/report.json").unwrap_err();
        assert!(e.kind == Kind::Config && e.message.contains("/no such folder"));
    }
}
