//! Keeps the phases of a run in its state, so that the next process tells of them, too. For
//! people only: nothing is decided by them, and what cannot be recorded now is recorded later.

use std::convert::Infallible;
use std::time::Duration;

use bson::rawdoc;

use crate::cluster::retry::within;
use crate::control::run::{Run, now_ms};
use crate::error::{Error, Kind, Result};
use crate::observe::phase::{Change, Phase};
use crate::state::run_store::RunStore;

const POLL: Duration = Duration::from_millis(500);
/// How long the end of a process waits for the last one.
const LAST: Duration = Duration::from_secs(2);

/// Records each, for as long as this future is polled.
pub async fn keep(run: &Run, store: &RunStore) -> Infallible {
    let mut recorded = Vec::new();
    loop {
        tokio::time::sleep(POLL).await;
        let now = run.phases();
        if now == recorded {
            continue;
        }
        match record(&now, store).await {
            Ok(()) => recorded = now,
            Err(e) => tracing::debug!("phases are recorded later: {e}"),
        }
    }
}

/// The last one of this process, which ends with an error.
pub async fn end(run: &Run, store: &RunStore, error: &Error) {
    if error.kind == Kind::Refused {
        // Another process may work on the run.
        return;
    }
    let mut phases = run.phases();
    Change::new(Phase::after(error.kind), now_ms(), &error.message).join(&mut phases);
    if let Err(e) = within(LAST, "recording the last phase", record(&phases, store)).await {
        tracing::debug!("{e}");
    }
}

/// Those of earlier processes.
pub async fn recall(run: &Run, store: &RunStore) {
    match store.load_phases().await {
        Ok(rows) => {
            let changes = rows
                .iter()
                .map(|row| bson::deserialize_from_slice(row.as_bytes()));
            run.recall(changes.filter_map(std::result::Result::ok).collect());
        }
        Err(e) => tracing::debug!("earlier phases are not known: {e}"),
    }
}

async fn record(phases: &[Change], store: &RunStore) -> Result<()> {
    let row = |change: &Change| {
        rawdoc! {"phase": change.phase.to_string(), "at_ms": change.at_ms as i64, "why": change.why.as_str()}
    };
    store.set_phases(phases.iter().map(row).collect()).await
}
