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

    /// The command that cuts over on this way.
    pub fn cutover(self) -> &'static str {
        match self {
            Reverse::Running => "shardlift reverse cutover",
            Reverse::No | Reverse::Wanted => "shardlift cutover",
        }
    }

    /// A text for people. What it says others may do is refused to a way back.
    pub fn told(self, text: String) -> String {
        if self == Reverse::Running && is_for_others(&text) {
            text + OWN
        } else {
            text
        }
    }

    /// In this phase the way back begins.
    pub fn follows(self, phase: Phase) -> bool {
        self == Reverse::Wanted && phase == Phase::Done
    }
}

/// Id of the way back of a run.
pub fn id_of(run: &str) -> String {
    format!("{run}-reverse")
}

const OWN: &str =
    "; a way back is neither copied again nor started over: `shardlift reverse stop` gives it up";

/// Whether this names a remedy that a way back does not have.
pub fn is_for_others(text: &str) -> bool {
    const OTHERS: [&str; 3] = ["--restart", "recopy", "shardlift cancel"];
    !text.ends_with(OWN) && OTHERS.iter().any(|other| text.contains(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_back_is_told_once_what_it_may_do() {
        let text = "start over with `shardlift migrate --restart`".to_owned();
        assert_eq!(Reverse::Wanted.told(text.clone()), text);
        let told = Reverse::Running.told(text);
        assert!(told.contains("`shardlift reverse stop`"), "{told}");
        assert_eq!(Reverse::Running.told(told.clone()), told);
        let other = "the lag is too large".to_owned();
        assert_eq!(Reverse::Running.told(other.clone()), other);
    }
}
