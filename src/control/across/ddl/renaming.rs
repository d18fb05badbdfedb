//! Renames: made once all pairs that hold the collection have met it, each in its own time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bson::raw::cstr;
use bson::{Binary, RawDocument, Uuid, rawdoc};

use crate::cluster::admin;
use crate::cluster::catalog::{self, Collection, MapVersion, Namespace, Sharded, versions};
use crate::cluster::deployment::Topology;
use crate::control::across::ddl::Coordinator;
use crate::control::across::rendezvous::ToRename;
use crate::control::layout::laid_out;
use crate::error::{Error, Result};
use crate::failpoint;
use crate::pair::collection::Tracked;
use crate::pair::collection::under_way::Closed;
use crate::pair::ddl::request::Renamed;
use crate::pair::ddl::{renames, vanished};
use crate::state::pair_store::bound::Versions;

/// Before a target that is busy is asked again.
const PAUSE: Duration = Duration::from_millis(100);
/// How long a router may take to rename a sharded collection.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the pairs that hold a collection track of it.
type Holders = BTreeMap<usize, Arc<Tracked>>;

/// From which name to which, of which collection of the target.
struct Renaming<'a> {
    from: Namespace,
    to: &'a Namespace,
    made: Uuid,
    is_sharded: bool,
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
        let renaming = (tracked.uuid, to);
        let mine = tracked.clone();
        self.state.lock().renaming.arrive(pair, renaming, mine);
        self.freed.notify_waiters();
        let renamed = self.rename_with_others(&tracked, to).await;
        self.state.lock().renaming.leave(pair, tracked.uuid, to);
        renamed
    }

    /// The pair has arrived.
    async fn rename_with_others(&self, tracked: &Tracked, to: &Namespace) -> Result<Renamed> {
        let uuid = tracked.uuid;
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
                    return Ok(Renamed::Done(self.maps_of(uuid, to).await?));
                }
                ToRename::Free { from, made } => {
                    let is_sharded = self.is_sharded_there(uuid, made).await?;
                    if is_sharded && !self.sides.target.dialect.writes.binds_uuid {
                        return Err(renames::of_sharded(&from, to));
                    }
                    let renaming = Renaming {
                        from,
                        to,
                        made,
                        is_sharded,
                    };
                    self.rename_made(uuid, &renaming, &holders).await?;
                    return Ok(Renamed::Done(self.maps_of(uuid, to).await?));
                }
                ToRename::NameTaken | ToRename::Awaited => {}
            }
            drop(turn);
            tokio::select! {
                () = freed => {}
                () = vanished::died(tracked) => return Ok(Renamed::Gone),
            }
        }
    }

    fn to_rename(&self, uuid: Uuid, to: &Namespace) -> (ToRename, Holders) {
        let sharded = self.sharded(uuid);
        let owners = sharded.iter().flat_map(|c| owners(c)).collect();
        let state = self.state.lock();
        let holders = state.renaming.at(uuid, to);
        let arrived = holders.keys().copied().collect();
        let to_rename = state.rendezvous.to_rename(uuid, to, &arrived, &owners);
        (to_rename, holders)
    }

    /// As it is laid out; None if it is not sharded.
    fn sharded(&self, uuid: Uuid) -> Option<Arc<Collection>> {
        let laid_out = self.state.lock().laid_out.get(&uuid).cloned();
        laid_out.filter(|collection| collection.sharded.is_some())
    }

    /// Also one of which that is not recorded: it was sharded where it is.
    ///
    /// IMPORTANT: straight on its shard it would be renamed there alone.
    async fn is_sharded_there(&self, uuid: Uuid, made: Uuid) -> Result<bool> {
        let target = &self.sides.target;
        if self.sharded(uuid).is_some() || target.topology == Topology::ReplicaSet {
            return Ok(self.sharded(uuid).is_some());
        }
        versions::has(target, made).await
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
        *self.state.lock().renames.entry(uuid).or_default() += 1;
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
        *state.renames.entry(uuid).or_default() += 1;
        state.renaming.made(uuid, to);
        state.rendezvous.renamed(uuid, from, to);
        if let Some(collection) = state.laid_out.get_mut(&uuid) {
            Arc::make_mut(collection).ns = (*to).clone();
        }
    }

    /// Takes over the epochs of both sides' chunk maps, which a rename changes. The caller has
    /// the turn.
    ///
    /// # Errors
    /// `Unsupported` if owners on the target changed.
    async fn maps_of(&self, uuid: Uuid, ns: &Namespace) -> Result<Versions> {
        let Some(renamed) = self.sharded(uuid) else {
            return Ok(Versions::default());
        };
        let source = self.map_on_source(uuid, ns).await?;
        let target = laid_out::version(&self.sides, &renamed).await?;
        let mut state = self.state.lock();
        let target = with_epoch_of(target, state.versions.get(&uuid).copied());
        state.versions.extend(target.map(|version| (uuid, version)));
        let laid_out = state.laid_out.get_mut(&uuid);
        let sharded = laid_out.and_then(|c| Arc::make_mut(c).sharded.as_mut());
        let source = sharded.and_then(|sharded| {
            sharded.version = renamed_version(source, sharded);
            sharded.version
        });
        Ok(Versions { source, target })
    }

    /// None if it is called otherwise by now, or is gone.
    pub(super) async fn map_on_source(
        &self,
        uuid: Uuid,
        ns: &Namespace,
    ) -> Result<Option<Sharded>> {
        let rows = versions::sharded(&self.sides.source, Some(ns)).await?;
        let row = rows.into_iter().find(|row| row.uuid == uuid);
        Ok(row.map(|row| row.sharded))
    }

    /// Without `dropTarget` a server refuses a name that is taken.
    async fn rename_on_target(&self, renaming: &Renaming<'_>) -> Result<()> {
        let Renaming { from, to, made, .. } = renaming;
        let (from_name, to_name) = (from.to_string(), to.to_string());
        let mut command =
            rawdoc! { "renameCollection": from_name.as_str(), "to": to_name.as_str() };
        if self.sides.target.dialect.writes.binds_uuid {
            command.append(cstr!("collectionUUID"), Binary::from(*made));
        }
        let end = Instant::now() + admin::RETRY_TIME_MAX;
        loop {
            match self.send_rename(renaming, &command).await {
                // The server said that it did not do it.
                Err(e) if admin::is_busy(&e) && Instant::now() < end => {
                    tokio::time::sleep(PAUSE).await;
                }
                done => return done.map_err(Error::or_renamed),
            }
        }
    }

    /// A sharded one by the router, which hands its shards the UUID as the one that they must
    /// find (`expectedSourceUUID`). That carries no incarnation: a late rename is of this UUID
    /// alone, and then all writes by the other name are refused until the next start finds it.
    /// All others straight on their shard, over connections that carry the incarnation: before
    /// 6.0 a late one could hit a namesake (R7).
    async fn send_rename(&self, renaming: &Renaming<'_>, command: &RawDocument) -> Result<()> {
        let target = &self.sides.target;
        if renaming.is_sharded {
            let mut command = command.to_owned();
            command.append(cstr!("writeConcern"), rawdoc! { "w": "majority" });
            let reply = target.entry.send("admin", &command, PATIENCE).await?;
            return admin::acknowledged(&reply);
        }
        let primary = catalog::primary_of(target, &renaming.from.db)
            .await?
            .unwrap_or_default();
        let client = self.views.client(primary);
        admin::run_once_majority(client, "admin", command)
            .await
            .map(drop)
    }
}

/// What a rename makes of the version of a map of the source. A refined key has another epoch,
/// too: by the old one the watch goes on to look at the map, and finds that.
pub(super) fn renamed_version(now: Option<Sharded>, laid_out: &Sharded) -> Option<MapVersion> {
    let now = now.filter(|now| now.key == laid_out.key);
    with_epoch_of(now.and_then(|now| now.version), laid_out.version)
}

/// What a rename makes of the version that was recorded of a map. All but the epoch stays, or a
/// chunk that moved away and back before the rename would show no more.
pub(super) fn with_epoch_of(
    now: Option<MapVersion>,
    recorded: Option<MapVersion>,
) -> Option<MapVersion> {
    let Some(recorded) = recorded else {
        return now;
    };
    let epoch = now.map_or(recorded.epoch, |now| now.epoch);
    Some(MapVersion { epoch, ..recorded })
}

/// Source shards that made it: of one that was there before the run others may have it, too.
fn owners(collection: &Collection) -> BTreeSet<usize> {
    let sharded = collection.sharded.iter();
    let chunks = sharded.flat_map(|sharded| &sharded.chunks);
    let owners = chunks.map(|chunk| chunk.shard);
    owners.chain([collection.primary]).collect()
}
