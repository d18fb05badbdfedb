//! Whether a run is followed back, as operators see it.

use serde::{Deserialize, Serialize};

use crate::observe::phase::Phase;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reverse {
    #[default]
    No,
    /// After the cutover.
    Wanted,
    /// Source and target are turned round: this is the way back.
    Running,
}

impl Reverse {
    /// The words in front of a phase.
    pub fn in_front(self) -> &'static str {
        match self {
            Reverse::Running => "way back: ",
            Reverse::No | Reverse::Wanted => "",
        }
    }

    /// In this phase the way back begins.
    pub fn follows(self, phase: Phase) -> bool {
        self == Reverse::Wanted && phase == Phase::Done
    }
}
