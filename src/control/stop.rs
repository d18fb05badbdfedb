//! How a run is asked to end. The first Ctrl-C or SIGTERM asks it to stop in order, the
//! second ends the process at once. An operator may also cancel it, and is answered when
//! the result is known.

use parking_lot::Mutex;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};

use crate::error::{Error, Kind, Result};
use crate::observe::api::request::{Answer, Recopied, Request};

pub struct Stop {
    /// The process was asked to stop.
    signals: watch::Receiver<bool>,
    /// Channel to the operator who cancelled the run and waits for the answer.
    cancelled_by: Mutex<Option<oneshot::Sender<Answer>>>,
    /// Why the attempt ended though the process stays, until that is done.
    turn: Mutex<Option<Turn>>,
    /// What extends the cutover window, once there is a run.
    extends: Mutex<Option<Extends>>,
}

/// What an operator wants between two attempts.
#[derive(Debug)]
pub enum Turn {
    /// By whom.
    Pause(String),
    /// And the channel to the operator, who waits for the answer.
    Recopy(Recopied, oneshot::Sender<Answer>),
}

/// Takes whom to answer.
type Extends = Box<dyn Fn(oneshot::Sender<Answer>) + Send + Sync>;

impl Stop {
    /// Listens from now on, for the rest of the process.
    ///
    /// # Errors
    /// `Internal` if the system takes no signal handlers.
    pub fn listen() -> Result<Self> {
        let handler =
            |kind| signal(kind).map_err(|e| Error::internal(format!("cannot handle signals: {e}")));
        let (mut interrupt, mut terminate) = (
            handler(SignalKind::interrupt())?,
            handler(SignalKind::terminate())?,
        );
        let (asked, stop) = watch::channel(false);
        tokio::spawn(async move {
            for first in [true, false] {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                if first {
                    tracing::warn!("stopping; a second signal ends the process at once");
                    asked.send_replace(true);
                }
            }
            std::process::exit(i32::from(Kind::Cancelled.exit_code()));
        });
        Ok(Stop {
            signals: stop,
            cancelled_by: Mutex::default(),
            turn: Mutex::default(),
            extends: Mutex::default(),
        })
    }

    /// The operator cancels the run, which ends by the returned error.
    pub fn cancelled(&self, by: oneshot::Sender<Answer>) -> Error {
        *self.cancelled_by.lock() = Some(by);
        Error::new(Kind::Cancelled, "cancelled by the operator")
            .remedy("what was copied stays on the target; `shardlift migrate --restart` wipes it and starts over")
    }

    /// The attempt ends by the returned error, as by a signal; the process stays.
    pub fn paused(&self, by: String, reply: oneshot::Sender<Answer>) -> Error {
        answer(
            reply,
            Ok("copying and following halt at a checkpoint".to_owned()),
        );
        *self.turn.lock() = Some(Turn::Pause(by));
        Error::new(Kind::Stopped, "the run was paused")
    }

    /// The same, so that a shard is copied again. Whoever asked is answered when it is known
    /// whether it can be.
    pub fn recopied(&self, asked: Recopied, reply: oneshot::Sender<Answer>) -> Error {
        let ends = format!("{asked} is to be copied again");
        *self.turn.lock() = Some(Turn::Recopy(asked, reply));
        Error::new(Kind::Stopped, ends)
    }

    /// What ended the attempt though the process stays. Asked once.
    pub fn take_turn(&self) -> Option<Turn> {
        self.turn.lock().take()
    }

    /// From now on the cutover window is extended by this.
    pub fn extends_by(&self, extend: impl Fn(oneshot::Sender<Answer>) + Send + Sync + 'static) {
        *self.extends.lock() = Some(Box::new(extend));
    }

    fn extend(&self, reply: oneshot::Sender<Answer>) {
        match &*self.extends.lock() {
            Some(extend) => extend(reply),
            None => Request::Extend(reply).refuse("not now: the run has not begun; ask again then"),
        }
    }

    /// Answers the operator's cancel, if there is one that is unanswered.
    pub fn answer_cancel(&self, answer: Answer) {
        if let Some(by) = self.cancelled_by.lock().take() {
            // An asker that is gone loses only the answer.
            let _ = by.send(answer);
        }
    }

    /// Waits until asked to stop.
    pub async fn asked(&self) {
        // An error means that the listener is gone: nobody can ask any more.
        if self.signals.clone().wait_for(|asked| *asked).await.is_err() {
            std::future::pending().await
        }
    }
}

/// Runs `work` until it is done, a signal comes, or the operator cancels or pauses the run.
pub async fn unless_stopped<T>(
    requests: &mut mpsc::Receiver<Request>,
    stop: &Stop,
    doing: &str,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    unless(Pauses::Taken, requests, stop, doing, work).await
}

/// The same before there is a run that could be paused.
pub async fn unless_ended<T>(
    requests: &mut mpsc::Receiver<Request>,
    stop: &Stop,
    doing: &str,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    unless(Pauses::Refused, requests, stop, doing, work).await
}

async fn unless<T>(
    pauses: Pauses,
    requests: &mut mpsc::Receiver<Request>,
    stop: &Stop,
    doing: &str,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    tokio::select! {
        done = work => done,
        error = until_stopped(requests, stop, pauses) => {
            Err(error.context(format_args!("stopped while {doing}")))
        }
    }
}

/// Whether a pause ends what is under way, as a signal does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pauses {
    Taken,
    Refused,
}

/// Answers requests until one, or a signal, ends the run.
pub async fn until_stopped(
    requests: &mut mpsc::Receiver<Request>,
    stop: &Stop,
    pauses: Pauses,
) -> Error {
    loop {
        tokio::select! {
            () = stop.asked() => return stopped("it"),
            Some(request) = requests.recv() => match request {
                Request::Cancel(reply) => return stop.cancelled(reply),
                Request::Pause(by, reply) if pauses == Pauses::Taken => return stop.paused(by, reply),
                Request::Extend(reply) => stop.extend(reply),
                other => {
                    let why = not_now(&other);
                    other.refuse(why);
                }
            },
        }
    }
}

/// Why a request is refused while a run starts, recovers or cuts over.
fn not_now(request: &Request) -> &'static str {
    match request {
        Request::Cutover { .. } => "not now: ask again when `shardlift status` says ready",
        Request::Pause(..) => {
            "not now: there is nothing to pause before the run has begun, while a shard is emptied to be copied again, nor in a cutover; ask again then"
        }
        Request::Resume(_) => "the run is not paused",
        Request::Extend(_) => "not now: the run has not begun; ask again then",
        Request::Cancel(_) => "the run is being cancelled",
        Request::Recopy(..) => "not now: ask again while the run copies, follows or is ready",
    }
}

/// Answers every request with the same refusal.
pub async fn refuse(requests: &mut mpsc::Receiver<Request>, why: &str) {
    while let Some(request) = requests.recv().await {
        request.refuse(why);
    }
    std::future::pending().await
}

/// An asker that is gone loses only the answer.
pub fn answer(reply: oneshot::Sender<Answer>, answer: Answer) {
    let _ = reply.send(answer);
}

pub fn stopped(what: &str) -> Error {
    Error::new(Kind::Stopped, format!("{what} was stopped by a signal"))
        .remedy("run the same command to resume")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_now_is_refused_with_its_own_reason() {
        let (reply, _) = oneshot::channel();
        let pause = Request::Pause("ann".to_owned(), reply);
        assert!(not_now(&pause).contains("nothing to pause"));
        let (reply, _) = oneshot::channel();
        assert!(not_now(&Request::Resume(reply)).contains("not paused"));
    }
}
