//! The integration tests, one binary: every module starts the real servers it
//! needs and drops them when done.

mod balancer;
mod connect;
mod fixture;
mod layout;
mod validate;
