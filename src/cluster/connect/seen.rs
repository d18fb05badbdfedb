//! Explains why a replica set is not reached although some of its hosts may be. Asks each
//! host what it is, and which hosts its configuration names.
//!
//! Only makes texts for an error; decides nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use bson::{Bson, Document, doc};
use futures_util::future::join_all;
use mongodb::Client;
use mongodb::options::{ClientOptions, ServerAddress};

use crate::cluster::hello;
use crate::error::{Error, Kind};

/// How long one host may take to answer: somebody waits for the error.
const PATIENCE: Duration = Duration::from_secs(5);

/// What one host says of itself.
struct Seen {
    host: String,
    /// It has a configuration in which it does not find itself.
    is_lost: bool,
    /// Named by its configuration.
    names: BTreeSet<String>,
}

/// The error with what its hosts say; as it is if none of them answers.
pub(super) async fn explained(e: Error, options: &ClientOptions) -> Error {
    if e.kind != Kind::Connect || e.code.is_some() {
        return e;
    }
    let seen: Vec<Seen> = join_all(options.hosts.iter().map(|host| look(options, host)))
        .await
        .into_iter()
        .flatten()
        .collect();
    let names: BTreeSet<String> = seen
        .iter()
        .flat_map(|seen| seen.names.iter().cloned())
        .collect();
    if names.is_empty() {
        return e;
    }
    let silent = join_all(names.iter().map(|name| async move {
        let reached = match ServerAddress::parse(name) {
            Ok(address) => greeted(options, &address).await.is_some(),
            Err(_) => false,
        };
        (!reached).then(|| name.clone())
    }));
    let silent: Vec<String> = silent.await.into_iter().flatten().collect();
    if silent.is_empty() && !seen.iter().any(|seen| seen.is_lost) {
        return e;
    }
    let listed =
        |names: &mut dyn Iterator<Item = &String>| names.cloned().collect::<Vec<_>>().join(", ");
    let answers = seen.iter().map(|seen| {
        if seen.is_lost {
            format!(
                "{} answers, but is not in its set's configuration",
                seen.host
            )
        } else {
            format!("{} answers", seen.host)
        }
    });
    let found = format!(
        "{}; {}; the configuration names {}",
        e.message,
        answers.collect::<Vec<_>>().join(", "),
        listed(&mut names.iter())
    );
    let found = match &silent[..] {
        [] => found,
        silent => format!(
            "{found}, of which this host cannot reach {}",
            listed(&mut silent.iter())
        ),
    };
    let remedy = "shardlift uses the host names in the set's configuration, not those in the URI: make these names \
                  resolve and answer from the members and from this host (DNS, /etc/hosts, firewall), or give the set \
                  other names with `rs.reconfig`";
    Error {
        message: found,
        ..e
    }
    .remedy(remedy)
}

async fn look(options: &ClientOptions, host: &ServerAddress) -> Option<Seen> {
    let (client, hello) = greeted(options, host).await?;
    let mut names: BTreeSet<String> = BTreeSet::new();
    for field in ["hosts", "passives", "arbiters"] {
        names.extend(texts(&hello, field));
    }
    if names.is_empty() {
        names.extend(configured(&client).await);
    }
    let is_lost = hello.get_bool("isreplicaset").unwrap_or(false);
    Some(Seen {
        host: host.to_string(),
        is_lost,
        names,
    })
}

/// The answer of one host, whatever set it is in.
async fn greeted(options: &ClientOptions, host: &ServerAddress) -> Option<(Client, Document)> {
    let mut alone = options.clone();
    alone.hosts = vec![host.clone()];
    alone.direct_connection = Some(true);
    alone.repl_set_name = None;
    alone.server_selection_timeout = Some(PATIENCE);
    let client = Client::with_options(alone).ok()?;
    let asked = hello::hello(&client);
    let hello = tokio::time::timeout(PATIENCE, asked).await.ok()?.ok()?;
    Some((client, hello))
}

async fn configured(client: &Client) -> Vec<String> {
    let asked = async {
        client
            .database("admin")
            .run_command(doc! {"replSetGetConfig": 1})
            .await
    };
    let Ok(Ok(reply)) = tokio::time::timeout(PATIENCE, asked).await else {
        return Vec::new();
    };
    let members = reply
        .get_document("config")
        .and_then(|config| config.get_array("members"));
    let hosts = members
        .into_iter()
        .flatten()
        .filter_map(|member| member.as_document()?.get_str("host").ok());
    hosts.map(str::to_owned).collect()
}

fn texts(document: &Document, field: &str) -> Vec<String> {
    let all = document.get_array(field).into_iter().flatten();
    all.filter_map(Bson::as_str).map(str::to_owned).collect()
}
