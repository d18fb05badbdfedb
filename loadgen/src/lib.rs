//! x
pub mod check;
pub mod entry;
pub mod layout;
pub mod load;
pub mod owner;
pub mod populate;
pub mod workload_error;
