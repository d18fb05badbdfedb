//! Rules that the tree itself must obey: what the compiler cannot see and a reader
//! relies on. Reads files only.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Longer files hold more than one thing.
const LINES_MAX: usize = 400;

/// Files that are longer still. May only shrink.
const LONGER: [&str; 17] = [
    "loadgen/src/check/sharding.rs",
    "loadgen/tests/check.rs",
    "src/wire/scram.rs",
    "tests/ahead.rs",
    "tests/doubtful.rs",
    "tests/layout.rs",
    "tests/migrate_content.rs",
    "tests/migrate_databases.rs",
    "tests/migrate_indexes.rs",
    "tests/proof.rs",
    "tests/recorded.rs",
    "tests/resume.rs",
    "tests/routers.rs",
    "tests/state.rs",
    "tests/verify.rs",
    "tests/watch.rs",
    "tests/way_in.rs",
];

/// Rooms of the engine, and those each may import.
const ARROWS: [(&str, &[&str]); 16] = [
    ("limits", &[]),
    ("rules", &[]),
    ("failpoint", &[]),
    ("error", &[]),
    ("outcome", &["error"]),
    ("bson", &["error"]),
    ("config", &["error", "limits"]),
    ("wire", &["bson", "error", "limits"]),
    ("cluster", &["bson", "error", "failpoint", "wire"]),
    ("spool", &["error", "failpoint"]),
    ("state", &["cluster", "error", "failpoint", "wire"]),
    ("verify", &["bson", "cluster", "error"]),
    ("observe", &["config", "error"]),
    (
        "pair",
        &[
            "bson",
            "cluster",
            "error",
            "failpoint",
            "limits",
            "observe",
            "spool",
            "state",
            "wire",
        ],
    ),
    (
        "control",
        &[
            "bson",
            "cluster",
            "config",
            "error",
            "failpoint",
            "observe",
            "pair",
            "spool",
            "state",
            "verify",
        ],
    ),
    (
        "main",
        &["config", "control", "error", "observe", "outcome"],
    ),
];

/// Arrows that go the wrong way today. May only shrink.
const WRONG_WAY: [(&str, &str); 2] = [("spool", "pair"), ("state", "pair")];

/// Files of loadgen that may know the engine's code: the simulation drives it, and a
/// login is judged by the server. The rest is the judge, and shares nothing with it.
const KNOW_THE_ENGINE: [&str; 4] = [
    "loadgen/src/sim/",
    "loadgen/src/engine/keeper.rs",
    "loadgen/src/engine/life.rs",
    "loadgen/src/wire/login.rs",
];

/// What code must not cite: pages that are not in this tree.
const NOT_HERE: [&str; 3] = ["DESIGN §", "WHY ", "FACTS"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file below these folders: its path from the root, and its text.
fn sources(folders: &[&str]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = folders.iter().map(|folder| root().join(folder)).collect();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path
                    .strip_prefix(root())
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .to_owned();
                found.push((name, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    assert!(!found.is_empty());
    found.sort();
    found
}

fn room(file: &str) -> &str {
    let inside = file.strip_prefix("src/").unwrap();
    let first = inside.split('/').next().unwrap();
    first.strip_suffix(".rs").unwrap_or(first)
}

/// The words that follow `prefix` in `text`.
fn words_after<'a>(text: &'a str, prefix: &'a str) -> impl Iterator<Item = &'a str> {
    text.match_indices(prefix).map(move |(at, _)| {
        let rest = &text[at + prefix.len()..];
        let end = rest
            .find(|c: char| !c.is_alphanumeric() && c != '_')
            .unwrap_or(rest.len());
        &rest[..end]
    })
}

#[test]
fn every_file_says_first_what_it_owns_and_is_short() {
    let mut bad = Vec::new();
    for (file, text) in sources(&["src", "loadgen/src", "loadgen/tests", "benches", "tests"]) {
        if !text.starts_with("//!") {
            bad.push(format!("{file} does not open with `//!`"));
        }
        let lines = text.lines().count();
        if (LINES_MAX < lines) != LONGER.contains(&file.as_str()) {
            bad.push(format!(
                "{file} has {lines} lines: split it by what it owns, or take it off the list"
            ));
        }
    }
    assert!(bad.is_empty(), "{bad:#?}");
}

#[test]
fn rooms_import_only_what_lies_below_them() {
    let mut bad = BTreeSet::new();
    let mut wrong_way = BTreeSet::new();
    for (file, text) in sources(&["src"]) {
        let from = room(&file);
        if from == "lib" {
            continue;
        }
        let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == from) else {
            bad.insert(format!("{from} is no known room"));
            continue;
        };
        let prefix = if from == "main" {
            "shardlift::"
        } else {
            "crate::"
        };
        for to in words_after(&text, prefix).filter(|to| *to != from && !to.is_empty()) {
            if WRONG_WAY.contains(&(from, to)) {
                wrong_way.insert((from.to_owned(), to.to_owned()));
            } else if !allowed.contains(&to) {
                bad.insert(format!("{file} imports {to}"));
            }
        }
    }
    assert!(bad.is_empty(), "{bad:#?}");
    assert_eq!(
        wrong_way.len(),
        WRONG_WAY.len(),
        "an arrow was turned round: take it off the list"
    );
}

#[test]
fn the_judge_shares_no_code_with_the_engine() {
    let of_loadgen = sources(&["loadgen/src"]);
    let know = of_loadgen
        .iter()
        .filter(|(_, text)| text.contains("shardlift::"))
        .map(|(file, _)| file);
    let bad: Vec<_> = know
        .filter(|file| !KNOW_THE_ENGINE.iter().any(|known| file.starts_with(known)))
        .collect();
    assert!(bad.is_empty(), "{bad:#?}");
}

#[test]
fn every_rule_that_code_names_is_written_down() {
    let rules = fs::read_to_string(root().join("src/rules.rs")).unwrap();
    let mut bad = Vec::new();
    for (file, text) in sources(&["src", "loadgen/src", "tests"]) {
        for (number, line) in text.lines().enumerate() {
            let at = number + 1;
            for rule in words_after(line, "(R").filter(|rule| rule.parse::<u8>().is_ok()) {
                if !rules.contains(&format!("//! # R{rule}\n")) {
                    bad.push(format!("{file}:{at}: R{rule} is not in src/rules.rs"));
                }
            }
            if file != "tests/tidy.rs" && NOT_HERE.iter().any(|page| line.contains(page)) {
                bad.push(format!(
                    "{file}:{at} cites a page that is not in this tree: {}",
                    line.trim()
                ));
            }
        }
    }
    assert!(bad.is_empty(), "{bad:#?}");
}

#[test]
fn every_exit_code_is_in_the_readme() {
    use shardlift::error::Kind;
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let (_, codes) = readme
        .split_once("Exit codes:")
        .expect("the README lists the exit codes");
    let (codes, _) = codes.split_once("\n\n").expect("a paragraph of its own");
    let kinds = [
        Kind::Config,
        Kind::Connect,
        Kind::Refused,
        Kind::Server,
        Kind::Transient,
        Kind::Parked,
        Kind::RolledOff,
        Kind::Unsupported,
        Kind::Differs,
        Kind::Cancelled,
        Kind::Stopped,
        Kind::Control,
        Kind::Internal,
    ];
    for kind in kinds {
        let code = kind.exit_code().to_string();
        let is_there = codes
            .split(|c: char| !c.is_ascii_digit())
            .any(|number| number == code);
        assert!(is_there, "exit code {code} ({kind:?}) is not in the README");
    }
}
