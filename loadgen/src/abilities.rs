//! What each release of the server knows, as far as workloads use it, so that none asks
//! for what a release refuses.
//!
//! Seen on real servers of each release. Shares nothing with the engine, which loadgen
//! judges.

use crate::server::version::Release;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Abilities {
    /// `hidden` in an index specification.
    pub hidden_indexes: bool,
    /// A server that is told to end first sends its clients away, for as long as a
    /// parameter says.
    pub quiesces: bool,
    /// Inserts take field names with a leading `$`.
    pub dollar_names: bool,
    /// A collection takes indexes that differ in nothing but their filter.
    pub filters_tell_indexes_apart: bool,
    /// `applyOps` takes an update as a delta, `{$v: 2, diff: …}`; before, `{$v: 1, $set: …}`.
    pub deltas: bool,
    /// `clusteredIndex` of a collection.
    pub clustered_collections: bool,
    /// An insert may wait for a prepared transaction without harm. In 4.2.6 and 4.4.2 it keeps
    /// its place in the oplog meanwhile. Nothing gets a majority then, so the transaction is
    /// never decided: the shard stands still. It waits for a neighbour under a unique index.
    pub inserts_wait_for_prepared: bool,
    /// A refused insert leaves a full capped collection as it is. Primaries of 4.2.6 and 4.4.2
    /// let the oldest document go for it and log nothing: their own secondaries keep it.
    pub refused_inserts_trim_nothing: bool,
    /// `setUserWriteBlockMode`.
    pub blocks_writes: bool,
}

impl Abilities {
    /// Of servers of this release, by major and minor version.
    pub fn of(release: (u32, u32)) -> Self {
        let since = |major, minor| (major, minor) <= release;
        Abilities {
            hidden_indexes: since(4, 4),
            quiesces: since(5, 0),
            dollar_names: since(5, 0),
            filters_tell_indexes_apart: since(5, 0),
            deltas: since(5, 0),
            clustered_collections: since(5, 3),
            inserts_wait_for_prepared: since(5, 0),
            refused_inserts_trim_nothing: since(5, 0),
            blocks_writes: since(6, 0),
        }
    }
}

impl From<Release> for Abilities {
    fn from(release: Release) -> Self {
        Abilities::of((release.major, release.minor))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_knows_what_those_before_it_do() {
        let of = |text: &str| Abilities::from(text.parse::<Release>().unwrap());
        assert!(!of("4.2").hidden_indexes && of("4.4").hidden_indexes);
        assert!(!of("4.4.2").deltas && of("5.0.4").deltas);
        assert!(!of("5.0").clustered_collections && of("6.0.27").clustered_collections);
        assert!(of("6.0").hidden_indexes && of("6.0").dollar_names);
        assert!(!of("5.0").blocks_writes && of("6.0.5").blocks_writes);
    }
}
