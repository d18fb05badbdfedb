//! How a cutover ends that does not come to its end: called off, or by an error.
//!
//! Decides nothing: the cutover says which, and why.

use crate::control::across::watch::Seen;
use crate::error::Error;

/// Why it was called off.
#[derive(Debug)]
pub enum CalledOff {
    /// Users wrote to this namespace after the first marker.
    Writes(String),
    /// Something was not over at the deadline.
    Late(String),
    /// Something moves chunks, or may.
    Moving(Vec<String>),
    /// The source was sharded otherwise, and the target is to be.
    Ahead(Vec<String>),
    /// The source does not refuse users' writes, as it was asked to.
    Unblocked(String),
    /// What would keep the target from being followed back.
    NoWayBack(String),
    /// Source and target differ, though nobody wrote.
    Differs(Vec<String>),
}

impl CalledOff {
    /// What a look at the owners on both sides calls it off for.
    pub fn by(seen: Seen) -> Option<CalledOff> {
        let to_follow = seen.to_follow();
        if !to_follow.is_empty() {
            return Some(CalledOff::Ahead(to_follow));
        }
        (!seen.unrest.is_empty()).then_some(CalledOff::Moving(seen.unrest))
    }

    pub fn reason(&self) -> String {
        match self {
            CalledOff::Writes(ns) => format!(
                "cutover called off: writes to {ns} arrived after it began; stop all writes, then cut over again"
            ),
            CalledOff::NoWayBack(why) => format!(
                "cutover called off, for there would be no way back: {why}; then cut over again"
            ),
            CalledOff::Unblocked(why) => format!("cutover called off: {why}"),
            CalledOff::Late(what) => {
                format!(
                    "cutover called off: {what}; raise cutover_timeout_s or remove the cause, then cut over again"
                )
            }
            CalledOff::Moving(what) => {
                format!(
                    "cutover called off: chunks may move: {}; then cut over again",
                    what.join("; ")
                )
            }
            CalledOff::Ahead(what) => {
                format!(
                    "cutover called off: {}; once it is, cut over again",
                    what.join("; ")
                )
            }
            CalledOff::Differs(differences) => {
                format!(
                    "cutover called off: source and target differ: {}",
                    differences.join("; ")
                )
            }
        }
    }
}

/// What keeps a cutover from going on: each of its steps may end in either.
#[derive(Debug)]
pub enum NotProven {
    /// Back to following.
    Off(CalledOff),
    /// The attempt ends.
    Error(Error),
}

impl From<CalledOff> for NotProven {
    fn from(off: CalledOff) -> Self {
        NotProven::Off(off)
    }
}

impl From<Error> for NotProven {
    fn from(error: Error) -> Self {
        NotProven::Error(error)
    }
}
