//! Every member that bears data, of the config servers too, and every router of the URI,
//! reached from this host by the name that its set or the URI gives it: after an election the
//! run goes there, and after a fault of a router to another one.
//!
//! Reads only.

use bson::{Bson, Document};
use futures_util::future::join_all;

use crate::cluster::deployment::{Deployment, Shard, Topology};
use crate::cluster::{hello, reach};
use crate::control::validate::members::config_hosts;
use crate::control::validate::{Check, named};
use crate::error::Result;

/// The check of the source's.
pub(super) const SOURCE: &str = "source members reached";

pub(super) async fn members(deployment: &Deployment) -> Check {
    let name = named(deployment.side, SOURCE, "target members reached");
    let (mut places, around) = tokio::join!(
        join_all(deployment.shards.iter().map(of_shard)),
        around(deployment)
    );
    places.extend(around);
    let count: usize = places
        .iter()
        .flat_map(|place| &place.hosts)
        .map(Vec::len)
        .sum();
    let unreached = join_all(places.iter().map(Place::unreached)).await.concat();
    Check::warn_of(
        name,
        &unreached,
        format!("all {count}, by their names"),
        "let this host resolve and reach every member by the name in its set's configuration (`rs.conf()`), and every router of the URI, with the same TLS files and login: after an election the run goes to another member. Config servers it asks by the routers alone",
    )
}

/// Servers that are found together, and are entered as this shard is.
struct Place<'a> {
    name: &'a str,
    shard: &'a Shard,
    hosts: Result<Vec<String>>,
}

impl Place<'_> {
    /// What is wrong with those that are not reached.
    async fn unreached(&self) -> Vec<String> {
        let hosts = match &self.hosts {
            Ok(hosts) => hosts,
            Err(e) => return vec![format!("{}: {e}", self.name)],
        };
        let entered = hosts.iter().map(|host| async move {
            let entered = reach::enter(&self.shard.way, host).await;
            let text = |(step, why)| format!("{host} of {}: {step}: {why}", self.name);
            entered.err().map(text)
        });
        join_all(entered).await.into_iter().flatten().collect()
    }
}

async fn of_shard(shard: &Shard) -> Place<'_> {
    let hello = hello::hello(&shard.client).await;
    Place {
        name: &shard.id,
        shard,
        hosts: hello.map(|hello| hosts(&hello)).map_err(Into::into),
    }
}

/// What a cluster has beside its shards.
async fn around(deployment: &Deployment) -> Vec<Place<'_>> {
    if deployment.topology == Topology::ReplicaSet {
        return Vec::new();
    }
    let shard = &deployment.shards[0];
    let place = |name, hosts| Place { name, shard, hosts };
    let routers = deployment.entry.named().iter().map(ToString::to_string);
    let routers = place("the routers", Ok(routers.collect()));
    let listed = config_hosts(shard).await.map(|set| {
        let hosts = set
            .split_once('/')
            .map_or("", |(_, hosts)| hosts)
            .split(',');
        hosts
            .filter(|host| !host.is_empty())
            .map(str::to_owned)
            .collect()
    });
    vec![routers, place("the config servers", listed)]
}

/// Members that bear data: an arbiter has no users to log in as.
fn hosts(hello: &Document) -> Vec<String> {
    let of = |name| hello.get_array(name).into_iter().flatten();
    let hosts = of("hosts").chain(of("passives")).filter_map(Bson::as_str);
    hosts.map(str::to_owned).collect()
}
