//! The data plane of one pair: one source replica set to its target.
