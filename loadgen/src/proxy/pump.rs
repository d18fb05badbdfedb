//! One direction of a connection: bytes are read ahead and written when the
//! fault in force lets them.
//!
//! Knows nothing about the other direction.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::proxy::switch::Switch;
use crate::proxy::{Direction, Fault};

const CHUNK_BYTES: usize = 64 << 10;
/// What a delay may keep in flight, in chunks; then the sender waits.
const CHUNKS_AHEAD: usize = 64;
/// Slices of a throttled second.
const SLICES_PER_S: u64 = 20;

/// What a direction belongs to.
pub(super) struct Line {
    pub(super) way: Direction,
    pub(super) number: u64,
    pub(super) switched: watch::Receiver<Switch>,
}

/// Until the reading side ends and all of it is written.
///
/// # Errors
/// Where the writing side is gone: the connection is over.
pub(super) async fn pump(
    input: impl AsyncRead + Unpin,
    output: impl AsyncWrite + Unpin,
    line: Line,
) -> io::Result<()> {
    let (chunks, arrived) = mpsc::channel(CHUNKS_AHEAD);
    tokio::try_join!(read(input, chunks), write(output, arrived, line))?;
    Ok(())
}

/// A side that breaks ends like one that closes: the other learns it in turn.
async fn read(
    mut input: impl AsyncRead + Unpin,
    chunks: mpsc::Sender<(Instant, Vec<u8>)>,
) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        let count = input.read(&mut buffer).await.unwrap_or(0);
        if count == 0
            || chunks
                .send((Instant::now(), buffer[..count].to_vec()))
                .await
                .is_err()
        {
            return Ok(());
        }
    }
}

async fn write(
    mut output: impl AsyncWrite + Unpin,
    mut arrived: mpsc::Receiver<(Instant, Vec<u8>)>,
    mut line: Line,
) -> io::Result<()> {
    while let Some((read_at, chunk)) = arrived.recv().await {
        let mut rest = &chunk[..];
        while !rest.is_empty() {
            let bytes_per_s = line.leave(read_at).await?;
            let slice_bytes =
                bytes_per_s.map_or(rest.len(), |rate| (rate / SLICES_PER_S).max(1) as usize);
            let (slice, later) = rest.split_at(slice_bytes.min(rest.len()));
            output.write_all(slice).await?;
            if let Some(rate) = bytes_per_s {
                line.pause(Duration::from_secs_f64(
                    slice.len() as f64 / rate.max(1) as f64,
                ))
                .await;
            }
            rest = later;
        }
    }
    line.leave(Instant::now()).await?;
    output.shutdown().await
}

impl Line {
    /// Waits until what was read at `read_at` may be written; the rate it may
    /// have, bytes per second.
    ///
    /// # Errors
    /// If the proxy is gone.
    async fn leave(&mut self, read_at: Instant) -> io::Result<Option<u64>> {
        loop {
            let fault = self.switched.borrow_and_update().fault(self.number);
            let due = match fault {
                Some(Fault::Throttle { bytes_per_s }) => return Ok(Some(bytes_per_s)),
                Some(Fault::Delay { ms }) => Some(read_at + Duration::from_millis(ms)),
                Some(Fault::BlackHole) => None,
                Some(Fault::HalfOpen(way)) if way == self.way => None,
                _ => return Ok(None),
            };
            tokio::select! {
                _ = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => return Ok(None),
                changed = self.switched.changed() => changed.map_err(io::Error::other)?,
            }
        }
    }

    /// Ends early where the fault changes.
    async fn pause(&mut self, time: Duration) {
        let _ = tokio::time::timeout(time, self.switched.changed()).await;
    }
}
