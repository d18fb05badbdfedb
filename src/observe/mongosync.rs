//! The shape in which mongosync answers, so that scripts written for it work:
//! `GET /api/v1/progress` and `POST /api/v1/commit`.
//!
//! Pure: snapshot or answer in, JSON out.

use serde_json::{Value, json};

use crate::observe::status::Snapshot;

/// Answer of `GET /api/v1/progress`. What we do not measure is null.
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
    json!({
        "progress": {
            "state": state(&snapshot.phase),
            "canCommit": snapshot.can_cutover,
            "canWrite": snapshot.phase == "done",
            "info": info(&snapshot.phase),
            "lagTimeSeconds": lag_s,
            "lag": {"overallLagSeconds": lag_s, "crudLagSeconds": lag_s, "ddlLagSeconds": lag_s},
            "collectionCopy": {
                "estimatedTotalBytes": sum.bytes_total,
                "estimatedCopiedBytes": sum.bytes_done,
            },
            "indexBuilding": {
                "indexesBuilt": sum.indexes_built,
                "totalIndexesToBuild": sum.indexes_total,
            },
            "totalEventsApplied": sum.ops_applied,
            "estimatedSecondsToCEACatchup": catch_up_s(snapshot),
            "directionMapping": null,
            "source": null,
            "destination": null,
            "verification": null,
            "warnings": warnings,
            "mongosyncID": snapshot.run_id,
            "coordinatorID": snapshot.run_id,
        },
        "success": true,
    })
}

/// Answer of `POST /api/v1/commit`.
pub fn commit(answer: &Result<String, String>) -> Value {
    match answer {
        Ok(_) => json!({"success": true}),
        Err(why) => json!({"success": false, "error": "CommitRefused", "errorDescription": why}),
    }
}

/// FAILED and CANCELLED are ours: mongosync has no word for them.
fn state(phase: &str) -> &'static str {
    match phase {
        "" | "validating" => "IDLE",
        "cutting over" => "COMMITTING",
        "done" => "COMMITTED",
        "failed" => "FAILED",
        // As mongosync's pause: it goes on where it was.
        "parked" | "stopped" => "PAUSED",
        "cancelled" => "CANCELLED",
        _ => "RUNNING",
    }
}

fn info(phase: &str) -> Option<&'static str> {
    match phase {
        "layout" | "copying" => Some("collection copy"),
        "following" | "ready" => Some("change event application"),
        "cutting over" => Some("waiting for commit to complete"),
        "done" => Some("commit completed"),
        _ => None,
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
    use crate::observe::status::tests::copying;

    #[test]
    fn every_phase_has_its_state() {
        for (phase, state, info) in [
            ("validating", "IDLE", Value::Null),
            ("copying", "RUNNING", json!("collection copy")),
            ("ready", "RUNNING", json!("change event application")),
            (
                "cutting over",
                "COMMITTING",
                json!("waiting for commit to complete"),
            ),
            ("done", "COMMITTED", json!("commit completed")),
            ("failed", "FAILED", Value::Null),
        ] {
            let answer = progress(&Snapshot {
                phase: phase.into(),
                ..copying()
            });
            assert_eq!(
                (&answer["progress"]["state"], &answer["progress"]["info"]),
                (&json!(state), &info)
            );
            assert_eq!(answer["progress"]["canWrite"], json!(phase == "done"));
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
}
