//! When the target follows a collection that was sharded in place on the source, or whose shard
//! key was refined: once everything that the source had before that is applied for good. Then
//! the target's documents have the key, and its indexes carry it; and no op comes again that
//! was on a document which another shard owns by now.
//!
//! Knows nothing about how (`control::across::ddl`).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bson::Uuid;
use parking_lot::Mutex;

use crate::cluster::catalog::Namespace;
use crate::control::across::ddl::Coordinator;
use crate::control::layout::listing;
use crate::control::sides::Sides;
use crate::error::{Error, Kind, Result};
use crate::pair::run::Pair;
use crate::position::Position;

/// How long a majority of the source may take to acknowledge a note.
const NOTE_WAIT: Duration = Duration::from_secs(20);

/// What is to be followed, with a position in the oplog of each source shard after the change.
#[derive(Default)]
pub struct Relaid {
    noted: Mutex<HashMap<Uuid, Vec<Position>>>,
}

impl Relaid {
    /// Lays out those of `found` that are due.
    ///
    /// # Errors
    /// `Unsupported` if the target cannot follow with what it holds.
    pub async fn follow(
        &self,
        found: &[(Uuid, Namespace)],
        (sides, run): (&Sides, &str),
        coordinator: &Coordinator,
        pairs: &[Arc<Pair>],
    ) -> Result<()> {
        let is_found = |uuid: &Uuid| found.iter().any(|(other, _)| other == uuid);
        self.noted.lock().retain(|uuid, _| is_found(uuid));
        for (uuid, _) in found {
            let noted = self.noted.lock().get(uuid).cloned();
            let Some(noted) = noted else {
                // Where a shard writes nothing, its pair comes on by the note.
                let notes = listing::notes(&sides.source, run, NOTE_WAIT).await?;
                self.noted.lock().insert(*uuid, notes);
                continue;
            };
            let mut of_pairs = pairs.iter().zip(&noted);
            if of_pairs.all(|(pair, note)| pair.has_all_of(uuid, *note)) {
                let laid_out = coordinator.lay_out_again(*uuid, pairs).await;
                laid_out.map_err(for_now)?;
            }
        }
        Ok(())
    }
}

/// What the target has may still become what is wanted: it is asked again.
fn for_now(e: Error) -> Error {
    match e.kind {
        Kind::Refused => Error {
            kind: Kind::Transient,
            ..e
        },
        _ => e,
    }
}
