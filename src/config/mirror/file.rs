//! The YAML file of mongomirror's `--config`: secrets, and the source's uri.

use std::path::Path;

use crate::config::mirror::{Given, wrong};
use crate::error::Result;

const KNOWN: [&str; 4] = [
    "password",
    "destinationPassword",
    "sslPEMKeyPassword",
    "uri",
];

/// Lines such as `password: "secret"`. Nothing of them is shown.
pub(super) fn read(path: &Path) -> Result<Given> {
    let cannot = |why: String| {
        wrong(
            format!("{}: {why}", path.display()),
            "it may hold lines such as `password: …`, `destinationPassword: …`, `sslPEMKeyPassword: …` and `uri: …`; comments begin with #",
        )
    };
    let text = std::fs::read_to_string(path).map_err(|e| cannot(e.to_string()))?;
    let lines = text.lines().map(str::trim).enumerate();
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with(['#', '-']));
    let mut found = Given::new();
    for (number, line) in lines {
        let unknown = || cannot(format!("line {} is none of its settings", number + 1));
        let (name, value) = line.split_once(':').ok_or_else(unknown)?;
        if !KNOWN.contains(&name) {
            return Err(unknown());
        }
        let value = value.trim().trim_matches(['"', '\'']);
        found.insert(name.to_owned(), vec![value.to_owned()]);
    }
    Ok(found)
}
