//! Nothing waits in silence (R12). A pair that has work but makes no progress is an
//! obstacle to a cutover, reported with what waits on what; so is DDL that takes long.
//! Writes that find nothing to change are reported, and so is, long before it happens, a
//! source that will roll over entries that a restart needs.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use crate::cluster::retry::within;
use crate::control::run::Run;
use crate::pair::run::Pair;
use crate::pair::throttle::Throttle;
use crate::position::Position;

const POLL: Duration = Duration::from_secs(1);
/// DDL and index builds that take longer are reported, repeatedly.
const STUCK_PATIENCE: Duration = Duration::from_secs(15);
/// How many of them are named.
const STUCK_TOLD_MAX: usize = 5;
/// How often the source's oldest entry is looked at.
const WINDOW_POLL: Duration = Duration::from_secs(5);
/// How long the source may take to answer then.
const WINDOW_PATIENCE: Duration = Duration::from_secs(10);

/// Watches one pair as long as it runs. `patience`: how long it may make no progress.
pub async fn progress(pair: Arc<Pair>, patience: Duration, throttle: Arc<Throttle>) {
    let (mut seen, mut since) = (pair.progress(), Instant::now());
    let mut told = Instant::now();
    loop {
        tokio::time::sleep(POLL.min(patience)).await;
        let now = pair.progress();
        // What holds on purpose says so itself.
        if now != seen || !pair.has_work() || throttle.holds() {
            (seen, since) = (now, Instant::now());
            pair.metrics.obstacles.clear("progress");
        } else if patience < since.elapsed() {
            let found = format!(
                "no progress for {} s: {}",
                since.elapsed().as_secs(),
                pair.waits_on()
            );
            if patience < told.elapsed() {
                tracing::warn!("{}: {found}", pair.name);
                told = Instant::now();
            }
            pair.metrics.obstacles.set("progress", found);
        }
    }
}

/// Reports long DDL and index builds, which are obstacles to a cutover.
pub async fn stuck(pair: Arc<Pair>) {
    let mut told = Instant::now();
    loop {
        tokio::time::sleep(POLL).await;
        let stuck = pair.stuck(STUCK_PATIENCE);
        pair.metrics.obstacles.put("chores", under_way(&stuck));
        if STUCK_PATIENCE <= told.elapsed() {
            stuck
                .iter()
                .for_each(|what| tracing::info!("{}: still {what}", pair.name));
            told = Instant::now();
        }
    }
}

/// The first few in words.
fn under_way(stuck: &[String]) -> Option<String> {
    let named = stuck
        .iter()
        .take(STUCK_TOLD_MAX)
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join("; ");
    match stuck.len().saturating_sub(STUCK_TOLD_MAX) {
        0 => (!stuck.is_empty()).then(|| format!("still {named}")),
        more => Some(format!("still {named}; and {more} more")),
    }
}

/// Tells of writes that found no document where one must be (R3).
pub async fn missed(pair: Arc<Pair>, run: Arc<Run>) {
    loop {
        let missed = pair.metrics.writes_missed.load(Relaxed);
        let told = (0 < missed).then(|| {
            format!(
                "{}: {missed} writes found no document on the target where one must be: something else writes to the target, the source changed an orphan, or this is a defect; the log names the collections, `shardlift verify` shows what differs, `shardlift recopy --shard … --ns …` copies a collection again",
                pair.name
            )
        });
        run.warn_while(&format!("writes missed by {}", pair.name), told);
        tokio::time::sleep(POLL).await;
    }
}

/// Tells of transactions that are applied in part.
pub async fn crossed(pair: Arc<Pair>, run: Arc<Run>) {
    loop {
        let crossed = pair.metrics.transactions_crossed.load(Relaxed);
        let told = (0 < crossed).then(|| {
            format!(
                "{}: {crossed} transactions wrote what the filters leave out, too: of each only what is in is applied, all at once",
                pair.name
            )
        });
        run.warn_while(&format!("transactions crossed on {}", pair.name), told);
        tokio::time::sleep(POLL).await;
    }
}

/// Watches how far the source's oplog reaches back beyond what a restart needs.
/// `enough_s`: below it a warning is given, once the oplog rolls over at all.
pub async fn window(pair: Arc<Pair>, run: Arc<Run>, enough_s: u64) {
    let mut first: Option<Position> = None;
    loop {
        // A frozen server answers never, and the next look asks again.
        if let Ok(Some(oldest)) =
            within(WINDOW_PATIENCE, "a source shard", pair.oldest_on_source()).await
        {
            let rolls_over = *first.get_or_insert(oldest) < oldest;
            let spare_s = pair
                .resume_position()
                .seconds()
                .saturating_sub(oldest.seconds());
            let kept_s = pair
                .metrics
                .tail_seconds
                .load(Relaxed)
                .saturating_sub(oldest.seconds());
            pair.metrics.oplog_kept_s.store(kept_s, Relaxed);
            pair.metrics.oplog_spare_s.store(spare_s, Relaxed);
            let short = rolls_over && spare_s < enough_s;
            let told = short.then(|| {
                format!(
                    "the source of {} keeps {kept_s} s of oplog, which reaches {spare_s} s further back than a restart needs: enlarge it (`replSetResizeOplog`), or speed up the target; the spool on this host protects only while it is there",
                    pair.name
                )
            });
            run.warn_while(&format!("oplog of {}", pair.name), told);
        }
        tokio::time::sleep(WINDOW_POLL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_few_of_much_that_goes_on_are_named() {
        let many: Vec<String> = (0..7)
            .map(|i| format!("creating d.c{i} for 20 s"))
            .collect();
        assert_eq!(under_way(&[]), None);
        assert_eq!(
            under_way(&many[..1]).as_deref(),
            Some("still creating d.c0 for 20 s")
        );
        assert!(under_way(&many).is_some_and(|text| text.ends_with("d.c4 for 20 s; and 2 more")));
    }
}
