//! The checks that need no catalog: of a side that answers, whatever the other does; of the
//! source; and of both together.

use crate::cluster::deployment::{Deployment, Side};
use crate::control::validate::{
    Check, Group, ask, capacity, grouped, host, members, orphans, privileges_of, reach, settings,
    topology, users,
};

/// Those of two sides that are reached.
pub(super) async fn of_both(source: &Deployment, target: &Deployment) -> Vec<Check> {
    let (of_source, of_target, together) = tokio::join!(
        of_side(source),
        of_side(target),
        of_them_together(source, target)
    );
    let mut checks = [of_source, of_target, together].concat();
    checks.extend(of_this_host());
    checks
}

/// Those of one side, where the other is away.
pub(super) async fn of_one(side: &Deployment) -> Vec<Check> {
    let alone = [side];
    let (mut checks, clocks) = tokio::join!(of_side(side), settings::clocks(&alone));
    checks.push(clocks.about(Group::state_of(side.side)));
    checks.extend(of_this_host());
    checks
}

fn of_this_host() -> Option<Check> {
    let files = host::own_open_files()?;
    Some(files.about(Group::Capacity))
}

async fn of_side(side: &Deployment) -> Vec<Check> {
    let (reached, may, files, state) = tokio::join!(
        reach::members(side),
        privileges_of(side),
        host::open_files(side),
        state_of(side)
    );
    let mut checks = vec![
        reached.about(Group::Connect),
        may.about(Group::Privileges),
        files.about(Group::Capacity),
    ];
    checks.extend(state);
    if side.side == Side::Source {
        checks.extend(of_source(side).await);
    }
    checks
}

async fn state_of(side: &Deployment) -> Vec<Check> {
    let (mut checks, moving, majority, scans) = tokio::join!(
        members::checks(side),
        ask::balancer(side),
        settings::majority_reads(side),
        settings::scans(side)
    );
    checks.extend(moving);
    checks.extend([majority, scans]);
    grouped(Group::state_of(side.side), checks)
}

async fn of_source(source: &Deployment) -> Vec<Check> {
    let (readable, history, window, orphans) = tokio::join!(
        ask::oplog("source oplog readable", source),
        ask::history("source keeps its history", source),
        capacity::oplog_window(source),
        orphans::check(source)
    );
    let mut checks = vec![settings::encrypted(source).about(Group::Connect)];
    checks.extend(grouped(Group::SourceState, vec![readable, history]));
    checks.extend(orphans);
    checks.extend(window.map(|check| check.about(Group::Capacity)));
    checks
}

async fn of_them_together(source: &Deployment, target: &Deployment) -> Vec<Check> {
    let (a, b) = (topology::Side::of(source), topology::Side::of(target));
    let sides = [source, target];
    let (identity, skew, disk, balancing, users) = tokio::join!(
        ask::identity(source, target),
        settings::clocks(&sides),
        host::target_disk(source, target),
        settings::balancing(source, target),
        users::check(source, target)
    );
    let mut checks = grouped(Group::Topology, topology::of_layout(&a, &b));
    checks.push(identity.about(Group::Topology));
    checks.extend(grouped(Group::Release, topology::of_release(&a, &b)));
    checks.push(users.about(Group::Privileges));
    checks.push(skew.about(Group::SourceState));
    checks.extend(balancing.map(|check| check.about(Group::SourceState)));
    checks.push(disk.about(Group::Capacity));
    checks
}
