//! What the source has and the target's servers do not take: an older release took it.
//!
//! Knows nothing about what it is.

use std::fmt;

use crate::codes;
use crate::error::{Error, Kind};

/// Answers that say nothing about what was to be made. The last: OutOfDiskSpace.
const FAULTS: [i32; 7] = [
    codes::NAMESPACE_NOT_FOUND,
    codes::COLLECTION_UUID_MISMATCH,
    codes::MAX_TIME_EXPIRED,
    codes::WRITE_CONCERN_FAILED,
    codes::OPERATION_FAILED,
    codes::DUPLICATE_KEY,
    14031,
];

/// Where a server answered that it does not take something, and no remedy is known: the run
/// cannot go on while the source has it. `do_without`: what to do on the source.
pub fn unless_taken(e: Error, do_without: impl fmt::Display) -> Error {
    let is_refusal = e.kind == Kind::Server && e.code.is_some_and(|code| !FAULTS.contains(&code));
    if !is_refusal || e.remedy.is_some() {
        return e;
    }
    Error {
        kind: Kind::Unsupported,
        ..e
    }
    .remedy(format!(
        "the target does not take what the source has: {do_without}; then run the same command again"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_refusal_without_a_remedy_gets_one() {
        let answered = |code| Error::answered(code, "Name", "text");
        let rows = [
            (answered(67), Kind::Unsupported, true),
            (answered(codes::UNAUTHORIZED), Kind::Server, true),
            (answered(codes::DUPLICATE_KEY), Kind::Server, false),
            (answered(11600), Kind::Transient, false),
            (Error::new(Kind::Server, "no code"), Kind::Server, false),
        ];
        for (e, kind, has_remedy) in rows {
            let e = unless_taken(e, "drop it");
            assert_eq!((e.kind, e.remedy.is_some()), (kind, has_remedy), "{e}");
        }
    }
}
