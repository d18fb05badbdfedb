//! Rules that the tree itself must obey: what the compiler cannot see and a reader
//! relies on. Reads files only.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Longer files hold more than one thing.
const LINES_MAX: usize = 400;

/// Rooms of the engine in the order of what they build on, and those each may import. None
/// is in a circle: each imports only rooms above its own line.
const ARROWS: [(&str, &[&str]); 19] = [
    ("limits", &[]),
    ("rules", &[]),
    ("codes", &[]),
    ("failpoint", &[]),
    ("scope", &[]),
    ("error", &["codes"]),
    ("outcome", &[]),
    ("position", &["error"]),
    ("bson", &["error"]),
    ("config", &["error", "limits", "scope"]),
    ("wire", &["bson", "error", "limits"]),
    (
        "cluster",
        &["bson", "codes", "error", "failpoint", "scope", "wire"],
    ),
    ("spool", &["error", "failpoint", "position"]),
    (
        "state",
        &[
            "cluster",
            "codes",
            "error",
            "failpoint",
            "position",
            "scope",
            "wire",
        ],
    ),
    ("verify", &["bson", "cluster", "error"]),
    ("observe", &["config", "error"]),
    (
        "pair",
        &[
            "bson",
            "cluster",
            "codes",
            "error",
            "failpoint",
            "limits",
            "observe",
            "position",
            "scope",
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
            "codes",
            "config",
            "error",
            "failpoint",
            "observe",
            "pair",
            "position",
            "scope",
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

/// Rooms inside a room, in the order of what they build on: a file imports only those that
/// stand before its own. So none is in a circle either.
const PAIR: [&str; 22] = [
    "budget",
    "throttle",
    "origin",
    "op",
    "collection",
    "oplog",
    "write",
    "lanes",
    "gate",
    "chores",
    "mend",
    "ddl",
    "tail",
    "copy",
    "incarnation",
    "checkpoint",
    "restore",
    "tasks",
    "run",
    "to_copy",
    "start",
    "mod",
];
const CONTROL: [&str; 28] = [
    "gap",
    "run",
    "sides",
    "throttle",
    "open_ops",
    "waiting",
    "stores",
    "stop",
    "limits",
    "balancer",
    "balancers",
    "write_block",
    "held_back",
    "left_behind",
    "found_file",
    "layout",
    "validate",
    "across",
    "recorded",
    "window",
    "phases",
    "open",
    "process",
    "reverse",
    "cutover",
    "summary",
    "attempt",
    "mod",
];

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
fn words_after<'a>(text: &'a str, prefix: &str) -> Vec<&'a str> {
    let mut words = Vec::new();
    for (at, _) in text.match_indices(prefix) {
        let rest = &text[at + prefix.len()..];
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
        words.push(&rest[..end.unwrap_or(rest.len())]);
    }
    words
}

#[test]
fn every_file_says_first_what_it_owns_and_is_short() {
    let mut bad = Vec::new();
    for (file, text) in sources(&["src", "loadgen/src", "loadgen/tests", "benches", "tests"]) {
        if !text.starts_with("//!") {
            bad.push(format!("{file} does not open with `//!`"));
        }
        let lines = text.lines().count();
        if LINES_MAX < lines {
            bad.push(format!(
                "{file} has {lines} lines: split it by what it owns"
            ));
        }
    }
    assert!(bad.is_empty(), "{bad:#?}");
}

#[test]
fn rooms_import_only_what_lies_below_them() {
    let mut bad = BTreeSet::new();
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
        for to in words_after(&text, prefix) {
            if to != from && !to.is_empty() && !allowed.contains(&to) {
                bad.insert(format!("{file} imports {to}"));
            }
        }
    }
    for (at, (room, allowed)) in ARROWS.iter().enumerate() {
        for below in *allowed {
            if !ARROWS[..at].iter().any(|(name, _)| name == below) {
                bad.insert(format!(
                    "{room} imports {below}, which does not stand before it"
                ));
            }
        }
    }
    assert!(bad.is_empty(), "{bad:#?}");
}

/// By name, so that an arrow between rooms is in one line: `super::super` and groups of
/// rooms would hide it.
#[test]
fn rooms_inside_a_room_are_in_no_circle() {
    let mut bad = BTreeSet::new();
    for (outer, order) in [("pair", &PAIR[..]), ("control", &CONTROL[..])] {
        let inside = format!("src/{outer}/");
        for (file, text) in sources(&[&inside]) {
            let own = file[inside.len()..].split('/').next().unwrap();
            let own = own.strip_suffix(".rs").unwrap_or(own);
            let place = |room: &str| order.iter().position(|known| *known == room);
            let Some(from) = place(own) else {
                bad.insert(format!("{file} is in no known room"));
                continue;
            };
            let code = text.split("#[cfg(test)]\nmod ").next().unwrap();
            let code = code
                .lines()
                .filter(|line| !line.trim_start().starts_with("//"));
            for line in code {
                for to in words_after(line, &format!("crate::{outer}::")) {
                    if to.is_empty() {
                        bad.insert(format!("{file} hides rooms in a group: {line}"));
                    } else if to != own && place(to).is_some_and(|to| from <= to) {
                        bad.insert(format!("{file} imports {to}"));
                    }
                }
                if line.contains("super::super::super::") {
                    bad.insert(format!("{file} hides a room: {line}"));
                }
            }
        }
    }
    assert!(bad.is_empty(), "{bad:#?}");
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

/// A release difference is a value of the dialect. Where a version is read, shown or
/// refused is no difference in behaviour.
#[test]
fn only_the_dialect_looks_at_a_version() {
    const MAY: [&str; 6] = [
        "src/cluster/dialect.rs",
        "src/cluster/deployment.rs",
        "src/cluster/probe.rs",
        "src/cluster/connect/mod.rs",
        "src/control/validate/topology.rs",
        "src/control/validate/profile.rs",
    ];
    const SIGNS: [&str; 6] = [
        "Version {",
        ".version.major",
        ".version.minor",
        ".version <",
        ".version.series()",
        ".fcv",
    ];
    let mut bad = Vec::new();
    for (file, text) in sources(&["src"]) {
        if MAY.contains(&file.as_str()) || file.ends_with("tests.rs") {
            continue;
        }
        let code = text.split("#[cfg(test)]\nmod ").next().unwrap();
        for (number, line) in code.lines().enumerate() {
            let is_code = !line.trim_start().starts_with("//");
            let of_maps = line.contains("MapVersion {");
            if is_code && !of_maps && SIGNS.iter().any(|sign| line.contains(sign)) {
                bad.push(format!("{file}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    assert!(bad.is_empty(), "{bad:#?}");
}

#[test]
fn every_rule_that_code_names_is_written_down() {
    let rules = fs::read_to_string(root().join("src/rules.rs")).unwrap();
    let mut bad = Vec::new();
    for (file, text) in sources(&["src", "loadgen/src", "tests"]) {
        for (number, line) in text.lines().enumerate() {
            let at = number + 1;
            for rule in words_after(line, "(R") {
                if rule.parse::<u8>().is_ok() && !rules.contains(&format!("//! # R{rule}\n")) {
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
fn every_exit_code_is_in_the_readme_and_in_the_help() {
    use shardlift::error::Kind;
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let help = shardlift::config::cli::command().render_help().to_string();
    let kinds = [
        Kind::Config,
        Kind::Connect,
        Kind::Refused,
        Kind::Server,
        Kind::Transient,
        Kind::Parked,
        Kind::RolledOff,
        Kind::Unsupported,
        Kind::Spool,
        Kind::Differs,
        Kind::Cancelled,
        Kind::Stopped,
        Kind::Control,
        Kind::Internal,
    ];
    for page in [readme, help] {
        let (_, codes) = page.split_once("Exit codes:").expect("they are listed");
        let codes = codes.split("\n\n").next().unwrap_or_default();
        for kind in kinds {
            let code = kind.exit_code().to_string();
            let mut numbers = codes.split(|c: char| !c.is_ascii_digit());
            assert!(
                numbers.any(|number| number == code),
                "{code} ({kind:?}): {codes}"
            );
        }
    }
}
