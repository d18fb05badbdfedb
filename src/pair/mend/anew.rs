//! Capped collections that cannot be repaired document by document. One of which ops that come
//! again may have let go other documents than the source did (`write::in_order`) is emptied
//! on the target and copied anew: a few times, then the run stops.

use std::sync::Arc;
use std::time::Duration;

use crate::bson::identity::IdKey;
use crate::error::{Error, Kind, Result};
use crate::pair::collection::Tracked;
use crate::pair::mend::doubtful::Doubtful;
use crate::pair::mend::reread::{Reread, Stop};
use crate::position::Position;
use crate::scope::Scope;
use crate::state::pair_store::PairStore;

/// How often one is copied anew without having been settled in between.
const TIMES_MAX: i64 = 3;
/// How long others may follow that are to be copied anew, too: the attempt ends for all.
const GATHER: Duration = Duration::from_secs(1);

impl Doubtful {
    /// A capped collection takes no part in transactions, and a document written
    /// again would be its newest. Only what is on neither side is right as it is.
    pub(super) async fn resolve_capped(
        &self,
        reread: &Reread<'_>,
        ids: &[IdKey],
    ) -> Result<(), Stop> {
        if reread.tracked.capped.is_given_up() {
            return Err(Stop::Fault(self.copy_anew(reread.tracked).await));
        }
        let there = reread.exist_on_source(ids).await?
            || reread.exist_on_target(ids).await.map_err(Stop::Fault)?;
        if there {
            return Err(Stop::Fault(unsupported(reread.tracked)));
        }
        self.resolved(reread.tracked, reread.position, ids);
        Ok(())
    }

    /// Ends the attempt. The next one empties all that are given up, and copies them again.
    async fn copy_anew(&self, tracked: &Tracked) -> Error {
        let Some(store) = &self.writer.anew else {
            return Error::new(Kind::Unsupported, found(tracked)).remedy(
                "on the way back nothing is emptied: give it up with `shardlift reverse stop`",
            );
        };
        tokio::time::sleep(GATHER).await;
        let (mut given_up, passed) = {
            let gate = self.gate.lock();
            (gate.doubtful(), gate.passed())
        };
        given_up.retain(|tracked| tracked.capped.is_given_up());
        let scope = &self.lister.shard.scope;
        let marked = mark(store, scope, &given_up, passed).await;
        marked.unwrap_or_else(|e| e)
    }
}

/// Returns why the attempt ends. `scope`: of the source. `passed`: what came up to there is in
/// the next copy. It would be no better if it came again over that.
async fn mark(
    store: &PairStore,
    scope: &Scope,
    given_up: &[Arc<Tracked>],
    passed: Position,
) -> Result<Error> {
    let mut marks = Vec::new();
    let mut too_often = None;
    for tracked in given_up {
        let times = store.times_anew(tracked.uuid).await?;
        if TIMES_MAX < times {
            too_often = Some(tracked);
        }
        marks.push((tracked.uuid, times));
    }
    if too_often.is_some() {
        // Whoever takes the run up again has done something about it.
        marks.iter_mut().for_each(|(_, times)| *times = 0);
    }
    store.mark_anew(&marks, passed).await?;
    let error = |tracked: &Arc<Tracked>, kind: Kind, what: &str| {
        Error::new(kind, format!("{}; {what}", found(tracked)))
    };
    Ok(match (too_often, given_up.first()) {
        (Some(tracked), _) => {
            let what = format!("it was copied anew {TIMES_MAX} times, each time in vain");
            // Writes and filters are of the source.
            let own = tracked.ns().own(scope);
            error(tracked, Kind::Unsupported, &what).remedy(format!(
                "stop the writes to {own} and run the same command: it is copied again, and the writes may go on once it is copied; \
                 or start over without it by `shardlift migrate --restart --exclude {own}`"
            ))
        }
        (None, Some(first)) => {
            let what = "it is emptied on the target and copied again";
            error(first, Kind::Transient, what)
        }
        (None, None) => Error::new(Kind::Transient, "the collection to copy anew is gone"),
    })
}

fn found(tracked: &Tracked) -> String {
    format!(
        "the capped collection {} may have let other documents go on the target than on the source: an `_id` was used again",
        tracked.ns()
    )
}

fn unsupported(tracked: &Tracked) -> Error {
    let found = format!(
        "a document of the capped collection {} would have to be read again: the target refused a write of it, an `applyOps` by a user updated it, or an update by a release before 5.0 that takes a field out may be there already",
        tracked.ns()
    );
    Error::new(Kind::Unsupported, found)
        .remedy("a capped collection cannot be repaired document by document: copy it again with `shardlift recopy --shard <its name> --ns <collection>`, then run the same `shardlift migrate` again")
}
