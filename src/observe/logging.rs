//! Log set-up: plain lines or JSON on stderr, above the progress display when
//! there is one. Messages never hold document contents.
//!
//! Knows nothing about what is logged.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::io::{self, Write};

use indicatif::MultiProgress;
use parking_lot::Mutex;
use tracing_subscriber::EnvFilter;

use crate::config::LogFormat;
use crate::error::{Error, Result};
use crate::observe::plain;

/// The display that shares stderr with the log. Short lock, never held while
/// drawing or logging.
static BARS: Mutex<Option<MultiProgress>> = Mutex::new(None);

/// The newest lines. Short lock.
static TAIL: Mutex<Tail> = Mutex::new(Tail(VecDeque::new()));
const TAIL_LINES: usize = 200;
/// Longest line that is kept whole, characters.
const TAIL_CHARS: usize = 500;

/// The newest lines of the log, oldest first.
pub fn tail() -> Vec<String> {
    TAIL.lock().0.iter().cloned().collect()
}

struct Tail(VecDeque<String>);

impl Tail {
    fn keep(&mut self, line: &[u8]) {
        let text = String::from_utf8_lossy(line);
        if self.0.len() == TAIL_LINES {
            self.0.pop_front();
        }
        let kept = text.trim_end().chars().take(TAIL_CHARS);
        self.0.push_back(kept.collect());
    }
}

/// Sends log lines of `level` and above to stderr, those of other crates from
/// `warn` on. Once per process.
///
/// # Errors
/// `Internal` if the log is set up already.
pub fn init(format: LogFormat, level: &str) -> Result<()> {
    let writer = move || AboveBars { format };
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter(level))
        .with_writer(writer)
        .with_target(false);
    match format {
        LogFormat::Text => lines.with_ansi(false).try_init(),
        LogFormat::Json => lines
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .try_init(),
    }
    .map_err(|e| Error::internal(format!("the log is set up twice: {e}")))
}

fn filter(level: &str) -> EnvFilter {
    let others = if level == "error" { "error" } else { "warn" };
    EnvFilter::new(format!("{others},shardlift={level}"))
}

/// Lets log lines pass above these bars, until called with None.
pub(super) fn share_with(bars: Option<MultiProgress>) {
    *BARS.lock() = bars;
}

/// Writes each event as one line to stderr, while the bars step aside.
struct AboveBars {
    format: LogFormat,
}

impl Write for AboveBars {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let line = match self.format {
            LogFormat::Text => Cow::Owned(one_line(event).into_bytes()),
            // It is one line by its own rules.
            LogFormat::Json => Cow::Borrowed(event),
        };
        TAIL.lock().keep(&line);
        let bars = BARS.lock().clone();
        match bars {
            Some(bars) => bars.suspend(|| io::stderr().write_all(&line))?,
            None => io::stderr().write_all(&line)?,
        }
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An event as it comes, with the line's end; the names in it may hold more of these.
fn one_line(event: &[u8]) -> String {
    let text = String::from_utf8_lossy(event);
    let text = text.strip_suffix('\n').unwrap_or(&text);
    format!("{}\n", plain::line(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_whatever_is_in_it() {
        assert_eq!(
            one_line(b"INFO emptied a\nERROR all is lost\n"),
            "INFO emptied a\\nERROR all is lost\n"
        );
    }

    #[test]
    fn the_newest_lines_are_kept() {
        let mut tail = Tail(VecDeque::new());
        for number in 0..=TAIL_LINES {
            tail.keep(format!("line {number} {}\n", "x".repeat(1_000)).as_bytes());
        }
        assert_eq!(tail.0.len(), TAIL_LINES);
        assert!(tail.0[0].starts_with("line 1 x") && tail.0[0].len() == TAIL_CHARS);
    }

    #[test]
    fn every_level_makes_a_filter_and_a_second_log_is_refused() {
        for level in ["error", "warn", "info", "debug", "trace"] {
            assert!(
                filter(level)
                    .to_string()
                    .contains(&format!("shardlift={level}"))
            );
        }
        // Another test of this process may have been first.
        let _ = init(LogFormat::Json, "error");
        assert!(init(LogFormat::Text, "info").is_err());
    }
}
