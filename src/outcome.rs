//! What each command prints on stdout and, for findings that are no success,
//! the error that sets the exit code.
//!
//! Knows nothing about how the outcome came about.

use std::fmt::Display;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use serde::Serialize;

use shardlift::config::cli::Invocation;
use shardlift::config::pages;
use shardlift::control::validate::{Check, Validation, Verdict};
use shardlift::error::{Error, Kind, Result};
use shardlift::observe::client::Client;
use shardlift::observe::display::Picture;
use shardlift::observe::phase::Phase;
use shardlift::observe::plain;
use shardlift::observe::prepared::Prepared;
use shardlift::observe::reverse::Reverse;
use shardlift::observe::status::Snapshot;
use shardlift::verify::Report;

/// Time between two lines while a cutover is followed.
const LINE_INTERVAL: Duration = Duration::from_secs(1);
/// How long a cutover is asked for again while only the optime gap is in its way.
const GAP_PATIENCE: Duration = Duration::from_secs(60);

/// The state of a running migration; with `--watch` until it ends.
pub(crate) fn status(call: &Invocation, client: &Client) -> Result<()> {
    let mut now = client.status()?;
    if !call.watch {
        return print(shown(call, &now));
    }
    let on_screen = std::io::stdout().is_terminal() && !call.json;
    let mut picture = on_screen.then(Picture::on_stdout);
    loop {
        match &mut picture {
            Some(picture) => picture.show(&now),
            None => print(shown(call, &now))?,
        }
        if now.is_final() {
            if on_screen {
                drop(picture);
                // The cursor stays behind the last line.
                print("")?;
            }
            return Ok(());
        }
        std::thread::sleep(LINE_INTERVAL);
        now = client.status()?;
    }
}

fn shown(call: &Invocation, now: &Snapshot) -> String {
    if call.json {
        now.json()
    } else if call.watch {
        now.line()
    } else {
        now.table()
    }
}

/// That the process goes the way that is meant: there, or (`Running`) back.
///
/// # Errors
/// `Control` if it does not.
pub(crate) fn runs(now: &Snapshot, meant: Reverse) -> Result<()> {
    let (back, meant) = (now.reverse == Reverse::Running, meant == Reverse::Running);
    if back == meant {
        return Ok(());
    }
    let (found, remedy) = if back {
        (
            "the cutover is done, and the target is followed back to the source",
            "`shardlift reverse cutover` goes back; `shardlift reverse stop` gives it up",
        )
    } else {
        (
            "nothing is followed back now",
            "the way back begins when `shardlift cutover` of a `migrate --reverse` is done",
        )
    };
    Err(Error::new(Kind::Control, found).remedy(remedy))
}

/// Asks for the cutover of the way that is meant, shows a line per phase and second, then the
/// end.
pub(crate) fn cutover(call: &Invocation, client: &Client, meant: Reverse) -> Result<()> {
    let before = client.status()?;
    runs(&before, meant)?;
    let accepted = if call.block_writes {
        client.cutover_blocking_writes()?
    } else {
        at_no_gap(call, client)?
    };
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

/// Asks for the cutover; again for a while where the gap alone is in the way, and says so.
fn at_no_gap(call: &Invocation, client: &Client) -> Result<String> {
    let deadline = Instant::now() + GAP_PATIENCE;
    loop {
        let refused = match client.cutover() {
            Err(refused) if refused.kind == Kind::Control => refused,
            answer => return answer,
        };
        // With anything else in the way it is not ready.
        let now = client.status()?;
        if call.no_wait || now.phase != Phase::Ready || deadline <= Instant::now() {
            return Err(refused);
        }
        if !call.json {
            print(now.line())?;
        }
        std::thread::sleep(LINE_INTERVAL);
    }
}

/// What a cutover would wait for, and the steps.
pub(crate) fn prepared(call: &Invocation, prepared: &Prepared) -> Result<()> {
    print(if call.json {
        json(prepared)
    } else {
        prepared.table()
    })
}

/// Completions of the shell that was asked for, or the manual.
pub(crate) fn pages(call: &Invocation) -> Result<()> {
    let mut text = Vec::new();
    match call.shell {
        Some(shell) => pages::completions(shell, &mut text),
        None => pages::manual(&mut text)
            .map_err(|e| Error::internal(format!("the manual cannot be made: {e}")))?,
    }
    print(String::from_utf8_lossy(&text))
}

/// What was done, as one sentence.
pub(crate) fn sentence(text: String) -> Result<()> {
    print(plain::line(&text))
}

/// What validation found, as a table by group.
///
/// # Errors
/// `Refused` if a check failed; the cause if a side was not reached.
pub(crate) fn checks(call: &Invocation, found: Validation) -> Result<()> {
    let Validation { checks, unreached } = found;
    print(if call.json {
        json(&checks)
    } else {
        table(&checks)
    })?;
    match (unreached, checks.iter().filter(|c| c.has_failed()).count()) {
        (Some(unreached), _) => Err(unreached),
        (None, 0) => Ok(()),
        (None, failed) => Err(Error::new(
            Kind::Refused,
            format!("{failed} of {} checks failed", checks.len()),
        )
        .remedy("follow the remedy of each failed check, then validate again")),
    }
}

fn table(checks: &[Check]) -> String {
    let (mut out, mut last) = (String::new(), None);
    for check in checks {
        if last.replace(check.group) != Some(check.group) {
            out += &format!("{}\n", check.group);
        }
        out += &row(check);
    }
    let count = |verdict| checks.iter().filter(|c| c.verdict == verdict).count();
    let [ok, warnings, failed] = [Verdict::Ok, Verdict::Warning, Verdict::Failed].map(count);
    out + &format!("{ok} ok, {warnings} warnings, {failed} failed")
}

fn row(check: &Check) -> String {
    let remedy = check
        .remedy
        .as_ref()
        .map(|remedy| format!("             what to do: {}\n", plain::line(remedy)));
    // What passes is in lower case, so that the others stand out.
    let verdict = match check.verdict {
        Verdict::Ok => "ok",
        Verdict::Warning => "WARNING",
        Verdict::Failed => "FAILED",
    };
    format!(
        "  {verdict:<9}  {}: {}\n{}",
        check.name,
        plain::line(&check.found),
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
