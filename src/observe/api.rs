//! The local HTTP API of a run. It listens on 127.0.0.1 only, and turns away
//! what a web page of another site could send: a foreign `Host`, and writes
//! with an `Origin`.
//!
//! Decides nothing: control answers every request.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{Request as HttpRequest, State};
use axum::http::{Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::error::{Error, Kind, Result};
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
}

/// A sentence either way: what happens now, or why it cannot.
pub type Answer = std::result::Result<String, String>;

const HELP: &str = "\
shardlift, a running migration

GET  /status            state of the run, JSON
GET  /metrics           the same for Prometheus
POST /cutover           begin the cutover
POST /cancel            stop the run; what was copied stays
GET  /api/v1/progress   state in the format of mongosync
POST /api/v1/commit     cutover, answered in the format of mongosync
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

/// Keeps rates meaningful however rarely someone asks.
async fn sample(run: Arc<Run>) {
    let mut tick = tokio::time::interval(SAMPLE_INTERVAL);
    loop {
        tick.tick().await;
        run.snapshot();
    }
}

fn router(run: Arc<Run>) -> Router {
    Router::new()
        .route("/", get(|| async { HELP }))
        .route("/status", get(status))
        .route("/metrics", get(prometheus))
        .route(
            "/cutover",
            post(async |State(run): State<Arc<Run>>| sentence(run.ask(Request::Cutover).await)),
        )
        .route(
            "/cancel",
            post(async |State(run): State<Arc<Run>>| sentence(run.ask(Request::Cancel).await)),
        )
        .route(
            "/api/v1/progress",
            get(async |State(run): State<Arc<Run>>| Json(mongosync::progress(&run.snapshot()))),
        )
        .route("/api/v1/commit", post(commit))
        .fallback(async || (StatusCode::NOT_FOUND, HELP))
        .layer(axum::middleware::from_fn(local_only))
        .with_state(run)
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

async fn commit(State(run): State<Arc<Run>>) -> Response {
    let answer = run.ask(Request::Cutover).await;
    (outcome(&answer), Json(mongosync::commit(&answer))).into_response()
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

/// Refuses what does not come from this machine's own tools: any request whose
/// `Host` is not this machine (DNS rebinding), and writes a web page sends.
async fn local_only(request: HttpRequest, next: Next) -> Response {
    let host = request
        .headers()
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let refusal = match host {
        Some(host) if is_local(host) => None,
        _ => Some("the Host header must be localhost or 127.0.0.1"),
    };
    let from_page =
        request.method() != Method::GET && request.headers().contains_key(header::ORIGIN);
    match refusal.or(from_page.then_some("requests from web pages are refused")) {
        Some(why) => (
            StatusCode::FORBIDDEN,
            Json(serde_json::json!({"success": false, "message": why})),
        )
            .into_response(),
        None => next.run(request).await,
    }
}

fn is_local(host: &str) -> bool {
    let name = host.rsplit_once(':').map_or(host, |(name, port)| {
        if port.bytes().all(|b| b.is_ascii_digit()) {
            name
        } else {
            host
        }
    });
    name == "127.0.0.1" || name.eq_ignore_ascii_case("localhost")
}
