//! A collection that its source shard no longer lists, or by a name only that is out of the
//! run, which ends it there as a drop does. A drop shows before a
//! majority has it, and may be rolled back: it is believed when the tail meets it.
//! Until then nothing of the collection is carried over, and a restart would
//! begin with it again.

use std::sync::Arc;
use std::time::Duration;

use mongodb::Client;
use parking_lot::Mutex;

use crate::cluster::catalog;
use crate::cluster::deployment::Shard;
use crate::error::{Error, Kind, Result};
use crate::pair::chores::Chores;
use crate::pair::collection::Tracked;
use crate::pair::gate::Gate;

const POLL: Duration = Duration::from_secs(1);
/// How often what waits for a drop looks whether the tail has met it.
const DEAD_POLL: Duration = Duration::from_millis(20);

/// Discards its ops and keeps the resume position where it is until its drop is met.
/// If the collection is there again the attempt ends.
pub fn expect_drop(
    source: Shard,
    gate: &Arc<Mutex<Gate>>,
    chores: &Chores,
    tracked: &Arc<Tracked>,
) {
    let pin = gate.lock().suspend(&tracked.uuid);
    let (gate, of) = (gate.clone(), tracked.clone());
    let wait = async move {
        until_dropped(&source, &of).await?;
        gate.lock().unpin(pin);
        Ok(())
    };
    tracked.as_logged(|ns| chores.add("waiting for the drop of", ns, wait));
}

/// Waits until the tail has met the drop of a collection that is not listed now.
///
/// # Errors
/// `Transient` if it is there again: the attempt ends, and the next one finds it.
pub async fn until_dropped(source: &Shard, tracked: &Tracked) -> Result<()> {
    let back = async {
        loop {
            tokio::time::sleep(POLL).await;
            let is_out = catalog::is_out(source, &tracked.source_db, tracked.uuid).await;
            if matches!(is_out, Ok(false)) && !tracked.is_dead() {
                return;
            }
        }
    };
    tokio::select! {
        () = died(tracked) => Ok(()),
        () = back => {
            Err(Error::new(Kind::Transient, format!("the drop of {} was rolled back on the source", tracked.ns())))
        }
    }
}

/// Waits until the tail has met its drop.
pub async fn died(tracked: &Tracked) {
    while !tracked.is_dead() {
        tokio::time::sleep(DEAD_POLL).await;
    }
}

/// The source shard does not know the collection's UUID now.
pub async fn is_gone(source: &Client, tracked: &Tracked) -> Result<bool> {
    catalog::is_gone(source, &tracked.source_db, tracked.uuid).await
}
