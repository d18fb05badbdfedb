//! The irreversible part of a cutover, and the watch over late writes after it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bson::{Bson, Document, doc};

use crate::cluster::catalog::{Catalog, Namespace};
use crate::cluster::connect::Deployment;
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
pub async fn restore_expiries(target: &Deployment, catalog: &Catalog, pairs: &[Arc<Pair>], run: &Run) {
    let mut expiries = Expiries::new();
    pairs.iter().for_each(|pair| expiries.extend(pair.expiries()));
    for ((ns, index), seconds) in expiries {
        let change = doc! { "index": { "name": &index, "expireAfterSeconds": seconds } };
        restore(target, &ns, change, run).await;
    }
    for collection in &catalog.collections {
        if let Ok(Some(seconds)) = collection.options.get("expireAfterSeconds") {
            let Ok(seconds) = Bson::try_from(seconds) else { continue };
            restore(target, &collection.ns, doc! { "expireAfterSeconds": seconds }, run).await;
        }
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
