//! Updates and deletes of one flush in one transaction: the target then commits,
//! and writes its own oplog, once for thousands of them (benches/log.md has what that
//! saves).
//!
//! Only a way to be faster. Where the target does not take the transaction
//! nothing of it took effect, and the flush goes statement by statement, where a
//! refusal names its document. Knows nothing about refusals.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use crate::error::Result;
use crate::failpoint;
use crate::pair::bulk::Writer;
use crate::pair::transaction::{Stop, Transaction};
use crate::wire::message::Request;

/// Whether the next flush is tried in one transaction: where values of a unique
/// index go round, one refusal undoes a whole flush, so a while passes after each.
#[derive(Debug, Default)]
pub struct AtOnce {
    pause: AtomicU32,
}

/// Bulks sent statement by statement after one that was not taken.
const PAUSE: u32 = 8;

impl AtOnce {
    pub fn is_due(&self) -> bool {
        self.pause
            .fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1))
            .is_err()
    }

    pub fn note(&self, taken: bool) {
        if !taken {
            self.pause.store(PAUSE, Relaxed);
        }
    }
}

/// Fewer statements are not worth a commit of their own.
const STATEMENTS_MIN: usize = 16;
/// Mean weight beyond which a commit is little beside the write, and what the target
/// has to keep of an open transaction is much: with 50 KB it took twice as long
/// (benches/log.md).
const MEAN_BYTES_MAX: usize = 8 * 1024;

/// Whether statements of these weights are worth a transaction.
pub fn pays_at_once(weights: impl Iterator<Item = usize>) -> bool {
    let (statements, bytes) =
        weights.fold((0, 0), |(count, bytes), weight| (count + 1, bytes + weight));
    STATEMENTS_MIN <= statements && bytes <= statements * MEAN_BYTES_MAX
}

impl Writer {
    /// Documents that each command found or made, if all is acknowledged; None if
    /// nothing of it took effect.
    ///
    /// # Errors
    /// `Transient` if an answer was lost, is late, or is of another term: the
    /// pair goes back to its last checkpoint.
    pub async fn in_one_transaction(
        &self,
        commands: impl Iterator<Item = Request>,
    ) -> Result<Option<Vec<u64>>> {
        match self.transact(commands).await {
            Ok(found) => Ok(Some(found)),
            Err(Stop::NotTaken(e)) => {
                tracing::debug!("the target did not take a flush at once: {e}");
                Ok(None)
            }
            Err(Stop::Fault(e)) => Err(e.context("writing to the target")),
        }
    }

    async fn transact(
        &self,
        commands: impl Iterator<Item = Request>,
    ) -> std::result::Result<Vec<u64>, Stop> {
        let mut transaction = Transaction::begin(self).await?;
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_or_large_statements_go_one_by_one() {
        let pay = |count, bytes| pays_at_once(std::iter::repeat_n(bytes, count));
        assert!(pay(16, 100) && pay(2_000, MEAN_BYTES_MAX));
        assert!(!pay(15, 100) && !pay(0, 0) && !pay(2_000, MEAN_BYTES_MAX + 1));
    }
}
