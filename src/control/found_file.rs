//! A file beside the run's spool on this host that says how the run found the balancers.
//! The target records it too, but may be gone for good.
//!
//! Only read to say what an operator can do by hand.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::control::balancers::Balancers;

const NAME: &str = "balancers.json";

/// The file of one run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundFile {
    pub run: String,
    /// Ids of the source's shards, sorted.
    pub source_shards: Vec<String>,
    /// Whether each balancer was on; None for replica sets.
    pub source: Option<bool>,
    pub target: Option<bool>,
}

impl FoundFile {
    pub fn of(run: &str, source_shards: Vec<String>, found: &Balancers) -> Self {
        FoundFile {
            run: run.to_owned(),
            source_shards,
            source: found.source.enabled,
            target: found.target.enabled,
        }
    }

    /// Writes it to the folder of the run's spool. A failure is only reported: the file
    /// helps in a disaster, and the run does not need it.
    pub fn write(&self, spool: &Path) {
        let dir = spool.join(&self.run);
        let written = serde_json::to_vec(self)
            .map_err(std::io::Error::other)
            .and_then(|text| {
                fs::create_dir_all(&dir).and_then(|()| fs::write(dir.join(NAME), text))
            });
        if let Err(e) = written {
            tracing::warn!(
                "the balancers' state cannot be noted in {}: {e}",
                dir.display()
            );
        }
    }

    /// The files of all runs that have a spool here and whose source has these shards.
    pub fn all(spool: &Path, source_shards: &[String]) -> Vec<FoundFile> {
        let runs = fs::read_dir(spool).into_iter().flatten().flatten();
        let files = runs.filter_map(|run| fs::read(run.path().join(NAME)).ok());
        let found = files.filter_map(|text| serde_json::from_slice::<FoundFile>(&text).ok());
        found
            .filter(|found| found.source_shards == source_shards)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::balancer::Found;

    #[test]
    fn what_is_noted_is_found_by_the_source() {
        let dir = tempfile::tempdir().unwrap();
        let found = Balancers {
            source: Found {
                enabled: Some(true),
                settings: None,
            },
            target: Found {
                enabled: Some(false),
                settings: None,
            },
        };
        let shards = vec!["a".to_owned(), "b".to_owned()];
        let note = FoundFile::of("r1", shards.clone(), &found);
        note.write(dir.path());
        note.write(dir.path());
        fs::create_dir(dir.path().join("of another kind")).unwrap();
        assert_eq!(FoundFile::all(dir.path(), &shards), [note]);
        assert!(FoundFile::all(dir.path(), &shards[..1]).is_empty());
        assert!(FoundFile::all(&dir.path().join("nowhere"), &shards).is_empty());
    }
}
