//! The engine as a program: built, started as a child, asked over HTTP, kept
//! running, as an operator would.
//!
//! Knows it by its command line, its API and what it prints, and shares no code
//! with it.

pub mod api;
pub mod arguments;
pub mod build;
pub mod child;
pub mod cutover;
pub mod keeper;
mod life;
pub mod program;
pub mod refusal;
