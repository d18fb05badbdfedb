//! Forgets collections that are dropped on both sides and for every pair. Kept for ever
//! they would slow down every look at a gate, and every start.
//!
//! A UUID that is dead for one pair is dead for all (R4), and a pair that replays must
//! know it. It may be forgotten once no entry on it can be read again: no pair holds it,
//! and every pair would resume beyond the newest entry that any pair had met by then. A
//! pair that has yet to meet its creation has a resume position before that: a shard logs
//! the drop of its part after every part was created.

use std::sync::Arc;
use std::time::Duration;

use bson::Uuid;

use crate::control::across::ddl::Coordinator;
use crate::error::Result;
use crate::pair::run::Pair;
use crate::position::Position;

const POLL: Duration = Duration::from_secs(2);

/// Which are due. Pure: the simulation drives the same code.
#[derive(Debug, Default)]
pub struct Forgetting {
    /// Dead and held by no pair, as any pair had met entries up to there.
    waiting: Option<(Position, Vec<Uuid>)>,
}

impl Forgetting {
    /// What may be forgotten now. `unheld`: UUIDs that are dead and held by no pair.
    /// `reached`: the newest entry that any pair may have met by then. `recorded`: the
    /// lowest resume position of all pairs.
    pub fn due(
        &mut self,
        unheld: impl FnOnce() -> Vec<Uuid>,
        reached: impl FnOnce() -> Position,
        recorded: Position,
    ) -> Vec<Uuid> {
        match self.waiting.take() {
            Some((reached, uuids)) if reached < recorded => return uuids,
            Some(waiting) => self.waiting = Some(waiting),
            None => {
                // IMPORTANT: read what is unheld first: its drops were then met before
                // `reached`.
                let uuids = unheld();
                self.waiting = (!uuids.is_empty()).then(|| (reached(), uuids));
            }
        }
        Vec::new()
    }
}

/// Forgets what is due, for as long as this future is polled.
pub async fn run(pairs: Vec<Arc<Pair>>, coordinator: Arc<Coordinator>) {
    let mut forgetting = Forgetting::default();
    loop {
        tokio::time::sleep(POLL).await;
        let recorded = pairs
            .iter()
            .map(|pair| pair.resume_position())
            .min()
            .unwrap_or_default();
        let reached = || {
            let met = pairs.iter().map(|pair| pair.reached()).max();
            // What was given up is dead before its last entry is met.
            met.unwrap_or_default().max(coordinator.given_up_to())
        };
        let due = forgetting.due(|| coordinator.unheld(), reached, recorded);
        if due.is_empty() {
            continue;
        }
        match forget(&pairs, &due).await {
            Ok(()) => {
                coordinator.forget(&due);
                tracing::debug!("{} dropped collections are forgotten", due.len());
            }
            // They are unheld still: the next look finds them again.
            Err(e) => tracing::debug!("dropped collections could not be forgotten: {e}"),
        }
    }
}

async fn forget(pairs: &[Arc<Pair>], due: &[Uuid]) -> Result<()> {
    for pair in pairs {
        pair.forget(due).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_due_before_every_pair_would_resume_beyond_what_was_met() {
        let (at, uuid) = (Position::from_raw, Uuid::new());
        let mut forgetting = Forgetting::default();
        assert!(forgetting.due(Vec::new, || at(9), at(10)).is_empty());
        assert!(
            forgetting.due(|| vec![uuid], || at(9), at(10)).is_empty(),
            "met just now"
        );
        assert!(
            forgetting
                .due(|| panic!("one lot at a time"), || at(20), at(9))
                .is_empty()
        );
        assert_eq!(forgetting.due(Vec::new, || at(20), at(10)), [uuid]);
        assert!(forgetting.due(Vec::new, || at(20), at(30)).is_empty());
    }
}
