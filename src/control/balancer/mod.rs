//! The balancers of both sides: stopped for the run, and put back as found.
//!
//! It also knows what else moves chunks (migrations by hand, resharding), and waits for
//! it: ownership is certain only while no chunk moves (R8).

pub mod back;

use std::time::{Duration, Instant};

use bson::{Document, RawDocument, RawDocumentBuf, doc};
use futures_util::TryStreamExt;
use mongodb::{Client, options::ReadConcern};

use crate::cluster::admin;
use crate::cluster::deployment::{Deployment, Topology};
use crate::cluster::entry::Entry;
use crate::cluster::retry::{answered, within};
use crate::codes;
use crate::control::balancer::back::{SETTINGS, put_back, row};
use crate::error::{Error, Kind, Result};

/// How long the balancer's current round may take. Afterwards the balancer is off anyway.
const STOP_WAIT: Duration = Duration::from_secs(60);
/// How long running migrations are waited for. One chunk (128 MB by default)
/// takes seconds to a few minutes.
const QUIET_WAIT: Duration = Duration::from_secs(600);
const QUIET_POLL: Duration = Duration::from_millis(500);
/// How long a router may take to show its settings to somebody who waits for an answer.
const SHOW_WAIT: Duration = Duration::from_secs(4);
/// The mode in which it moves chunks.
const ON: &str = "full";

/// What was set when the run began; None for replica sets.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// The balancer may move chunks.
    pub enabled: Option<bool>,
    /// Those of the rows that existed. Also None if an older release recorded it.
    pub settings: Option<Vec<RawDocumentBuf>>,
}

impl Found {
    /// The mode, if it is set.
    pub fn mode(&self) -> Option<&str> {
        row(self.settings.as_ref()?, "balancer")?
            .get_str("mode")
            .ok()
    }

    /// `on`, `off`, or the mode that is neither. None for replica sets.
    pub fn state(&self) -> Option<String> {
        let third = self.mode().filter(|mode| !matches!(*mode, ON | "off"));
        Some(match (self.enabled?, third) {
            (true, _) => "on".to_owned(),
            (false, Some(mode)) => format!("in mode {mode}"),
            (false, None) => "off".to_owned(),
        })
    }
}

/// Reads the settings; changes nothing.
pub async fn found(deployment: &Deployment) -> Result<Found> {
    if deployment.topology == Topology::ReplicaSet {
        return Ok(Found {
            enabled: None,
            settings: None,
        });
    }
    let status = admin::balancer_status(&deployment.entry).await?;
    let settings = settings(deployment).await?;
    Ok(Found {
        enabled: Some(status.mode == ON),
        settings: Some(settings),
    })
}

async fn settings(deployment: &Deployment) -> Result<Vec<RawDocumentBuf>> {
    let rows = deployment
        .entry
        .database("config")
        .collection::<RawDocumentBuf>("settings");
    let ids = SETTINGS.map(|(id, _)| id).to_vec();
    let rows = rows
        .find(doc! {"_id": {"$in": ids}})
        .read_concern(ReadConcern::majority());
    answered("reading config.settings", async {
        Ok(rows.await?.try_collect().await?)
    })
    .await
}

/// Stops the balancer and waits until no migration runs on any shard.
///
/// # Errors
/// `Refused` if something still moves chunks after ten minutes; it is named.
pub async fn stop(deployment: &Deployment) -> Result<()> {
    if deployment.topology == Topology::ReplicaSet {
        return Ok(());
    }
    let status = admin::balancer_status(&deployment.entry).await?;
    if !status.is_off() || status.in_round {
        match admin::balancer_stop(&deployment.entry, STOP_WAIT).await {
            Err(e) if !matches!(e.code, Some(codes::MAX_TIME_EXPIRED | codes::GAVE_UP)) => {
                return Err(e.context(format_args!(
                    "stopping the balancer of the {}",
                    deployment.side
                )));
            }
            _ => {}
        }
    }
    quiet(deployment).await
}

/// Puts the balancer and all that stopping it changed back as found. A failure is for a
/// loud warning only; its remedy is what `by_hand` says.
pub async fn restore(deployment: &Deployment, found: &Found) -> Result<()> {
    let restored = restore_each(deployment, found).await;
    restored.map_err(|e| {
        let commands = back::by_hand(found, None);
        e.remedy(format!("run {} on it by hand", back::listed(&commands)))
    })
}

async fn restore_each(deployment: &Deployment, found: &Found) -> Result<()> {
    let side = deployment.side;
    if found.enabled == Some(true) {
        admin::balancer_start(&deployment.entry)
            .await
            .map_err(|e| e.context(format_args!("starting the balancer of the {side} again")))?;
    }
    let Some(before) = &found.settings else {
        return Ok(());
    };
    let now = settings(deployment).await?;
    for (id, fields) in SETTINGS {
        let Some(command) = put_back(id, fields, row(before, id), row(&now, id))? else {
            continue;
        };
        let restoring = format!("restoring `{id}` in config.settings of the {side}");
        write(&deployment.entry, &command)
            .await
            .map_err(|e| e.context(restoring))?;
    }
    Ok(())
}

/// What an operator types on a mongos so that it is as found: the commands that `restore`
/// sends, as the settings are now. Empty if it is as found, and for replica sets.
pub async fn by_hand(deployment: &Deployment, found: &Found) -> Vec<String> {
    if deployment.topology == Topology::ReplicaSet {
        return Vec::new();
    }
    let now = within(SHOW_WAIT, "the router", settings(deployment)).await;
    back::by_hand(found, now.ok().as_deref())
}

async fn write(router: &Entry, command: &RawDocument) -> Result<()> {
    let reply = admin::run_majority(router, "config", command).await?;
    match reply.get("writeErrors") {
        Some(errors) => Err(Error::new(Kind::Server, errors.to_string())),
        None => Ok(()),
    }
}

/// Texts that say what moves chunks or data between shards right now. Empty for replica
/// sets.
pub async fn running(deployment: &Deployment) -> Result<Vec<String>> {
    if deployment.topology == Topology::ReplicaSet {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for row in rows(&deployment.entry, "migrations").await? {
        found.push(migration(&row, "ns", "fromShard", "toShard"));
    }
    for row in rows(&deployment.entry, "reshardingOperations").await? {
        found.push(format!(
            "resharding of {}",
            row.get_str("ns").unwrap_or("a collection")
        ));
    }
    for shard in &deployment.shards {
        for row in rows(&shard.client, "migrationCoordinators").await? {
            found.push(migration(&row, "nss", "donorShardId", "recipientShardId"));
        }
    }
    found.sort();
    found.dedup();
    Ok(found)
}

/// Texts that say what moves chunks now, or may at any moment, and what to do about it.
/// Empty for replica sets.
pub async fn unrest(deployment: &Deployment) -> Result<Vec<String>> {
    let side = deployment.side;
    if deployment.topology == Topology::ReplicaSet {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    if !admin::balancer_status(&deployment.entry).await?.is_off() {
        found.push(format!(
            "the balancer of the {side} is on: stop it with `sh.stopBalancer()`"
        ));
    }
    let shards = rows(&deployment.entry, "shards").await?;
    let leaving = leaving(&shards).map(|id| {
        format!(
            "{side} shard {id} is being removed, so its chunks are to move: let `removeShard` wait until the run is done, and on a mongos \
             of the {side} take its mark back, `db.getSiblingDB(\"config\").shards.updateOne({{_id: \"{id}\"}}, {{$unset: {{draining: 1}}}})`"
        )
    });
    found.extend(leaving);
    let running = running(deployment).await?;
    found.extend(
        running
            .iter()
            .map(|running| format!("a {running} runs on the {side}: let it end")),
    );
    Ok(found)
}

/// Ids of those that are being removed.
fn leaving(shards: &[Document]) -> impl Iterator<Item = &str> {
    let drains = |row: &&Document| row.get_bool("draining").unwrap_or(false);
    let leaving = shards.iter().filter(drains);
    leaving.filter_map(|row| row.get_str("_id").ok())
}

/// Waits until nothing moves chunks.
///
/// # Errors
/// `Refused` if something still does after ten minutes; it is named.
pub async fn quiet(deployment: &Deployment) -> Result<()> {
    let deadline = Instant::now() + QUIET_WAIT;
    loop {
        let running = running(deployment).await?;
        if running.is_empty() {
            return Ok(());
        }
        if deadline <= Instant::now() {
            return Err(still_running(deployment, &running));
        }
        tracing::info!(side = %deployment.side, waiting_for = running.join(", "), "chunks are still moving");
        tokio::time::sleep(QUIET_POLL).await;
    }
}

fn still_running(deployment: &Deployment, running: &[String]) -> Error {
    let found = format!(
        "the balancer of the {} is stopped, but still runs: {}",
        deployment.side,
        running.join(", ")
    );
    Error::new(Kind::Refused, found).remedy(
        "let it end, or see in the log of that shard's primary why it does not; then start again",
    )
}

async fn rows(client: &Client, collection: &str) -> Result<Vec<Document>> {
    let rows = client.database("config").collection::<Document>(collection);
    let rows = rows.find(doc! {}).read_concern(ReadConcern::majority());
    answered(&format!("reading config.{collection}"), async {
        Ok(rows.await?.try_collect().await?)
    })
    .await
}

fn migration(row: &Document, ns: &str, donor: &str, recipient: &str) -> String {
    let text = |field| row.get_str(field).unwrap_or("?");
    format!(
        "migration of a chunk of {} from {} to {}",
        text(ns),
        text(donor),
        text(recipient)
    )
}

#[cfg(test)]
mod tests;
