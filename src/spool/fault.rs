//! Faults of the local disk, and what the operator can do about them.
//!
//! Knows nothing about what the bytes mean.

use std::io;
use std::path::Path;

use crate::error::{Error, Kind};

/// Cause of every fault here: no server is at fault and no retry helps.
const KIND: Kind = Kind::Spool;

/// An I/O error while `doing` something with `path`.
pub(super) fn io(doing: &str, path: &Path, e: io::Error) -> Error {
    use io::ErrorKind::*;
    let at = path.display();
    let remedy = match e.kind() {
        StorageFull | QuotaExceeded | FileTooLarge => {
            format!(
                "free space on the disk of {at}, or give the spool another directory; then run the same command again"
            )
        }
        PermissionDenied | ReadOnlyFilesystem | NotADirectory | NotFound => {
            format!("make {at} writable for this user, or give the spool another directory")
        }
        _ => format!("check the disk that holds {at}, or give the spool another directory"),
    };
    Error::new(KIND, format!("{doing} {at}: {e}")).remedy(remedy)
}

/// The file at `path` does not hold what was written there.
pub(super) fn damaged(path: &Path, found: impl std::fmt::Display) -> Error {
    let dir = path.parent().unwrap_or(path).display();
    Error::new(KIND, format!("the spool is damaged: {}: {found}", path.display())).remedy(format!(
        "stop shardlift, check the disk, delete {dir} and run the same command again: what it held is read \
         from the source's oplog again"
    ))
}

/// The file at `path` is of a form that this release does not read.
pub(super) fn other_form(path: &Path, form: u32, ours: u32) -> Error {
    let dir = path.parent().unwrap_or(path).display();
    let found = format!(
        "the spool's {} has format {form}; this shardlift reads format {ours}",
        path.display()
    );
    Error::new(KIND, found).remedy(format!(
        "resume with the release that wrote it; or, if the source's oplog still reaches back to where the run is, \
         delete {dir} and run the same command again"
    ))
}

/// The directory is open in another process.
pub(super) fn in_use(dir: &Path) -> Error {
    Error::new(
        KIND,
        format!(
            "the spool directory {} is in use by another process",
            dir.display()
        ),
    )
    .remedy("stop the other process, or give this run a spool directory of its own")
}
