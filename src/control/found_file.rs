//! A file beside the run's spool on this host that says how the run found the balancers.
//! The target records it too, but may be gone for good.
//!
//! Only read to say what an operator can do by hand.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use bson::{Document, RawDocumentBuf};
use serde::{Deserialize, Serialize};

use crate::control::balancer::Found;
use crate::control::balancers::Balancers;

const NAME: &str = "balancers.json";

/// The file of one run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FoundFile {
    pub run: String,
    /// Ids of the source's shards, sorted.
    pub source_shards: Vec<String>,
    /// None for replica sets.
    source: Option<Noted>,
    target: Option<Noted>,
}

/// One balancer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Noted {
    Rows {
        /// It moves chunks.
        enabled: bool,
        /// For a reader: `on`, `off`, or `in mode …`.
        state: String,
        /// Rows of `config.settings` as found. None if an older release began the run.
        settings: Option<Vec<Document>>,
    },
    /// As older releases wrote it: only whether it was on.
    Enabled(bool),
}

impl Noted {
    fn of(found: &Found) -> Option<Self> {
        let readable = |rows: &Vec<RawDocumentBuf>| {
            let rows = rows.iter().map(|row| Document::try_from(&**row).ok());
            rows.collect::<Option<Vec<_>>>()
        };
        Some(Noted::Rows {
            enabled: found.enabled?,
            state: found.state()?,
            settings: found.settings.as_ref().and_then(readable),
        })
    }

    fn found(&self) -> Found {
        let raw = |rows: &Vec<Document>| {
            let rows = rows.iter().map(|row| RawDocumentBuf::try_from(row).ok());
            rows.collect::<Option<Vec<_>>>()
        };
        match self {
            Noted::Enabled(enabled) => Found {
                enabled: Some(*enabled),
                settings: None,
            },
            Noted::Rows {
                enabled, settings, ..
            } => Found {
                enabled: Some(*enabled),
                settings: settings.as_ref().and_then(raw),
            },
        }
    }

    fn told(&self) -> String {
        match self {
            Noted::Enabled(_) | Noted::Rows { settings: None, .. } => {
                let state = self.found().state().unwrap_or_default();
                format!("{state}, its settings are not recorded")
            }
            Noted::Rows {
                state,
                settings: Some(rows),
                ..
            } => {
                let rows = serde_json::to_string(rows).unwrap_or_default();
                format!("{state}, config.settings {rows}")
            }
        }
    }
}

impl FoundFile {
    pub fn of(run: &str, source_shards: Vec<String>, found: &Balancers) -> Self {
        FoundFile {
            run: run.to_owned(),
            source_shards,
            source: Noted::of(&found.source),
            target: Noted::of(&found.target),
        }
    }

    /// How the source's balancer was found.
    pub fn source(&self) -> Found {
        self.source.as_ref().map_or(
            Found {
                enabled: None,
                settings: None,
            },
            Noted::found,
        )
    }

    /// Writes it to the folder of the run's spool, and says what was found and where it is
    /// kept. A failure is only reported: the file helps in a disaster, and the run does not
    /// need it.
    pub fn write(&self, spool: &Path) {
        let dir = spool.join(&self.run);
        let path = dir.join(NAME);
        let written = serde_json::to_vec(self)
            .map_err(std::io::Error::other)
            .and_then(|text| fs::create_dir_all(&dir).and_then(|()| fs::write(&path, text)));
        let kept = match &written {
            Ok(()) => format!("kept in {}", path.display()),
            Err(_) => "kept on the target only".to_owned(),
        };
        if let Err(e) = written {
            tracing::warn!(
                "the balancers' state cannot be noted in {}: {e}",
                dir.display()
            );
        }
        if let Some(told) = self.told() {
            tracing::info!("balancers as the run found them: {told}; {kept}");
        }
    }

    /// None between replica sets.
    fn told(&self) -> Option<String> {
        let sides = [("source", &self.source), ("target", &self.target)];
        let sides = sides.into_iter().filter_map(|(side, noted)| {
            let noted = noted.as_ref()?;
            Some(format!("{side} {}", noted.told()))
        });
        let sides: Vec<String> = sides.collect();
        (!sides.is_empty()).then(|| sides.join("; "))
    }

    /// The files of all runs that have a spool here and whose source has these shards; the
    /// newest is the last. Of one that cannot be read there is a warning.
    pub fn all(spool: &Path, source_shards: &[String]) -> Vec<FoundFile> {
        let runs = fs::read_dir(spool).into_iter().flatten().flatten();
        let files = runs.filter_map(|run| FoundFile::read(run.path().join(NAME)));
        let mut files: Vec<_> = files
            .filter(|(_, found)| found.source_shards == source_shards)
            .collect();
        files.sort_by_key(|(written, _)| *written);
        files.into_iter().map(|(_, found)| found).collect()
    }

    /// With when it was written.
    fn read(path: PathBuf) -> Option<(SystemTime, FoundFile)> {
        let text = fs::read(&path).ok()?;
        match serde_json::from_slice(&text) {
            Ok(found) => {
                let written = fs::metadata(&path).and_then(|file| file.modified());
                Some((written.unwrap_or(SystemTime::UNIX_EPOCH), found))
            }
            Err(e) => {
                tracing::warn!("{} cannot be read: {e}", path.display());
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;

    fn balancer(enabled: bool, settings: Option<Vec<RawDocumentBuf>>) -> Found {
        Found {
            enabled: Some(enabled),
            settings,
        }
    }

    #[test]
    fn what_is_noted_is_found_by_the_source() {
        let dir = tempfile::tempdir().unwrap();
        let hours = rawdoc! {"start": "1:00", "stop": "5:00"};
        let rows = vec![
            rawdoc! {"_id": "balancer", "mode": "autoSplitOnly", "stopped": false, "activeWindow": hours},
            rawdoc! {"_id": "autosplit", "enabled": true},
        ];
        let found = Balancers {
            source: balancer(false, Some(rows)),
            target: balancer(true, Some(Vec::new())),
        };
        let shards = vec!["a".to_owned(), "b".to_owned()];
        let note = FoundFile::of("r1", shards.clone(), &found);
        note.write(dir.path());
        note.write(dir.path());
        fs::create_dir(dir.path().join("of another kind")).unwrap();
        let broken = dir.path().join("broken");
        fs::create_dir(&broken).unwrap();
        fs::write(broken.join(NAME), "{\"run\":").unwrap();
        let noted = FoundFile::all(dir.path(), &shards);
        assert_eq!(noted, [note]);
        assert_eq!(noted[0].source(), found.source);
        let told = noted[0].told().unwrap();
        for part in [
            "source in mode autoSplitOnly",
            "\"stop\":\"5:00\"",
            "target on",
        ] {
            assert!(told.contains(part), "{part}: {told}");
        }
        assert!(FoundFile::all(dir.path(), &shards[..1]).is_empty());
        assert!(FoundFile::all(&dir.path().join("nowhere"), &shards).is_empty());
    }

    #[test]
    fn a_file_of_an_older_release_says_whether_it_was_on() {
        let text = r#"{"run":"r1","source_shards":["a"],"source":true,"target":null}"#;
        let read: FoundFile = serde_json::from_str(text).unwrap();
        assert_eq!(read.source(), balancer(true, None));
        assert_eq!(
            read.told().unwrap(),
            "source on, its settings are not recorded"
        );
        let sets = FoundFile {
            source: None,
            ..read
        };
        assert_eq!((sets.told(), sets.source().enabled), (None, None));
    }
}
