//! Everything operators see: counters, one snapshot, the API and the display.
//!
//! Sees plain snapshots only; moves and decides nothing.

pub mod api;
pub mod client;
pub mod collections;
pub mod columns;
pub mod counters;
pub mod display;
pub mod figures;
pub mod history;
pub mod history_file;
pub mod logging;
pub mod metrics;
pub mod mirror;
pub mod mongosync;
pub mod obstacles;
pub mod phase;
pub mod rates;
pub mod report;
pub mod reverse;
pub mod status;
pub mod throttled;
pub mod plain;
pub mod prepared;
pub mod warnings;
