//! The history of a run in a file beside its spool on this host: the next process goes on
//! with it. On another host it begins anew.
//!
//! Knows nothing about what a history holds.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::observe::history::History;

const NAME: &str = "history.json";
/// Renamed to it once it is whole.
const NEW: &str = "history.json.new";

#[derive(Serialize, Deserialize)]
struct Kept {
    run: String,
    history: History,
}

/// That of this run; empty if none was kept. One that cannot be read is a warning, and is
/// written anew.
pub fn read(spool: &Path, run_id: &str) -> History {
    let path = spool.join(run_id).join(NAME);
    let text = match fs::read(&path) {
        Err(e) if e.kind() == ErrorKind::NotFound => return History::default(),
        text => text,
    };
    let kept =
        text.and_then(|text| serde_json::from_slice::<Kept>(&text).map_err(io::Error::other));
    let why = match kept {
        Ok(kept) if kept.run != run_id => format!("it is of run {}", kept.run),
        Ok(kept) => match kept.history.of_run(run_id) {
            Some(history) => return history,
            None => "its points do not fit".to_owned(),
        },
        Err(e) => e.to_string(),
    };
    tracing::warn!(
        "the plots begin anew: {} cannot be read: {why}",
        path.display()
    );
    History::default()
}

/// Replaces the file. Without its folder the run is over, and nothing is written.
///
/// It is not flushed to the disk: what a power loss leaves is whole, or begins anew.
///
/// # Errors
/// Of the disk.
pub fn write(spool: &Path, history: &History) -> io::Result<()> {
    if history.is_empty() {
        return Ok(());
    }
    let dir = spool.join(history.run_id());
    let kept = Kept {
        run: history.run_id().to_owned(),
        history: history.clone(),
    };
    let text = serde_json::to_vec(&kept).map_err(io::Error::other)?;
    let written =
        fs::write(dir.join(NEW), text).and_then(|()| fs::rename(dir.join(NEW), dir.join(NAME)));
    match written {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        written => written,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::history::tests::{moments, noted};

    #[test]
    fn what_was_written_is_read_by_its_run_and_by_no_other() {
        let spool = tempfile::tempdir().unwrap();
        let spool = spool.path();
        let history = noted([1, 2, 3]);
        write(spool, &history).unwrap();
        assert!(
            !spool.join("r1").exists(),
            "a run that is over has no folder"
        );
        assert!(read(spool, "r1").is_empty());

        fs::create_dir(spool.join("r1")).unwrap();
        write(spool, &noted([1])).unwrap();
        write(spool, &history).unwrap();
        let names = fs::read_dir(spool.join("r1")).unwrap().count();
        assert_eq!(names, 1, "nothing is left of writing");
        let mut back = read(spool, "r1");
        assert_eq!((back.run_id(), moments(&back)), ("r1", vec![1, 2, 3]));
        back.note(&crate::observe::status::tests::copying(), 4);
        assert_eq!(moments(&back), [1, 2, 3, 4], "the next process goes on");

        fs::rename(spool.join("r1"), spool.join("r2")).unwrap();
        assert!(read(spool, "r2").is_empty(), "it is of another run");
    }

    #[test]
    fn one_that_cannot_be_read_begins_anew() {
        let spool = tempfile::tempdir().unwrap();
        let dir = spool.path().join("r1");
        fs::create_dir(&dir).unwrap();
        for text in ["", "{\"run\":\"r1\",\"history\":", "[]"] {
            fs::write(dir.join(NAME), text).unwrap();
            assert!(read(spool.path(), "r1").is_empty(), "{text}");
        }
        write(spool.path(), &noted([5])).unwrap();
        assert_eq!(moments(&read(spool.path(), "r1")), [5]);
    }
}
