//! What a collection is called: on the target, and by the source's log as far as the tail has
//! come. A name is that until the next rename. Both are names of the target (`--rename`).
//!
//! Pure.

use crate::cluster::catalog::Namespace;
use crate::position::Position;

#[derive(Debug, Clone)]
pub struct Names {
    /// On the target. Changes while no command on the collection is under way.
    pub(super) target: Namespace,
    /// By the log.
    pub(super) log: Namespace,
    /// The newest rename in `log`. It may have been made by an earlier attempt, ahead of the
    /// tail.
    renamed_at: Position,
}

impl Names {
    pub fn new(ns: Namespace, renamed_at: Position) -> Self {
        Names {
            target: ns.clone(),
            log: ns,
            renamed_at,
        }
    }

    /// The tail has met a rename at `position`. Returns the name by the log before it; None if
    /// it was made and recorded before: the name is this one, or a later one.
    pub(super) fn renamed_in_log(
        &mut self,
        position: Position,
        to: &Namespace,
    ) -> Option<Namespace> {
        if !self.are_before(position) {
            return None;
        }
        self.renamed_at = position;
        Some(std::mem::replace(&mut self.log, to.clone()))
    }

    /// A rename at `position` comes after them.
    pub(super) fn are_before(&self, position: Position) -> bool {
        self.renamed_at < position
    }

    /// It has this name on the target, and no rename of it is under way.
    pub(super) fn are(&self, ns: &Namespace) -> bool {
        self.target == *ns && self.log == *ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ns(coll: &str) -> Namespace {
        Namespace {
            db: "d".to_owned(),
            coll: coll.to_owned(),
        }
    }

    #[test]
    fn a_rename_that_was_recorded_is_not_made_again_whatever_its_names_are() {
        let at = Position::from_raw;
        // Recorded after `a → x → b → y → a`.
        let mut names = Names::new(ns("a"), at(4));
        for (position, to) in [(1, "x"), (2, "b"), (3, "y"), (4, "a")] {
            assert_eq!(names.renamed_in_log(at(position), &ns(to)), None);
        }
        assert!(names.are(&ns("a")));
        assert_eq!(names.renamed_in_log(at(5), &ns("x")), Some(ns("a")));
        assert!(
            !names.are(&ns("x")) && !names.are(&ns("a")),
            "it is under way"
        );
        assert_eq!(names.renamed_in_log(at(5), &ns("x")), None);
    }
}
