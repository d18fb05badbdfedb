//! The tasks of one pair, kept together: the first that fails or panics stops all.

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::error::{Error, Result};
use crate::pair::chores::Chores;

/// The tasks of a running pair; dropping them ends them.
pub struct PairTasks {
    name: String,
    tasks: JoinSet<Result<()>>,
    failures: mpsc::Receiver<Error>,
    chores: Chores,
}

impl Drop for PairTasks {
    fn drop(&mut self) {
        self.chores.abort();
    }
}

impl PairTasks {
    /// None yet. `failures` are those of `chores`.
    pub(super) fn new(name: &str, chores: Chores, failures: mpsc::Receiver<Error>) -> Self {
        PairTasks {
            name: name.to_owned(),
            tasks: JoinSet::new(),
            failures,
            chores,
        }
    }

    pub(super) fn spawn(&mut self, task: impl Future<Output = Result<()>> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// Ends every task, and returns when all have ended: nothing of this pair is
    /// sent any more.
    pub async fn end(mut self) {
        self.chores.abort();
        self.tasks.shutdown().await;
        self.chores.ended().await;
    }

    /// Waits for the first failure of any task.
    pub async fn failed(&mut self) -> Error {
        loop {
            tokio::select! {
                Some(failure) = self.failures.recv() => return failure,
                Some(joined) = self.tasks.join_next() => match joined {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => return error,
                    Err(panic) => return Error::internal(format!("a task of pair {} ended: {panic}", self.name)),
                },
            }
        }
    }
}
