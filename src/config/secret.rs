//! Connection strings: kept apart from anything that prints, redacted in text.
//!
//! Knows nothing about how a driver reads them.

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};

use crate::error::{Error, Kind, Result};

/// Stands where credentials were.
pub(super) const HIDDEN: &str = "***";

/// Options of a connection string whose values are credentials.
const SECRET_OPTIONS: &[&str] = &[
    "tlscertificatekeyfilepassword",
    "authmechanismproperties",
    "proxypassword",
];

/// A connection string. Debug, Display and Serialize show it redacted.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    pub fn new(uri: impl Into<String>) -> Self {
        Secret(uri.into())
    }

    /// The connection string itself, for the driver only.
    pub fn expose(&self) -> &str {
        &self.0
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&redact(&self.0))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A token. Debug, Display and Serialize show only whether there is one.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Token(String);

impl Token {
    /// The token itself, for requests and to be compared with theirs.
    pub fn expose(&self) -> &str {
        &self.0
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_empty() { "" } else { HIDDEN })
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Token {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Replaces user, password and secret options of the connection string in
/// `text`. Hides too much rather than too little: all up to the last `@`.
pub fn redact(text: &str) -> String {
    let open = match (text.find("://"), text.rfind('@')) {
        (Some(scheme), Some(at)) if scheme + 3 <= at => {
            format!("{}{HIDDEN}{}", &text[..scheme + 3], &text[at..])
        }
        (None, Some(at)) => format!("{HIDDEN}{}", &text[at..]),
        _ => text.to_string(),
    };
    match open.split_once('?') {
        Some((before, options)) => format!("{before}?{}", redact_options(options)),
        None => open,
    }
}

fn redact_options(options: &str) -> String {
    let hide = |option: &str| match option.split_once('=') {
        Some((name, _)) if SECRET_OPTIONS.contains(&name.to_lowercase().as_str()) => {
            format!("{name}={HIDDEN}")
        }
        _ => option.to_string(),
    };
    options.split('&').map(hide).collect::<Vec<_>>().join("&")
}

/// True if printing `uri` would give a credential away.
pub fn has_credentials(uri: &str) -> bool {
    redact(uri) != uri
}

/// Whether `uri` can be a connection string at all; its options are the
/// driver's to judge. The error never shows the URI itself.
///
/// # Errors
/// `Config`, saying what is wrong with knob `name`.
pub fn check_uri(name: &str, uri: &str) -> Result<()> {
    let wrong = |what: &str, remedy: &str| {
        Err(Error::new(Kind::Config, format!("{name} {what}")).remedy(remedy))
    };
    let Some(rest) = uri
        .strip_prefix("mongodb://")
        .or_else(|| uri.strip_prefix("mongodb+srv://"))
    else {
        return wrong(
            "is not a MongoDB connection string",
            "start it with mongodb:// or mongodb+srv://",
        );
    };
    if rest.chars().any(char::is_whitespace) {
        return wrong(
            "contains white space",
            "remove it, or write it as %20 inside a password",
        );
    }
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let after = &rest[authority.len()..];
    let (path, options) = after.split_once('?').unwrap_or((after, ""));
    let cut_short = !authority.contains('@') && options.contains('@');
    if authority.matches('@').count() > 1 || path.contains('@') || cut_short {
        return wrong(
            "has an unescaped character in its user or password",
            "percent-encode it there: @ as %40, / as %2F, ? as %3F, : as %3A",
        );
    }
    let hosts = authority.rsplit('@').next().unwrap_or_default();
    if hosts
        .split(',')
        .any(|host| host.is_empty() || host.starts_with(':'))
    {
        return wrong("names no host", "write it as mongodb://host:port,…");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_never_show() {
        for (uri, shown) in [
            (
                "mongodb://ann:s3cret@h1:1,h2:2/?tls=true",
                "mongodb://***@h1:1,h2:2/?tls=true",
            ),
            ("mongodb+srv://ann@h/", "mongodb+srv://***@h/"),
            ("mongodb://a:p@ss@w0rd@h/", "mongodb://***@h/"),
            (
                "mongodb://h/?proxyPassword=x&w=1",
                "mongodb://h/?proxyPassword=***&w=1",
            ),
            ("ann:s3cret@h", "***@h"),
            ("mongodb://h:1", "mongodb://h:1"),
        ] {
            let secret = Secret::new(uri);
            assert_eq!(secret.to_string(), shown);
            assert_eq!(format!("{secret:?}"), shown);
            assert_eq!(serde_json::to_value(&secret).unwrap(), shown);
            assert_eq!(secret.expose(), uri);
            assert_eq!(has_credentials(uri), uri != shown);
        }
    }

    #[test]
    fn bad_uris_are_told_apart() {
        for (uri, found) in [
            ("postgres://h", "not a MongoDB connection string"),
            ("h:27017", "not a MongoDB connection string"),
            ("mongodb://", "names no host"),
            ("mongodb://a:b@/db", "names no host"),
            ("mongodb://h1,,h2", "names no host"),
            ("mongodb://h 1", "white space"),
            ("mongodb://a:p@ss@h/", "unescaped"),
            ("mongodb://a:p/ss@h/", "unescaped"),
            ("mongodb://a:p?ss@h/", "unescaped"),
        ] {
            let error = check_uri("source", uri).unwrap_err();
            assert_eq!(error.kind, Kind::Config);
            assert!(error.message.contains(found), "{uri}: {error}");
            assert!(error.remedy.is_some() && !error.to_string().contains("ss@"));
        }
        for uri in [
            "mongodb://h",
            "mongodb://a:p%40ss@h1:1,h2:2/db?x=y@z",
            "mongodb+srv://h.example/",
            "mongodb://[::1]:1",
        ] {
            check_uri("target", uri).unwrap();
        }
    }
}
