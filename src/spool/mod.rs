//! Bytes of one pair on the local disk: its oplog from the resume position on
//! (`log`). A cache: the source has it too, at least for a while. Held ops that
//! memory has no room for are read again from it (`pair::gate::replay`).
//!
//! Knows nothing about servers, gates or tasks: bytes in, bytes out, by position.
//!
//! # Form of the log
//!
//! ```text
//! <dir>/lock                        held by the one process that has it open
//! <dir>/<number, 16 hex>.oplog      a segment: header, then blocks one after another
//! block = frame { label: follows, first, last, synced; one reply's entries as items of an array, compressed while the reader is behind }
//! ```
//!
//! - Segments are numbered without a gap; only the newest is written. A reopened log
//!   begins a new one.
//! - `follows` is the last position of the block before, so that a missing block is
//!   noticed. `synced` is the number of bytes of the file that were durable when the
//!   block was written. It separates what a power loss leaves from what a disk destroys.
//! - Header and body of each frame have their own 64-bit checksum. The header's depends
//!   on its place: an identity in the segment's header, and the offset. So no document
//!   that contains a frame is taken for one.
//!
//! # What is durable when
//!
//! `append` hands a block to the kernel: it outlives the process, not a power
//! loss. `sync` makes all before it outlive that too; the owner calls it about
//! once a second. A segment is synced whole before the next one is made, and
//! each new or removed name is made durable in the directory before anything
//! relies on it: so all segments but the newest are whole, always.
//!
//! Losing the newest second is harmless. The fetcher asks the source for what follows the
//! last block found. The source still has that unless its oplog has rolled over
//! meanwhile, which the fetcher notices by itself.
//!
//! # What is found at a restart
//!
//! | found | done |
//! |---|---|
//! | newest segment ends in an incomplete or bad block | cut there |
//! | newest segment without a block | removed |
//! | bad block, and a later one says it was synced | refused |
//! | older segment cut short, damaged in a header; a number missing | refused |
//! | older segment damaged in a body | refused by the reader that gets there |
//! | another form (version) | refused |
//!
//! Refused means an error whose remedy is to delete the directory. Bodies of
//! older segments are not read at open: it would double the reading.

// Reading order: bytes, one file, the whole log.
mod fault;
mod lock;
pub mod frame;
pub mod quota;
pub mod segment;
mod recover;
mod cache;
mod contents;
mod writer;
pub mod log;
pub mod reader;

#[cfg(test)]
mod tests;
