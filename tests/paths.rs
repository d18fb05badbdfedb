//! The paths between releases: what each may bring, and what of it each later one refuses,
//! asked of real servers.

mod clusters;
mod older;
mod refused;
mod rights;
mod rules;
mod sets;

use bson::Document;
use loadgen::cluster::{ReplicaSet, ReplicaSetOptions, User};
use mongodb::Client;

/// Every release, oldest first.
const RELEASES: [&str; 4] = ["4.2", "4.4", "5.0", "6.0"];

/// A set of one.
async fn set(release: &str, name: &str) -> ReplicaSet {
    set_with(release, name, None).await
}

/// One that asks for a login.
async fn set_with(release: &str, name: &str, login: Option<Vec<User>>) -> ReplicaSet {
    let options = ReplicaSetOptions {
        release: release.parse().unwrap(),
        name: name.to_owned(),
        cache_gb: 0.25,
        oplog_mb: Some(256),
        login,
        ..ReplicaSetOptions::default()
    };
    ReplicaSet::start(options).await.unwrap()
}

/// A command that may be refused.
async fn takes(client: &Client, db: &str, command: Document) -> bool {
    client.database(db).run_command(command).await.is_ok()
}
