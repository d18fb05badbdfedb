//! Decides, moves no document.

pub mod balancer;
pub mod layout;
pub mod validate;
