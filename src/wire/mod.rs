//! The data plane's own connections, straight to a shard's primary.

pub mod compress;
pub mod scram;
pub mod tls;
