//! Every phase and figure in mongosync's shape.

use super::*;
use crate::observe::phase::tests::ALL;
use crate::observe::status::tests::copying;

fn told(snapshot: &Snapshot, reversal: Reversal) -> Value {
    progress(snapshot, reversal)["progress"].clone()
}

#[test]
fn every_phase_has_its_state() {
    let copies = "collection copy";
    let follows = "change event application";
    let rows = [
        (Phase::Validating, "IDLE", "validation of both sides"),
        (Phase::Layout, "RUNNING", copies),
        (Phase::Copying, "RUNNING", copies),
        (Phase::Following, "RUNNING", follows),
        (Phase::Ready, "RUNNING", follows),
        (
            Phase::Recovering,
            "RUNNING",
            "going back to the last checkpoint",
        ),
        (Phase::Paused, "PAUSED", "paused by ann"),
        (
            Phase::CuttingOver,
            "COMMITTING",
            "waiting for commit to complete",
        ),
        (Phase::Done, "COMMITTED", "commit completed"),
        (Phase::Failed, "FAILED", "failed"),
        (Phase::Parked, "PAUSED", "parked"),
        (Phase::Stopped, "PAUSED", "stopped"),
        (Phase::Cancelled, "CANCELLED", "cancelled"),
    ];
    assert_eq!(rows.map(|row| row.0), ALL.map(|(phase, _)| phase));
    for (phase, state, info) in rows {
        let paused = (phase == Phase::Paused).then(|| "by ann".to_owned());
        let snapshot = Snapshot {
            phase,
            paused,
            ..copying()
        };
        let answer = told(&snapshot, Reversal::Unasked);
        assert_eq!(
            (&answer["state"], &answer["info"]),
            (&json!(state), &json!(info)),
            "{phase}"
        );
        assert_eq!(answer["canWrite"], phase == Phase::Done);
    }
}

#[test]
fn a_migration_stays_committed_until_its_way_back_is_asked_for() {
    let committed = [
        Phase::Validating,
        Phase::Layout,
        Phase::Copying,
        Phase::Following,
        Phase::Ready,
        Phase::Recovering,
        Phase::Paused,
        Phase::Parked,
        Phase::Stopped,
    ];
    for (phase, _) in ALL {
        let back = Snapshot {
            phase,
            can_cutover: phase == Phase::Ready,
            source: "new".to_owned(),
            target: "old".to_owned(),
            reverse: Reverse::Running,
            ..copying()
        };
        let asked = told(&back, Reversal::Asked);
        let unasked = told(&back, Reversal::Unasked);
        let unknown = told(&back, Reversal::Unknown);
        assert_eq!(asked["directionMapping"]["Source"], "new");
        assert_eq!(asked["canWrite"], phase == Phase::Done, "{phase}");
        assert_eq!(unknown["state"], asked["state"], "{phase}");
        assert_eq!(unknown["canWrite"], asked["canWrite"], "{phase}");
        if !committed.contains(&phase) {
            assert_eq!([&unasked, &unknown], [&asked; 2], "{phase}");
            continue;
        }
        assert_ne!(asked["state"], "COMMITTED", "{phase}");
        assert_eq!(asked["canCommit"], phase == Phase::Ready);
        assert_eq!(unknown["canCommit"], false, "{phase}");
        assert_eq!(unasked["state"], "COMMITTED", "{phase}");
        assert_eq!(unasked["info"], "commit completed", "{phase}");
        assert_eq!(unasked["canWrite"], true, "{phase}");
        assert_eq!(unasked["canCommit"], false, "{phase}");
        assert_eq!(unasked["directionMapping"]["Source"], "old", "{phase}");
    }
    let begins = Snapshot {
        reverse: Reverse::Running,
        ..Snapshot::default()
    };
    assert_eq!(told(&begins, Reversal::Asked)["state"], "RUNNING");
}

#[test]
fn what_has_caught_up_needs_no_more_time() {
    let rows = [
        // Phase, lag and ETA of the second pair; the first has caught up.
        (Phase::Copying, 0, None, None),
        (Phase::Following, 1_000, None, Some(0)),
        (Phase::Ready, 0, Some(5.0), Some(0)),
        (Phase::Following, 1_001, None, None),
        (Phase::Following, 9_000, Some(2.5), Some(3)),
        (Phase::Paused, 0, None, None),
        (Phase::Done, 0, None, Some(0)),
    ];
    for (phase, lag_ms, eta_s, expect) in rows {
        let mut snapshot = Snapshot { phase, ..copying() };
        for pair in &mut snapshot.pairs {
            pair.units_copied = pair.units_total;
            (pair.lag_ms, pair.eta_s) = (10, None);
        }
        (snapshot.pairs[1].lag_ms, snapshot.pairs[1].eta_s) = (lag_ms, eta_s);
        assert_eq!(catch_up_s(&snapshot), expect, "{phase} {lag_ms}");
        snapshot.pairs[0].units_copied -= 1;
        assert_eq!(catch_up_s(&snapshot), None, "something is left to copy");
    }
    let none = Snapshot {
        phase: Phase::Ready,
        ..Snapshot::default()
    };
    assert_eq!(catch_up_s(&none), None);
}

#[test]
fn figures_are_those_of_all_pairs() {
    let answer = progress(&copying(), Reversal::Unasked);
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
    let before = progress(&snapshot, Reversal::Unasked)["progress"].clone();
    assert_eq!(before["source"]["pingLatencyMs"], Value::Null);
    assert_eq!(before["estimatedOplogTimeRemaining"], Value::Null);
    assert_eq!(before["verification"]["source"]["phase"], "idle");
    for pair in &mut snapshot.pairs {
        (pair.source_ping_us, pair.target_ping_us) = (1_500, 250);
        (pair.collections_total, pair.collections_done) = (5, 2);
        (pair.documents_verified, pair.oplog_kept_s) = (7, 9_000);
    }
    snapshot.pairs[1].verified = true;
    let now = progress(&snapshot, Reversal::Unasked)["progress"].clone();
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
    let verified = progress(&snapshot, Reversal::Unasked);
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
