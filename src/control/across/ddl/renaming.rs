//! Renames: made once all pairs that hold the collection have met it, each in its own time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bson::raw::cstr;
use bson::{Binary, Uuid, rawdoc};

use crate::cluster::admin;
use crate::cluster::catalog::{self, Namespace};
use crate::control::across::ddl::Coordinator;
use crate::control::across::rendezvous::ToRename;
use crate::error::Result;
use crate::failpoint;
use crate::pair::collection::Tracked;
use crate::pair::collection::under_way::Closed;
use crate::pair::ddl::request::Renamed;
use crate::pair::ddl::vanished;

/// Before a target that is busy is asked again.
const PAUSE: Duration = Duration::from_millis(100);

/// What the pairs that hold a collection track of it.
type Holders = BTreeMap<usize, Arc<Tracked>>;

/// From which name to which, of which collection of the target.
struct Renaming<'a> {
    from: Namespace,
    to: &'a Namespace,
    made: Uuid,
}

impl Coordinator {
    /// Gives the collection this name on the target, once that is free and every pair that
    /// holds it has come to this: another may be still to meet the drop of what has the name.
    /// Waits no longer once the pair has met its own drop. May be repeated. Nothing else
    /// changes there.
    pub(super) async fn rename(
        &self,
        pair: usize,
        tracked: Arc<Tracked>,
        to: &Namespace,
    ) -> Result<Renamed> {
        let uuid = tracked.uuid;
        self.arrive_at_rename(pair, &tracked);
        loop {
            // IMPORTANT: before anything is looked at: what is freed from here on counts.
            let freed = self.freed.notified();
            let turn = self.take_turn().await?;
            let (to_rename, holders) = self.to_rename(uuid, to);
            match to_rename {
                ToRename::Nothing => return Ok(Renamed::Gone),
                ToRename::Named => {
                    // By an earlier attempt, perhaps.
                    tracked.renamed(to);
                    return Ok(Renamed::Done);
                }
                ToRename::Free { from, made } => {
                    let renaming = Renaming { from, to, made };
                    self.rename_made(uuid, &renaming, &holders).await?;
                    return Ok(Renamed::Done);
                }
                ToRename::NameTaken | ToRename::Awaited => {}
            }
            drop(turn);
            tokio::select! {
                () = freed => {}
                () = vanished::died(&tracked) => return Ok(Renamed::Gone),
            }
        }
    }

    fn arrive_at_rename(&self, pair: usize, tracked: &Arc<Tracked>) {
        let mut state = self.state.lock();
        let arrived = state.renaming.entry(tracked.uuid).or_default();
        arrived.insert(pair, tracked.clone());
        self.freed.notify_waiters();
    }

    fn to_rename(&self, uuid: Uuid, to: &Namespace) -> (ToRename, Holders) {
        let state = self.state.lock();
        let holders = state.renaming.get(&uuid).cloned().unwrap_or_default();
        let arrived = holders.keys().copied().collect();
        (state.rendezvous.to_rename(uuid, to, &arrived), holders)
    }

    /// The caller has the turn.
    async fn rename_made(
        &self,
        uuid: Uuid,
        renaming: &Renaming<'_>,
        holders: &Holders,
    ) -> Result<()> {
        let Renaming { from, to, .. } = renaming;
        // A view of that name is one that the source has no longer.
        self.drop_view(to).await?;
        // IMPORTANT: in the turn: a turn may take its time, and whoever writes to it waits.
        let mut closed = Vec::new();
        for tracked in holders.values() {
            closed.push(tracked.close_writes().await);
        }
        let sent = self.rename_on_target(renaming);
        let sent = self.until_answered(from, sent).await;
        // IMPORTANT: without an answer it may still be made: writes stay closed then.
        sent.map_err(|e| e.context(format_args!("renaming {from} to {to} on the target")))?;
        failpoint::hit("renamed");
        holders.values().for_each(|tracked| tracked.renamed(to));
        closed.into_iter().for_each(Closed::open);
        self.note_rename(uuid, renaming);
        // It is known by its UUID: that was recorded before anything was written to it.
        self.runs.forget_making(from).await?;
        tracing::info!("{from} is renamed to {to} on the target");
        self.freed.notify_waiters();
        Ok(())
    }

    fn note_rename(&self, uuid: Uuid, renaming: &Renaming<'_>) {
        let Renaming { from, to, .. } = renaming;
        let mut state = self.state.lock();
        state.renaming.remove(&uuid);
        state.rendezvous.renamed(uuid, from, to);
        if let Some(collection) = state.laid_out.get_mut(&uuid) {
            Arc::make_mut(collection).ns = (*to).clone();
        }
    }

    /// Without `dropTarget` a server refuses a name that is taken. It is renamed straight on its
    /// shard, over connections that carry the incarnation: before 6.0 a late one could hit a
    /// namesake (R7). No sharded collection gets here (`pair::ddl::renames`).
    async fn rename_on_target(&self, renaming: &Renaming<'_>) -> Result<()> {
        let Renaming { from, to, made } = renaming;
        let target = &self.sides.target;
        let (from_name, to_name) = (from.to_string(), to.to_string());
        let mut command =
            rawdoc! { "renameCollection": from_name.as_str(), "to": to_name.as_str() };
        if target.dialect.writes.binds_uuid {
            command.append(cstr!("collectionUUID"), Binary::from(*made));
        }
        let primary = catalog::primary_of(target, &from.db)
            .await?
            .unwrap_or_default();
        let client = self.views.client(primary);
        let end = Instant::now() + admin::RETRY_TIME_MAX;
        loop {
            match admin::run_once_majority(client, "admin", &command).await {
                // The server said that it did not do it.
                Err(e) if admin::is_busy(&e) && Instant::now() < end => {
                    tokio::time::sleep(PAUSE).await;
                }
                done => return done.map(drop),
            }
        }
    }
}
