//! What others may know of the tail: how far it is in time, what is open, and the newest
//! changes by users, which the cutover watches for.
//!
//! IMPORTANT: changes are noted under the gate's lock: a cutover that closes the gate must
//! know of every change the gate let through.

use crate::position::{Position, Walls};

/// The tail's state as others may read it.
#[derive(Debug, Default)]
pub struct TailView {
    pub walls: Walls,
    pub open_transactions: usize,
    pub open_builds: usize,
    /// Newest change by users: an op or DDL on a migrated namespace.
    pub user_change: Option<(Position, String)>,
    /// Newest delete on a collection with an expiry, perhaps by the source itself.
    pub expiry_delete: Option<Position>,
    /// Newest entry that says that a chunk moves or has moved.
    pub move_sign: Option<Position>,
}

/// A change by users, as the cutover watches for them.
pub(in crate::pair) struct Change<'a> {
    pub(in crate::pair) position: Position,
    pub(in crate::pair) ns: &'a str,
    /// A delete that may be the source's own expiry.
    pub(in crate::pair) expiry: bool,
}

impl TailView {
    pub(in crate::pair) fn note(&mut self, change: Option<Change<'_>>) {
        let Some(change) = change else { return };
        if change.expiry {
            self.expiry_delete = Some(change.position);
            return;
        }
        match &mut self.user_change {
            // Mostly it is the collection changed last: its name is there already.
            Some((position, ns)) if ns == change.ns => *position = change.position,
            newest => *newest = Some((change.position, change.ns.to_owned())),
        }
    }
}
