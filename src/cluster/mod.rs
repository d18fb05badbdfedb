//! Either side of a migration: connections, topology, catalog, ownership,
//! admin commands through the router.
//!
//! Driver types end here and in the few files of `pair` and `verify` that talk
//! to a server. Decides nothing about a migration.

pub mod admin;
pub mod catalog;
pub mod deployment;
pub mod dialect;
pub mod connect;
pub mod direct;
pub mod entry;
pub mod hello;
pub mod note;
pub mod ownership;
pub mod probe;
pub mod ranges;
pub mod reach;
pub mod retry;
pub mod sample;
pub mod disk_order;
