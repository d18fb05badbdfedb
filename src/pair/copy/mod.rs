//! Copies one collection: cut into ranges of `_id`, each read once from a server that has
//! reached the range's fence, or whole, in the order of the disk (R2).

pub mod units;
pub mod reached;
pub mod scan_unit;
pub mod sorted_run;
mod buckets;
mod pace;
pub mod natural;
pub mod scan;
