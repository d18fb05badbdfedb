//! The shape in which mongosync answers, so that scripts written for it work:
//! `GET /api/v1/progress`, `POST /api/v1/commit`, `pause` and `resume`.
//!
//! Pure: snapshot or answer in, JSON out.

use serde_json::{Value, json};

use crate::observe::phase::Phase;
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
            },
            "totalEventsApplied": sum.ops_applied,
            "estimatedSecondsToCEACatchup": catch_up_s(snapshot),
            "directionMapping": {"Source": snapshot.source, "Destination": snapshot.target},
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

/// Answer of `POST /api/v1/commit`, `pause` and `resume`; `refusal` is the error's name.
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
}
