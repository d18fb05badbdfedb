//! Which differences are to be repaired now: one that stays is tried ever more seldom.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use bson::Uuid;

use crate::control::cutover::proof::Difference;

/// Between two repairs of the same difference: at first, and at most.
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// Repairs of what is different still.
#[derive(Debug, Default)]
pub(super) struct Repairs {
    tried: HashMap<(String, Option<Uuid>), Tried>,
}

#[derive(Debug)]
struct Tried {
    again_at: Instant,
    pause: Duration,
}

impl Repairs {
    /// Those of `found` whose turn it is. `found`: all that is different.
    pub(super) fn due(&mut self, found: &[Difference], now: Instant) -> Vec<Difference> {
        let keys: HashSet<_> = found.iter().map(key).collect();
        self.tried.retain(|key, _| keys.contains(key));
        found
            .iter()
            .filter(|difference| self.is_due(key(difference), now))
            .cloned()
            .collect()
    }

    fn is_due(&mut self, key: (String, Option<Uuid>), now: Instant) -> bool {
        let tried = self.tried.entry(key).or_insert(Tried {
            again_at: now,
            pause: PAUSE,
        });
        if now < tried.again_at {
            return false;
        }
        tried.again_at = now + tried.pause;
        tried.pause = (2 * tried.pause).min(PAUSE_MAX);
        true
    }
}

fn key(difference: &Difference) -> (String, Option<Uuid>) {
    (difference.what.clone(), difference.uuid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stays_different_is_repaired_ever_more_seldom() {
        let mut repairs = Repairs::default();
        let start = Instant::now();
        let one = [Difference::new("one".to_owned(), "")];
        let due = |repairs: &mut Repairs, found: &[Difference], s: u64| {
            repairs.due(found, start + Duration::from_secs(s)).len()
        };
        let tried: Vec<u64> = (0..20)
            .filter(|s| due(&mut repairs, &one, *s) == 1)
            .collect();
        assert_eq!(tried, [0, 1, 3, 7, 15]);
        let two = [one[0].clone(), Difference::new("two".to_owned(), "")];
        assert_eq!(due(&mut repairs, &two, 20), 1);
        assert_eq!(due(&mut repairs, &two[1..], 20), 0);
        assert_eq!(due(&mut repairs, &one, 21), 1, "it was gone");
        assert_eq!(due(&mut repairs, &one, 10_000), 1);
    }
}
