//! Which collection and which document an operation is about.
//!
//! Knows nothing about operations and servers.

use std::sync::atomic::{AtomicU64, Ordering};

use rand_distr::{Distribution, Zipf};

use crate::layout::{
    CollectionSpec, Layout,
    dice::{Dice, mix},
};

/// How keys are drawn from the populated ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum KeyChoice {
    /// Each document as often as any other.
    Uniform,
    /// A few documents very often.
    Zipf,
}

/// The key space of one collection: what `populate` wrote and what the load added.
pub(super) struct KeySpace {
    pub(super) spec: CollectionSpec,
    zipf: Option<Zipf<f64>>,
    /// Ordinal of the first document this load inserts.
    base: u64,
    inserted: AtomicU64,
}

impl KeySpace {
    /// An existing document, or one that was deleted meanwhile.
    pub(super) fn existing(&self, dice: &mut Dice) -> u64 {
        match self.inserted.load(Ordering::Relaxed) {
            inserted if 0 < inserted && dice.one_in(5) => self.base + dice.below(inserted),
            _ => self.populated(dice),
        }
    }

    /// Rather one that the load itself inserted, so that the populated ones last.
    pub(super) fn expendable(&self, dice: &mut Dice) -> u64 {
        match self.inserted.load(Ordering::Relaxed) {
            inserted if 0 < inserted && !dice.one_in(5) => self.base + dice.below(inserted),
            _ => self.populated(dice),
        }
    }

    /// A document that was never there.
    pub(super) fn fresh(&self) -> u64 {
        self.base + self.inserted.fetch_add(1, Ordering::Relaxed)
    }

    fn populated(&self, dice: &mut Dice) -> u64 {
        match &self.zipf {
            // Ranks are scattered, so that the busy documents are not neighbours.
            Some(zipf) => mix(zipf.sample(dice) as u64) % self.spec.count,
            None => dice.below(self.spec.count),
        }
    }
}

/// All key spaces, each picked as often as its documents weigh.
pub(super) struct Picker {
    pub(super) spaces: Vec<KeySpace>,
    total: u64,
}

impl Picker {
    /// `only`: namespaces to work on; all of the layout where empty.
    pub(super) fn new(layout: &Layout, only: &[String], zipf_s: Option<f64>, base: u64) -> Self {
        let wanted = |spec: &&CollectionSpec| {
            0 < spec.count && (only.is_empty() || only.contains(&spec.ns()))
        };
        let spaces: Vec<KeySpace> = layout
            .collections
            .iter()
            .filter(wanted)
            .map(|spec| KeySpace {
                spec: spec.clone(),
                zipf: zipf_s.map(|s| {
                    Zipf::new(spec.count as f64, s).expect("a count from 1 on and s from 0 on")
                }),
                base,
                inserted: AtomicU64::new(0),
            })
            .collect();
        let total = spaces.iter().map(|space| space.spec.count).sum();
        Picker { spaces, total }
    }

    /// A collection; never the capped one unless `capped_too`.
    pub(super) fn space(&self, dice: &mut Dice, capped_too: bool) -> usize {
        let mut at = dice.below(self.total);
        for (i, space) in self.spaces.iter().enumerate() {
            match at.checked_sub(space.spec.count) {
                Some(rest) => at = rest,
                None if space.spec.is_capped() && !capped_too => return 0,
                None => return i,
            }
        }
        0
    }
}
