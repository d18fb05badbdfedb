//! Signals: the first Ctrl-C or SIGTERM asks the run to stop in order, the
//! second ends the process at once.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::error::{Error, Kind, Result};

/// Whether the process was asked to stop. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Stop(watch::Receiver<bool>);

impl Stop {
    /// Listens from now on, for the rest of the process.
    ///
    /// # Errors
    /// `Internal` if the system takes no signal handlers.
    pub fn listen() -> Result<Self> {
        let handler = |kind| signal(kind).map_err(|e| Error::internal(format!("no signal handler: {e}")));
        let (mut interrupt, mut terminate) = (handler(SignalKind::interrupt())?, handler(SignalKind::terminate())?);
        let (asked, stop) = watch::channel(false);
        tokio::spawn(async move {
            for first in [true, false] {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                if first {
                    tracing::warn!("stopping; once more ends the process at once");
                    asked.send_replace(true);
                }
            }
            std::process::exit(i32::from(Kind::Cancelled.exit_code()));
        });
        Ok(Stop(stop))
    }

    /// Waits until asked to stop.
    pub async fn asked(&self) {
        // An error means that the listener is gone: nobody can ask any more.
        if self.0.clone().wait_for(|asked| *asked).await.is_err() {
            std::future::pending().await
        }
    }
}
