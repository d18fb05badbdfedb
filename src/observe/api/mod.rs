//! The local HTTP API of a run, and its page. It listens on 127.0.0.1 only, and turns away
//! what a web page of another site could send (`guard`).
//!
//! Decides nothing: control answers every request.

mod guard;

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use axum::{Json, Router};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::error::{Error, Kind, Result};
use crate::observe::history::History;
use crate::observe::rates::Rates;
use crate::observe::status::Snapshot;
use crate::observe::{metrics, mongosync};

/// How long control may take to answer a request before the client is told so.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Time between two snapshots taken for rates.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(1);
/// A client that asked for the status within this time is waiting for the end.
const LINGER: Duration = Duration::from_secs(3);

/// Longest time that an answer takes from its handler to the socket.
const FLUSH: Duration = Duration::from_millis(100);

/// What an operator asks of a running process; control answers each with
/// a sentence or a refusal.
#[derive(Debug)]
pub enum Request {
    Cutover(oneshot::Sender<Answer>),
    Cancel(oneshot::Sender<Answer>),
    /// By whom, and why.
    Pause(String, oneshot::Sender<Answer>),
    Resume(oneshot::Sender<Answer>),
    /// 24 h more of the cutover window.
    Extend(oneshot::Sender<Answer>),
}

impl Request {
    pub fn refuse(self, why: &str) {
        let (Request::Cutover(reply)
        | Request::Cancel(reply)
        | Request::Pause(_, reply)
        | Request::Resume(reply)
        | Request::Extend(reply)) = self;
        // An asker that is gone loses only the answer.
        let _ = reply.send(Err(why.to_owned()));
    }
}

/// A sentence either way: what happens now, or why it cannot.
pub type Answer = std::result::Result<String, String>;

/// Longest body of a request, bytes.
const BODY_BYTES_MAX: usize = 4_096;
/// Longest text about who paused a run, characters.
const BY_MAX: usize = 200;

/// The whole page; it loads nothing else.
pub const PAGE: &str = include_str!("page.html");
/// What the page may load: nothing that is not in it or of this API.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; \
    img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HELP: &str = "\
shardlift, a running migration

GET  /                  a page that shows the run
GET  /status            state of the run, JSON
GET  /metrics           the same for Prometheus
POST /cutover           begin the cutover
POST /cancel            stop the run; what was copied stays
POST /pause             hold copying and following back; {\"by\": \"who and why\"}
POST /resume            go on after a pause
POST /extend            24 h more of the cutover window
GET  /api/v1/history    lag and rates over the time of this process, JSON
GET  /api/v1/progress   state in the format of mongosync
POST /api/v1/commit     cutover, answered in the format of mongosync
POST /api/v1/pause      likewise
POST /api/v1/resume     likewise
";

/// Serves on 127.0.0.1:`port` (0: a free one) until the returned handle is
/// dropped. Returns the port in use.
///
/// # Errors
/// `Config` if the port is taken.
pub async fn serve(
    port: u16,
    snapshot: Arc<dyn Fn() -> Snapshot + Send + Sync>,
    requests: mpsc::Sender<Request>,
) -> Result<Server> {
    let cannot = |e: std::io::Error| {
        Error::new(
            Kind::Config,
            format!("the API cannot listen on 127.0.0.1:{port}: {e}"),
        )
        .remedy(
            "give another api_port, or 0 for a free one; `shardlift status` shows what runs there",
        )
    };
    let listener = TcpListener::bind(("127.0.0.1", port))
        .await
        .map_err(cannot)?;
    let port = listener.local_addr().map_err(cannot)?.port();
    let run = Arc::new(Run {
        snapshot,
        requests,
        rates: Mutex::default(),
        history: Mutex::default(),
        seen: Mutex::default(),
        end: Notify::new(),
    });
    let (stop, stopped) = oneshot::channel::<()>();
    let sampler = tokio::spawn(sample(run.clone()));
    let serving = axum::serve(listener, router(run.clone())).with_graceful_shutdown(async {
        // An error is the handle's drop, which is the signal.
        let _ = stopped.await;
    });
    tokio::spawn(async move {
        if let Err(e) = serving.await {
            tracing::warn!("the API stopped: {e}");
        }
    });
    Ok(Server {
        port,
        run,
        sampler,
        _stop: stop,
    })
}

/// A running API; stops on drop.
pub struct Server {
    pub port: u16,
    run: Arc<Run>,
    sampler: JoinHandle<()>,
    /// Its drop stops the server.
    _stop: oneshot::Sender<()>,
}

impl Server {
    /// Lag and rates so far.
    pub fn history(&self) -> History {
        self.run.history.lock().clone()
    }

    /// Gives a client that follows the status time to see the end, at most 3 s. Call it
    /// when the snapshot is final, before the process ends.
    pub async fn linger(&self) {
        let waits = self
            .run
            .seen
            .lock()
            .asked
            .is_some_and(|at| at.elapsed() < LINGER);
        if waits && !self.run.seen.lock().end {
            let _ = tokio::time::timeout(LINGER, self.run.end.notified()).await;
        }
        // The answer that was just given is still on its way out.
        tokio::time::sleep(FLUSH).await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.sampler.abort();
    }
}

/// State that the handlers share.
struct Run {
    snapshot: Arc<dyn Fn() -> Snapshot + Send + Sync>,
    requests: mpsc::Sender<Request>,
    /// Short lock, never across an await.
    rates: Mutex<Rates>,
    history: Mutex<History>,
    seen: Mutex<Seen>,
    /// Notified when a client was given a final status.
    end: Notify,
}

/// The states that clients have seen.
#[derive(Default)]
struct Seen {
    asked: Option<Instant>,
    end: bool,
}

impl Run {
    fn snapshot(&self) -> Snapshot {
        let mut snapshot = (self.snapshot)();
        self.rates.lock().fill(&mut snapshot);
        snapshot
    }

    /// Hands a request to control and waits for its sentence.
    async fn ask(&self, request: impl FnOnce(oneshot::Sender<Answer>) -> Request) -> Answer {
        let (answer, answered) = oneshot::channel();
        let asked = async {
            self.requests.send(request(answer)).await.ok()?;
            answered.await.ok()
        };
        match tokio::time::timeout(ANSWER_TIMEOUT, asked).await {
            Ok(Some(answer)) => answer,
            Ok(None) => Err("the run is over and takes no more requests".to_string()),
            Err(_) => Err(format!(
                "no answer within {} s; see the status",
                ANSWER_TIMEOUT.as_secs()
            )),
        }
    }
}

/// Keeps rates meaningful however rarely someone asks, and the history.
async fn sample(run: Arc<Run>) {
    let mut tick = tokio::time::interval(SAMPLE_INTERVAL);
    loop {
        tick.tick().await;
        let now = run.snapshot();
        run.history.lock().note(&now);
    }
}

fn router(run: Arc<Run>) -> Router {
    Router::new()
        .route("/", get(page))
        .route("/status", get(status))
        .route("/metrics", get(prometheus))
        .route("/cutover", asking(Request::Cutover))
        .route("/cancel", asking(Request::Cancel))
        .route("/resume", asking(Request::Resume))
        .route("/extend", asking(Request::Extend))
        .route(
            "/pause",
            post(async |State(run): State<Arc<Run>>, body: Bytes| {
                sentence(pause(&run, &body).await)
            }),
        )
        .route("/api/v1/history", get(history))
        .route(
            "/api/v1/progress",
            get(async |State(run): State<Arc<Run>>| Json(mongosync::progress(&run.snapshot()))),
        )
        .route(
            "/api/v1/commit",
            post(async |State(run): State<Arc<Run>>| {
                as_mongosync(run.ask(Request::Cutover).await, "CommitRefused")
            }),
        )
        .route(
            "/api/v1/pause",
            post(async |State(run): State<Arc<Run>>, body: Bytes| {
                as_mongosync(pause(&run, &body).await, "PauseRefused")
            }),
        )
        .route(
            "/api/v1/resume",
            post(async |State(run): State<Arc<Run>>| {
                as_mongosync(run.ask(Request::Resume).await, "ResumeRefused")
            }),
        )
        .fallback(async || (StatusCode::NOT_FOUND, HELP))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(axum::middleware::from_fn(guard::local_only))
        .with_state(run)
}

/// A change that is answered by a sentence.
fn asking(request: fn(oneshot::Sender<Answer>) -> Request) -> MethodRouter<Arc<Run>> {
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

async fn history(State(run): State<Arc<Run>>) -> Response {
    Json(&*run.history.lock()).into_response()
}

/// A body that is none of ours names nobody.
async fn pause(run: &Run, body: &[u8]) -> Answer {
    #[derive(serde::Deserialize)]
    struct Asked {
        by: String,
    }
    let by = serde_json::from_slice::<Asked>(body).map(|asked| asked.by);
    let by = by.unwrap_or_else(|_| "through the API".to_owned());
    let by = by.chars().take(BY_MAX).collect();
    run.ask(|reply| Request::Pause(by, reply)).await
}

async fn status(State(run): State<Arc<Run>>) -> Response {
    let snapshot = run.snapshot();
    let mut seen = run.seen.lock();
    seen.asked = Some(Instant::now());
    if snapshot.is_final() {
        seen.end = true;
        run.end.notify_one();
    }
    drop(seen);
    (
        [(header::CONTENT_TYPE, "application/json")],
        snapshot.json(),
    )
        .into_response()
}

async fn prometheus(State(run): State<Arc<Run>>) -> Response {
    (
        [(
            header::CONTENT_TYPE,
            "text/plain; version=0.0.4; charset=utf-8",
        )],
        metrics::render(&run.snapshot()),
    )
        .into_response()
}

fn as_mongosync(answer: Answer, refusal: &str) -> Response {
    let body = Json(mongosync::answer(&answer, refusal));
    (outcome(&answer), body).into_response()
}

fn outcome(answer: &Answer) -> StatusCode {
    if answer.is_ok() {
        StatusCode::OK
    } else {
        StatusCode::CONFLICT
    }
}

fn sentence(answer: Answer) -> Response {
    let (success, Ok(message) | Err(message)) = (answer.is_ok(), &answer);
    (
        outcome(&answer),
        Json(serde_json::json!({"success": success, "message": message})),
    )
        .into_response()
}
