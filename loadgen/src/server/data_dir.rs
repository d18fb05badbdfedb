//! Where a server keeps its data: memory (`/dev/shm`) when there is room, else
//! the temp directory. Gone when dropped; what a killed run left behind is
//! swept by the next one.
//!
//! A directory is `shardlift-<pid>-<number>-<name>` and holds `owner.lock`,
//! locked for as long as its owner lives: a reader in another container, where
//! the pid means nothing, sees the lock.

use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

const PREFIX: &str = "shardlift-";
const LOCK: &str = "owner.lock";
/// A server takes about 100 MB before any data; several run side by side.
const MEMORY_BYTES_MIN: u64 = 2 << 30;

static NUMBER: AtomicU32 = AtomicU32::new(0);
static SWEPT: Once = Once::new();

#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    /// Holds the lock.
    _lock: File,
}

impl DataDir {
    /// Creates an empty directory of its own; `name` is for the reader of `ls`.
    pub fn create(name: &str) -> io::Result<DataDir> {
        SWEPT.call_once(|| bases().iter().for_each(|base| sweep(base)));
        DataDir::create_under(&base(), name)
    }

    /// The same in a folder that is there.
    pub fn create_under(base: &Path, name: &str) -> io::Result<DataDir> {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = base.join(format!("{PREFIX}{}-{number}-{name}", process::id()));
        // A left-over of an earlier process with our pid.
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path)?;
        let lock = File::create(path.join(LOCK))?;
        try_lock(&lock)?;
        Ok(DataDir { path, _lock: lock })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for DataDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

fn base() -> PathBuf {
    let memory = Path::new("/dev/shm");
    if MEMORY_BYTES_MIN <= free_bytes(memory) {
        memory.to_owned()
    } else {
        std::env::temp_dir()
    }
}

fn bases() -> [PathBuf; 2] {
    ["/dev/shm".into(), std::env::temp_dir()]
}

/// Free bytes of a file system; 0 if it cannot be asked.
fn free_bytes(path: &Path) -> u64 {
    let Ok(path) = CString::new(path.as_os_str().as_bytes()) else {
        return 0;
    };
    // SAFETY: `statvfs` is plain data, and `path` is a C string that outlives the call.
    unsafe {
        let mut stat: libc::statvfs = std::mem::zeroed();
        if libc::statvfs(path.as_ptr(), &mut stat) == 0 {
            stat.f_bavail * stat.f_frsize
        } else {
            0
        }
    }
}

/// Removes the directories of dead runs; best effort.
fn sweep(base: &Path) {
    let Ok(entries) = fs::read_dir(base) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(owner) else {
            continue;
        };
        if !is_alive(pid)
            && File::open(entry.path().join(LOCK)).is_ok_and(|lock| try_lock(&lock).is_ok())
        {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// The pid in a directory's name; None for what is not ours.
fn owner(name: &str) -> Option<i32> {
    name.strip_prefix(PREFIX)?.split('-').next()?.parse().ok()
}

fn is_alive(pid: i32) -> bool {
    // SAFETY: signal 0 only asks whether the process is there.
    unsafe {
        libc::kill(pid, 0) == 0 || io::Error::last_os_error().raw_os_error() != Some(libc::ESRCH)
    }
}

fn try_lock(file: &File) -> io::Result<()> {
    // SAFETY: the descriptor is open for as long as `file` lives.
    match unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Above every pid Linux gives (`/proc/sys/kernel/pid_max` is at most 2^22).
    const DEAD: i32 = 1 << 23;

    #[test]
    fn only_the_dead_are_swept() {
        let base = tempfile::tempdir().unwrap();
        let dir = |pid: i32, n: u32| {
            let path = base.path().join(format!("{PREFIX}{pid}-{n}-x"));
            fs::create_dir(&path).unwrap();
            let lock = File::create(path.join(LOCK)).unwrap();
            (path, lock)
        };
        let (dead, _) = dir(DEAD, 0);
        let (elsewhere, held) = dir(DEAD, 1);
        try_lock(&held).unwrap();
        let (ours, _) = dir(process::id() as i32, 2);
        let foreign = base.path().join("shardlift-notes");
        fs::create_dir(&foreign).unwrap();
        sweep(base.path());
        assert!(!dead.exists());
        assert!(elsewhere.exists() && ours.exists() && foreign.exists());
    }

    #[test]
    fn a_directory_goes_with_its_owner() {
        let dir = DataDir::create("unit").unwrap();
        let path = dir.path().to_owned();
        assert!(path.join(LOCK).exists());
        drop(dir);
        assert!(!path.exists());
    }
}
