//! The HTTP API of a run, and its page. It listens on 127.0.0.1 unless told otherwise, and
//! turns away who may not come in (`guard`).
//!
//! Decides nothing: control answers every request.

mod as_mongosync;
mod guard;
pub mod openapi;
pub mod request;
mod routes;
mod seen;
pub mod tls;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;

use crate::config::listen::Listen;
use crate::error::{Error, Kind, Result};
use crate::observe::api::guard::Guard;
use crate::observe::api::request::{Answer, Control, Request};
use crate::observe::api::seen::{LINGER, Seen};
use crate::observe::api::tls::TlsListener;
use crate::observe::history::History;
use crate::observe::history_file;
use crate::observe::mongosync::Reversal;
use crate::observe::rates::Rates;
use crate::observe::reverse::Reverse;
use crate::observe::status::Snapshot;

/// How long control may take to answer a request before the client is told so.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Time between two snapshots taken for rates.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(1);
/// Time between two writes of the history to disk.
const KEEP_INTERVAL: Duration = Duration::from_secs(30);

/// Longest time that an answer takes from its handler to the socket.
const FLUSH: Duration = Duration::from_millis(100);

/// The whole page; it loads nothing else.
pub const PAGE: &str = include_str!("page.html");

/// Serves until the returned handle is dropped. `spool`: where each run has a folder, with
/// its history.
///
/// # Errors
/// `Config` if the address is taken, or a certificate cannot be used.
pub async fn serve(listen: &Listen, control: Control, spool: Option<PathBuf>) -> Result<Server> {
    let acceptor = match &listen.tls {
        Some((cert, key)) => Some(tls::acceptor(cert, key)?),
        None => None,
    };
    let wanted = listen.address;
    let cannot =
        |e: std::io::Error| {
            Error::new(Kind::Config, format!("the API cannot listen on {wanted}: {e}")).remedy(
            "give another api_port, or 0 for a free one; `shardlift status` shows what runs there",
        )
        };
    let listener = TcpListener::bind(wanted).await.map_err(cannot)?;
    let address = listener.local_addr().map_err(cannot)?;
    let run = Arc::new(Run {
        control,
        spool,
        rates: Mutex::default(),
        history: Mutex::default(),
        seen: Mutex::default(),
        forward: AtomicBool::new(false),
        reversed: AtomicBool::new(false),
        end: Notify::new(),
    });
    let (stop, stopped) = oneshot::channel::<()>();
    let stopped = async {
        // An error is the handle's drop, which is the signal.
        let _ = stopped.await;
    };
    let router = routes::router(run.clone(), Guard::of(listen));
    let serving: JoinHandle<std::io::Result<()>> = match acceptor {
        Some(acceptor) => {
            let listener = TlsListener::new(listener, acceptor).map_err(cannot)?;
            let serving = axum::serve(listener, router).with_graceful_shutdown(stopped);
            tokio::spawn(serving.into_future())
        }
        None => {
            let serving = axum::serve(listener, router).with_graceful_shutdown(stopped);
            tokio::spawn(serving.into_future())
        }
    };
    tokio::spawn(async move {
        if let Ok(Err(e)) = serving.await {
            tracing::warn!("the API stopped: {e}");
        }
    });
    Ok(Server {
        url: listen.url(address),
        address,
        sampler: tokio::spawn(sample(run.clone())),
        run,
        _stop: stop,
    })
}

/// A running API; stops on drop.
pub struct Server {
    pub address: SocketAddr,
    /// As a client of this host asks it.
    pub url: String,
    run: Arc<Run>,
    sampler: JoinHandle<()>,
    /// Its drop stops the server.
    _stop: oneshot::Sender<()>,
}

impl Server {
    /// Lag and rates until now.
    pub fn history(&self) -> History {
        self.run.note(&self.run.snapshot());
        self.run.history.lock().clone()
    }

    /// Writes them to disk, for the next process. Call it before this one ends.
    pub fn keep_history(&self) {
        self.run.keep(&self.history());
    }

    /// Gives a client that follows the status time to see the end: at most 3 s. Call it when
    /// the snapshot is final, before the process ends.
    pub async fn linger(&self) {
        let run = &self.run;
        let is_followed = run.seen.lock().is_followed();
        let shown = async {
            // One of before the way back may be left.
            while !run.seen.lock().end {
                run.end.notified().await;
            }
        };
        if is_followed {
            let _ = tokio::time::timeout(LINGER, shown).await;
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
    control: Control,
    /// None: nothing is kept on disk.
    spool: Option<PathBuf>,
    /// Short lock, never across an await.
    rates: Mutex<Rates>,
    history: Mutex<History>,
    seen: Mutex<Seen>,
    /// The process has followed the way there.
    forward: AtomicBool,
    /// A script has asked for the way back.
    reversed: AtomicBool,
    /// Notified when a client was given a final status.
    end: Notify,
}

impl Run {
    fn snapshot(&self) -> Snapshot {
        let mut snapshot = (self.control.snapshot)();
        self.rates.lock().fill(&mut snapshot);
        if snapshot.reverse == Reverse::Wanted {
            self.forward.store(true, Relaxed);
        }
        snapshot
    }

    fn reversal(&self) -> Reversal {
        match (self.reversed.load(Relaxed), self.forward.load(Relaxed)) {
            (true, _) => Reversal::Asked,
            (false, true) => Reversal::Unasked,
            (false, false) => Reversal::Unknown,
        }
    }

    /// Notes it in the history, which goes on with what an earlier process kept of the run.
    fn note(&self, now: &Snapshot) {
        let mut history = self.history.lock();
        let is_new = !now.pairs.is_empty() && history.run_id() != now.run_id;
        if let Some(spool) = self.spool.as_ref().filter(|_| is_new) {
            *history = history_file::read(spool, &now.run_id);
        }
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let at_ms = since.map_or(0, |since| since.as_millis() as u64);
        history.note(now, at_ms);
    }

    /// A failure costs only plots.
    fn keep(&self, history: &History) {
        let Some(spool) = &self.spool else {
            return;
        };
        if let Err(e) = history_file::write(spool, history) {
            tracing::debug!("the history could not be written: {e}");
        }
    }

    /// A client takes this snapshot away.
    fn shown(&self) -> Snapshot {
        let snapshot = self.snapshot();
        let is_final = snapshot.is_final();
        self.seen.lock().shown(is_final);
        if is_final {
            self.end.notify_one();
        }
        snapshot
    }

    /// Hands a request to control and waits for its sentence.
    async fn ask(&self, request: impl FnOnce(oneshot::Sender<Answer>) -> Request) -> Answer {
        let (answer, answered) = oneshot::channel();
        let asked = async {
            self.control.requests.send(request(answer)).await.ok()?;
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
    let mut kept = Instant::now();
    loop {
        tick.tick().await;
        run.note(&run.snapshot());
        if KEEP_INTERVAL <= kept.elapsed() {
            kept = Instant::now();
            let (run, history) = (run.clone(), run.history.lock().clone());
            // A slow disk holds up nobody. The error is a panic, which the log has.
            let _ = tokio::task::spawn_blocking(move || run.keep(&history)).await;
        }
    }
}
