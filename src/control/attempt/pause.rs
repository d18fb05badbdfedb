//! A paused run: no attempt is under way, and the next one resumes from the last
//! checkpoint. The source's oplog is read on into the spool, and the cutover window goes on.

use std::convert::Infallible;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::cluster::retry::within;
use crate::control::attempt::observers::newest_write;
use crate::control::process::Process;
use crate::control::stop::{answer, stopped};
use crate::error::Result;
use crate::observe::api::request::Request;
use crate::observe::phase::Phase;
use crate::position::Position;

/// How often the lag is brought up to date.
const POLL: Duration = Duration::from_secs(1);
/// How long a source shard may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Holds the run until it is resumed.
///
/// # Errors
/// By what ends it: a signal, a cancel, the end of the cutover window.
pub async fn hold(
    process: Process<'_>,
    requests: &mut mpsc::Receiver<Request>,
    by: String,
) -> Result<()> {
    let Process { run, opened, .. } = process;
    tracing::info!("paused: {by}");
    run.set_paused(Some(by.clone()));
    run.enter(Phase::Paused, &by);
    let held = async {
        tokio::select! {
            ended = until_resumed(process, requests) => ended,
            passed = opened.window.watch(run, &opened.stores.run) => Err(passed),
        }
    };
    let ended = meanwhile(process, held).await;
    run.set_paused(None);
    if ended.is_ok() {
        run.enter(Phase::Recovering, "an operator resumed the run");
    }
    ended
}

/// Does `work` while no attempt is under way: the source's oplog is read on, and the lag told.
pub async fn meanwhile<T>(process: Process<'_>, work: impl Future<Output = T>) -> T {
    let done = tokio::select! {
        done = work => done,
        never = keep_lag(process) => match never {},
        never = keep_fetching(process) => match never {},
    };
    for name in names(process) {
        process.run.warn_while(&unread(&name), None);
    }
    done
}

fn names(process: Process<'_>) -> Vec<String> {
    let sides = &process.opened.sides;
    (0..sides.pairs.len())
        .map(|pair| sides.pair_name(pair))
        .collect()
}

/// The subject of a warning.
fn unread(name: &str) -> String {
    format!("oplog of {name} in a pause")
}

/// No attempt looks after what reads the source's oplog into the spool. Never ends.
async fn keep_fetching(process: Process<'_>) -> Infallible {
    let Process { run, opened, .. } = process;
    let names = names(process);
    loop {
        for (feed, name) in opened.feeds.iter().zip(&names) {
            let failed = feed.keep_fetching().map(|e| e.message);
            if let Some(why) = failed.or_else(|| feed.trouble()) {
                let told = format!(
                    "{name}: while no shard is at work, the source's oplog cannot be read on: {why}; it is tried again"
                );
                run.warn_while(&unread(name), Some(told));
            } else if feed.is_read_to(Position::MAX) {
                run.warn_while(&unread(name), None);
            }
        }
        tokio::time::sleep(POLL).await;
    }
}

async fn until_resumed(process: Process<'_>, requests: &mut mpsc::Receiver<Request>) -> Result<()> {
    let Process { opened, stop, .. } = process;
    loop {
        tokio::select! {
            () = stop.asked() => return Err(stopped("the paused run")),
            Some(request) = requests.recv() => match request {
                Request::Cancel(reply) => return Err(stop.cancelled(reply)),
                Request::Resume(reply) => {
                    answer(reply, Ok("the run goes on from its last checkpoint".to_owned()));
                    return Ok(());
                }
                Request::Extend(reply) => opened.window.extend(reply),
                other => other.refuse("the run is paused: `shardlift resume` first"),
            },
        }
    }
}

/// The source goes on, and each pair falls behind. Never ends.
async fn keep_lag(process: Process<'_>) -> Infallible {
    let Process { run, opened, .. } = process;
    loop {
        for (pair, shard) in opened.sides.source.shards.iter().enumerate() {
            let metrics = run.metrics_of(&opened.sides.pair_name(pair));
            let asked = within(PATIENCE, "a source shard", newest_write(shard)).await;
            let applied_ms = metrics.applied_seconds.load(Relaxed) * 1_000;
            if let (Ok(Some(newest_ms)), 1..) = (asked, applied_ms) {
                let lag_ms = newest_ms.saturating_sub(applied_ms);
                metrics.lag_ms.store(lag_ms, Relaxed);
                metrics.lag_ms_max.fetch_max(lag_ms, Relaxed);
            }
        }
        tokio::time::sleep(POLL).await;
    }
}
