//! One incarnation of a pair's writers (R7). A batch whose connection was lost may still
//! run, after its retry and after later ops. So nothing is written until the target lists
//! no connection of an older incarnation. A connection that an older one opens after that
//! is not used (`PairStore::admission`).

use std::time::{Duration, Instant};

use bson::{Document, doc};
use futures_util::TryStreamExt;

use crate::cluster::admin;
use crate::cluster::deployment::Shard;
use crate::cluster::retry::answered;
use crate::error::{Error, Kind, Result};
use crate::failpoint;
use crate::state::Incarnation;
use crate::state::pair_store::PairStore;

const POLL: Duration = Duration::from_millis(50);
/// The wait is reported whenever this time has passed.
const TELL: Duration = Duration::from_secs(5);
/// Application names of the data plane begin with it.
const PREFIX: &str = "shardlift/";

/// Name of the data plane's connections.
pub fn app_name(run: &str, pair: usize, number: i64) -> String {
    format!("{PREFIX}{run}/{pair}/{number}")
}

/// A pair's new incarnation: no older one can write any more.
#[derive(Debug, Clone)]
pub struct Begun {
    pub incarnation: Incarnation,
    pub app_name: String,
}

/// Begins the next incarnation. Returns once nothing of an older one can reach the target
/// any more.
///
/// IMPORTANT: load the state only after this. A checkpoint of an older incarnation that
/// took effect after the load would overwrite what this one replays from.
///
/// # Errors
/// `Transient` if an older one is still connected after `wait`.
pub async fn begin(
    target: &Shard,
    store: &PairStore,
    run: &str,
    pair: usize,
    wait: Duration,
) -> Result<Begun> {
    let incarnation = store.begin_incarnation().await?;
    failpoint::hit("incarnation-begun");
    let app_name = app_name(run, pair, incarnation.number);
    alone(target, &app_name, wait).await?;
    Ok(Begun {
        incarnation,
        app_name,
    })
}

/// Waits until `own` is the only data plane connected to the target shard. Idle
/// connections count too: the server may not have read yet what a lost client sent.
///
/// # Errors
/// `Transient` after `wait`, naming who is still connected.
pub async fn alone(target: &Shard, own: &str, wait: Duration) -> Result<()> {
    let deadline = Instant::now() + wait;
    let mut told = Instant::now();
    loop {
        let others = others(target, own).await?;
        if others.is_empty() {
            return Ok(());
        }
        let found = || {
            format!(
                "target shard {} still has connections of an earlier attempt: {}",
                target.id,
                others.join(", ")
            )
        };
        if deadline <= Instant::now() {
            return Err(Error::new(Kind::Transient, found()).remedy(
                "end that process, or close its connections on that server, and try again",
            ));
        }
        if TELL < told.elapsed() {
            told = Instant::now();
            tracing::warn!("{}; nothing is written until they are gone", found());
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Client addresses and names of other data planes. Ends what they left open:
/// transactions, whose documents would stay locked for a minute, and index builds, which
/// run on for hours without their client.
async fn others(target: &Shard, own: &str) -> Result<Vec<String>> {
    let pipeline = [
        doc! { "$currentOp": { "allUsers": true, "idleConnections": true } },
        doc! { "$match": { "appName": { "$regex": format!("^{PREFIX}"), "$ne": own } } },
        doc! { "$project": {
            "appName": 1, "client": 1, "type": 1, "lsid": 1, "opid": 1,
            "command.hello": 1, "command.isMaster": 1, "command.ismaster": 1, "command.createIndexes": 1,
        } },
    ];
    let failed = |e: Error| {
        e.context(format_args!(
            "listing the connections of target shard {}",
            target.id
        ))
    };
    let listed = async {
        let listed = target.client.database("admin").aggregate(pipeline).await?;
        Ok(listed.try_collect::<Vec<Document>>().await?)
    };
    let listed = answered("the server", listed).await.map_err(failed)?;
    let left = listed
        .iter()
        .filter(|op| op.get_str("type").is_ok_and(|kind| kind == "idleSession"));
    let sessions: Vec<Document> = left
        .filter_map(|op| op.get_document("lsid").ok())
        .filter_map(session_id)
        .collect();
    if !sessions.is_empty() {
        let killed = admin::ask(&target.client, "admin", doc! { "killSessions": sessions }).await;
        // Without the privilege they end by themselves (transactionLifetimeLimitSeconds).
        if let Err(e) = killed {
            tracing::debug!("open transactions of an earlier attempt were not ended: {e}");
        }
    }
    for build in listed
        .iter()
        .filter(|op| of_command(op, &["createIndexes"]))
    {
        let Some(op) = build.get("opid") else {
            continue;
        };
        let killed = admin::ask(
            &target.client,
            "admin",
            doc! { "killOp": 1, "op": op.clone() },
        )
        .await;
        // A user may end its own operations without the privilege; those of others run to
        // their end.
        if let Err(e) = killed {
            tracing::debug!("an index build of an earlier attempt was not ended: {e}");
        }
    }
    let text = |op: &Document, field: &str| op.get_str(field).unwrap_or("unknown").to_owned();
    let named = |op: &Document| format!("{} ({})", text(op, "client"), text(op, "appName"));
    Ok(listed.iter().filter(|op| !watches(op)).map(named).collect())
}

/// The session in the form that `killSessions` takes: without the user's digest.
fn session_id(lsid: &Document) -> Option<Document> {
    Some(doc! { "id": lsid.get("id")?.clone() })
}

/// A driver's monitor: it never writes, and may outlive its client by seconds.
fn watches(op: &Document) -> bool {
    of_command(op, &["hello", "isMaster", "ismaster"])
}

fn of_command(op: &Document, names: &[&str]) -> bool {
    op.get_document("command")
        .is_ok_and(|command| names.iter().any(|name| command.contains_key(name)))
}
