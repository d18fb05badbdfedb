//! Copies one collection: cut into ranges of `_id`, each read once from a server that has
//! reached the range's fence (R2).

pub mod units;
pub mod reached;
pub mod scan_unit;
pub mod scan;
