//! One running server process: signals, its end, and what it logged last.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::server::spawn;

const TAIL_LINES: usize = 15;
/// A server that ends in order steps down first, and waits for its clients.
const TERM_TIMEOUT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);

/// Killed and waited for when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    name: String,
    log: PathBuf,
}

impl Process {
    pub fn start(command: Command, name: &str, log: &Path) -> Result<Process> {
        let program = command.get_program().to_string_lossy().into_owned();
        let child = spawn::spawn(command)
            .map_err(|e| Error::from(e).context(format!("starting {program}")))?;
        Ok(Process {
            child,
            name: name.to_owned(),
            log: log.to_owned(),
        })
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// # Errors
    /// If the process has ended, with the last lines of its log.
    pub fn ensure_running(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => {
                let message = format!(
                    "{} ended ({status}); its log ends with:\n{}",
                    self.name,
                    self.log_tail()
                );
                Err(Error::new(message))
            }
        }
    }

    /// True if the log says that the port was taken.
    pub fn lost_its_port(&self) -> bool {
        fs::read_to_string(&self.log).is_ok_and(|log| log.contains("Address already in use"))
    }

    /// Sends a signal; nothing if the process was waited for already.
    pub fn signal(&self, signal: libc::c_int) {
        // SAFETY: the child is not reaped before `kill` or drop, so the pid is its own.
        unsafe { libc::kill(self.child.id() as libc::pid_t, signal) };
    }

    /// Ends it at once (SIGKILL) and waits for the end.
    pub fn kill(mut self) {
        self.end();
    }

    /// Asks it to end in order (SIGTERM) and waits for the end; ends it at once where
    /// it takes too long.
    pub fn terminate(mut self) {
        self.signal(libc::SIGTERM);
        let asked = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) && asked.elapsed() < TERM_TIMEOUT {
            thread::sleep(POLL);
        }
        self.end();
    }

    pub(crate) fn log_tail(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}
