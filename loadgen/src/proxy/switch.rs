//! What faults are in force, as every connection of a proxy sees it.
//!
//! Knows nothing about sockets.

use crate::layout::dice;
use crate::proxy::Fault;

const WHOLE: u64 = 1_000;

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Switch {
    /// A lasting fault and its share, in thousandths.
    lasting: Option<(Fault, u64)>,
    /// How often connections were broken, the last time how, and which.
    breaks: u64,
    reset: bool,
    broken_share: u64,
}

impl Switch {
    pub(super) fn set(&mut self, fault: Fault, share: f64) {
        let share = (share.clamp(0.0, 1.0) * WHOLE as f64).round() as u64;
        match fault {
            Fault::Cut | Fault::Reset => {
                self.breaks += 1;
                self.reset = fault == Fault::Reset;
                self.broken_share = share;
            }
            lasting => self.lasting = Some((lasting, share)),
        }
    }

    pub(super) fn clear(&mut self) {
        self.lasting = None;
    }

    /// The lasting fault of connection `number`.
    pub(super) fn fault(&self, number: u64) -> Option<Fault> {
        self.lasting
            .filter(|(_, share)| is_hit(number, *share))
            .map(|(fault, _)| fault)
    }

    /// Grows with every break.
    pub(super) fn breaks(&self) -> u64 {
        self.breaks
    }

    /// Whether the last break hit connection `number`, and if by a reset.
    pub(super) fn broken(&self, number: u64) -> Option<bool> {
        is_hit(number, self.broken_share).then_some(self.reset)
    }
}

fn is_hit(number: u64, share: u64) -> bool {
    dice::mix(number.wrapping_add(1)) % WHOLE < share
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_hits_the_same_connections_each_time() {
        let mut switch = Switch::default();
        switch.set(Fault::BlackHole, 0.3);
        let hit: Vec<u64> = (0..1_000)
            .filter(|number| switch.fault(*number).is_some())
            .collect();
        assert!((250..350).contains(&hit.len()), "{}", hit.len());
        switch.set(Fault::Reset, 0.3);
        assert_eq!(
            (0..1_000)
                .filter(|number| switch.broken(*number) == Some(true))
                .collect::<Vec<_>>(),
            hit
        );
        assert_eq!(
            (switch.breaks(), switch.fault(hit[0])),
            (1, Some(Fault::BlackHole))
        );
        switch.clear();
        assert!(switch.fault(hit[0]).is_none());
    }
}
