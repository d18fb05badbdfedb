//! A second router of a side, where the routers are real: the first that engine and load
//! ask. It ends in mid-run and comes back on its port.
//!
//! Knows nothing about what is asked of it.

use std::path::Path;

use bson::doc;
use tokio::sync::Mutex;

use crate::cluster::ShardedCluster;
use crate::error::{Error, Result};
use crate::mongos::Router;
use crate::wire::link::Link;

pub(super) struct Further {
    host: String,
    /// None while it is away.
    router: Mutex<Option<Router>>,
}

impl Further {
    /// None where the router is our stand-in: what a second one of it does is known.
    pub(super) async fn start(cluster: &ShardedCluster) -> Result<Option<Further>> {
        if cluster.has_stand_in() {
            return Ok(None);
        }
        let router = cluster.another_router().await?;
        Ok(Some(Further {
            host: router.host(),
            router: Mutex::new(Some(router)),
        }))
    }

    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// At once, as a crash does.
    pub(super) async fn restart(&self, cluster: &ShardedCluster) -> Result<()> {
        let port = self
            .host
            .rsplit(':')
            .next()
            .and_then(|port| port.parse().ok());
        let mut router = self.router.lock().await;
        // Its end is waited for: the port is free then.
        *router = None;
        *router = Some(cluster.router_on(port).await?);
        Ok(())
    }

    /// Of its last life; says on stderr if it is lost.
    pub(super) fn keep_log(&self, dir: &Path, side: &str) {
        let log = self
            .router
            .try_lock()
            .ok()
            .and_then(|router| router.as_ref()?.log());
        let name = format!("{side}-mongos-further.log");
        let copied = log
            .ok_or_else(|| Error::new("it is not up"))
            .and_then(|log| Ok(std::fs::copy(log, dir.join(&name))?));
        _ = copied.inspect_err(|e| eprintln!("loadgen: the log {name} is lost: {e}"));
    }
}

/// As users are told to after a cutover into a release whose routers miss that a name was
/// dropped and made again.
pub(super) async fn flush(hosts: &[String]) -> Result<()> {
    for host in hosts {
        let mut link = Link::connect(host).await?;
        link.command("admin", doc! {"flushRouterConfig": 1}).await?;
    }
    Ok(())
}
