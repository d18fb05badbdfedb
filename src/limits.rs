//! Numbers MongoDB fixes, and what follows from them, asserted at compile time.

/// Largest document (`maxBsonObjectSize` of `hello`), bytes.
/// <https://www.mongodb.com/docs/manual/reference/limits/>
pub const DOCUMENT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Largest message (`maxMessageSizeBytes` of `hello`), bytes.
pub const MESSAGE_BYTES_MAX: usize = 48_000_000;

/// Room beyond `DOCUMENT_BYTES_MAX` that the server allows inside commands and
/// oplog entries (`BSONObjMaxInternalSize`), bytes.
pub const COMMAND_HEADROOM_BYTES: usize = 16 * 1024;

/// Most statements in one write command (`maxWriteBatchSize` of `hello`).
pub const WRITE_STATEMENTS_MAX: usize = 100_000;

/// Where a write command is closed: its statements and their wrapping stay
/// below one largest document, bytes.
pub const COMMAND_BYTES_MAX: usize = DOCUMENT_BYTES_MAX - 1024 * 1024;

/// Most stages in one pipeline (`internalPipelineLengthLimit` is 1000 on 6.0).
pub const PIPELINE_STAGES_MAX: usize = 1000;

const _: () = assert!(COMMAND_BYTES_MAX < DOCUMENT_BYTES_MAX + COMMAND_HEADROOM_BYTES);
