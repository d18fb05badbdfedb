//! Views of the target: made the source's, a database at a time, as they are listed now.
//! That is what an entry of the oplog says, or newer; so it may be done again at any time.
//!
//! One that stands on others is made after them, and what differs is dropped before
//! anything is made: views on each other must have one collation.

use std::time::{Duration, Instant};

use crate::cluster::catalog::{self, Collection, Namespace};
use crate::control::across::ddl::{Coordinator, POLL};
use crate::control::layout::same_options;
use crate::control::layout::views::in_order;
use crate::error::{Policy, Result};
use crate::failpoint;
use crate::pair::oplog::proven;

/// How long it is tried while the source's views change, and the longest pause in between.
const TRIED_MAX: Duration = Duration::from_secs(30);
const PAUSE_MAX: Duration = Duration::from_secs(2);

impl Coordinator {
    /// Makes the views of a database the source's. One whose name a collection of the target
    /// still has is left out: the entry that made it comes after the collection's drop.
    /// So is one that the target keeps refusing: that ends no run.
    pub(super) async fn follow_views(&self, db: &str) -> Result<()> {
        let tried_max = failpoint::wait("views", TRIED_MAX);
        let (mut pause, since) = (POLL, Instant::now());
        loop {
            match self.align_views(db).await {
                // Listed while they were changed, they may not fit each other.
                Err(e) if e.kind.policy() == Policy::Stop && since.elapsed() < tried_max => {
                    tracing::debug!("views of {db} are listed again: {e}");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
                Err(e) if e.kind.policy() == Policy::Stop => {
                    tracing::warn!("views of {db} are not the source's yet: {e}");
                    return Ok(());
                }
                aligned => return aligned,
            }
        }
    }

    async fn align_views(&self, db: &str) -> Result<()> {
        let (source, target) = (&self.sides.source, &self.sides.target);
        // IMPORTANT: first: another list of theirs would be newer, and made before this one.
        let _turn = self.take_turn().await?;
        let primary = catalog::primary_of(source, db).await?.unwrap_or_default();
        let lister = std::slice::from_ref(&self.listers[primary]);
        let what = format!("the views of {db}");
        let list = || catalog::views(source, db);
        let wanted = proven::read(lister, &what, list).await?.value;
        let there = catalog::views(target, db).await?;
        for other in there.iter().filter(|view| !is_among(&wanted, view)) {
            self.drop_view(&other.ns).await?;
        }
        for view in in_order(&wanted.iter().collect::<Vec<_>>()) {
            if !is_among(&there, view) {
                self.make_view(view).await?;
            }
        }
        Ok(())
    }

    /// Makes one view of the target equal to the source's, or drops it if the source has
    /// none.
    pub async fn mend_view(&self, ns: &Namespace, on_source: Option<&Collection>) -> Result<()> {
        let _turn = self.take_turn().await?;
        self.drop_view(ns).await?;
        match on_source {
            Some(view) => self.make_view(view).await,
            None => Ok(()),
        }
    }

    /// Nothing while a collection of the run has its name, or its database is elsewhere on
    /// the target: to make it would move what the database holds. Who compares both sides
    /// finds what is left out. The caller has the turn.
    async fn make_view(&self, view: &Collection) -> Result<()> {
        if self.has_no_room(view) || self.are_others_in_the_way(view).await? {
            return Ok(());
        }
        // Left by an earlier attempt, perhaps, and dropped next.
        if let Some(other) = catalog::read_one(&self.sides.target, &view.ns).await?
            && other.kind != view.kind
        {
            tracing::debug!("{} is something else on the target yet", view.ns);
            return Ok(());
        }
        // IMPORTANT: first: a wipe must know it.
        self.runs.add_making(&view.ns).await?;
        self.state.lock().databases.insert(view.ns.db.clone());
        // An empty database of another spelling may make way for it.
        self.until_answered(&view.ns, self.views.make(view)).await?;
        tracing::info!("the view {} is made on the target", view.ns);
        Ok(())
    }

    fn has_no_room(&self, view: &Collection) -> bool {
        let state = self.state.lock();
        state.rendezvous.is_taken(&view.ns) || state.has_elsewhere(view)
    }
}

fn is_among(views: &[Collection], view: &Collection) -> bool {
    let mut same = views.iter().filter(|other| other.ns == view.ns);
    same.any(|other| same_options(&other.options, &view.options))
}
