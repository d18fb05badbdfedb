//! Where a run stands: one word for control, the API, the log and the status.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::Kind;

/// Where a run stands. In memory only; each is set by `control`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// From the start. Nothing is touched yet.
    #[default]
    Validating,
    /// Balancers are stopped, the target's collections are being made.
    Layout,
    /// Units are being scanned; the tail follows since the first second.
    Copying,
    /// Every unit is copied; indexes are being built, lag is shrinking.
    Following,
    /// A cutover would be accepted.
    Ready,
    /// A server is away, or was: going back to the last checkpoint.
    Recovering,
    /// The operator holds copying and following back; they go on from the last checkpoint.
    Paused,
    /// Markers and comparison; back to `Ready` if called off.
    #[serde(rename = "cutting over")]
    CuttingOver,
    /// The irreversible part is done.
    Done,
    Failed,
    /// A server was away for too long, or the cutover window passed. The run can be taken
    /// up again.
    Parked,
    /// Stopped by a signal. The run can be resumed.
    Stopped,
    Cancelled,
}

impl Phase {
    /// The phase after a run ended with an error of this kind.
    pub fn after(kind: Kind) -> Self {
        match kind {
            Kind::Cancelled => Phase::Cancelled,
            Kind::Stopped => Phase::Stopped,
            Kind::Parked => Phase::Parked,
            _ => Phase::Failed,
        }
    }

    /// True when nothing will change any more.
    pub fn is_final(self) -> bool {
        matches!(
            self,
            Phase::Done | Phase::Failed | Phase::Parked | Phase::Stopped | Phase::Cancelled
        )
    }
}

/// When a run came into a phase, and why. In memory, and in the run's state on the target, so
/// that the next process tells of it, too.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Change {
    pub phase: Phase,
    /// Since 1970, ms.
    pub at_ms: u64,
    pub why: String,
}

/// Most changes that are kept: the first, and the newest.
const CHANGES_MAX: usize = 60;
const FIRST_KEPT: usize = 20;
/// Longest reason, characters.
const WHY_MAX: usize = 300;

impl Change {
    pub fn new(phase: Phase, at_ms: u64, why: &str) -> Self {
        let why = why.chars().take(WHY_MAX).collect();
        Change { phase, at_ms, why }
    }

    /// Adds it to those before.
    pub fn join(self, changes: &mut Vec<Change>) {
        changes.push(self);
        if CHANGES_MAX < changes.len() {
            changes.remove(FIRST_KEPT);
        }
    }
}

/// The same text as in JSON.
impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Every phase with its text.
    pub(crate) const ALL: [(Phase, &str); 13] = [
        (Phase::Validating, "validating"),
        (Phase::Layout, "layout"),
        (Phase::Copying, "copying"),
        (Phase::Following, "following"),
        (Phase::Ready, "ready"),
        (Phase::Recovering, "recovering"),
        (Phase::Paused, "paused"),
        (Phase::CuttingOver, "cutting over"),
        (Phase::Done, "done"),
        (Phase::Failed, "failed"),
        (Phase::Parked, "parked"),
        (Phase::Stopped, "stopped"),
        (Phase::Cancelled, "cancelled"),
    ];

    #[test]
    fn every_phase_has_one_text_for_people_and_for_json() {
        for (index, (phase, text)) in ALL.into_iter().enumerate() {
            assert_eq!(phase as usize, index, "each is in the list, once");
            assert_eq!(phase.to_string(), text);
            let json = format!("\"{text}\"");
            assert_eq!(serde_json::to_string(&phase).unwrap(), json);
            assert_eq!(serde_json::from_str::<Phase>(&json).unwrap(), phase);
        }
        assert_eq!(Phase::Cancelled as usize + 1, ALL.len());
    }

    #[test]
    fn the_first_changes_and_the_newest_are_kept() {
        let mut changes = Vec::new();
        for at_ms in 0..1_000 {
            Change::new(Phase::Ready, at_ms, &"x".repeat(1_000)).join(&mut changes);
        }
        assert_eq!(changes.len(), CHANGES_MAX);
        assert_eq!((changes[0].at_ms, changes[19].at_ms), (0, 19));
        assert_eq!((changes[20].at_ms, changes[59].at_ms), (960, 999));
        assert_eq!(changes[0].why.len(), WHY_MAX);
    }

    #[test]
    fn a_run_that_ended_says_how() {
        let ended = [
            (Kind::Cancelled, Phase::Cancelled),
            (Kind::Stopped, Phase::Stopped),
            (Kind::Parked, Phase::Parked),
            (Kind::Server, Phase::Failed),
            (Kind::Internal, Phase::Failed),
        ];
        for (kind, phase) in ended {
            assert_eq!(Phase::after(kind), phase);
        }
        let last: Vec<Phase> = ALL.map(|(phase, _)| phase).into();
        let last: Vec<Phase> = last.into_iter().filter(|phase| phase.is_final()).collect();
        assert_eq!(
            last,
            [
                Phase::Done,
                Phase::Failed,
                Phase::Parked,
                Phase::Stopped,
                Phase::Cancelled
            ]
        );
    }
}
