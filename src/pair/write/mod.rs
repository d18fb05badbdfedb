//! Statements and copied documents, turned into write commands and sent to the target,
//! and what its answers mean.
//!
//! Knows nothing about the oplog, units or positions.

pub mod statement;
pub mod overlay;
pub mod form;
pub mod command;
pub mod render;
pub mod ops;
pub mod reply;
pub mod target;
pub mod transaction;
pub mod at_once;
pub mod delicate;
pub mod missed;
pub mod majority;
pub mod parts;
pub mod flush;
pub mod in_order;
pub mod insert;
pub mod remake;
pub mod runs;
pub mod bulk;
