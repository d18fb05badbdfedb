//! What of the log is a collection's past: it is in its copy, or was done by an earlier attempt.
//!
//! Pure.

use crate::pair::collection::Tracked;
use crate::position::Position;

impl Tracked {
    /// It was planned as the source had it at `position`.
    pub fn planned(self, position: Position) -> Self {
        Tracked {
            planned_at: position,
            ..self
        }
    }

    pub fn planned_at(&self) -> Position {
        self.planned_at
    }

    /// An entry at `position` on it is of the past: it was planned since, or given up.
    pub fn is_past(&self, position: Position) -> bool {
        position <= self.planned_at
    }

    /// A rename at `position` is not in its names yet.
    pub fn is_renamed_by(&self, position: Position) -> bool {
        self.names.lock().are_before(position)
    }
}

#[cfg(test)]
mod tests {
    use bson::Uuid;

    use super::*;
    use crate::cluster::catalog::Namespace;
    use crate::pair::collection::Traits;

    #[test]
    fn what_is_planned_or_given_up_has_its_past_behind_it() {
        let at = Position::from_raw;
        let ns = Namespace {
            db: "d".to_owned(),
            coll: "c".to_owned(),
        };
        let new = || Tracked::new(Uuid::new(), ns.clone(), Traits::default());
        let planned = new().planned(at(5));
        assert!(planned.is_past(at(5)) && !planned.is_past(at(6)));
        let created = new();
        assert!(!created.is_past(at(1)));
        created.kill();
        assert!(!created.is_past(at(9)), "its name may come back");
    }
}
