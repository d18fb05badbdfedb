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

/// A replica set is one pair: its collections together stand under `*`.
pub fn status(snapshot: &Snapshot) -> Value {
    let sum = snapshot.sum();
    let is_copied = !snapshot.pairs.is_empty() && sum.is_copied();
    let stage = match snapshot.phase {
        Phase::Validating | Phase::Layout => "initializing",
        _ if is_copied => "oplog sync",
        _ if snapshot.pairs.is_empty() => "initializing",
        _ => "initial sync",
    };
    let mut answer = json!({
        "stage": stage,
        "phase": snapshot.phase,
        "details": {
            "currentTimestamp": sum.applied_seconds,
            "latestTimestamp": sum.tail_seconds,
            "lastWriteOnSourceTimestamp": sum.source_seconds,
            "*": {
                "complete": is_copied,
                "copiedBytes": sum.bytes_done,
                "totalBytes": sum.bytes_total,
                "createIndexes": sum.indexes_built,
            },
        },
    });
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
}
