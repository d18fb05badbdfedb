//! `shardlift mirror`: the flags of mongomirror, as a call of `shardlift migrate`.
//!
//! Translates; what has no meaning here is refused with a hint. Reads one file at most.

mod file;

use std::collections::BTreeMap;
use std::path::Path;

use clap::{Arg, ArgAction, Command};

use crate::error::{Error, Kind, Result};

/// One flag of mongomirror.
struct Flag {
    name: &'static str,
    short: Option<char>,
    takes_value: bool,
    help: &'static str,
    /// Why it is refused, and what to do instead. None: it is translated.
    hint: Option<&'static str>,
}

const fn taken(name: &'static str, help: &'static str) -> Flag {
    Flag {
        name,
        short: None,
        takes_value: true,
        help,
        hint: None,
    }
}

const fn switch(name: &'static str, help: &'static str) -> Flag {
    Flag {
        takes_value: false,
        ..taken(name, help)
    }
}

const fn refused(name: &'static str, takes_value: bool, hint: &'static str) -> Flag {
    Flag {
        name,
        short: None,
        takes_value,
        help: "Refused with a hint",
        hint: Some(hint),
    }
}

const FLAGS: &[Flag] = &[
    taken("host", "Source: SET/HOST:PORT,…"),
    taken("username", "User on the source"),
    taken("password", "Its password; better in --config"),
    taken("authenticationDatabase", "Where that user is"),
    taken("authenticationMechanism", "How it logs in"),
    switch("ssl", "Reach the source by TLS"),
    taken("sslCAFile", "Authority of the source's certificates"),
    taken("sslPEMKeyFile", "Certificate and key to show the source"),
    taken("sslPEMKeyPassword", "Password of that key"),
    switch("tlsInsecure", "Do not check the source's certificates"),
    taken(
        "destination",
        "Target: SET/HOST:PORT,…; reached by TLS if it is of mongodb.net, or with --ssl",
    ),
    taken("destinationUsername", "User on the target"),
    taken("destinationPassword", "Its password; better in --config"),
    taken("destinationAuthenticationDatabase", "Where that user is"),
    taken(
        "includeNamespace",
        "Move only this collection; may be given several times",
    ),
    taken(
        "includeDB",
        "Move only this database; may be given several times",
    ),
    Flag {
        short: Some('j'),
        ..taken("numParallelCollections", "Ranges copied at a time")
    },
    taken("compressors", "Compression on the way"),
    taken("oplogPath", "Folder where the oplog waits for the target"),
    taken("oplogBatchSize", "Most statements in one write command"),
    taken(
        "httpStatusPort",
        "Answer on this port in mongomirror's shape, and stay up after an error",
    ),
    taken("readPreference", "primary only"),
    taken("writeConcern", "majority only"),
    refused(
        "drop",
        false,
        "the target must be empty; `shardlift migrate --restart` drops what an earlier run copied, and nothing else",
    ),
    refused(
        "noIndexRestore",
        false,
        "indexes are part of a migration: drop on the target, after the cutover, those you do not want",
    ),
    refused(
        "bookmarkFile",
        true,
        "leave it out: the state of a run is kept on the target, and the same command resumes it",
    ),
    refused(
        "forceDump",
        false,
        "leave it out; `shardlift migrate --restart` starts over",
    ),
    refused(
        "collStatsThreshold",
        true,
        "leave it out: sizes are asked for per shard",
    ),
];

/// The flags of the command, beside `--config` and `--json`.
pub fn args() -> impl Iterator<Item = Arg> {
    FLAGS.iter().map(|flag| {
        let action = if flag.takes_value {
            ArgAction::Append
        } else {
            ArgAction::SetTrue
        };
        let arg = Arg::new(flag.name)
            .long(flag.name)
            .action(action)
            .help(flag.help);
        match flag.short {
            Some(short) => arg.short(short),
            None => arg,
        }
    })
}

/// The command with its flags.
pub fn command(command: Command) -> Command {
    let about = "A replica set only. The YAML file of --config may hold `password`, `destinationPassword`, `sslPEMKeyPassword`, \
        and `uri`: the source, unless --host is given. The cutover is asked for by `shardlift cutover`.";
    command.args(args()).after_help(about)
}

/// What was given, by the name of the flag; a switch has no values.
pub type Given = BTreeMap<String, Vec<String>>;

/// What was given on the command line.
pub fn given(matches: &clap::ArgMatches) -> Given {
    let of = |flag: &Flag| {
        let values: Vec<String> = if flag.takes_value {
            matches.get_many::<String>(flag.name)?.cloned().collect()
        } else {
            matches.get_flag(flag.name).then(Vec::new)?
        };
        Some((flag.name.to_owned(), values))
    };
    FLAGS.iter().filter_map(of).collect()
}

/// A call of `shardlift migrate`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Migrate {
    pub source: String,
    pub target: String,
    /// Flags and their values.
    pub args: Vec<String>,
}

/// # Errors
/// `Config`, with a hint for what has no meaning here.
pub fn translate(given: &Given, file: Option<&Path>) -> Result<Migrate> {
    for flag in FLAGS {
        if let (Some(hint), true) = (flag.hint, given.contains_key(flag.name)) {
            return Err(wrong(format!("--{} has no meaning here", flag.name), hint));
        }
    }
    only(
        given,
        "readPreference",
        "primary",
        "only a primary tells all that is written to a shard",
    )?;
    only(
        given,
        "writeConcern",
        "majority",
        "positions are proven by a majority, whatever the writes ask for",
    )?;
    let mut all = given.clone();
    if let Some(path) = file {
        all.extend(file::read(path)?);
    }
    let uses_tls = all.contains_key("ssl");
    let source = Side {
        host: "host",
        user: "username",
        password: "password",
        database: "authenticationDatabase",
        tls: uses_tls,
    };
    let to_atlas = all
        .get("destination")
        .is_some_and(|to| to[0].contains(".mongodb.net"));
    let target = Side {
        host: "destination",
        user: "destinationUsername",
        password: "destinationPassword",
        database: "destinationAuthenticationDatabase",
        tls: uses_tls || to_atlas,
    };
    let mut args = Vec::new();
    let mut add = |flag: &str, value: String| args.extend([format!("--{flag}"), value]);
    for ns in all.get("includeNamespace").into_iter().flatten() {
        add("include", ns.clone());
    }
    for db in all.get("includeDB").into_iter().flatten() {
        add("include", format!("{db}.*"));
    }
    for (name, flag) in [
        ("numParallelCollections", "scans"),
        ("oplogPath", "spool-dir"),
        ("oplogBatchSize", "bulk-ops-max"),
        ("httpStatusPort", "http-status-port"),
    ] {
        if let Some(value) = first(&all, name) {
            add(flag, value.to_owned());
        }
    }
    Ok(Migrate {
        source: match first(&all, "uri") {
            Some(uri) if !all.contains_key("host") => by_uri(uri, &all)?,
            _ => source.uri(&all)?,
        },
        target: target.uri(&all)?,
        args,
    })
}

/// Names of the flags that one side is given by.
struct Side {
    host: &'static str,
    user: &'static str,
    password: &'static str,
    database: &'static str,
    tls: bool,
}

impl Side {
    fn uri(&self, given: &Given) -> Result<String> {
        let host = first(given, self.host).unwrap_or_default();
        let (set, hosts) = host.split_once('/').ok_or_else(|| {
            wrong(
                format!("--{} is not SET/HOST:PORT,…", self.host),
                "give the name of the replica set and its members; a sharded cluster is moved by `shardlift migrate`",
            )
        })?;
        let login = match (first(given, self.user), first(given, self.password)) {
            (None, _) => String::new(),
            (Some(user), None) => format!("{}@", encoded(user)),
            (Some(user), Some(password)) => format!("{}:{}@", encoded(user), encoded(password)),
        };
        let mut options = vec![format!("replicaSet={}", encoded(set))];
        let mut add = |option: &str, name: &str| {
            let value = first(given, name);
            options.extend(value.map(|value| format!("{option}={}", encoded(value))));
        };
        if !login.is_empty() {
            add("authSource", self.database);
        }
        add("compressors", "compressors");
        if self.host == "host" {
            add("authMechanism", "authenticationMechanism");
            add("tlsCAFile", "sslCAFile");
            add("tlsCertificateKeyFile", "sslPEMKeyFile");
            add("tlsCertificateKeyFilePassword", "sslPEMKeyPassword");
        }
        if self.tls {
            options.push("tls=true".to_owned());
        }
        if self.host == "host" && given.contains_key("tlsInsecure") {
            options.push("tlsInsecure=true".to_owned());
        }
        Ok(format!("mongodb://{login}{hosts}/?{}", options.join("&")))
    }
}

/// The source is given as a whole. What is said of both sides is added to it.
fn by_uri(uri: &str, given: &Given) -> Result<String> {
    const IN_IT: [&str; 8] = [
        "username",
        "password",
        "authenticationDatabase",
        "authenticationMechanism",
        "sslCAFile",
        "sslPEMKeyFile",
        "sslPEMKeyPassword",
        "tlsInsecure",
    ];
    if let Some(name) = IN_IT.iter().find(|name| given.contains_key(**name)) {
        return Err(wrong(
            format!("{name} is given beside the uri of the source"),
            "say it in the uri, or give the source by --host",
        ));
    }
    // It may hold a password: it is not shown.
    let Some((_, place)) = uri
        .split_once("://")
        .filter(|(scheme, _)| scheme.starts_with("mongodb"))
    else {
        return Err(wrong(
            "uri is no connection string".to_owned(),
            "give mongodb://… or mongodb+srv://…",
        ));
    };
    let (before, options) = uri.split_once('?').unwrap_or((uri, ""));
    let mut options: Vec<String> = options
        .split('&')
        .filter(|option| !option.is_empty())
        .map(str::to_owned)
        .collect();
    let has =
        |options: &[String], name: &str| options.iter().any(|option| option.starts_with(name));
    if given.contains_key("ssl") && !has(&options, "tls=") && !has(&options, "ssl=") {
        options.push("tls=true".to_owned());
    }
    if let Some(value) = first(given, "compressors").filter(|_| !has(&options, "compressors=")) {
        options.push(format!("compressors={}", encoded(value)));
    }
    if options.is_empty() {
        return Ok(uri.to_owned());
    }
    let slash = if place
        .split('?')
        .next()
        .is_some_and(|place| place.contains('/'))
    {
        ""
    } else {
        "/"
    };
    Ok(format!("{before}{slash}?{}", options.join("&")))
}

fn first<'a>(given: &'a Given, name: &str) -> Option<&'a str> {
    given.get(name)?.first().map(String::as_str)
}

fn only(given: &Given, name: &str, value: &str, hint: &'static str) -> Result<()> {
    match first(given, name) {
        Some(other) if other != value => {
            Err(wrong(format!("--{name} {other} is not supported"), hint))
        }
        _ => Ok(()),
    }
}

/// Percent-encoded: all but what never needs it.
fn encoded(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let one = |byte: u8| {
        if is_plain(byte) {
            char::from(byte).to_string()
        } else {
            format!("%{byte:02X}")
        }
    };
    text.bytes().map(one).collect()
}

fn wrong(found: String, hint: &'static str) -> Error {
    Error::new(Kind::Config, found).remedy(hint)
}

#[cfg(test)]
mod tests;
