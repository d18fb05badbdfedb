//! The bytes that ops are read from: a block of the spool, or a part of a transaction.
//!
//! The ops of a lane share these bytes, which count until the last of those ops is
//! applied. Ops that wait longer (for a copy in progress, or a hold) are copies with a
//! permit each: otherwise one of them would keep a whole block.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::pair::budget::Permit;

/// The memory that the ops of one reply are kept in.
#[derive(Debug)]
pub struct Origin {
    /// Permit for all of the bytes, and for the memory that their ops need.
    permit: Permit,
    /// None: every op is a copy.
    shared: Option<Common>,
}

#[derive(Debug)]
struct Common {
    bytes: Bytes,
    granted: Arc<OnceLock<Permit>>,
    /// Ops that share the bytes.
    ops: usize,
}

/// Owner of the shared bytes.
struct Granted {
    payload: Bytes,
    /// Given once all of them are passed.
    _permit: Arc<OnceLock<Permit>>,
}

/// The body of an op that is kept.
#[derive(Debug)]
pub struct Kept {
    pub body: Bytes,
    /// None where the origin's permit covers it.
    pub permit: Option<Permit>,
}

/// Bytes that an op costs besides its body.
const OP_OVERHEAD_BYTES: usize = 160;
/// Fewer no entry of the oplog takes.
const ENTRY_BYTES_MIN: usize = 100;
/// Bytes that an op costs on top in the flush of a lane: its statement, and the entry in
/// the table that finds it.
const STATEMENT_BYTES: usize = 240;

/// Most bytes that a block of `payload` bytes costs, with everything made of its ops.
pub fn bytes_max(payload: usize) -> usize {
    payload * (1 + (OP_OVERHEAD_BYTES + STATEMENT_BYTES) / ENTRY_BYTES_MIN)
}

impl Origin {
    /// An origin whose kept ops are copies.
    pub fn copied(permit: Permit) -> Self {
        Origin {
            permit,
            shared: None,
        }
    }

    /// An origin whose lane ops share its bytes, for when hardly any op waits. `permit`
    /// has the bytes of `payload`, and more for the memory of the ops.
    pub fn shared(payload: Bytes, permit: Permit) -> Self {
        let granted = Arc::default();
        let bytes = Bytes::from_owner(Granted {
            payload,
            _permit: Arc::clone(&granted),
        });
        Origin {
            permit,
            shared: Some(Common {
                bytes,
                granted,
                ops: 0,
            }),
        }
    }

    /// `body`, which is a part of it, for an op that goes to a lane.
    pub fn lend(&mut self, body: &[u8]) -> Kept {
        match &mut self.shared {
            // An empty slice holds on to nothing: a delete has a permit of its own.
            Some(shared) if !body.is_empty() => {
                shared.ops += 1;
                Kept {
                    body: shared.bytes.slice_ref(body),
                    permit: None,
                }
            }
            _ => self.kept(body, STATEMENT_BYTES),
        }
    }

    /// Keeps `body` for an op that waits.
    pub fn copy(&mut self, body: &[u8]) -> Kept {
        self.kept(body, 0)
    }

    fn kept(&mut self, body: &[u8], more: usize) -> Kept {
        let permit = self.permit.split(body.len() + OP_OVERHEAD_BYTES + more);
        Kept {
            body: Bytes::copy_from_slice(body),
            permit: Some(permit),
        }
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        if let Some(shared) = &self.shared {
            let all = self
                .permit
                .split(shared.bytes.len() + shared.ops * (OP_OVERHEAD_BYTES + STATEMENT_BYTES));
            let _ = shared.granted.set(all);
        }
    }
}

impl AsRef<[u8]> for Granted {
    fn as_ref(&self) -> &[u8] {
        &self.payload
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pair::budget::Share;

    #[tokio::test]
    async fn what_is_kept_counts_until_it_is_gone() {
        let share = Share::new(0);
        let payload = Bytes::from_static(&[7; 1_000]);
        let mut origin = Origin::shared(payload.clone(), share.reserve_reply().await);
        let (lent, delete, copy) = (
            origin.lend(&payload[10..20]),
            origin.lend(&[]),
            origin.copy(&payload[..50]),
        );
        drop(origin);
        let of = |kept: &Kept| kept.permit.as_ref().map(Permit::bytes);
        assert_eq!(
            (of(&lent), of(&delete), of(&copy)),
            (None, Some(400), Some(210))
        );
        assert_eq!(share.used(), 1_400 + 400 + 210);
        drop((delete, copy));
        assert_eq!((share.used(), &lent.body[..]), (1_400, &[7; 10][..]));
        drop(lent);
        assert_eq!(share.used(), 0);
    }

    #[tokio::test]
    async fn a_block_of_which_nothing_is_kept_goes_at_once() {
        let share = Share::new(0);
        drop(Origin::shared(
            Bytes::from_static(&[7; 1_000]),
            share.reserve_reply().await,
        ));
        assert_eq!(share.used(), 0);
    }
}
