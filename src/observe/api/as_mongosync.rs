//! The endpoints that answer as mongosync does, so that scripts written for it work.
//!
//! Knows nothing about the form of an answer: `observe::mongosync` makes it.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use crate::observe::api::Run;
use crate::observe::api::request::{Answer, Request};
use crate::observe::api::routes::{ask_to_pause, outcome, read};
use crate::observe::mongosync;
use crate::observe::phase::Phase;
use crate::observe::reverse::Reverse;
use crate::observe::status::Snapshot;

pub(super) async fn progress(State(run): State<Arc<Run>>) -> Response {
    let snapshot = run.shown();
    Json(mongosync::progress(&snapshot, run.reversal())).into_response()
}

/// What a script may ask the run to be. Fields that are not here are refused by name: the run
/// has them from its command line, or lacks them.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
struct StartBody {
    source: Option<Cluster>,
    destination: Option<Cluster>,
    reversible: bool,
    enable_user_write_blocking: Blocking,
    verification: Verification,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Verification {
    enabled: bool,
}

impl Default for Verification {
    fn default() -> Self {
        Verification { enabled: true }
    }
}

/// As mongosync names both sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Cluster {
    Cluster0,
    Cluster1,
}

/// Older and newer releases of mongosync ask in either way.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
enum Blocking {
    Asked(bool),
    Of(Blocked),
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Blocked {
    None,
    SourceAndDestination,
    DestinationOnly,
}

impl Default for Blocking {
    fn default() -> Self {
        Blocking::Of(Blocked::None)
    }
}

impl StartBody {
    /// Why this is not the run that is there.
    fn unlike(&self, now: &Snapshot) -> Option<&'static str> {
        if self.source == Some(Cluster::Cluster1) || self.destination == Some(Cluster::Cluster0) {
            return Some("the run goes from cluster0, its --source, to cluster1, its --target");
        }
        if self.reversible && now.reverse == Reverse::No {
            return Some("the run was begun without --reverse");
        }
        if !self.verification.enabled {
            return Some("how the run compares both sides is said by its `verify`");
        }
        match self.enable_user_write_blocking {
            // mongosync asks for both together. The way back refuses users' writes by itself.
            _ if self.reversible => None,
            Blocking::Asked(false) | Blocking::Of(Blocked::None) => None,
            Blocking::Asked(true)
            | Blocking::Of(Blocked::SourceAndDestination | Blocked::DestinationOnly) => Some(
                "users' writes to the target are not blocked; those to the source are at a cutover that is asked for by \
                 POST /cutover with {\"block_writes\": true}",
            ),
        }
    }
}

/// The run was started with the process: there is nothing to do, or it is too late.
pub(super) async fn start(State(run): State<Arc<Run>>, body: Bytes) -> Response {
    let asked: StartBody = match read(&body) {
        Ok(asked) => asked,
        Err(why) => return malformed(why),
    };
    let now = run.snapshot();
    let answer = if now.phase.is_final() && now.phase != Phase::Done {
        Err(format!(
            "the run is {}: run `shardlift migrate` again",
            now.phase
        ))
    } else {
        asked
            .unlike(&now)
            .map_or(Ok(String::new()), |why| Err(why.to_owned()))
    };
    told(answer, "StartRefused")
}

pub(super) async fn pause(State(run): State<Arc<Run>>, body: Bytes) -> Response {
    match read(&body) {
        Ok(body) => told(ask_to_pause(&run, body).await, "PauseRefused"),
        Err(why) => malformed(why),
    }
}

pub(super) async fn resume(State(run): State<Arc<Run>>) -> Response {
    told(run.ask(Request::Resume).await, "ResumeRefused")
}

/// IMPORTANT: a script that commits twice must not go back by that.
pub(super) async fn commit(State(run): State<Arc<Run>>) -> Response {
    let request = |reply| Request::Cutover {
        block_writes: false,
        reply,
    };
    let answer = if mongosync::is_unasked(&run.snapshot(), run.reversal()) {
        Err(
            "the migration is committed: post /api/v1/reverse before you commit the way back"
                .to_owned(),
        )
    } else {
        run.ask(request).await
    };
    told(answer, "CommitRefused")
}

/// The way back begins with the cutover: there is nothing to do but to tell of it from now on,
/// or it is too late. After a restart of the process it is to be posted again.
pub(super) async fn reverse(State(run): State<Arc<Run>>) -> Response {
    let now = run.snapshot();
    let answer = match (now.reverse, now.phase) {
        (Reverse::Running, _) | (Reverse::Wanted, Phase::Done) => {
            run.reversed.store(true, Relaxed);
            Ok(String::new())
        }
        (Reverse::Wanted, phase) => Err(format!("the run is {phase}: cut over first")),
        (Reverse::No, _) => Err("the run was begun without --reverse".to_owned()),
    };
    told(answer, "ReverseRefused")
}

fn malformed(why: String) -> Response {
    let body = Json(mongosync::answer(&Err(why), "InvalidBody"));
    (StatusCode::BAD_REQUEST, body).into_response()
}

fn told(answer: Answer, refusal: &str) -> Response {
    let body = Json(mongosync::answer(&answer, refusal));
    (outcome(&answer), body).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_that_asks_for_what_the_run_lacks_is_refused() {
        let rows = [
            ("", Reverse::No, Ok(())),
            ("{}", Reverse::No, Ok(())),
            (
                r#"{"source": "cluster0", "destination": "cluster1", "reversible": false}"#,
                Reverse::No,
                Ok(()),
            ),
            (
                r#"{"source": "cluster1", "destination": "cluster0"}"#,
                Reverse::No,
                Err("from cluster0"),
            ),
            (
                r#"{"reversible": true}"#,
                Reverse::No,
                Err("without --reverse"),
            ),
            (r#"{"reversible": true}"#, Reverse::Wanted, Ok(())),
            (
                r#"{"reversible": true, "enableUserWriteBlocking": true, "verification": {"enabled": true}}"#,
                Reverse::Wanted,
                Ok(()),
            ),
            (
                r#"{"verification": {"enabled": false}}"#,
                Reverse::No,
                Err("`verify`"),
            ),
            (r#"{"enableUserWriteBlocking": false}"#, Reverse::No, Ok(())),
            (
                r#"{"enableUserWriteBlocking": "none"}"#,
                Reverse::No,
                Ok(()),
            ),
            (
                r#"{"enableUserWriteBlocking": true}"#,
                Reverse::No,
                Err("block_writes"),
            ),
            (
                r#"{"enableUserWriteBlocking": "destinationOnly"}"#,
                Reverse::No,
                Err("block_writes"),
            ),
        ];
        for (body, reverse, expect) in rows {
            let now = Snapshot {
                reverse,
                ..Snapshot::default()
            };
            let asked: StartBody = read(body.as_bytes()).unwrap();
            match (asked.unlike(&now), expect) {
                (None, Ok(())) => {}
                (Some(why), Err(part)) => assert!(why.contains(part), "{body}: {why}"),
                (found, _) => panic!("{body}: {found:?}"),
            }
        }
    }

    #[test]
    fn a_start_with_what_no_run_has_cannot_be_read_and_is_named() {
        for body in [
            r#"{"includeNamespaces": [{"database": "d"}]}"#,
            r#"{"source": "elsewhere"}"#,
            r#"{"reversible": "yes"}"#,
            r#"{"enableUserWriteBlocking": "all"}"#,
        ] {
            assert!(read::<StartBody>(body.as_bytes()).is_err(), "{body}");
        }
        let why = read::<StartBody>(br#"{"includeNamespaces": []}"#).unwrap_err();
        assert!(why.contains("includeNamespaces"), "{why}");
    }
}
