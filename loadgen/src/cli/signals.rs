//! Waiting for the signals that ask a command to stop.

use tokio::signal::unix::{SignalKind, signal};

use crate::error::Result;

/// Resolves at Ctrl-C, SIGTERM or SIGHUP, with the signal's name.
pub async fn asked_to_stop() -> Result<&'static str> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    Ok(tokio::select! {
        _ = interrupt.recv() => "Ctrl-C",
        _ = terminate.recv() => "SIGTERM",
        _ = hangup.recv() => "SIGHUP",
    })
}
