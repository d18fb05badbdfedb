//! The progress display: bars on a terminal, otherwise a log line at intervals.
//!
//! It runs on its own thread, so that a busy runtime cannot stall it. It knows only
//! snapshots of a run.

use std::collections::HashMap;
use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::config::ProgressMode;
use crate::observe::counters::PairSnapshot;
use crate::observe::figures;
use crate::observe::logging;
use crate::observe::rates::Rates;
use crate::observe::status::Snapshot;

/// Time between two drawings of the bars.
const REDRAW: Duration = Duration::from_millis(250);

/// A running display. On drop it shows the last state once more and leaves it.
pub struct Display {
    /// Dropped to stop the thread.
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Starts showing `snapshot`. `interval` is the time between two log lines; bars are
/// drawn more often. `Auto` means bars if stderr is a terminal, and so does `Display`,
/// since bars make no sense elsewhere.
pub fn start(
    mode: ProgressMode,
    interval: Duration,
    snapshot: Arc<dyn Fn() -> Snapshot + Send + Sync>,
) -> Display {
    let (stop, stopped) = channel();
    let spawn = |work: Box<dyn FnOnce() + Send>| {
        std::thread::Builder::new()
            .name("display".into())
            .spawn(work)
            .inspect_err(|e| {
                tracing::warn!("progress cannot be shown: {e}");
            })
    };
    let thread = match mode {
        ProgressMode::None => None,
        ProgressMode::Auto | ProgressMode::Display if std::io::stderr().is_terminal() => {
            spawn(Box::new(move || draw_bars(&stopped, &*snapshot))).ok()
        }
        _ => spawn(Box::new(move || log_lines(&stopped, interval, &*snapshot))).ok(),
    };
    Display {
        stop: Some(stop),
        thread,
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported by the panic hook; the run goes on.
            let _ = thread.join();
        }
    }
}

/// Calls `show` at every interval and once more at the end.
fn repeat(
    stopped: &Receiver<()>,
    interval: Duration,
    snapshot: &dyn Fn() -> Snapshot,
    show: &mut dyn FnMut(&Snapshot),
) {
    let mut rates = Rates::default();
    loop {
        let wait = stopped.recv_timeout(interval);
        let mut now = snapshot();
        rates.fill(&mut now);
        show(&now);
        if wait != Err(RecvTimeoutError::Timeout) {
            return;
        }
    }
}

fn log_lines(stopped: &Receiver<()>, interval: Duration, snapshot: &dyn Fn() -> Snapshot) {
    repeat(stopped, interval, snapshot, &mut |now| {
        tracing::info!("{}", now.line())
    });
}

fn draw_bars(stopped: &Receiver<()>, snapshot: &dyn Fn() -> Snapshot) {
    let multi = MultiProgress::new();
    logging::share_with(Some(multi.clone()));
    let mut bars = Bars::new(multi);
    repeat(stopped, REDRAW, snapshot, &mut |now| bars.show(now));
    bars.leave();
    // The cursor stays behind the last bar: later lines begin below it.
    let _ = writeln!(std::io::stderr());
    logging::share_with(None);
}

/// A head line for the run and a bar per pair, in order of appearance.
struct Bars {
    multi: MultiProgress,
    head: ProgressBar,
    pairs: HashMap<String, ProgressBar>,
}

impl Bars {
    fn new(multi: MultiProgress) -> Self {
        let head = multi.add(ProgressBar::no_length().with_style(style("{wide_msg}")));
        Bars {
            multi,
            head,
            pairs: HashMap::new(),
        }
    }

    fn show(&mut self, now: &Snapshot) {
        self.head.set_message(head_text(now));
        let width = now
            .pairs
            .iter()
            .map(|pair| pair.name.chars().count())
            .max()
            .unwrap_or(0);
        for pair in &now.pairs {
            let bar = self.pairs.entry(pair.name.clone()).or_insert_with(|| {
                self.multi
                    .add(ProgressBar::new(100).with_style(style("{prefix} [{bar:12}] {wide_msg}")))
            });
            bar.set_prefix(format!("{:<width$}", pair.name));
            // In percent, so that it is full only when all is copied.
            bar.set_position(pair.percent_copied());
            bar.set_message(bar_text(pair));
        }
    }

    /// Leaves the last state on the screen.
    fn leave(&self) {
        for bar in std::iter::once(&self.head).chain(self.pairs.values()) {
            bar.abandon();
        }
    }
}

/// The text about the whole run: short enough for 80 columns, most important first.
fn head_text(now: &Snapshot) -> String {
    let sum = now.sum();
    let mut text = format!("{} for {}", now.phase, figures::seconds(now.elapsed_s));
    text += &format!(
        " | lag {} (largest {})",
        figures::millis(now.lag_ms),
        figures::millis(now.lag_ms_max)
    );
    if now.can_cutover {
        text += " | cutover can begin";
    }
    if sum.indexes_total != 0 {
        text += &format!(" | indexes {} of {}", sum.indexes_built, sum.indexes_total);
    }
    text
}

/// The text about one pair, beside its name and bar.
fn bar_text(pair: &PairSnapshot) -> String {
    let following = format!(
        "{} ops/s | lag {}",
        figures::count(pair.ops_per_s as u64),
        figures::millis(pair.lag_ms)
    );
    if pair.units_total != 0 && pair.is_copied() {
        return format!("{} | {following}", figures::bytes(pair.bytes_done));
    }
    format!(
        "{}% {}/s {} docs/s eta {} | {following}",
        pair.percent_copied(),
        figures::bytes(pair.bytes_per_s as u64),
        figures::count(pair.documents_per_s as u64),
        pair.eta_s.map_or("-".to_string(), figures::seconds),
    )
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .expect("the templates of this file are sound")
        .progress_chars("=> ")
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Instant;

    use super::*;
    use crate::observe::status::tests::copying;

    #[test]
    fn it_shows_the_last_state_and_stops_at_once() {
        for (mode, least) in [
            (ProgressMode::Lines, 1),
            (ProgressMode::Auto, 1),
            (ProgressMode::None, 0),
        ] {
            let taken = Arc::new(AtomicU64::new(0));
            let count = taken.clone();
            let begun = Instant::now();
            let display = start(
                mode,
                Duration::from_secs(60),
                Arc::new(move || {
                    count.fetch_add(1, Ordering::Relaxed);
                    copying()
                }),
            );
            drop(display);
            assert!(begun.elapsed() < Duration::from_secs(5));
            assert!(least <= taken.load(Ordering::Relaxed), "{mode:?}");
        }
    }

    #[test]
    fn bars_follow_the_pairs() {
        let mut bars = Bars::new(MultiProgress::with_draw_target(
            indicatif::ProgressDrawTarget::hidden(),
        ));
        bars.show(&Snapshot::default());
        bars.show(&copying());
        bars.show(&copying());
        assert_eq!(bars.pairs.len(), 2);
        let bar = &bars.pairs["a → x"];
        assert_eq!((bar.position(), bar.length()), (25, Some(100)));
        assert!(
            bar.message()
                .starts_with("25% 50.0 MiB/s 51.2k docs/s eta 1m01s | 3100 ops/s | lag 0.4s")
        );
        bars.leave();
    }
}
