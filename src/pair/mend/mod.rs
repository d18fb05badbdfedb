//! Brings documents and indexes back to an exact state where following them was not
//! enough: documents of which the target refused a write, indexes that are not the source's.

pub mod reread;
pub mod stale_indexes;
pub mod doubtful;
mod anew;
pub mod source_indexes;
pub mod target_indexes;
