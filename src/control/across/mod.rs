//! What concerns several pairs: creating and dropping across them, and the watch over what
//! must not change on either side.
//!
//! Knows nothing about attempts, cutovers or recorded runs.

pub mod register;
pub mod rendezvous;
pub mod arrivals;
pub mod ddl;
pub mod views;
pub mod forget;
pub mod watch;
