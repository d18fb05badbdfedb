//! What the seeds of a simulation met, counted: a proof that never saw a refusal proves
//! nothing about refusals.

/// Of one seed, or of several.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Statements that the target refused.
    pub refused: u64,
    /// Documents that became doubtful.
    pub doubtful: u64,
    /// Documents that were read again from the source.
    pub reread: u64,
    /// Transactions of documents read again that the target did not take.
    pub collided: u64,
    /// Commands that were sent again because the shard did not know what it owns.
    pub resent: u64,
    /// Changes of a flush that the target took in one transaction.
    pub at_once: u64,
    /// And of which it took none.
    pub not_at_once: u64,
    /// Unique indexes that were built.
    pub unique: u64,
    /// Renames that were made on the target.
    pub renamed: u64,
    /// Changes of options that were made on the target.
    pub modified: u64,
}

impl Tally {
    fn figures(&self) -> [(&'static str, u64); 10] {
        [
            ("refused", self.refused),
            ("doubtful", self.doubtful),
            ("reread", self.reread),
            ("collided", self.collided),
            ("resent", self.resent),
            ("at_once", self.at_once),
            ("not_at_once", self.not_at_once),
            ("unique", self.unique),
            ("renamed", self.renamed),
            ("modified", self.modified),
        ]
    }

    pub(super) fn add(&mut self, more: &Tally) {
        self.refused += more.refused;
        self.doubtful += more.doubtful;
        self.reread += more.reread;
        self.collided += more.collided;
        self.resent += more.resent;
        self.at_once += more.at_once;
        self.not_at_once += more.not_at_once;
        self.unique += more.unique;
        self.renamed += more.renamed;
        self.modified += more.modified;
    }

    /// As members of a JSON object.
    pub(super) fn json(&self) -> String {
        let members = self
            .figures()
            .map(|(name, count)| format!("\"{name}\":{count}"));
        members.join(",")
    }
}
