//! The words for a deployment that cannot be one side of a migration, or that
//! does not let us in: what was found and what to check, never a password.
//!
//! Talks to no server.

use mongodb::error::ErrorKind;

use crate::cluster::deployment::Side;
use crate::cluster::probe::Role;
use crate::codes;
use crate::error::{Error, Kind};

pub(super) fn refused(side: Side, hosts: &str, role: &Role) -> Error {
    let (what, remedy) = match role {
        Role::Standalone => (
            "a standalone server",
            "convert it to a replica set: a standalone has no oplog to follow",
        ),
        Role::ConfigServer => ("a config server", "give the URI of a mongos of the cluster"),
        Role::ShardServer => (
            "a shard of a cluster",
            "give the URI of a mongos of the cluster, not of one shard",
        ),
        Role::Router | Role::ReplicaSet { .. } => ("a deployment", "report this"),
    };
    Error::new(Kind::Refused, format!("the {side} at {hosts} is {what}")).remedy(remedy)
}

/// Says which servers did not let us in, and what to check.
pub(super) fn unreachable(side: Side, what: &str, hosts: &str, e: Error) -> Error {
    let at_entry = what == "entry";
    let (how, remedy) = match (e.kind, at_entry) {
        _ if e.code == Some(codes::UNAUTHORIZED) => (
            "does not authorize the user",
            "grant the user the role clusterMonitor (validation names all it needs)",
        ),
        (Kind::Connect, true) => (
            "refuses the user's login",
            "check user, password and authSource in the URI",
        ),
        (Kind::Connect, false) => (
            "refuses the user's login",
            "the user of the URI must exist on every shard too, with the same password: create it on this shard",
        ),
        (_, true) => (
            "cannot be reached",
            "check that the servers run and have a primary, host names and ports in the URI, firewalls, and tls=true if they require TLS",
        ),
        (_, false) => (
            "cannot be reached",
            "shardlift connects to every shard's primary: check that it runs and that this host can resolve and reach these names and ports",
        ),
    };
    let message = format!(
        "{what} of the {side} at {hosts} {how}: {}",
        short_reason(&e.message)
    );
    Error {
        kind: Kind::Connect,
        message,
        remedy: e
            .remedy
            .filter(|_| e.code != Some(codes::UNAUTHORIZED))
            .or(Some(remedy.to_owned())),
        code: e.code,
    }
}

/// The cause inside the driver's description of a whole topology.
fn short_reason(message: &str) -> &str {
    let Some((_, cause)) = message.split_once("Error: Kind: ") else {
        return message;
    };
    cause.split(", labels:").next().unwrap_or(cause)
}

/// A URI error never repeats the password, not even a part of it that the
/// parser took for something else.
pub(super) fn bad_uri(side: Side, uri: &str, e: &mongodb::error::Error) -> Error {
    let kind = if matches!(&*e.kind, ErrorKind::DnsResolve { .. }) {
        Kind::Connect
    } else {
        Kind::Config
    };
    let message = match &*e.kind {
        ErrorKind::InvalidArgument { message, .. } => message.clone(),
        _ => e.to_string(),
    };
    let shown = if repeats_secret(uri, &message) {
        "it cannot be parsed near user and password"
    } else {
        &message
    };
    Error::new(kind, format!("the {side} URI cannot be used: {shown}")).remedy(
        "write mongodb://user:password@host:port,…/?option=value, with : / ? # [ ] @ % in user and password percent-encoded",
    )
}

fn repeats_secret(uri: &str, message: &str) -> bool {
    let Some((_, rest)) = uri.split_once("://") else {
        return uri.contains('@');
    };
    let Some((login, _)) = rest.rsplit_once('@') else {
        return false;
    };
    let secret = login.split_once(':').map_or("", |(_, password)| password);
    secret
        .split([':', '/', '?', '@', '#', '&', '=', ','])
        .any(|part| !part.is_empty() && message.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uri_errors_keep_the_password() {
        let rows = [
            ("mongodb://u:secret@h/?x=1", "port is secret", true),
            (
                "mongodb://u:se/cret@h/",
                "port must be a number, got se",
                true,
            ),
            ("mongodb://u:secret@h/?x=1", "unknown option x", false),
            ("mongodb://h:1/", "anything", false),
            ("garbage", "no scheme", false),
        ];
        for (uri, message, expect) in rows {
            assert_eq!(repeats_secret(uri, message), expect, "{uri} {message}");
        }
    }

    #[test]
    fn the_cause_is_cut_out_of_a_topology_description() {
        let long = "Server selection timeout: … Error: Kind: I/O error: refused, labels: {}, source: None } ] }";
        assert_eq!(short_reason(long), "I/O error: refused");
        assert_eq!(short_reason("plain"), "plain");
    }
}
