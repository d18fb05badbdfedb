//! DDL that the tail of a simulated pair meets: what it does at once, as
//! `shardlift::pair::ddl::sink` and `renames`. The rest is `chore`'s.

use std::sync::Arc;

use bson::Uuid;
use shardlift::pair::collection::{Tracked, Traits};
use shardlift::position::Position;

use crate::sim::chore::{Chore, Work};
use crate::sim::pair::{Pair, Step, namespace, wrong};
use crate::sim::source::{Renamed, Source};

impl Pair {
    /// As `DdlSink::create`.
    pub(super) fn create(&mut self, uuid: Uuid, name: &str, source: &Source, position: Position) {
        if self.gate.tracked(&uuid).is_some() {
            return;
        }
        let collection = &source.collections[&uuid];
        let traits = Traits {
            collated: collection.collated,
            ..Traits::default()
        };
        let tracked = Arc::new(Tracked::new(uuid, namespace(name), traits));
        self.gate.admit_new(tracked.clone());
        let pin = self.gate.pin(position);
        self.chores
            .push(Chore::new(tracked.clone(), Some(pin), Work::Create));
        // Its index is in an entry of its own, which the model leaves out.
        if collection.unique {
            self.build(tracked);
        }
    }

    /// As `DdlSink::drop_collection`.
    pub(super) fn drop_collection(&mut self, uuid: Uuid, position: Position) {
        let Some(tracked) = self.gate.kill(&uuid) else {
            return;
        };
        let pin = self.gate.pin(position);
        self.chores.push(Chore::new(tracked, Some(pin), Work::Drop));
    }

    /// As `DdlSink::modify`.
    pub(super) fn modify(&mut self, uuid: &Uuid, position: Position) {
        let tracked = self.gate.tracked(uuid).filter(|tracked| !tracked.is_dead());
        let Some(tracked) = tracked.cloned() else {
            return;
        };
        let pin = Some(self.gate.pin(position));
        self.chores.push(Chore::new(tracked, pin, Work::Modify));
    }

    /// As `DdlSink::rename`, and before it the drop of what has the name.
    pub(super) fn rename(&mut self, renamed: &Renamed, position: Position) -> Step {
        let Renamed {
            uuid,
            from,
            to,
            dropped,
        } = renamed;
        self.note(|| format!("{position}: {renamed:?}"));
        if let Some(dropped) = dropped {
            self.drop_collection(*dropped, position);
        }
        let Some(tracked) = self.gate.tracked(uuid).cloned() else {
            if self.catalog_position < position {
                return wrong(format!("a rename of {from}, which was never seen"));
            }
            return Ok(());
        };
        if tracked.is_dead() {
            return Ok(());
        }
        let mut before = None;
        let ns = namespace(to);
        tracked.renamed_in_log(position, &ns, |name| before = Some(name.coll.clone()));
        if let Some(before) = before {
            let pin = self.gate.pin(position);
            let work = Work::Rename { to: ns, position };
            let names = [before, from.clone(), to.clone()];
            let chore = Chore::on(names.into(), tracked, Some(pin), work);
            self.chores.push(chore);
        }
        Ok(())
    }
}
