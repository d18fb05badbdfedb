//! Renames from the oplog: each is made on the target once, in the order of the log, by a
//! chore on all the names that it has to do with.
//!
//! What an earlier attempt made and recorded is not made again. So the target's names are at
//! no time ahead of the log but for what is recorded, and a name that is taken is waited for.

use std::sync::Arc;

use bson::Uuid;
use tokio::sync::oneshot;

use crate::cluster::catalog::Namespace;
use crate::error::{Error, Kind, Result};
use crate::failpoint;
use crate::pair::collection::{Sharding, Tracked};
use crate::pair::ddl::entry;
use crate::pair::ddl::request::{Renamed, Request};
use crate::pair::ddl::sink::DdlSink;
use crate::position::Position;

impl DdlSink {
    pub(super) fn rename(
        &self,
        uuid: &Uuid,
        (from, to): (Namespace, Namespace),
        position: Position,
    ) {
        let mut gate = self.gate.lock();
        let Some(tracked) = gate.tracked(uuid).filter(|t| !t.is_dead()).cloned() else {
            return;
        };
        tracked.renamed_in_log(position, &to, |before| {
            // What is read of it ahead of the cutover is read by name.
            gate.untrack(uuid);
            let pin = gate.pin(position);
            let (sink, of, name) = (self.clone(), tracked.clone(), to.clone());
            let renaming = async move {
                sink.rename_on_target(of, name, position).await?;
                sink.gate.lock().unpin(pin);
                Ok(())
            };
            // An earlier attempt may have renamed it and not recorded that: then its name from
            // before is not `from`.
            let names = [before, &from, &to];
            self.chores.add_on_all("renaming", &names, renaming);
        });
    }

    async fn rename_on_target(
        &self,
        tracked: Arc<Tracked>,
        to: Namespace,
        position: Position,
    ) -> Result<()> {
        let is_sharded = tracked.sharding() == Sharding::Sharded;
        // By its name alone a late rename of the router could hit a namesake (R8).
        if is_sharded && !self.indexer.target.writes.binds_uuid {
            return Err(of_sharded(&tracked.ns(), &to));
        }
        let before = tracked.ns();
        if before.db != to.db {
            return Err(self.renamed_elsewhere(&before, &to));
        }
        let (reply, answer) = oneshot::channel();
        let request = Request::Rename {
            pair: self.pair,
            tracked: tracked.clone(),
            to: to.clone(),
            reply,
        };
        self.ask(request).await?;
        let renamed = answer.await;
        let renamed =
            renamed.map_err(|_| Error::internal("control left a rename unanswered"))??;
        if let Renamed::Done(versions) = renamed {
            let named = (&to, position);
            self.store.renamed(tracked.uuid, named, versions).await?;
            failpoint::hit("rename-recorded");
        }
        Ok(())
    }

    /// A rename to that database, and one back, were passed: the copy has them, this one between
    /// them does not.
    fn renamed_elsewhere(&self, before: &Namespace, to: &Namespace) -> Error {
        let shard = &self.indexer.lister.shard.id;
        let found = format!(
            "the source renamed {before}, as it is called on the target, to {to} in another database there"
        );
        Error::new(Kind::Unsupported, found).remedy(format!(
            "copy that shard again with `shardlift recopy --shard {shard}` with the same --source and --target, then run the same `shardlift migrate` again"
        ))
    }

    /// Where renames are not followed: what this one stops the run with, if it is still to be
    /// made.
    pub(super) fn stops_at(
        &self,
        uuid: &Uuid,
        (from, to): (&Namespace, &Namespace),
        position: Position,
    ) -> Option<Error> {
        let gate = self.gate.lock();
        let tracked = gate.tracked(uuid).filter(|tracked| !tracked.is_dead())?;
        if self.follows_renames || !tracked.is_renamed_by(position) {
            return None;
        }
        if tracked.sharding() == Sharding::Sharded {
            let remedy = if self.indexer.target.writes.binds_uuid {
                entry::SHARDED_UNFOLLOWED
            } else {
                entry::SHARDED_RENAMED
            };
            return Some(renamed_sharded(from, to).remedy(remedy));
        }
        let found = format!("the source renamed {from} to {to} (`renameCollection`)");
        let remedy = entry::renamed(&self.indexer.lister.shard.id);
        Some(Error::new(Kind::Unsupported, found).remedy(remedy))
    }
}

/// What a rename of a sharded collection stops the run with, where the target's router takes it
/// by name alone.
pub fn of_sharded(from: &Namespace, to: &Namespace) -> Error {
    renamed_sharded(from, to).remedy(entry::SHARDED_RENAMED)
}

fn renamed_sharded(from: &Namespace, to: &Namespace) -> Error {
    let found =
        format!("the source renamed the sharded collection {from} to {to} (`renameCollection`)");
    Error::new(Kind::Unsupported, found)
}
