//! Every member that bears data, reached from this host by the name its set knows: after an
//! election the run goes there.
//!
//! Reads only.

use bson::{Bson, Document};
use futures_util::future::join_all;

use crate::cluster::deployment::{Deployment, Shard};
use crate::cluster::{hello, reach};
use crate::control::validate::{Check, named};

pub(super) async fn members(deployment: &Deployment) -> Check {
    let name = named(
        deployment.side,
        "source members reached",
        "target members reached",
    );
    let found = join_all(deployment.shards.iter().map(of_shard)).await;
    let count: usize = found.iter().map(|(count, _)| count).sum();
    let unreached: Vec<String> = found
        .into_iter()
        .flat_map(|(_, unreached)| unreached)
        .collect();
    Check::warn_of(
        name,
        &unreached,
        format!("all {count}, by their names"),
        "let this host resolve and reach every member by the name in its set's configuration (`rs.conf()`), with the same TLS files and login: after an election the run goes to another one",
    )
}

/// How many members there are, and what is wrong with those that are not reached.
async fn of_shard(shard: &Shard) -> (usize, Vec<String>) {
    let hosts = match hello::hello(&shard.client).await {
        Ok(hello) => hosts(&hello),
        Err(e) => return (0, vec![format!("{}: {e}", shard.id)]),
    };
    let entered = hosts.iter().map(|host| async move {
        let entered = reach::enter(&shard.way, host).await;
        let text = |(step, why)| format!("{host} of {}: {step}: {why}", shard.id);
        entered.err().map(text)
    });
    let unreached = join_all(entered).await.into_iter().flatten();
    (hosts.len(), unreached.collect())
}

/// Members that bear data: an arbiter has no users to log in as.
fn hosts(hello: &Document) -> Vec<String> {
    let of = |name| hello.get_array(name).into_iter().flatten();
    let hosts = of("hosts").chain(of("passives")).filter_map(Bson::as_str);
    hosts.map(str::to_owned).collect()
}
