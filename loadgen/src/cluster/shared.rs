//! One cluster for all tests of a binary: started by the first that asks,
//! stopped when the last one that holds it is done, so that no server stays
//! behind. Tests keep apart by database.

use std::sync::{Arc, Weak};

use tokio::sync::Mutex;

use crate::cluster::sharded::{ShardedCluster, ShardedOptions};
use crate::error::Result;

static SHARED: Mutex<Weak<ShardedCluster>> = Mutex::const_new(Weak::new());

/// A cluster of two shards with one member each, its balancer off.
pub async fn sharded() -> Result<Arc<ShardedCluster>> {
    let mut shared = SHARED.lock().await;
    if let Some(cluster) = shared.upgrade() {
        return Ok(cluster);
    }
    let cluster = Arc::new(
        ShardedCluster::start(ShardedOptions {
            cache_gb: 0.25,
            ..Default::default()
        })
        .await?,
    );
    cluster
        .router_link()
        .await?
        .command("admin", bson::doc! { "balancerStop": 1 })
        .await?;
    *shared = Arc::downgrade(&cluster);
    Ok(cluster)
}
