//! Keeps passwords out of the process list: connection strings given as flags
//! move to the environment and the process starts itself again.
//!
//! Must run before any thread starts. Knows nothing about configuration files.

use std::ffi::OsString;

use crate::config::{mirror, secret};

/// Set for the restarted process, so that it warns once.
pub const MARKER: &str = "SHARDLIFT_URIS_MOVED";

pub const WARNING: &str = "a connection string with credentials was given as a flag, where every user of this \
    machine could read it for a moment; give it in the config file or in SHARDLIFT_SOURCE and SHARDLIFT_TARGET";

/// Starts the process again without credentials in its arguments. Does not return if
/// there were any. If that cannot be done, returns a warning, and the run continues.
#[must_use]
pub fn hide_credentials() -> Option<String> {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    let (kept, moved) = split(args);
    if moved.is_empty() {
        return None;
    }
    Some(format!(
        "{WARNING} (and they still can: {})",
        start_again(&kept, &moved)
    ))
}

/// Replaces this process by `migrate` of these. Returns only the reason it could not.
pub fn start_migrate(call: mirror::Migrate, exposed: bool) -> std::io::Error {
    let args = std::iter::once("migrate".to_owned()).chain(call.args);
    let args: Vec<OsString> = args.map(OsString::from).collect();
    let mut env = vec![
        ("SHARDLIFT_SOURCE", call.source),
        ("SHARDLIFT_TARGET", call.target),
    ];
    if exposed {
        env.push((MARKER, "1".to_owned()));
    }
    replace(&args, &env)
}

/// Replaces this process; returns only the reason it could not.
fn start_again(args: &[OsString], env: &[(&'static str, String)]) -> std::io::Error {
    replace(args, &[env, &[(MARKER, "1".to_owned())]].concat())
}

#[cfg(unix)]
fn replace(args: &[OsString], env: &[(&'static str, String)]) -> std::io::Error {
    use std::os::unix::process::CommandExt;
    match std::env::current_exe() {
        Ok(program) => std::process::Command::new(program)
            .args(args)
            .envs(env.iter().cloned())
            .exec(),
        Err(e) => e,
    }
}

#[cfg(not(unix))]
fn replace(_args: &[OsString], _env: &[(&'static str, String)]) -> std::io::Error {
    std::io::ErrorKind::Unsupported.into()
}

/// Parts `--source URI`, `--source=URI` (and target) with credentials in them
/// from the other arguments.
fn split(args: Vec<OsString>) -> (Vec<OsString>, Vec<(&'static str, String)>) {
    let (mut kept, mut moved) = (Vec::new(), Vec::new());
    let mut args = args.into_iter().peekable();
    while let Some(arg) = args.next() {
        let Some((flag, variable, inline)) = arg.to_str().and_then(uri_flag) else {
            kept.push(arg);
            continue;
        };
        let uri = inline.or_else(|| {
            args.peek()
                .and_then(|next| next.to_str().map(str::to_string))
        });
        match uri {
            Some(uri) if secret::has_credentials(&uri) => {
                if arg == *flag {
                    args.next();
                }
                moved.push((variable, uri));
            }
            _ => kept.push(arg),
        }
    }
    (kept, moved)
}

/// The flag, its variable and, for `--flag=URI`, the URI.
fn uri_flag(arg: &str) -> Option<(&'static str, &'static str, Option<String>)> {
    for (flag, variable) in [
        ("--source", "SHARDLIFT_SOURCE"),
        ("--target", "SHARDLIFT_TARGET"),
    ] {
        match arg.strip_prefix(flag) {
            Some("") => return Some((flag, variable, None)),
            Some(rest) if rest.starts_with('=') => {
                return Some((flag, variable, Some(rest[1..].to_string())));
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(args: &[&str]) -> (Vec<String>, Vec<(&'static str, String)>) {
        let (kept, moved) = split(args.iter().map(OsString::from).collect());
        (
            kept.into_iter().map(|a| a.into_string().unwrap()).collect(),
            moved,
        )
    }

    #[test]
    fn only_uris_with_credentials_move() {
        let (kept, moved) = run(&[
            "migrate",
            "--source",
            "mongodb://a:b@h",
            "--target=mongodb://c:d@i",
            "--lanes",
            "8",
            "--json",
        ]);
        assert_eq!(kept, ["migrate", "--lanes", "8", "--json"]);
        assert_eq!(
            moved,
            [
                ("SHARDLIFT_SOURCE", "mongodb://a:b@h".to_string()),
                ("SHARDLIFT_TARGET", "mongodb://c:d@i".to_string())
            ]
        );
    }

    #[test]
    fn other_arguments_stay_as_they_are() {
        for args in [
            &["migrate", "--source", "mongodb://h", "--target=mongodb://i"][..],
            &["migrate", "--source"],
            &["status", "--sourcemap=a:b@c"],
        ] {
            let (kept, moved) = run(args);
            assert_eq!(kept, args);
            assert!(moved.is_empty());
        }
    }
}
