//! The flags that say which server releases a command starts.
//!
//! Knows nothing about which of them there are.

use crate::server::version::{self, Release};

/// Releases of both sides.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Releases {
    /// Server release of both sides, such as 4.2 or 6.0.27
    #[arg(long, value_name = "RELEASE", default_value_t = version::DEFAULT)]
    pub server_version: Release,
    /// Server release of the source [default: that of both sides]
    #[arg(long, value_name = "RELEASE")]
    pub source_version: Option<Release>,
    /// Server release of the target [default: that of both sides]
    #[arg(long, value_name = "RELEASE")]
    pub target_version: Option<Release>,
}

impl Releases {
    pub fn source(&self) -> Release {
        self.source_version.unwrap_or(self.server_version)
    }

    pub fn target(&self) -> Release {
        self.target_version.unwrap_or(self.server_version)
    }
}
