//! The kinds of operations and how often each is run.
//!
//! Knows nothing about how an operation is built or sent.

use std::str::FromStr;

use crate::layout::dice::Dice;

/// One kind of operation; the name in `--mix` and in the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Inserts,
    /// `$set`, `$unset`, `$inc`, `$rename` and pipelines.
    Updates,
    /// `$push`, `$pull`, `$addToSet`, positional edits.
    Arrays,
    Replaces,
    Upserts,
    Deletes,
    /// Delete and insert of the same `_id`.
    Reinserts,
    /// One update of the few documents of a group.
    Multi,
    FindAndModify,
    /// On one shard.
    Transactions,
    /// Prepared on two shards.
    CrossShard,
    /// Written and aborted.
    Aborts,
    /// More than 16 MB in one transaction.
    LargeTransactions,
}

impl Kind {
    pub const ALL: [(Kind, &str); 13] = [
        (Kind::Inserts, "inserts"),
        (Kind::Updates, "updates"),
        (Kind::Arrays, "arrays"),
        (Kind::Replaces, "replaces"),
        (Kind::Upserts, "upserts"),
        (Kind::Deletes, "deletes"),
        (Kind::Reinserts, "reinserts"),
        (Kind::Multi, "multi"),
        (Kind::FindAndModify, "find_and_modify"),
        (Kind::Transactions, "transactions"),
        (Kind::CrossShard, "cross_shard"),
        (Kind::Aborts, "aborts"),
        (Kind::LargeTransactions, "large_transactions"),
    ];

    pub fn name(self) -> &'static str {
        Kind::ALL[self as usize].1
    }

    pub fn is_transaction(self) -> bool {
        matches!(
            self,
            Kind::Transactions | Kind::CrossShard | Kind::Aborts | Kind::LargeTransactions
        )
    }
}

/// Weights by kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mix([u64; Kind::ALL.len()]);

impl Default for Mix {
    /// Every kind but large transactions; about as many deletes as inserts.
    fn default() -> Self {
        Mix([150, 400, 120, 60, 40, 100, 40, 10, 40, 10, 10, 5, 0])
    }
}

impl Mix {
    /// A mix of one kind only.
    pub fn only(kind: Kind) -> Self {
        let mut weights = [0; Kind::ALL.len()];
        weights[kind as usize] = 1;
        Mix(weights)
    }

    /// Takes transactions out.
    pub fn without_transactions(mut self) -> Self {
        for (kind, _) in Kind::ALL.iter().filter(|(kind, _)| kind.is_transaction()) {
            self.0[*kind as usize] = 0;
        }
        self
    }

    pub fn weight(&self, kind: Kind) -> u64 {
        self.0[kind as usize]
    }

    pub fn has_transactions(&self) -> bool {
        Kind::ALL
            .iter()
            .any(|(kind, _)| kind.is_transaction() && 0 < self.weight(*kind))
    }

    pub fn pick(&self, dice: &mut Dice) -> Kind {
        let mut at = dice.below(self.0.iter().sum());
        for (kind, _) in Kind::ALL {
            match at.checked_sub(self.weight(kind)) {
                Some(rest) => at = rest,
                None => return kind,
            }
        }
        Kind::Updates
    }
}

/// `inserts=30,updates=40`: what is not named has weight 0. `all` stands for the
/// default weights, to be followed by changes: `all,large_transactions=1`.
impl FromStr for Mix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut mix = Mix([0; Kind::ALL.len()]);
        for part in text.split(',').filter(|part| !part.is_empty()) {
            if part == "all" {
                mix = Mix::default();
                continue;
            }
            let (name, weight) = part
                .split_once('=')
                .ok_or_else(|| format!("{part}: write it as kind=weight"))?;
            let names = || Kind::ALL.map(|(_, name)| name).join(", ");
            let kind = Kind::ALL.iter().find(|(_, known)| *known == name);
            let (kind, _) = kind.ok_or_else(|| format!("no kind {name}; there are {}", names()))?;
            mix.0[*kind as usize] = weight
                .parse()
                .map_err(|_| format!("{weight} is no whole number"))?;
        }
        match mix.0.iter().sum() {
            0u64 => Err("every weight is 0".into()),
            _ => Ok(mix),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_numbered_as_listed() {
        assert!(
            Kind::ALL
                .iter()
                .enumerate()
                .all(|(i, (kind, _))| *kind as usize == i)
        );
    }

    #[test]
    fn a_mix_picks_by_weight() {
        let mix: Mix = "inserts=1,deletes=3".parse().unwrap();
        let mut dice = Dice::new(&[1]);
        let deletes = (0..4000)
            .filter(|_| mix.pick(&mut dice) == Kind::Deletes)
            .count();
        assert!((2800..3200).contains(&deletes), "{deletes}");
        assert!("x=1".parse::<Mix>().is_err() && "inserts=0".parse::<Mix>().is_err());
    }
}
