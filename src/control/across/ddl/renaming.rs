//! Renames of collections that are not sharded: one pair has each, and its target shard.

use std::sync::Arc;

use bson::raw::cstr;
use bson::{Binary, Uuid, rawdoc};

use crate::cluster::admin;
use crate::cluster::catalog::{self, Namespace};
use crate::control::across::ddl::Coordinator;
use crate::control::across::rendezvous::ToRename;
use crate::error::Result;
use crate::failpoint;
use crate::pair::collection::Tracked;
use crate::pair::ddl::request::Renamed;
use crate::pair::ddl::vanished;

impl Coordinator {
    /// Gives the collection this name on the target, once that is free: another pair may be
    /// still to meet the drop of what has it. Waits no longer once the pair has met its own
    /// drop. May be repeated. Nothing else changes there.
    pub(super) async fn rename(&self, tracked: &Tracked, to: &Namespace) -> Result<Renamed> {
        loop {
            // IMPORTANT: before anything is looked at: what is freed from here on counts.
            let freed = self.freed.notified();
            let turn = self.take_turn().await?;
            let to_rename = self.state.lock().rendezvous.to_rename(tracked.uuid, to);
            match to_rename {
                ToRename::Nothing => return Ok(Renamed::Gone),
                ToRename::Named => return Ok(Renamed::Done),
                ToRename::Free { from, made } => {
                    self.rename_made(tracked, (&from, to), made).await?;
                    return Ok(Renamed::Done);
                }
                ToRename::NameTaken => {}
            }
            drop(turn);
            tokio::select! {
                () = freed => {}
                () = vanished::died(tracked) => return Ok(Renamed::Gone),
            }
        }
    }

    /// The caller has the turn.
    async fn rename_made(
        &self,
        tracked: &Tracked,
        (from, to): (&Namespace, &Namespace),
        made: Uuid,
    ) -> Result<()> {
        // A view of that name is one that the source has no longer.
        self.drop_view(to).await?;
        // IMPORTANT: in the turn: a turn may take its time, and whoever writes to it waits.
        let closed = tracked.close_writes().await;
        let sent = self.rename_on_target(from, to, made);
        self.until_answered(from, sent).await?;
        failpoint::hit("renamed");
        tracked.renamed(to);
        drop(closed);
        self.note_rename(tracked.uuid, from, to);
        // It is known by its UUID: that was recorded before anything was written to it.
        self.runs.forget_making(from).await?;
        tracing::info!("{from} is renamed to {to} on the target");
        self.freed.notify_waiters();
        Ok(())
    }

    fn note_rename(&self, uuid: Uuid, from: &Namespace, to: &Namespace) {
        let mut state = self.state.lock();
        state.rendezvous.renamed(uuid, from, to);
        if let Some(collection) = state.laid_out.get_mut(&uuid) {
            Arc::make_mut(collection).ns = to.clone();
        }
    }

    /// Straight to the shard, over connections that carry the incarnation: before 6.0 a late
    /// one could hit a namesake (R7). Without `dropTarget` a server refuses a name that is
    /// taken.
    async fn rename_on_target(&self, from: &Namespace, to: &Namespace, made: Uuid) -> Result<()> {
        let target = &self.sides.target;
        let primary = catalog::primary_of(target, &from.db)
            .await?
            .unwrap_or_default();
        let (from_name, to_name) = (from.to_string(), to.to_string());
        let mut command =
            rawdoc! { "renameCollection": from_name.as_str(), "to": to_name.as_str() };
        if target.dialect.writes.binds_uuid {
            command.append(cstr!("collectionUUID"), Binary::from(made));
        }
        let client = self.views.client(primary);
        let renamed = admin::run_once_majority(client, "admin", &command).await;
        renamed
            .map(drop)
            .map_err(|e| e.context(format_args!("renaming {from} to {to} on the target")))
    }
}
