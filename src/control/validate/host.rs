//! What this host and the servers' hosts must have: disk for the data and for the spool,
//! files that may be open.
//!
//! Reads only; `decide…` are pure.

use std::path::Path;

use bson::{Bson, doc};
use futures_util::future::join_all;
use rustix::fs::statvfs;

use crate::cluster::admin;
use crate::cluster::deployment::{Deployment, Shard};
use crate::control::validate::capacity::{number, users_databases};
use crate::control::validate::{Check, named};
use crate::error::Result;

/// Files that a run of a few shards has open: connections, and segments of the spool.
const OPEN_FILES_MIN: u64 = 1_024;
/// What the target needs beyond the source's data and indexes: its oplog grows meanwhile.
const HEADROOM: f64 = 1.2;

/// The target's disks against the source's data and indexes. The shards may be paired in any
/// way: the largest against the smallest. None if a side does not tell.
pub(super) async fn target_disk(source: &Deployment, target: &Deployment) -> Option<Check> {
    let stored = join_all(source.shards.iter().map(stored)).await;
    let free = join_all(target.shards.iter().map(free)).await;
    let most = stored.into_iter().filter_map(Result::ok).max()?;
    let least = free.into_iter().filter_map(Result::ok).flatten().min()?;
    Some(decide_disk(most, least))
}

/// Bytes on disk of a shard's data and indexes.
async fn stored(shard: &Shard) -> Result<u64> {
    let mut sum = 0;
    for name in users_databases(shard).await? {
        let stats = admin::ask(&shard.client, &name, doc! {"dbStats": 1}).await?;
        sum += number(&stats, "storageSize") + number(&stats, "indexSize");
    }
    Ok(sum)
}

/// Bytes free on the disk of a shard's primary.
async fn free(shard: &Shard) -> Result<Option<u64>> {
    let stats = admin::ask(&shard.client, "admin", doc! {"dbStats": 1}).await?;
    let (total, used) = (number(&stats, "fsTotalSize"), number(&stats, "fsUsedSize"));
    Ok((total != 0).then(|| total.saturating_sub(used)))
}

fn decide_disk(stored: u64, free: u64) -> Check {
    let gb = |bytes: u64| bytes as f64 / 1e9;
    let found = format!(
        "{:.1} GB free on the fullest shard, {:.1} GB on the largest of the source",
        gb(free),
        gb(stored)
    );
    let short = (free as f64) < stored as f64 * HEADROOM;
    Check::warn_of(
        "target disk",
        if short {
            std::slice::from_ref(&found)
        } else {
            &[]
        },
        found.clone(),
        "give the target's shards larger disks: a full one stops the server",
    )
}

/// The disk of the spool against the most it may take.
pub(super) fn spool_disk(spool: &Path, bytes_max: u64) -> Check {
    const NAME: &str = "spool disk";
    let there = spool.ancestors().find(|folder| folder.exists());
    match there.map(statvfs) {
        Some(Ok(disk)) => decide_spool(disk.f_bavail * disk.f_frsize, bytes_max),
        _ => Check::warn(
            NAME,
            format!("{} cannot be looked at", spool.display()),
            "set spool_dir to a folder of this host that can be written to",
        ),
    }
}

fn decide_spool(free: u64, bytes_max: u64) -> Check {
    let found = format!("{} MiB free, spool_mb is {}", free >> 20, bytes_max >> 20);
    Check::warn_of(
        "spool disk",
        if free < bytes_max {
            std::slice::from_ref(&found)
        } else {
            &[]
        },
        found.clone(),
        "make room, set spool_dir to a larger disk, or lower spool_mb: a full disk stops the run",
    )
}

/// Files that this process may have open, and whether the servers complained of their own
/// limit as they started.
pub(super) async fn open_files(deployment: &Deployment) -> Check {
    let name = named(
        deployment.side,
        "open files of the source",
        "open files of the target",
    );
    let complaints = join_all(deployment.shards.iter().map(complaints)).await;
    let noted: Vec<String> = complaints
        .into_iter()
        .filter_map(Result::ok)
        .flatten()
        .collect();
    Check::warn_of(
        name,
        &noted,
        "no server has complained",
        "raise the limit of open files (`ulimit -n`, LimitNOFILE) of these servers to 64000: each connection and each collection takes one",
    )
}

async fn complaints(shard: &Shard) -> Result<Vec<String>> {
    let log = admin::ask(&shard.client, "admin", doc! {"getLog": "startupWarnings"}).await?;
    let lines = log.get_array("log")?.iter().filter_map(Bson::as_str);
    let of_files = lines.filter(|line| line.to_lowercase().contains("rlimits"));
    Ok(of_files
        .take(1)
        .map(|_| format!("{} has a low limit", shard.id))
        .collect())
}

pub(super) fn own_open_files() -> Option<Check> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    Some(decide_files(open_files_of(&limits)?))
}

/// From `/proc/self/limits`: the soft limit.
fn open_files_of(limits: &str) -> Option<u64> {
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"))?;
    let soft = line.split_whitespace().nth(3)?;
    if soft == "unlimited" {
        return Some(u64::MAX);
    }
    soft.parse().ok()
}

fn decide_files(most: u64) -> Check {
    let found = format!("{most} files may be open");
    Check::warn_of(
        "open files of this host",
        if most < OPEN_FILES_MIN {
            std::slice::from_ref(&found)
        } else {
            &[]
        },
        found.clone(),
        "raise it for shardlift (`ulimit -n 4096`): every connection takes one",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::validate::Verdict;

    #[test]
    fn disks_must_hold_the_data_and_the_spool() {
        const GB: u64 = 1_000_000_000;
        let rows = [
            (10, 12, Verdict::Ok),
            (10, 11, Verdict::Warning),
            (0, 0, Verdict::Ok),
        ];
        for (stored, free, verdict) in rows {
            let check = decide_disk(stored * GB, free * GB);
            assert_eq!(check.verdict, verdict, "{check:?}");
        }
        assert_eq!(decide_spool(5, 5).verdict, Verdict::Ok);
        assert_eq!(decide_spool(4, 5).verdict, Verdict::Warning);
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("not/yet/there");
        assert_eq!(spool_disk(&deep, 1).verdict, Verdict::Ok);
        assert_eq!(spool_disk(&deep, u64::MAX).verdict, Verdict::Warning);
    }

    #[test]
    fn the_soft_limit_of_open_files_is_read() {
        let of = |soft: &str| {
            format!(
                "Limit   Soft Limit  Hard Limit  Units\nMax open files            {soft}                 4096                 files\n"
            )
        };
        assert_eq!(open_files_of(&of("1024")), Some(1_024));
        assert_eq!(open_files_of(&of("unlimited")), Some(u64::MAX));
        assert_eq!(open_files_of(""), None);
        assert_eq!(decide_files(1_023).verdict, Verdict::Warning);
        assert_eq!(decide_files(1_024).verdict, Verdict::Ok);
    }
}
