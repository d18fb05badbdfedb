//! The report at the end of a run: JSON, or a page that needs nothing else.
//!
//! Holds no secrets: connection strings come redacted.

use std::fs::OpenOptions;
use std::path::Path;

use serde::Serialize;
use serde_json::Value;

use crate::error::{Error, Kind, Result};
use crate::observe::api::PAGE;
use crate::observe::history::History;
use crate::observe::status::Snapshot;

/// The page shows what stands here, if anything does, and asks no process.
const PLACE: &str = "<!-- report -->";

#[derive(Debug, Serialize)]
pub struct Report {
    pub shardlift: &'static str,
    /// The run as it ended: phase, counters, warnings, error.
    pub status: Snapshot,
    /// What was copied, followed and verified; null unless the run is done.
    pub summary: Value,
    /// Lag and rates over the time of this process.
    pub history: History,
    /// Every setting by its name.
    pub settings: Value,
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

/// # Errors
/// `Config` if the disk does not take it.
pub fn write(path: &str, report: &Report) -> Result<()> {
    let text = json(report);
    let is_page = Path::new(path)
        .extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case("html"));
    let text = if is_page { page(&text) } else { text };
    std::fs::write(path, text).map_err(|e| cannot(path, &e))
}

fn json(report: &Report) -> String {
    serde_json::to_string_pretty(report).expect("a report has string keys and plain values only")
}

/// The same page as a running process shows, with its data in it.
fn page(json: &str) -> String {
    // Nothing in the data can end the element it stands in.
    let json = json.replace('<', "\\u003c");
    let data = format!("<script type=\"application/json\" id=\"report\">{json}</script>");
    PAGE.replacen(PLACE, &data, 1)
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
    use crate::observe::status::tests::copying;

    fn report() -> Report {
        let mut status = copying();
        status.warnings.push("</script><b>".to_owned());
        Report {
            shardlift: "0",
            status,
            summary: Value::Null,
            history: History::default(),
            settings: Value::Null,
        }
    }

    #[test]
    fn a_page_holds_its_data_and_nothing_can_break_out() {
        let page = page(&json(&report()));
        let (_, data) = page.split_once("id=\"report\">").unwrap();
        let (data, _) = data.split_once("</script>").unwrap();
        let back: Value = serde_json::from_str(data).unwrap();
        assert_eq!(back["status"]["warnings"][0], "</script><b>");
        assert_eq!(back["status"]["phase"], "copying");
    }

    #[test]
    fn a_file_that_cannot_be_made_is_told_before_the_run() {
        let e = check("/no such folder/report.json").unwrap_err();
        assert!(e.kind == Kind::Config && e.message.contains("/no such folder"));
    }
}
