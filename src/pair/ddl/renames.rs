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
use crate::pair::ddl::entry::SHARDED_RENAMED;
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

    /// No earlier attempt has made this rename, and its collection is not dead.
    pub(super) fn is_to_be_renamed(&self, uuid: &Uuid, position: Position) -> bool {
        let gate = self.gate.lock();
        let tracked = gate.tracked(uuid).filter(|tracked| !tracked.is_dead());
        tracked.is_some_and(|tracked| tracked.is_renamed_by(position))
    }

    async fn rename_on_target(
        &self,
        tracked: Arc<Tracked>,
        to: Namespace,
        position: Position,
    ) -> Result<()> {
        if tracked.sharding() == Sharding::Sharded {
            let found = format!(
                "the source renamed the sharded collection {} to {to} (`renameCollection`)",
                tracked.ns()
            );
            return Err(Error::new(Kind::Unsupported, found).remedy(SHARDED_RENAMED));
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
        if renamed == Renamed::Done {
            self.store.renamed(tracked.uuid, &to, position).await?;
            failpoint::hit("rename-recorded");
        }
        Ok(())
    }
}
