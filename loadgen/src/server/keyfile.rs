//! The key by which the servers of one cluster know each other.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The same for all: these servers listen on this machine only.
pub const KEY: &str = "bG9hZGdlbi1sb2NhbC1jbHVzdGVycw==";

pub fn path(dir: &Path) -> PathBuf {
    dir.join("keyfile")
}

/// Writes it where only its owner may read it, or a server does not take it.
pub fn write(dir: &Path) -> io::Result<()> {
    fs::write(path(dir), KEY)?;
    fs::set_permissions(path(dir), fs::Permissions::from_mode(0o600))
}
