//! The shape in which mongosync answers, so that scripts written for it work:
//! `GET /api/v1/progress`, `POST /api/v1/start`, `commit`, `pause`, `resume` and `reverse`.
//!
//! Pure: snapshot or answer in, JSON out.

use serde_json::{Value, json};

use crate::observe::counters::PairSnapshot;
use crate::observe::phase::Phase;
use crate::observe::reverse::Reverse;
use crate::observe::status::Snapshot;

/// What a script has asked of the way back, as far as this process knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reversal {
    Unasked,
    /// The process came when the way back had begun: an earlier one may have been asked for it.
    Unknown,
    Asked,
}

/// Answer of `GET /api/v1/progress`. What is not known yet is null.
pub fn progress(snapshot: &Snapshot, reversal: Reversal) -> Value {
    let snapshot = &as_committed(snapshot, reversal);
    let sum = snapshot.sum();
    let lag_s = snapshot.lag_ms.div_ceil(1000);
    let Snapshot {
        obstacles,
        last_cutover,
        warnings,
        error,
        ..
    } = snapshot;
    let warnings: Vec<&String> = obstacles
        .iter()
        .chain(last_cutover)
        .chain(warnings)
        .chain(error)
        .collect();
    let verification = verification(snapshot, &sum, lag_s);
    json!({
        "progress": {
            "state": state(snapshot),
            "canCommit": snapshot.can_cutover,
            "canWrite": snapshot.phase == Phase::Done,
            "info": info(snapshot),
            "lagTimeSeconds": lag_s,
            "lag": {"overallLagSeconds": lag_s, "crudLagSeconds": lag_s, "ddlLagSeconds": lag_s},
            "collectionCopy": {
                "estimatedTotalBytes": sum.bytes_total,
                "estimatedCopiedBytes": sum.bytes_done,
            },
            "indexBuilding": {
                "indexesBuilt": sum.indexes_built,
                "totalIndexesToBuild": sum.indexes_total,
                "collectionsFinished": sum.collections_done,
                "collectionsTotal": sum.collections_total,
            },
            "totalEventsApplied": sum.ops_applied,
            "estimatedSecondsToCEACatchup": catch_up_s(snapshot),
            "estimatedOplogTimeRemaining": oplog_left(snapshot),
            "directionMapping": {"Source": snapshot.source, "Destination": snapshot.target},
            "source": {"pingLatencyMs": ping_ms(sum.source_ping_us)},
            "destination": {"pingLatencyMs": ping_ms(sum.target_ping_us)},
            "verification": {"source": verification, "destination": verification},
            "warnings": warnings,
            "mongosyncID": snapshot.run_id,
            "coordinatorID": snapshot.run_id,
        },
        "success": true,
    })
}

/// With mongosync a migration stays committed, and its target is written to, until `reverse`
/// is posted; our way back begins by itself. Its own end, good or bad, is told in any case.
/// IMPORTANT: not committed where it may be the way back's end that a script waits for.
fn as_committed(snapshot: &Snapshot, reversal: Reversal) -> Snapshot {
    let snapshot = snapshot.clone();
    if !is_unasked(&snapshot, reversal) {
        return snapshot;
    }
    if reversal == Reversal::Unknown {
        return Snapshot {
            can_cutover: false,
            ..snapshot
        };
    }
    Snapshot {
        phase: Phase::Done,
        can_cutover: false,
        source: snapshot.target,
        target: snapshot.source,
        reverse: Reverse::Wanted,
        ..snapshot
    }
}

/// The way back is under way, and no script has asked this process for it.
pub fn is_unasked(snapshot: &Snapshot, reversal: Reversal) -> bool {
    let is_over = matches!(
        snapshot.phase,
        Phase::CuttingOver | Phase::Done | Phase::Failed | Phase::Cancelled
    );
    snapshot.reverse == Reverse::Running && reversal != Reversal::Asked && !is_over
}

/// Both sides are read side by side: what is verified of one is of the other.
fn verification(snapshot: &Snapshot, sum: &PairSnapshot, lag_s: u64) -> Value {
    let phase = match sum.documents_verified {
        0 => "idle",
        _ if snapshot.pairs.iter().all(|pair| pair.verified) => "stream hashing",
        _ => "initial hashing",
    };
    json!({
        "phase": phase,
        "lagTimeSeconds": lag_s,
        "estimatedDocumentCount": sum.documents_total,
        "hashedDocumentCount": sum.documents_verified,
    })
}

fn ping_ms(us: u64) -> Option<f64> {
    (us != 0).then(|| us as f64 / 1_000.0)
}

/// How long what a restart needs stays in the source's oplog, of the shard with the least.
fn oplog_left(snapshot: &Snapshot) -> Option<String> {
    let known = snapshot.pairs.iter().filter(|pair| pair.oplog_kept_s != 0);
    let least_s = known.map(|pair| pair.oplog_spare_s).min()?;
    Some(match least_s {
        0..900 => "less than 15 minutes".to_owned(),
        900..3_600 => "less than 1 hour".to_owned(),
        3_600..7_200 => "1 hour".to_owned(),
        _ => format!("{} hours", least_s / 3_600),
    })
}

/// Answer of every `POST`; `refusal` is the error's name.
pub fn answer(answer: &Result<String, String>, refusal: &str) -> Value {
    match answer {
        Ok(_) => json!({"success": true}),
        Err(why) => json!({"success": false, "error": refusal, "errorDescription": why}),
    }
}

/// FAILED and CANCELLED are ours: mongosync has no word for them.
fn state(snapshot: &Snapshot) -> &'static str {
    match snapshot.phase {
        Phase::Validating if snapshot.reverse != Reverse::Running => "IDLE",
        Phase::Validating
        | Phase::Layout
        | Phase::Copying
        | Phase::Following
        | Phase::Ready
        | Phase::Recovering => "RUNNING",
        Phase::CuttingOver => "COMMITTING",
        Phase::Done => "COMMITTED",
        Phase::Failed => "FAILED",
        // Like a paused mongosync, the run resumes where it was.
        Phase::Paused | Phase::Parked | Phase::Stopped => "PAUSED",
        Phase::Cancelled => "CANCELLED",
    }
}

/// Where mongosync has no word it is ours.
fn info(snapshot: &Snapshot) -> String {
    let word = match snapshot.phase {
        Phase::Validating => "validation of both sides",
        Phase::Layout | Phase::Copying => "collection copy",
        Phase::Following | Phase::Ready => "change event application",
        Phase::CuttingOver => "waiting for commit to complete",
        Phase::Done => "commit completed",
        Phase::Recovering => "going back to the last checkpoint",
        Phase::Paused => {
            let by = snapshot.paused.as_deref();
            return by.map_or_else(|| "paused".to_owned(), |by| format!("paused {by}"));
        }
        phase @ (Phase::Failed | Phase::Parked | Phase::Stopped | Phase::Cancelled) => {
            return phase.to_string();
        }
    };
    word.to_owned()
}

/// Lag up to here is none, ms: that of a source where nothing is written, too.
const CAUGHT_UP_MS: u64 = 1_000;

/// Of the slowest pair, once nothing is left to copy: 0 if it has caught up. None while that
/// cannot be said.
fn catch_up_s(snapshot: &Snapshot) -> Option<u64> {
    let follows = matches!(
        snapshot.phase,
        Phase::Following | Phase::Ready | Phase::CuttingOver | Phase::Done
    );
    let of_pair = |pair: &PairSnapshot| match pair.lag_ms {
        _ if !pair.is_copied() => None,
        0..=CAUGHT_UP_MS => Some(0),
        _ => pair.eta_s.map(|eta| eta.ceil() as u64),
    };
    let each: Option<Vec<u64>> = snapshot.pairs.iter().map(of_pair).collect();
    each.filter(|_| follows)?.into_iter().max()
}

#[cfg(test)]
mod tests;
