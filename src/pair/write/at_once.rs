//! Updates and deletes of one flush in one transaction: the target then commits,
//! and writes its own oplog, once for thousands of them (benches/log.md has what that
//! saves).
//!
//! Only a way to be faster. Where the target does not take the transaction
//! nothing of it took effect, and the flush goes statement by statement, where a
//! refusal names its document. Knows nothing about refusals, or about what is worth
//! a transaction; `flush` does.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use crate::error::Result;
use crate::failpoint;
use crate::pair::write::target::Target;
use crate::pair::write::transaction::{Stop, Transaction};
use crate::wire::message::Request;

/// Whether the next group of a flush is tried in one transaction: where values of a unique
/// index go round, one refusal undoes a whole group, so a while passes after each.
#[derive(Debug, Default)]
pub struct AtOnce {
    pause: AtomicU32,
}

/// Groups sent statement by statement after one that was not taken.
const PAUSE: u32 = 8;

impl AtOnce {
    /// Documents that each command found or made, if all is acknowledged; None if
    /// nothing of it took effect, or was tried.
    ///
    /// # Errors
    /// `Transient` if an answer was lost, is late, or is of another term: the
    /// pair goes back to its last checkpoint.
    pub async fn transact(
        &self,
        target: &Target,
        commands: impl Iterator<Item = Request>,
    ) -> Result<Option<Vec<u64>>> {
        if !self.is_due() {
            return Ok(None);
        }
        match transact(target, commands).await {
            Ok(found) => Ok(Some(found)),
            Err(Stop::NotTaken(e)) => {
                tracing::debug!("the target did not take a flush in one transaction: {e}");
                self.pause.store(PAUSE, Relaxed);
                Ok(None)
            }
            Err(Stop::Fault(e)) => Err(e.context("writing to the target")),
        }
    }

    fn is_due(&self) -> bool {
        let waited = self
            .pause
            .fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1));
        waited.is_err()
    }
}

async fn transact(
    target: &Target,
    commands: impl Iterator<Item = Request>,
) -> std::result::Result<Vec<u64>, Stop> {
    let mut transaction = Transaction::begin(target).await?;
    let mut found = Vec::new();
    for command in commands {
        match transaction.send(command).await {
            Ok(documents) => found.push(documents),
            Err(stop) => {
                if let Stop::NotTaken(_) = &stop {
                    // IMPORTANT: before anything of it is sent again.
                    transaction.abort().await;
                }
                return Err(stop);
            }
        }
    }
    failpoint::hit("flush-before-commit");
    transaction.commit().await?;
    failpoint::hit("flush-committed");
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_while_passes_after_what_was_not_taken() {
        let at_once = AtOnce::default();
        assert!(at_once.is_due() && at_once.is_due());
        at_once.pause.store(PAUSE, Relaxed);
        let waited = (0..20).take_while(|_| !at_once.is_due()).count();
        assert_eq!(waited, PAUSE as usize);
    }
}
