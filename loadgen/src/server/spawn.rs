//! Starting processes that die with us, however we die.
//!
//! Linux kills a child whose `PR_SET_PDEATHSIG` is set when the *thread* that
//! forked it ends, and test threads and runtime workers do end. So one thread,
//! which never ends, forks them all.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::mpsc::{self, Sender};
use std::sync::{Mutex, OnceLock};
use std::thread;

struct Job {
    command: Command,
    reply: Sender<io::Result<Child>>,
}

static SPAWNER: OnceLock<Mutex<Sender<Job>>> = OnceLock::new();

/// Starts a process that is killed when this process ends. It gets a process
/// group of its own: Ctrl-C on the terminal reaches us only, and we stop it.
pub fn spawn(mut command: Command) -> io::Result<Child> {
    command.process_group(0);
    die_with_parent(&mut command);
    let (reply, answer) = mpsc::channel();
    let spawner = SPAWNER.get_or_init(|| Mutex::new(start_thread()));
    let gone = || io::Error::other("the thread that starts servers is gone");
    spawner
        .lock()
        .expect("no code panics while it holds this lock")
        .send(Job { command, reply })
        .map_err(|_| gone())?;
    answer.recv().map_err(|_| gone())?
}

fn start_thread() -> Sender<Job> {
    let (sender, jobs) = mpsc::channel::<Job>();
    let run = move || {
        for mut job in jobs {
            // A requester that went away drops the child, not the process.
            if let Err(unwanted) = job.reply.send(job.command.spawn())
                && let Ok(mut child) = unwanted.0
            {
                let _ = child.kill();
                let _ = child.wait();
            }
        }
    };
    thread::Builder::new()
        .name("server-spawner".into())
        .spawn(run)
        .expect("the system gives one more thread");
    sender
}

#[cfg(target_os = "linux")]
fn die_with_parent(command: &mut Command) {
    let parent = std::process::id() as libc::pid_t;
    let hook = move || {
        // SAFETY: both calls are async-signal-safe, as code after fork must be.
        unsafe {
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
                return Err(io::Error::last_os_error());
            }
            // The parent may have died before the line above.
            if libc::getppid() != parent {
                return Err(io::Error::from_raw_os_error(libc::ESRCH));
            }
        }
        Ok(())
    };
    // SAFETY: the hook allocates nothing and takes no lock.
    unsafe { command.pre_exec(hook) };
}

#[cfg(not(target_os = "linux"))]
fn die_with_parent(_command: &mut Command) {}
