//! Keeps a log's directory to one process. Knows nothing about what is in it.

use std::fs::{File, OpenOptions};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::fault;
use crate::error::Result;

pub(super) const FILE: &str = "lock";

/// Held until dropped, or until the system ends the process.
#[derive(Debug)]
pub(super) struct Lock(File);

impl Lock {
    /// Errors: another process (or log) has the directory, or it cannot be written.
    pub(super) fn take(dir: &Path) -> Result<Lock> {
        let path = dir.join(FILE);
        let open = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path);
        let file = open.map_err(|e| fault::io("opening", &path, e))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Lock(file)),
            Err(Errno::WOULDBLOCK) => Err(fault::in_use(dir)),
            Err(e) => Err(fault::io("locking", &path, e.into())),
        }
    }
}

/// IMPORTANT: closing the file is not enough. A child between its fork and its
/// exec has the descriptor too, and would keep the lock for that moment.
impl Drop for Lock {
    fn drop(&mut self) {
        let _ = flock(&self.0, FlockOperation::Unlock);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_that_is_being_started_keeps_no_lock() {
        let dir = tempfile::tempdir().unwrap();
        let lock = Lock::take(dir.path()).unwrap();
        assert!(
            Lock::take(dir.path())
                .unwrap_err()
                .message
                .contains("in use")
        );
        let _as_a_child_has_it = lock.0.try_clone().unwrap();
        drop(lock);
        Lock::take(dir.path()).unwrap();
    }
}
