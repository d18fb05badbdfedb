//! What the API answers on which path. `ENDPOINTS` is the one list: the router, the help
//! text and the OpenAPI document are made of it.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::sync::oneshot;

use crate::config::knobs::{self, Bounds};
use crate::observe::api::guard::{self, Guard};
use crate::observe::api::request::{Answer, Limits, Recopied, Request};
use crate::observe::api::{PAGE, Run, as_mongosync, openapi};
use crate::observe::{logging, metrics};

/// Longest body of a request, bytes.
pub(super) const BODY_BYTES_MAX: usize = 4_096;
/// Longest text about who paused a run, characters.
const BY_MAX: usize = 200;

/// What the page may load: nothing that is not in it or of this API.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; \
    img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

type Route = MethodRouter<Arc<Run>>;

/// One method on one path.
pub(super) struct Endpoint {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    pub(super) says: &'static str,
    /// The schema of its body, which may be left out unless something in it is required.
    pub(super) body: Option<&'static str>,
    /// The schema of its answer, or a media type.
    pub(super) answer: &'static str,
    route: fn() -> Route,
}

const fn asked(
    path: &'static str,
    answer: &'static str,
    says: &'static str,
    route: fn() -> Route,
) -> Endpoint {
    Endpoint {
        method: "GET",
        path,
        says,
        body: None,
        answer,
        route,
    }
}

const fn told(
    path: &'static str,
    body: Option<&'static str>,
    answer: &'static str,
    says: &'static str,
    route: fn() -> Route,
) -> Endpoint {
    Endpoint {
        method: "POST",
        path,
        says,
        body,
        answer,
        route,
    }
}

const SENTENCE: &str = "Sentence";
const OUTCOME: &str = "Outcome";

/// The short paths are for people, those below `/api/v1` for programs.
#[rustfmt::skip]
pub(super) const ENDPOINTS: &[Endpoint] = &[
    asked("/", "text/html", "a page that shows the run", || get(page)),
    asked("/status", "Snapshot", "state of the run", || get(status)),
    asked("/metrics", "text/plain", "the same for Prometheus", || get(prometheus)),
    asked("/prepare", "Prepared", "what a cutover would wait for, and the steps", || get(prepare)),
    told("/cutover", Some("CutoverBody"), SENTENCE, "begin the cutover; on the way back: to the old source", || post(cutover)),
    told("/cancel", None, SENTENCE, "stop the run; what was copied stays. On the way back: give that up", || asking(Request::Cancel)),
    told("/pause", Some("PauseBody"), SENTENCE, "hold copying and following back", || post(pause)),
    told("/resume", None, SENTENCE, "go on after a pause", || asking(Request::Resume)),
    told("/extend", None, SENTENCE, "24 h more of the cutover window", || asking(Request::Extend)),
    told("/recopy", Some("RecopyBody"), SENTENCE, "copy one source shard again, or a collection; the others wait while it is emptied, and go on where they are", || post(recopy)),
    told("/throttle", Some("Limits"), SENTENCE, "change how fast the run may go", || post(throttle)),
    asked("/api/v1/openapi.json", "application/json", "this API, described", || get(async || Json(openapi::document()))),
    asked("/api/v1/status", "Snapshot", "as /status", || get(status)),
    asked("/api/v1/history", "History", "lag and rates over the time of the run, as far as this host knows", || get(history)),
    asked("/api/v1/log", "Log", "the newest lines of the log", || get(log)),
    asked("/api/v1/prepare", "Prepared", "as /prepare", || get(prepare)),
    told("/api/v1/cutover", Some("CutoverBody"), SENTENCE, "as /cutover", || post(cutover)),
    told("/api/v1/cancel", None, SENTENCE, "as /cancel", || asking(Request::Cancel)),
    told("/api/v1/extend", None, SENTENCE, "as /extend", || asking(Request::Extend)),
    told("/api/v1/recopy", Some("RecopyBody"), SENTENCE, "as /recopy", || post(recopy)),
    told("/api/v1/throttle", Some("Limits"), SENTENCE, "as /throttle", || post(throttle)),
    asked("/api/v1/progress", "Progress", "state in the format of mongosync", || get(as_mongosync::progress)),
    told("/api/v1/start", Some("StartBody"), OUTCOME, "likewise: the command has started the run", || post(as_mongosync::start)),
    told("/api/v1/pause", Some("PauseBody"), OUTCOME, "likewise", || post(as_mongosync::pause)),
    told("/api/v1/resume", None, OUTCOME, "likewise", || post(as_mongosync::resume)),
    told("/api/v1/commit", None, OUTCOME, "likewise: the cutover", || post(as_mongosync::commit)),
    told("/api/v1/reverse", None, OUTCOME, "likewise: tells of the way back from then on; the target is followed back by `--reverse`", || post(as_mongosync::reverse)),
];

pub(super) fn router(run: Arc<Run>, guard: Guard) -> Router {
    let router = ENDPOINTS.iter().fold(Router::new(), |router, endpoint| {
        router.route(endpoint.path, (endpoint.route)())
    });
    router
        .fallback(async || (StatusCode::NOT_FOUND, help()))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(axum::middleware::from_fn_with_state(
            Arc::new(guard),
            guard::check,
        ))
        .with_state(run)
}

fn help() -> String {
    let mut text = "shardlift, a running migration\n\n".to_owned();
    for Endpoint {
        method, path, says, ..
    } in ENDPOINTS
    {
        text += &format!("{method:<4} {path:<21} {says}\n");
    }
    text
}

/// A change that is answered by a sentence.
fn asking(request: fn(oneshot::Sender<Answer>) -> Request) -> Route {
    post(move |State(run): State<Arc<Run>>| async move { sentence(run.ask(request).await) })
}

async fn page() -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, PAGE_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (headers, PAGE).into_response()
}

async fn status(State(run): State<Arc<Run>>) -> Response {
    Json(run.shown()).into_response()
}

async fn history(State(run): State<Arc<Run>>) -> Response {
    Json(&*run.history.lock()).into_response()
}

async fn log() -> Response {
    Json(json!({"lines": logging::tail()})).into_response()
}

async fn prometheus(State(run): State<Arc<Run>>) -> Response {
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    (
        [(header::CONTENT_TYPE, kind)],
        metrics::render(&run.snapshot()),
    )
        .into_response()
}

async fn prepare(State(run): State<Arc<Run>>) -> Response {
    match (run.control.prepare)().await {
        Ok(prepared) => Json(prepared).into_response(),
        Err(why) => sentence(Err(why)),
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct CutoverBody {
    block_writes: bool,
}

async fn cutover(State(run): State<Arc<Run>>, body: Bytes) -> Response {
    let CutoverBody { block_writes } = match read(&body) {
        Ok(body) => body,
        Err(why) => return malformed(&why),
    };
    let request = |reply| Request::Cutover {
        block_writes,
        reply,
    };
    sentence(run.ask(request).await)
}

async fn recopy(State(run): State<Arc<Run>>, body: Bytes) -> Response {
    match serde_json::from_slice::<Recopied>(&body) {
        Ok(asked) if asked.is_nothing() => malformed("the body names neither `shard` nor `ns`"),
        Ok(asked) => sentence(run.ask(|reply| Request::Recopy(asked, reply)).await),
        Err(e) => malformed(&format!("the body cannot be read: {e}")),
    }
}

async fn throttle(State(run): State<Arc<Run>>, body: Bytes) -> Response {
    match read(&body).and_then(within_bounds) {
        Ok(limits) => sentence((run.control.limit)(limits)),
        Err(why) => malformed(&why),
    }
}

fn within_bounds(limits: Limits) -> Result<Limits, String> {
    for (name, value) in [("copy_mb_s", limits.copy_mb_s), ("ops_s", limits.ops_s)] {
        let knob = knobs::find(name).expect("each of them is a knob");
        let Bounds::Between(least, most) = knob.bounds else {
            continue;
        };
        if value.is_some_and(|value| !(least..=most).contains(&value)) {
            return Err(format!("{name} is out of bounds: {}", knob.bounds_text()));
        }
    }
    Ok(limits)
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct PauseBody {
    by: String,
}

async fn pause(State(run): State<Arc<Run>>, body: Bytes) -> Response {
    match read(&body) {
        Ok(body) => sentence(ask_to_pause(&run, body).await),
        Err(why) => malformed(&why),
    }
}

pub(super) async fn ask_to_pause(run: &Run, PauseBody { by }: PauseBody) -> Answer {
    let by = match by.as_str() {
        "" => "through the API".to_owned(),
        by => by.chars().take(BY_MAX).collect(),
    };
    run.ask(|reply| Request::Pause(by, reply)).await
}

/// An empty body stands for the defaults.
pub(super) fn read<T: DeserializeOwned + Default>(body: &[u8]) -> Result<T, String> {
    if body.is_empty() {
        return Ok(T::default());
    }
    serde_json::from_slice(body).map_err(|e| format!("the body cannot be read: {e}"))
}

fn malformed(why: &str) -> Response {
    let body = Json(json!({"success": false, "message": why}));
    (StatusCode::BAD_REQUEST, body).into_response()
}

pub(super) fn outcome(answer: &Answer) -> StatusCode {
    if answer.is_ok() {
        StatusCode::OK
    } else {
        StatusCode::CONFLICT
    }
}

fn sentence(answer: Answer) -> Response {
    let (success, Ok(message) | Err(message)) = (answer.is_ok(), &answer);
    let body = Json(json!({"success": success, "message": message}));
    (outcome(&answer), body).into_response()
}
