//! What following the target back to the source needs beside what a migration does. Asked
//! before the start: after the cutover it would be too late.

use crate::cluster::deployment::{Deployment, Topology};
use crate::control::validate::privileges::{self, Need, Needs, On};
use crate::control::validate::{Check, Group, ask, grouped, topology};

/// The rights of the way there on the other side, each; one release; an oplog.
pub(super) async fn checks(source: &Deployment, target: &Deployment) -> Vec<Check> {
    let (follows, writes) = (
        privileges::source(target.topology, &target.dialect),
        privileges::target(source.topology, &source.dialect),
    );
    let (follows, writes, blocked, oplog, history) = tokio::join!(
        ask::privileges("way back: follow the target", target, &follows),
        ask::privileges("way back: write to the source", source, &writes),
        closes(source),
        ask::oplog("way back: target oplog readable", target),
        ask::history("way back: target keeps its history", target),
    );
    let (from, to) = (topology::Side::of(target), topology::Side::of(source));
    let mut checks = grouped(Group::Privileges, vec![follows, writes, blocked]);
    checks.extend(grouped(Group::Content, vec![names(source)]));
    checks.extend(grouped(Group::TargetState, vec![oplog, history]));
    checks.extend(grouped(
        Group::Release,
        vec![topology::same_release(&from, &to)],
    ));
    checks
}

fn names(source: &Deployment) -> Check {
    const NAME: &str = "way back: the same names on both sides";
    let renames = source.scope.renames();
    if renames.are_none() {
        return Check::pass(NAME, "no renames");
    }
    let remedy = "leave --reverse or --rename out";
    Check::fail(
        NAME,
        format!("{renames}: the way back cannot undo them yet"),
        remedy,
    )
}

const fn on_cluster(action: &'static str, role: &'static str) -> Need {
    Need {
        action,
        on: On::Cluster,
        role,
    }
}

/// What servers ask of who writes while users' writes are blocked (6.0).
pub(super) fn past_a_block() -> Needs {
    let bypass = on_cluster("bypassWriteBlockingMode", "restore");
    Needs {
        router: vec![bypass],
        shard: vec![bypass],
    }
}

/// What they ask of who blocks them, and writes then.
pub(super) fn to_block(topology: Topology) -> Needs {
    let block = on_cluster("setUserWriteBlockMode", "clusterManager");
    let mut needs = past_a_block();
    match topology {
        Topology::Sharded => needs.router.push(block),
        Topology::ReplicaSet => needs.shard.push(block),
    }
    needs
}

/// Whether the source's servers can keep users out while we write.
async fn closes(source: &Deployment) -> Check {
    const NAME: &str = "way back: source closed to users";
    match ask::may(source, &to_block(source.topology)).await {
        Ok(true) => Check::pass(NAME, "its servers refuse users' writes after the cutover"),
        Ok(false) => Check::warn(
            NAME,
            "its servers cannot refuse users' writes and take ours",
            "that takes MongoDB 6.0, and a user of ours there with the roles `restore` and `clusterManager`; without it see \
             to it that nobody writes to the source after the cutover",
        ),
        Err(e) => Check::unanswered(NAME, &e),
    }
}
