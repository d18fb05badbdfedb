//! What each command prints on stdout and, for findings that are no success,
//! the error that sets the exit code.
//!
//! Knows nothing about how the outcome came about.

use std::fmt::Display;
use std::io::Write;
use std::time::{Duration, Instant};

use serde::Serialize;

use shardlift::config::cli::Invocation;
use shardlift::control::validate::Check;
use shardlift::error::{Error, Kind, Result};
use shardlift::observe::client::Client;
use shardlift::observe::plain;
use shardlift::verify::Report;

/// Time between two lines while a cutover is followed.
const LINE_INTERVAL: Duration = Duration::from_secs(1);

/// The state of a running migration.
pub(crate) fn status(call: &Invocation, client: &Client) -> Result<()> {
    let now = client.status()?;
    print(if call.json { now.json() } else { now.table() })
}

/// Asks for the cutover, shows a line per phase and second, then the end.
pub(crate) fn cutover(call: &Invocation, client: &Client) -> Result<()> {
    let before = client.status()?;
    let accepted = client.cutover()?;
    if call.no_wait {
        return print(plain::line(&accepted));
    }
    let mut told = (None, Instant::now());
    let end = client.follow_cutover(&before, &mut |now| {
        if !call.json && (told.0 != Some(now.phase) || LINE_INTERVAL <= told.1.elapsed()) {
            let _ = print(now.line());
            told = (Some(now.phase), Instant::now());
        }
    })?;
    print(if call.json { end.json() } else { end.table() })
}

/// What was done, as one sentence.
pub(crate) fn sentence(text: String) -> Result<()> {
    print(plain::line(&text))
}

/// What validation found.
///
/// # Errors
/// `Refused` if a check failed.
pub(crate) fn checks(call: &Invocation, checks: &[Check]) -> Result<()> {
    if call.json {
        print(json(&checks))?
    } else {
        checks
            .iter()
            .try_for_each(|check| print(check_text(check)))?
    }
    match checks.iter().filter(|check| !check.ok).count() {
        0 => Ok(()),
        failed => Err(Error::new(
            Kind::Refused,
            format!("{failed} of {} checks failed", checks.len()),
        )
        .remedy("follow the remedy of each failed check, then validate again")),
    }
}

fn check_text(check: &Check) -> String {
    let remedy = check
        .remedy
        .as_ref()
        .map(|remedy| format!("\n        what to do: {}", plain::line(remedy)));
    let (result, found) = (
        if check.ok { "ok" } else { "FAILED" },
        plain::line(&check.found),
    );
    format!(
        "{result:<6}  {}: {found}{}",
        check.name,
        remedy.unwrap_or_default()
    )
}

/// What comparing found.
///
/// # Errors
/// `Differs` if source and target do.
pub(crate) fn comparison(call: &Invocation, report: &Report) -> Result<()> {
    if call.json {
        print(json(report))?
    } else {
        report
            .told()
            .iter()
            .try_for_each(|told| print(plain::line(told)))?;
        let Report {
            collections,
            documents,
            bytes,
            ..
        } = report;
        print(format!(
            "compared {collections} collections, {documents} documents, {bytes} bytes"
        ))?;
    }
    if report.equal {
        return Ok(());
    }
    Err(Error::new(Kind::Differs, "source and target differ")
        .remedy("make sure that nothing writes to either side, then verify again"))
}

/// What a migration did, as text or as JSON with `--json`.
pub(crate) fn summary(call: &Invocation, result: &(impl Serialize + Display)) -> Result<()> {
    if call.json {
        print(json(result))
    } else {
        print(result)
    }
}

fn json(result: &impl Serialize) -> String {
    serde_json::to_string(result).expect("results have string keys and plain values only")
}

/// One result on stdout. A closed pipe is no error: its reader has enough.
fn print(text: impl Display) -> Result<()> {
    let _ = writeln!(std::io::stdout(), "{}", text.to_string().trim_end());
    Ok(())
}
