//! The progress display: bars on a terminal, otherwise a log line at intervals.
//!
//! It runs on its own thread, so that a busy runtime cannot stall it. It knows only
//! snapshots of a run.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::config::ProgressMode;
use crate::observe::counters::PairSnapshot;
use crate::observe::figures;
use crate::observe::logging;
use crate::observe::plain;
use crate::observe::rates::Rates;
use crate::observe::status::Snapshot;

/// Time between two drawings of the bars.
const REDRAW: Duration = Duration::from_millis(250);
/// Width of a bar, characters.
const BAR: usize = 12;

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
            spawn(Box::new(move || draw(&stopped, &*snapshot))).ok()
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

fn draw(stopped: &Receiver<()>, snapshot: &dyn Fn() -> Snapshot) {
    let multi = MultiProgress::new();
    logging::share_with(Some(multi.clone()));
    let mut picture = Picture::on(multi);
    repeat(stopped, REDRAW, snapshot, &mut |now| picture.show(now));
    drop(picture);
    // The cursor stays behind the last line: later ones begin below it.
    let _ = writeln!(std::io::stderr());
    logging::share_with(None);
}

/// The run on a terminal: a head line, a bar for each pair, and what to know. Lines are as wide
/// as the terminal is. The last state stays there.
pub struct Picture {
    multi: MultiProgress,
    lines: Vec<ProgressBar>,
}

impl Picture {
    /// For somebody who looks on.
    pub fn on_stdout() -> Self {
        Picture::on(MultiProgress::with_draw_target(ProgressDrawTarget::stdout()))
    }

    fn on(multi: MultiProgress) -> Self {
        let lines = Vec::new();
        Picture { multi, lines }
    }

    pub fn show(&mut self, now: &Snapshot) {
        let texts = lines(now);
        while self.lines.len() < texts.len() {
            let line = ProgressBar::no_length().with_style(style());
            self.lines.push(self.multi.add(line));
        }
        for gone in self.lines.drain(texts.len()..) {
            self.multi.remove(&gone);
        }
        for (line, text) in self.lines.iter().zip(texts) {
            line.set_message(text);
        }
    }
}

impl Drop for Picture {
    fn drop(&mut self) {
        self.lines.iter().for_each(ProgressBar::abandon);
    }
}

fn lines(now: &Snapshot) -> Vec<String> {
    let width = now.pairs.iter().map(|pair| pair.name.chars().count());
    let width = width.max().unwrap_or(0);
    let pair = |pair: &PairSnapshot| {
        let name = plain::line(&pair.name);
        format!("{name:<width$} [{}] {}", bar(pair), bar_text(pair))
    };
    let mut lines = vec![head_text(now)];
    lines.extend(now.pairs.iter().map(pair));
    lines.extend(now.notes());
    lines
}

/// Full only when all is copied.
fn bar(pair: &PairSnapshot) -> String {
    let done = pair.percent_copied() as usize * BAR / 100;
    let head = if done < BAR { ">" } else { "" };
    format!("{:<BAR$}", "=".repeat(done) + head)
}

/// The text about the whole run: short enough for 80 columns, most important first.
fn head_text(now: &Snapshot) -> String {
    let sum = now.sum();
    let (way, elapsed) = (now.reverse.in_front(), figures::seconds(now.run_s));
    let mut text = format!("{way}{} | {elapsed} since the start", now.phase);
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

fn style() -> ProgressStyle {
    ProgressStyle::with_template("{wide_msg}").expect("a template of one known word")
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
    fn it_has_a_bar_for_each_pair_and_what_to_know() {
        let mut now = copying();
        now.obstacles.push("two\nlines".to_owned());
        let shown = lines(&now);
        assert_eq!(
            shown[..2],
            [
                "copying | 21.0s since the start | lag 0.4s (largest 1.2s) | indexes 0 of 6",
                "a → x [===>        ] 25% 50.0 MiB/s 51.2k docs/s eta 1m01s | 3100 ops/s | lag 0.4s",
            ]
        );
        assert!(shown.len() == 4 && shown[3].starts_with("in the way of a cutover: two"));
        assert!(!shown[3].contains('\n'));
        now.pairs[0].units_copied = 64;
        assert!(lines(&now)[1].starts_with("a → x [============] "));
    }

    #[test]
    fn lines_come_and_go() {
        let hidden = MultiProgress::with_draw_target(ProgressDrawTarget::hidden());
        let mut picture = Picture::on(hidden);
        for (now, count) in [
            (Snapshot::default(), 1),
            (copying(), 3),
            (copying(), 3),
            (Snapshot::default(), 1),
        ] {
            picture.show(&now);
            assert_eq!(picture.lines.len(), count);
        }
    }
}
