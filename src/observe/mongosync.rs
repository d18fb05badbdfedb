//! The shape in which mongosync answers, so that scripts written for it work:
//! `GET /api/v1/progress`, `POST /api/v1/start`, `commit`, `pause`, `resume` and `reverse`.
//!
//! Pure: snapshot or answer in, JSON out.

use serde_json::{Value, json};

use crate::observe::counters::PairSnapshot;
use crate::observe::phase::Phase;
use crate::observe::status::Snapshot;

/// Answer of `GET /api/v1/progress`. What is not known yet is null.
pub fn progress(snapshot: &Snapshot) -> Value {
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
            "state": state(snapshot.phase),
            "canCommit": snapshot.can_cutover,
            "canWrite": snapshot.phase == Phase::Done,
            "info": info(snapshot.phase),
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
fn state(phase: Phase) -> &'static str {
    match phase {
        Phase::Validating => "IDLE",
        Phase::Layout | Phase::Copying | Phase::Following | Phase::Ready | Phase::Recovering => {
            "RUNNING"
        }
        Phase::CuttingOver => "COMMITTING",
        Phase::Done => "COMMITTED",
        Phase::Failed => "FAILED",
        // Like a paused mongosync, the run resumes where it was.
        Phase::Paused | Phase::Parked | Phase::Stopped => "PAUSED",
        Phase::Cancelled => "CANCELLED",
    }
}

fn info(phase: Phase) -> Option<&'static str> {
    match phase {
        Phase::Layout | Phase::Copying => Some("collection copy"),
        Phase::Following | Phase::Ready => Some("change event application"),
        Phase::CuttingOver => Some("waiting for commit to complete"),
        Phase::Done => Some("commit completed"),
        Phase::Validating
        | Phase::Recovering
        | Phase::Paused
        | Phase::Failed
        | Phase::Parked
        | Phase::Stopped
        | Phase::Cancelled => None,
    }
}

/// ETA of the lag, once nothing is left to copy.
fn catch_up_s(snapshot: &Snapshot) -> Option<u64> {
    let copied = snapshot.pairs.iter().all(|pair| pair.is_copied());
    snapshot
        .sum()
        .eta_s
        .filter(|_| copied)
        .map(|eta| eta.ceil() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::phase::tests::ALL;
    use crate::observe::status::tests::copying;

    #[test]
    fn every_phase_has_its_state() {
        let copies = "collection copy";
        let follows = "change event application";
        let rows = [
            (Phase::Validating, "IDLE", None),
            (Phase::Layout, "RUNNING", Some(copies)),
            (Phase::Copying, "RUNNING", Some(copies)),
            (Phase::Following, "RUNNING", Some(follows)),
            (Phase::Ready, "RUNNING", Some(follows)),
            (Phase::Recovering, "RUNNING", None),
            (Phase::Paused, "PAUSED", None),
            (
                Phase::CuttingOver,
                "COMMITTING",
                Some("waiting for commit to complete"),
            ),
            (Phase::Done, "COMMITTED", Some("commit completed")),
            (Phase::Failed, "FAILED", None),
            (Phase::Parked, "PAUSED", None),
            (Phase::Stopped, "PAUSED", None),
            (Phase::Cancelled, "CANCELLED", None),
        ];
        assert_eq!(rows.map(|row| row.0), ALL.map(|(phase, _)| phase));
        for (phase, state, info) in rows {
            let answer = progress(&Snapshot { phase, ..copying() });
            assert_eq!(
                (&answer["progress"]["state"], &answer["progress"]["info"]),
                (&json!(state), &json!(info)),
                "{phase}"
            );
            assert_eq!(answer["progress"]["canWrite"], phase == Phase::Done);
        }
    }

    #[test]
    fn figures_are_those_of_all_pairs() {
        let answer = progress(&copying());
        assert_eq!(answer["success"], true);
        assert_eq!(answer["progress"]["lagTimeSeconds"], 1);
        assert_eq!(
            answer["progress"]["collectionCopy"]["estimatedTotalBytes"],
            8u64 << 30
        );
        assert_eq!(answer["progress"]["totalEventsApplied"], 24_690);
        assert_eq!(
            answer["progress"]["estimatedSecondsToCEACatchup"],
            Value::Null
        );
    }

    #[test]
    fn what_is_known_is_no_null() {
        let mut snapshot = copying();
        let before = progress(&snapshot)["progress"].clone();
        assert_eq!(before["source"]["pingLatencyMs"], Value::Null);
        assert_eq!(before["estimatedOplogTimeRemaining"], Value::Null);
        assert_eq!(before["verification"]["source"]["phase"], "idle");
        for pair in &mut snapshot.pairs {
            (pair.source_ping_us, pair.target_ping_us) = (1_500, 250);
            (pair.collections_total, pair.collections_done) = (5, 2);
            (pair.documents_verified, pair.oplog_kept_s) = (7, 9_000);
        }
        snapshot.pairs[1].verified = true;
        let now = progress(&snapshot)["progress"].clone();
        assert_eq!(now["source"]["pingLatencyMs"], 1.5);
        assert_eq!(now["destination"]["pingLatencyMs"], 0.25);
        assert_eq!(now["indexBuilding"]["collectionsTotal"], 10);
        assert_eq!(now["indexBuilding"]["collectionsFinished"], 4);
        let of_target = &now["verification"]["destination"];
        assert_eq!(
            (&of_target["phase"], &of_target["hashedDocumentCount"]),
            (&json!("initial hashing"), &json!(14))
        );
        snapshot.pairs[0].verified = true;
        let verified = progress(&snapshot);
        let phase = &verified["progress"]["verification"]["source"]["phase"];
        assert_eq!(phase, "stream hashing");
    }

    #[test]
    fn the_oplog_that_is_left_is_told_in_words() {
        let rows = [
            (0, "less than 15 minutes"),
            (899, "less than 15 minutes"),
            (900, "less than 1 hour"),
            (3_600, "1 hour"),
            (7_200, "2 hours"),
            (43_300, "12 hours"),
        ];
        for (spare_s, expect) in rows {
            let mut snapshot = copying();
            for pair in &mut snapshot.pairs {
                (pair.oplog_kept_s, pair.oplog_spare_s) = (100_000, spare_s);
            }
            snapshot.pairs[0].oplog_spare_s = 1_000_000;
            assert_eq!(oplog_left(&snapshot).as_deref(), Some(expect));
        }
    }
}
