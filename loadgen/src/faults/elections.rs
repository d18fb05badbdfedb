//! Counts the elections of every set, by asking its members who is primary.
//!
//! Changes nothing, and asks past the proxies.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bson::oid::ObjectId;
use tokio::task::JoinSet;

use crate::cluster::Deployment;
use crate::wire::link::{Link, is_primary};

const INTERVAL: Duration = Duration::from_millis(500);
/// A frozen member does not answer.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(400);

/// Ends with its drop.
pub struct Elections {
    count: Arc<AtomicU64>,
    _tasks: JoinSet<()>,
}

impl Elections {
    /// Watches the sets of all deployments from now on.
    pub fn watch(deployments: &[&Deployment]) -> Elections {
        let count = Arc::new(AtomicU64::new(0));
        let mut tasks = JoinSet::new();
        for set in deployments.iter().flat_map(|deployment| deployment.sets()) {
            tasks.spawn(watch(set.server_hosts(), count.clone()));
        }
        Elections {
            count,
            _tasks: tasks,
        }
    }

    /// Primaries elected so far, whether or not they were primary before.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}

/// Election ids hold the term, so a later one is larger.
async fn watch(hosts: Vec<String>, count: Arc<AtomicU64>) {
    let mut newest: Option<ObjectId> = None;
    let mut tick = tokio::time::interval(INTERVAL);
    loop {
        tick.tick().await;
        for host in &hosts {
            let Ok(Some(id)) = tokio::time::timeout(ANSWER_TIMEOUT, election(host)).await else {
                continue;
            };
            match newest.replace(id) {
                Some(before) if before < id => _ = count.fetch_add(1, Ordering::Relaxed),
                // A primary of the past that has not learned of it.
                Some(before) if id < before => newest = Some(before),
                _ => {}
            }
        }
    }
}

/// The election that made `host` primary, if it is.
async fn election(host: &str) -> Option<ObjectId> {
    let mut link = Link::connect(host).await.ok()?;
    let hello = link.hello().await.ok()?;
    if !is_primary(&hello) {
        return None;
    }
    hello.get_object_id("electionId").ok()
}
