//! The shape in which mongomirror answers on its status port.
//!
//! `status` is pure: snapshot in, JSON out.

use std::net::Ipv4Addr;
use std::sync::Arc;

use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::error::{Error, Kind, Result};
use crate::observe::collections::{CollectionCopied, OTHERS, bounded};
use crate::observe::phase::Phase;
use crate::observe::status::Snapshot;

/// Answers on 127.0.0.1 until the returned task is aborted.
///
/// # Errors
/// `Config` if the port is taken.
pub async fn serve(
    port: u16,
    snapshot: Arc<dyn Fn() -> Snapshot + Send + Sync>,
) -> Result<JoinHandle<()>> {
    let cannot = |e: std::io::Error| {
        Error::new(
            Kind::Config,
            format!("http_status_port {port} cannot be used: {e}"),
        )
        .remedy("give another port")
    };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await;
    let listener = listener.map_err(cannot)?;
    let router = Router::new().fallback(move || {
        let now = snapshot();
        async move { Json(status(&now)) }
    });
    let serving = axum::serve(listener, router);
    Ok(tokio::spawn(async move {
        if let Err(e) = serving.await {
            tracing::warn!("the status port stopped: {e}");
        }
    }))
}

/// The largest collections by name, all others together under `*`; so are all before they are
/// known.
pub fn status(snapshot: &Snapshot) -> Value {
    let sum = snapshot.sum();
    let is_copied = !snapshot.pairs.is_empty() && sum.is_copied();
    let stage = match snapshot.phase {
        Phase::Validating | Phase::Layout => "initializing",
        _ if is_copied => "oplog sync",
        _ if snapshot.pairs.is_empty() => "initializing",
        _ => "initial sync",
    };
    let mut details = json!({
        "currentTimestamp": sum.applied_seconds,
        "latestTimestamp": sum.tail_seconds,
        "lastWriteOnSourceTimestamp": sum.source_seconds,
    });
    let of_pairs = snapshot.pairs.iter();
    let mut collections = bounded(
        of_pairs
            .flat_map(|pair| (*pair.collections).clone())
            .collect(),
    );
    if collections.is_empty() {
        collections.push(CollectionCopied {
            ns: OTHERS.to_owned(),
            is_done: is_copied,
            bytes_copied: sum.bytes_done,
            bytes: sum.bytes_total,
            indexes_built: sum.indexes_built,
        });
    }
    for one in collections {
        details[one.ns] = json!({
            "complete": one.is_done,
            "copiedBytes": one.bytes_copied,
            "totalBytes": one.bytes,
            "createIndexes": one.indexes_built,
        });
    }
    let mut answer = json!({"stage": stage, "phase": snapshot.phase, "details": details});
    if let Some(error) = &snapshot.error {
        answer["errorMessage"] = json!(error);
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::status::tests::copying;

    #[test]
    fn the_stage_is_that_of_the_copy() {
        let mut now = copying();
        assert_eq!(status(&now)["stage"], "initial sync");
        now.phase = Phase::Layout;
        assert_eq!(status(&now)["stage"], "initializing");
        now.phase = Phase::Failed;
        now.error = Some("lost".into());
        now.pairs.iter_mut().for_each(|pair| pair.units_copied = 64);
        let answer = status(&now);
        assert_eq!(answer["stage"], "oplog sync");
        assert_eq!(answer["errorMessage"], "lost");
        assert_eq!(answer["details"]["*"]["complete"], true);
        assert_eq!(status(&Snapshot::default())["stage"], "initializing");
    }

    #[test]
    fn each_collection_is_told_by_name_once_it_is_known() {
        let mut now = copying();
        let of = |ns: &str, bytes_copied| CollectionCopied {
            ns: ns.to_owned(),
            is_done: bytes_copied == 10,
            bytes_copied,
            bytes: 10,
            indexes_built: 2,
        };
        now.pairs[0].collections = Arc::new(vec![of("d.a", 10), of("d.b", 4)]);
        let details = status(&now)["details"].clone();
        let expect =
            json!({"complete": false, "copiedBytes": 4, "totalBytes": 10, "createIndexes": 2});
        assert_eq!(details["d.b"], expect);
        assert_eq!(details["d.a"]["complete"], true);
        assert!(details.get("*").is_none(), "nothing is counted twice");
        assert!(details["latestTimestamp"].is_number());
        let answer = status(&now).to_string();
        assert!(!now.json().contains("d.b") && answer.contains("d.b"));
    }
}
