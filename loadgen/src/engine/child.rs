//! One child process, in a process group of its own: asked to end
//! when dropped, then made to.
//!
//! Knows nothing about what it runs.

use std::process::{Command, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::server::spawn;

/// Between SIGTERM and SIGKILL.
const TERM_TIMEOUT: Duration = Duration::from_secs(4);
const POLL: Duration = Duration::from_millis(20);

pub struct Child {
    process: std::process::Child,
    name: String,
}

impl Child {
    /// Starts it; it dies with this process, however that ends.
    pub fn start(command: Command, name: &str) -> Result<Child> {
        let process = spawn::spawn(command)
            .map_err(|e| Error::from(e).context(format!("starting {name}")))?;
        Ok(Child {
            process,
            name: name.to_owned(),
        })
    }

    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// The exit status, once it has ended.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.process.try_wait()?)
    }

    /// Waits for its end, `None`: without a bound.
    ///
    /// # Errors
    /// If it still runs after `timeout`, or fails.
    pub async fn success(&mut self, timeout: Option<Duration>) -> Result<()> {
        let began = Instant::now();
        loop {
            match self.ended()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => return Err(Error::new(format!("{} failed ({status})", self.name))),
                None if timeout.is_some_and(|timeout| timeout <= began.elapsed()) => {
                    return Err(Error::new(format!(
                        "{} still runs after {:?}",
                        self.name,
                        began.elapsed()
                    )));
                }
                None => tokio::time::sleep(POLL).await,
            }
        }
    }

    /// To the whole group: cargo has compilers, which would go on without it.
    /// Nothing where it has ended.
    pub fn signal(&mut self, signal: libc::c_int) {
        if let Ok(None) = self.process.try_wait() {
            // SAFETY: the child is not reaped yet, so the group is its own.
            unsafe { libc::kill(-(self.process.id() as libc::pid_t), signal) };
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let began = Instant::now();
        let mut asked = false;
        while let Ok(None) = self.process.try_wait() {
            if !asked {
                self.signal(libc::SIGTERM);
                asked = true;
            }
            if TERM_TIMEOUT <= began.elapsed() {
                self.signal(libc::SIGKILL);
                let _ = self.process.wait();
                return;
            }
            thread::sleep(POLL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drop_ends_the_child_and_its_children() {
        let dir = tempfile::tempdir().unwrap();
        let pids = dir.path().join("pids");
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!(
            "sleep 100 & echo $! $$ > {0}.new; mv {0}.new {0}; wait",
            pids.display()
        ));
        let child = Child::start(command, "a shell").unwrap();
        let began = Instant::now();
        while !pids.exists() {
            assert!(began.elapsed() < Duration::from_secs(10));
            thread::sleep(POLL);
        }
        drop(child);
        let alive = |pid: &&str| {
            // The sleeper's new parent may take a while to reap it.
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            !stat.is_empty() && !stat.contains(") Z ")
        };
        let pids = std::fs::read_to_string(&pids).unwrap();
        thread::sleep(Duration::from_millis(200));
        assert_eq!(pids.split_whitespace().filter(alive).count(), 0);
    }
}
