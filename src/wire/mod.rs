//! The data plane's own connections, straight to a shard's primary.

pub mod scram;
pub mod tls;
