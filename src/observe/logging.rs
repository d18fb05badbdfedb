//! Log set-up: plain lines or JSON on stderr, above the progress display when
//! there is one. Messages never hold document contents.
//!
//! Knows nothing about what is logged.

use std::io::{self, Write};

use indicatif::MultiProgress;
use parking_lot::Mutex;
use tracing_subscriber::EnvFilter;

use crate::config::LogFormat;
use crate::error::{Error, Result};

/// The display that shares stderr with the log. Short lock, never held while
/// drawing or logging.
static BARS: Mutex<Option<MultiProgress>> = Mutex::new(None);

/// Sends log lines of `level` and above to stderr, those of other crates from
/// `warn` on. Once per process.
///
/// # Errors
/// `Internal` if the log is set up already.
pub fn init(format: LogFormat, level: &str) -> Result<()> {
    let lines = tracing_subscriber::fmt().with_env_filter(filter(level)).with_writer(|| AboveBars).with_target(false);
    match format {
        LogFormat::Text => lines.with_ansi(false).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(false).try_init(),
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

/// Writes each line to stderr while the bars step aside.
struct AboveBars;

impl Write for AboveBars {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let bars = BARS.lock().clone();
        match bars {
            Some(bars) => bars.suspend(|| io::stderr().write_all(line))?,
            None => io::stderr().write_all(line)?,
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_makes_a_filter_and_a_second_log_is_refused() {
        for level in ["error", "warn", "info", "debug", "trace"] {
            assert!(filter(level).to_string().contains(&format!("shardlift={level}")));
        }
        // Another test of this process may have been first.
        let _ = init(LogFormat::Json, "error");
        assert!(init(LogFormat::Text, "info").is_err());
    }
}
