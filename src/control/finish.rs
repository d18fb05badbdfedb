//! The irreversible part of a cutover, and the watch over late writes after it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bson::{Bson, Document, doc};

use crate::cluster::catalog::{EXPIRY, Namespace};
use crate::cluster::connect::Deployment;
use crate::cluster::retry::{Retry, within};
use crate::config::Config;
use crate::control::ddl::Coordinator;
use crate::control::open::Opened;
use crate::control::run::Run;
use crate::control::setup;
use crate::error::{Error, Policy, Result};
use crate::failpoint;
use crate::pair::index::Expiries;
use crate::pair::position::Position;
use crate::pair::run::Pair;
use crate::state::{Expiry, Stage};

/// How long one `collMod` may take.
const RESTORE_PATIENCE: Duration = Duration::from_secs(60);
/// NamespaceNotFound: dropped on the source before the cutover.
const CODE_NAMESPACE_NOT_FOUND: i32 = 26;

/// Records that only the finish is left, and what it has to restore. The gates
/// are closed for good.
pub async fn begin(opened: &Opened, coordinator: &Coordinator, pairs: &[Arc<Pair>]) -> Result<()> {
    // A process that was frozen meanwhile may have been replaced.
    opened.renew_lease().await?;
    let mut expiries = Expiries::new();
    pairs.iter().for_each(|pair| expiries.extend(pair.expiries()));
    let of_indexes = expiries.into_iter().map(|((ns, index), seconds)| Expiry { ns, index: Some(index), seconds });
    let mut expiries: Vec<Expiry> = of_indexes.collect();
    for collection in coordinator.laid_out().into_values() {
        if let Some(seconds) = collection.options.get(EXPIRY)? {
            expiries.push(Expiry { ns: collection.ns, index: None, seconds: Bson::try_from(seconds)? });
        }
    }
    opened.stores.run.save_expiries(&expiries).await?;
    opened.stores.run.set_stage(Stage::Finishing).await?;
    failpoint::hit("cutover-finishing");
    Ok(())
}

/// The irreversible part. Every step may be done twice; the state goes last.
pub async fn finish(config: &Config, opened: &Opened, run: &Run) -> Result<()> {
    let mut retry = Retry::new(setup::away_max(config));
    retry.until_it_works(|| restore_expiries(opened, run)).await?;
    failpoint::hit("cutover-expiries");
    tracing::info!("cutover: expiries are restored");
    setup::restore_balancers(&opened.sides, opened.balancers, run).await;
    failpoint::hit("cutover-balancers");
    tracing::info!("cutover: nothing is left to do but to remove the run's state");
    retry.until_it_works(|| opened.stores.remove()).await?;
    failpoint::hit("cutover-removed");
    Ok(())
}

/// Gives indexes and collections their expiries back, through the target's
/// router. What cannot be is a loud warning: the data is there, and the command
/// is named.
async fn restore_expiries(opened: &Opened, run: &Run) -> Result<()> {
    for Expiry { ns, index, seconds } in opened.stores.run.load_expiries().await? {
        let change = match index {
            Some(index) => doc! { "index": { "name": index, EXPIRY: finite(seconds) } },
            None => doc! { EXPIRY: finite(seconds) },
        };
        restore(&opened.sides.target, &ns, change, run).await?;
    }
    Ok(())
}

/// `collMod` takes NaN for 0 and deletes at once; the server itself stores this
/// number in its place where an index is created (R10).
fn finite(seconds: Bson) -> Bson {
    match seconds {
        Bson::Double(seconds) if !seconds.is_finite() => Bson::Int32(i32::MAX),
        seconds => seconds,
    }
}

async fn restore(target: &Deployment, ns: &Namespace, change: Document, run: &Run) -> Result<()> {
    let mut command = doc! { "collMod": &ns.coll };
    command.extend(change.clone());
    let database = target.entry.database(&ns.db);
    let sent = async { database.run_command(command).await.map_err(Error::from) };
    match within(RESTORE_PATIENCE, "the target's router", sent).await {
        Err(e) if e.code == Some(CODE_NAMESPACE_NOT_FOUND) => {}
        Err(e) if e.kind.policy() == Policy::Retry => return Err(e),
        Err(e) => run.warn(format!(
            "the expiry of {ns} could not be restored on the target: {e}; run collMod with {change} by hand"
        )),
        Ok(_) => {}
    }
    Ok(())
}

/// Keeps the tails going for `grace` after the cutover and reports what users
/// still wrote to the source.
pub async fn report_late_writes(pairs: &[Arc<Pair>], fences: &[Position], grace: Duration, run: &Run) {
    let end = Instant::now() + grace;
    let (mut late, mut expired) = (vec![false; pairs.len()], vec![false; pairs.len()]);
    while Instant::now() < end {
        for (i, (pair, fence)) in pairs.iter().zip(fences).enumerate() {
            if let Some(ns) = pair.changed_since(*fence).filter(|_| !std::mem::replace(&mut late[i], true)) {
                run.warn(format!(
                    "LATE WRITE: the source shard of {} took a write to {ns} after the cutover; it is NOT on the target: stop what still writes to the source",
                    pair.name
                ));
            }
            if pair.expired_since(*fence) && !std::mem::replace(&mut expired[i], true) {
                run.warn(format!(
                    "after the cutover the source shard of {} deleted documents of a collection with an expiry: by itself, as the target will too, or by a LATE client",
                    pair.name
                ));
            }
        }
        tokio::time::sleep(Duration::from_millis(50).min(grace)).await;
    }
}
