//! README's tables against the code: what stops a run at an entry of the log, and what
//! `validate` fails for, stands there with what to do. Reads files only.

use std::fs;
use std::path::{Path, PathBuf};

/// A stop as the code words it, as a row of README does, the constant of the code that says
/// what to do, and what both say.
const STOPS: [(&str, &str, &str, &str); 12] = [
    (
        "`{command}`",
        "`emptycapped`",
        "EMPTIED",
        "recopy --shard ID --ns",
    ),
    (
        "`{command}`",
        "`convertToCapped` that is one entry",
        "CONVERTED",
        "recopy --shard ID --ns",
    ),
    (
        "`{command}`",
        "`importCollection`",
        "IMPORTED",
        "recopy --shard ID`",
    ),
    (
        "`{command}`",
        "a command of no known name",
        "UNKNOWN",
        "recopy --shard ID`",
    ),
    (
        "the end of a resharding (`reshardCollection`) of {to}",
        "the end of a `reshardCollection`",
        "RESHARDED",
        "migrate --restart",
    ),
    (
        "a rename of {from} to {to}, of which only one is in the run ({})",
        "a rename into the filters, or out of them",
        "CROSSED",
        "recopy --shard ID --ns",
    ),
    (
        "a rename of {from} to {to}, which would be from {} to {}, another database, on the target ({})",
        "a rename that would cross databases on the target",
        "CROSSES",
        "recopy --ns",
    ),
    (
        "the source renamed the sharded collection {from} to {to} (`renameCollection`)",
        "a rename of a sharded collection into a cluster before 6.0",
        "SHARDED_RENAMED",
        "recopy --ns",
    ),
    (
        "a `renameCollection` of a time series",
        "a rename of a time series",
        "SERIES_RENAMED",
        "recopy --shard ID --ns",
    ),
    (
        "a change of the feature compatibility version",
        "a change of the feature compatibility version",
        "FCV_CHANGED",
        "same command",
    ),
    (
        "the creation of `{coll}` (an internal collection)",
        "the creation of an internal collection",
        "COPY_SHARD",
        "recopy --shard ID`",
    ),
    (
        "a write to a collection this shard does not hold",
        "a write to a collection, or a rename of one, that the shard does not hold",
        "COPY_COLLECTION",
        "recopy --shard ID --ns",
    ),
];

/// Entries that no known server writes: one row of README is about all of them.
const BROKEN: [&str; 21] = [
    "a rename of a collection this shard does not hold",
    "an entry of unknown kind",
    "a command without a collection UUID",
    "a transaction inside another command",
    "a create without a collection UUID",
    "a rename without a database",
    "an entry that cannot be read to its end",
    "an op without a collection UUID",
    "an op of unknown kind",
    "an op without `_id`",
    "an update in a form that is not known",
    "a command without a collection name",
    "a commit without its prepare",
    "a dropIndexes without a name",
    "an applyOps that cannot be read",
    "an applyOps without operations",
    "a rename without names",
    "a rename over a collection that it does not tell",
    "an index build without a UUID",
    "an index build without specifications",
    "an index specification that is not a document",
];
const BROKEN_IN_README: &str = "an entry that cannot be read";

/// Checks of `validate` that may fail, and where README says so.
const FAILURES: [(&str, &str); 18] = [
    ("same topology", "another topology or shard count"),
    ("same number of shards", "another topology or shard count"),
    ("same or newer release", "a path that is not in the table"),
    ("release supported", "a path that is not in the table"),
    (
        "feature compatibility version",
        "a path that is not in the table",
    ),
    (
        "indexes can be rebuilt",
        "what the target's release refuses",
    ),
    (
        "views and validators supported",
        "what the target's release refuses",
    ),
    ("target is empty", "that is not empty, or is the source"),
    (
        "target is not the source",
        "that is not empty, or is the source",
    ),
    ("no collection outside the cluster", "no router shows"),
    ("names are UTF-8", "view name that is not UTF-8"),
    ("collections supported", "buckets without their time series"),
    ("target takes writes", "`setUserWriteBlockMode`"),
    ("renames", "names on the target that are too long"),
    ("way back: same release", "both sides of one release"),
    (
        "way back: the same names on both sides",
        "Not with `--reverse`",
    ),
    ("profile atlas", "`--profile atlas` also refuses"),
    (
        "state of encrypted collections",
        "have to take the state collections along",
    ),
];

fn read(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Less the tests at its end.
fn code(path: &Path) -> String {
    let text = read(path);
    let (code, _) = text
        .split_once("#[cfg(test)]\nmod tests")
        .unwrap_or((&text, ""));
    code.to_owned()
}

fn files(dir: &str) -> Vec<PathBuf> {
    let (mut found, mut left) = (Vec::new(), vec![PathBuf::from(dir)]);
    while let Some(dir) = left.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            let is_code = path.extension().is_some_and(|extension| extension == "rs");
            if path.is_dir() {
                left.push(path);
            } else if is_code && path.file_name().is_some_and(|name| name != "tests.rs") {
                found.push(path);
            }
        }
    }
    found
}

/// The literal that begins the text, if one does.
fn literal(text: &str) -> Option<&str> {
    let text = text.trim_start();
    let text = text.strip_prefix("&format!(").unwrap_or(text).trim_start();
    text.strip_prefix('"')?.split('"').next()
}

/// The literal that a name was given last.
fn given<'a>(before: &'a str, name: &str) -> Option<&'a str> {
    let (_, text) = before.rsplit_once(&format!("let {name} ="))?;
    let text = text.trim_start();
    literal(text.strip_prefix("format!(").unwrap_or(text))
}

/// What each `unsupported(…)` of the code says.
fn stops(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices(".unsupported(") {
        let (before, argument) = (&code[..at], &code[at + ".unsupported(".len()..]);
        let name = argument.trim_start_matches('&').split([')', ',']).next();
        let said = literal(argument).or_else(|| given(before, name?));
        let said = said.unwrap_or_else(|| panic!("what stops the run at {argument:.80}"));
        let said = said
            .strip_prefix("a `{command}")
            .map_or(said, |_| "`{command}`");
        found.push(said.to_owned());
    }
    found
}

/// What the rows of tables about that say to do.
fn rows<'a>(readme: &'a str, about: &str) -> Vec<&'a str> {
    let rows = readme.lines().filter(|line| line.starts_with('|'));
    let rows: Vec<&str> = rows.filter(|row| row.contains(about)).collect();
    assert!(!rows.is_empty(), "no table of README has {about:?}");
    rows
}

/// With placeholders as README has them.
fn remedy(all: &str, name: &str) -> String {
    let (_, text) = all
        .split_once(&format!("const {name}: &str ="))
        .unwrap_or_else(|| panic!("there is no {name}"));
    literal(text).unwrap().replace("<its name>", "ID")
}

#[test]
fn what_stops_a_run_stands_in_readme_with_what_to_do() {
    let readme = read("README.md");
    let mut all = read("src/cluster/probe.rs");
    let mut count = 0;
    for path in ["src/pair/tail", "src/pair/ddl", "src/pair/oplog"]
        .into_iter()
        .flat_map(files)
    {
        let code = code(&path);
        for said in stops(&code) {
            let is_known =
                BROKEN.contains(&said.as_str()) || STOPS.iter().any(|(text, ..)| *text == said);
            assert!(
                is_known,
                "{}: {said:?} stops a run: say so in a table of README, and here",
                path.display()
            );
            count += 1;
        }
        all += &code;
    }
    assert!(20 < count, "{count}");
    for (_, about, name, what_to_do) in STOPS {
        let rows = rows(&readme, about);
        let is_told = rows.iter().any(|row| row.contains(what_to_do));
        assert!(is_told, "{rows:?}");
        let remedy = remedy(&all, name);
        assert!(remedy.contains(what_to_do), "{name}: {remedy}");
    }
    let broken = rows(&readme, BROKEN_IN_README);
    assert!(broken[0].contains("recopy --shard ID`"), "{broken:?}");
}

#[test]
fn every_command_that_is_refused_stands_in_readme() {
    let (readme, meaning) = (read("README.md"), read("src/pair/oplog/meaning/mod.rs"));
    let mut refused = meaning.lines().filter_map(|line| {
        let (command, fate) = line.trim().strip_prefix("(\"")?.split_once('"')?;
        fate.contains("Fate::Refused(").then_some(command)
    });
    let first = refused.next().expect("there are such commands");
    for command in refused.chain([first]) {
        rows(&readme, &format!("`{command}`"));
    }
}

/// The name of each check that is made to fail, where it is written out.
fn failing(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for call in ["Check::fail(", "Check::none_of("] {
        for (at, _) in code.match_indices(call) {
            let (before, argument) = (&code[..at], &code[at + call.len()..]);
            let name = argument.trim_start().split(',').next().unwrap_or_default();
            let constant = format!("const {name}: &str =");
            let given = [before, code].into_iter().find_map(|text| {
                let (_, text) = text.rsplit_once(&constant)?;
                literal(text)
            });
            found.extend(literal(argument).or(given).map(str::to_owned));
        }
    }
    found
}

#[test]
fn what_validate_fails_for_stands_in_readme() {
    let readme = read("README.md").replace("\n  ", " ");
    let mut count = 0;
    for path in files("src/control/validate") {
        for name in failing(&code(&path)) {
            let known = FAILURES.iter().find(|(check, _)| *check == name);
            let (_, about) = known.unwrap_or_else(|| {
                panic!("{name:?} may fail: say so in README, and here");
            });
            assert!(readme.contains(about), "{name}: README has no {about:?}");
            count += 1;
        }
    }
    assert!(15 < count, "{count}");
}

/// Why a collection cannot be moved, each in the words of `validate`.
#[test]
fn each_reason_why_a_collection_is_not_moved_stands_in_readme() {
    let readme = read("README.md").replace("\n  ", " ");
    let code = code(Path::new("src/control/validate/content.rs"));
    let (_, function) = code.split_once("fn unsupported(").expect("it says why");
    let (function, _) = function.split_once("\n}\n").expect("it ends");
    let reasons: Vec<&str> = function.split("Some(\"").skip(1).collect();
    assert!(2 <= reasons.len(), "{reasons:?}");
    for reason in reasons {
        let reason = reason.split('"').next().unwrap_or_default();
        assert!(readme.contains(reason), "README has no {reason:?}");
    }
}
