//! An index built, or dropped, on every member of a set by itself: each secondary
//! leaves its set, gets the index as a server of its own and comes back; the
//! primary steps down and is the last. No oplog entry tells of it.
//!
//! Knows nothing about other faults: the clock says which member may leave.

use std::time::{Duration, Instant};

use bson::{Document, doc};

use crate::cluster::ReplicaSet;
use crate::error::{Error, Result};
use crate::faults::act;
use crate::faults::plan::Side;

/// On a small collection.
const BUILD_TIMEOUT: Duration = Duration::from_secs(30);
/// All members, on a machine that is busy with others.
const WHOLE_TIMEOUT: Duration = Duration::from_secs(240);
/// Between two step-downs that were asked for: longer than one may wait, so that what it
/// waits for can end. While it waits, no write begins.
const STEP_DOWN_PAUSE: Duration = Duration::from_secs(15);

/// One under way.
pub(super) struct Rolling {
    pub(super) side: Side,
    pub(super) set: usize,
    began: Instant,
    stepped_down: Option<Instant>,
    /// Members that are still to get it.
    left: Vec<usize>,
    database: String,
    change: Document,
}

impl Rolling {
    /// The n-th on its set: every other one takes back what the one before built.
    pub(super) fn new(
        side: Side,
        set: usize,
        members: usize,
        n: usize,
        (database, collection): (&str, &str),
    ) -> Rolling {
        let name = format!("rolled_{}", n / 2);
        let index = doc! {"key": {"a": 1, "k": 1}, "name": &name};
        let change = match n % 2 {
            0 => doc! {"createIndexes": collection, "indexes": [index]},
            _ => doc! {"dropIndexes": collection, "index": &name},
        };
        let left = (0..members).collect();
        Rolling {
            side,
            set,
            began: Instant::now(),
            stepped_down: None,
            left,
            database: database.to_owned(),
            change,
        }
    }

    pub(super) fn describe(&self) -> String {
        self.change.to_string()
    }

    pub(super) fn is_over(&self) -> bool {
        self.left.is_empty()
    }

    /// The member whose turn it is; None while the last one has to step down first.
    ///
    /// # Errors
    /// If it takes longer than all its steps together may.
    pub(super) async fn next(&mut self, set: &ReplicaSet) -> Result<Option<usize>> {
        if WHOLE_TIMEOUT <= self.began.elapsed() {
            return Err(Error::new(format!(
                "{} on {} is not over after {WHOLE_TIMEOUT:?}",
                self.change,
                set.name()
            )));
        }
        let primary = act::primary(set).await;
        let secondary = self.left.iter().copied().find(|member| *member != primary);
        if secondary.is_none()
            && self
                .stepped_down
                .is_none_or(|last| STEP_DOWN_PAUSE <= last.elapsed())
        {
            self.stepped_down = Some(Instant::now());
            tokio::spawn(act::step_down(set.server_hosts()[primary].clone()));
        }
        Ok(secondary)
    }

    /// Takes the member out, changes it, and starts it in its set again.
    pub(super) async fn change(&mut self, set: &mut ReplicaSet, member: usize) -> Result<()> {
        let mut link = set.member_mut(member).restart_alone().await?;
        let changed = tokio::time::timeout(
            BUILD_TIMEOUT,
            link.command(&self.database, self.change.clone()),
        )
        .await;
        drop(link);
        set.member_mut(member).terminate();
        set.member_mut(member).restart().await?;
        changed.map_err(|_| Error::new("no answer from a server outside its set"))??;
        self.left.retain(|left| *left != member);
        Ok(())
    }
}
