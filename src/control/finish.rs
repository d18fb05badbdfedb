//! The irreversible part of a cutover, and the watch over late writes after it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bson::{Bson, Document, doc};

use crate::cluster::catalog::{EXPIRY, Namespace};
use crate::cluster::connect::Deployment;
use crate::control::ddl::Coordinator;
use crate::control::run::Run;
use crate::error::{Error, Result};
use crate::pair::index::Expiries;
use crate::pair::position::Position;
use crate::pair::run::Pair;

/// NamespaceNotFound: dropped on the source before the cutover.
const CODE_NAMESPACE_NOT_FOUND: i32 = 26;

/// Gives indexes and collections their expiries back, through the target's
/// router. What fails is a loud warning: the data is there, and the command is
/// named.
pub async fn restore_expiries(target: &Deployment, coordinator: &Coordinator, pairs: &[Arc<Pair>], run: &Run) {
    let mut expiries = Expiries::new();
    pairs.iter().for_each(|pair| expiries.extend(pair.expiries()));
    for ((ns, index), seconds) in expiries {
        let change = doc! { "index": { "name": &index, EXPIRY: finite(seconds) } };
        restore(target, &ns, change, run).await;
    }
    for collection in coordinator.laid_out().into_values() {
        if let Ok(Some(seconds)) = collection.options.get(EXPIRY) {
            let Ok(seconds) = Bson::try_from(seconds) else { continue };
            restore(target, &collection.ns, doc! { EXPIRY: finite(seconds) }, run).await;
        }
    }
}

/// `collMod` takes NaN for 0 and deletes at once; the server itself stores this
/// number in its place where an index is created (R10, WHY 7).
fn finite(seconds: Bson) -> Bson {
    match seconds {
        Bson::Double(seconds) if !seconds.is_finite() => Bson::Int32(i32::MAX),
        seconds => seconds,
    }
}

async fn restore(target: &Deployment, ns: &Namespace, change: Document, run: &Run) {
    let mut command = doc! { "collMod": &ns.coll };
    command.extend(change.clone());
    let done: Result<Document> = target.entry.database(&ns.db).run_command(command).await.map_err(Error::from);
    match done {
        Err(e) if e.code == Some(CODE_NAMESPACE_NOT_FOUND) => {}
        Err(e) => run.warn(format!(
            "the expiry of {ns} could not be restored on the target: {e}; run collMod with {change} by hand"
        )),
        Ok(_) => {}
    }
}

/// Keeps the tails going for `grace` after the cutover and reports what users
/// still wrote to the source.
pub async fn report_late_writes(pairs: &[Arc<Pair>], fences: &[Position], grace: Duration, run: &Run) {
    let end = Instant::now() + grace;
    let mut late = vec![false; pairs.len()];
    while Instant::now() < end {
        for ((pair, fence), late) in pairs.iter().zip(fences).zip(&mut late) {
            if let Some(ns) = pair.changed_since(*fence).filter(|_| !*late) {
                *late = true;
                run.warn(format!(
                    "LATE WRITE: the source shard of {} took a write to {ns} after the cutover; it is NOT on the target: stop what still writes to the source",
                    pair.name
                ));
            }
        }
        tokio::time::sleep(Duration::from_millis(50).min(grace)).await;
    }
}
