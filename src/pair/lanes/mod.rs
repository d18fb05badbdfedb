//! Ops that the gate let pass, on their way to the target: queued by the hash of their
//! `_id`, compiled to one state per document, written by one worker a lane.
//!
//! A lane knows no other lane. Order holds per document, never across them (R4).

pub mod queue;
pub mod inbox;
pub mod compile;
pub mod lane;
