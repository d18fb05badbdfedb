//! How each fault on a member begins, ends and is recovered from.
//!
//! Knows nothing about when, and how many at a time.

use std::time::Duration;

use bson::doc;

use crate::cluster::{Deployment, ReplicaSet};
use crate::error::Result;
use crate::faults::Fault;
use crate::faults::ground::Member;
use crate::faults::plan::Planned;
use crate::proxy::{self, Direction};
use crate::wire::link::{self, Link};

const PRIMARY_TIMEOUT: Duration = Duration::from_millis(500);
const ANSWER_TIMEOUT: Duration = Duration::from_millis(500);
/// How long a lock is asked for.
const FSYNC_TIMEOUT: Duration = Duration::from_secs(2);
/// Each takes up to `FSYNC_TIMEOUT`.
const UNLOCK_TRIES_MAX: u32 = 4;
/// What `fsyncUnlock` says where nothing is locked.
const NOT_LOCKED: &str = "not locked";
/// How long the one that steps down keeps from standing again, s.
const STEP_DOWN_S: i32 = 10;

/// The member that is primary now; the first where there is none or it is silent.
pub(super) async fn primary(set: &ReplicaSet) -> usize {
    let hosts = set.server_hosts();
    let asked = tokio::time::timeout(
        PRIMARY_TIMEOUT,
        link::connect_primary(&hosts, PRIMARY_TIMEOUT),
    )
    .await;
    let found = asked.ok().and_then(|link| link.ok());
    found
        .and_then(|link| hosts.iter().position(|host| *host == link.host))
        .unwrap_or(0)
}

pub(super) fn begin(deployment: &mut Deployment, member: Member, planned: &Planned) {
    let set = deployment.set_mut(member.set);
    match planned.fault {
        Fault::StepDown => _ = tokio::spawn(step_down(set.server_hosts()[member.index].clone())),
        Fault::Freeze => set.member_mut(member.index).freeze(),
        Fault::Kill => set.member_mut(member.index).kill(),
        Fault::FsyncLock => _ = tokio::spawn(fsync_lock(set.server_hosts()[member.index].clone())),
        _ => {
            if let (Some(proxy), Some(fault)) = (set.proxy(member.index), at_proxy(planned)) {
                proxy.set_on(fault, planned.share);
            }
        }
    }
}

pub(super) async fn end(deployment: &mut Deployment, member: Member, fault: Fault) -> Result<()> {
    let set = deployment.set_mut(member.set);
    match fault {
        Fault::Freeze => set.member_mut(member.index).thaw(),
        Fault::Kill => set.member_mut(member.index).restart().await?,
        Fault::FsyncLock => {
            if !fsync_unlock(&set.server_hosts()[member.index]).await {
                set.member_mut(member.index).kill();
                set.member_mut(member.index).restart().await?;
            }
        }
        _ => {
            if let Some(proxy) = set.proxy(member.index) {
                proxy.clear();
            }
        }
    }
    Ok(())
}

/// True if a member is primary or secondary again.
pub(super) async fn is_back(set: &ReplicaSet, member: Member) -> bool {
    let host = &set.server_hosts()[member.index];
    let ask = async {
        let mut link = Link::connect(host).await.ok()?;
        let hello = link.hello().await.ok()?;
        let is_secondary = hello.get_bool("secondary").unwrap_or(false);
        Some(link::is_primary(&hello) || is_secondary)
    };
    tokio::time::timeout(ANSWER_TIMEOUT, ask)
        .await
        .ok()
        .flatten()
        .unwrap_or(false)
}

/// Where it is refused, because no secondary is near enough, nothing happens.
pub(super) async fn step_down(host: String) {
    if let Ok(mut link) = Link::connect(&host).await {
        let command =
            doc! {"replSetStepDown": STEP_DOWN_S, "secondaryCatchUpPeriodSecs": STEP_DOWN_S - 2};
        let _ = tokio::time::timeout(
            Duration::from_secs(STEP_DOWN_S as u64),
            link.command("admin", command),
        )
        .await;
    }
}

/// Given up where it has to wait for longer: then nothing is locked.
async fn fsync_lock(host: String) {
    if let Ok(mut link) = Link::connect(&host).await {
        let command =
            doc! {"fsync": 1, "lock": true, "maxTimeMS": FSYNC_TIMEOUT.as_millis() as i64};
        let _ = tokio::time::timeout(FSYNC_TIMEOUT, link.command("admin", command)).await;
    }
}

/// Until the server says that it is not locked, twice: a lock may come late.
///
/// False where it does not unlock. A lock waits for prepared transactions, whose commit
/// waits behind the lock, and `fsyncUnlock` waits for the lock: only a kill ends that.
async fn fsync_unlock(host: &str) -> bool {
    let mut unlocked = 0;
    for _ in 0..UNLOCK_TRIES_MAX {
        unlocked = if says_unlocked(host).await {
            unlocked + 1
        } else {
            0
        };
        if unlocked == 2 {
            return true;
        }
        tokio::time::sleep(ANSWER_TIMEOUT / 5).await;
    }
    false
}

async fn says_unlocked(host: &str) -> bool {
    let ask = async {
        let mut link = Link::connect(host).await?;
        link.command("admin", doc! {"fsyncUnlock": 1}).await
    };
    // It has no code for that.
    let asked = tokio::time::timeout(FSYNC_TIMEOUT, ask).await;
    matches!(asked, Ok(Err(e)) if e.message.contains(NOT_LOCKED))
}

/// What the proxy does for a fault; None for those that are none of a proxy.
pub(super) fn at_proxy(planned: &Planned) -> Option<proxy::Fault> {
    let between = |least: f64, most: f64| (least * (most / least).powf(planned.strength)) as u64;
    Some(match planned.fault {
        Fault::Delay => proxy::Fault::Delay {
            ms: between(5.0, 400.0),
        },
        Fault::Throttle => proxy::Fault::Throttle {
            bytes_per_s: between(20e3, 1e6),
        },
        Fault::Cut => proxy::Fault::Cut,
        Fault::Reset => proxy::Fault::Reset,
        Fault::HalfOpen if planned.strength < 0.5 => proxy::Fault::HalfOpen(Direction::ToServer),
        Fault::HalfOpen => proxy::Fault::HalfOpen(Direction::ToClient),
        Fault::BlackHole => proxy::Fault::BlackHole,
        Fault::Refuse => proxy::Fault::Refuse,
        _ => return None,
    })
}
