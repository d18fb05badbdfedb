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

/// What a shard, by its name, has told; None if it did not.
type Told<T> = (String, Option<T>);

/// The target's disks against the source's data and indexes. The shards may be paired in any
/// way: the largest against the smallest.
pub(super) async fn target_disk(source: &Deployment, target: &Deployment) -> Check {
    let name = |side: &Deployment, shard: &Shard| format!("{} shard {}", side.side, shard.id);
    let stored = source.shards.iter().map(|shard| {
        let name = name(source, shard);
        async move { (name, stored(shard).await.ok()) }
    });
    let free = target.shards.iter().map(|shard| {
        let name = name(target, shard);
        async move { (name, free(shard).await.ok().flatten()) }
    });
    let (stored, free) = tokio::join!(join_all(stored), join_all(free));
    decide_disk(&stored, &free)
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

fn decide_disk(stored: &[Told<u64>], free: &[Told<u64>]) -> Check {
    let gb = |bytes: u64| bytes as f64 / 1e9;
    let silent = |told: &[Told<u64>], what: &str| -> Vec<String> {
        let silent = told.iter().filter(|(_, told)| told.is_none());
        silent
            .map(|(shard, _)| format!("{shard} does not tell {what}"))
            .collect()
    };
    let mut noted = [
        silent(stored, "how much it holds"),
        silent(free, "what is free on its disk"),
    ]
    .concat();
    let told =
        |told: &[Told<u64>]| -> Vec<u64> { told.iter().filter_map(|(_, told)| *told).collect() };
    let most = told(stored).into_iter().max().unwrap_or(0);
    let mut found = format!("{:.1} GB on the largest of the source", gb(most));
    if let Some(least) = told(free).into_iter().min() {
        found = format!("{:.1} GB free on the fullest shard, {found}", gb(least));
        let short = (least as f64) < most as f64 * HEADROOM;
        if short || !noted.is_empty() {
            noted.insert(0, found.clone());
        }
    }
    Check::warn_of(
        "target disk",
        &noted,
        found,
        "give the target's shards larger disks where they are short, and look at those that do not tell: a full one stops the server",
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

/// Whether the servers complained of their own limit of open files as they started.
pub(super) async fn open_files(deployment: &Deployment) -> Check {
    let name = named(
        deployment.side,
        "open files of the source",
        "open files of the target",
    );
    let asked = deployment
        .shards
        .iter()
        .map(|shard| async move { (shard.id.clone(), complains(shard).await.ok()) });
    decide_complaints(name, &join_all(asked).await)
}

async fn complains(shard: &Shard) -> Result<bool> {
    let log = admin::ask(&shard.client, "admin", doc! {"getLog": "startupWarnings"}).await?;
    let mut lines = log.get_array("log")?.iter().filter_map(Bson::as_str);
    Ok(lines.any(|line| line.to_lowercase().contains("rlimits")))
}

fn decide_complaints(name: &'static str, found: &[Told<bool>]) -> Check {
    let text = |(shard, complains): &Told<bool>| match complains {
        Some(false) => None,
        Some(true) => Some(format!("{shard} has a low limit")),
        None => Some(format!("{shard} does not tell (`getLog`)")),
    };
    let noted: Vec<String> = found.iter().filter_map(text).collect();
    Check::warn_of(
        name,
        &noted,
        "no server has complained",
        "see that these servers may have 64000 files open (`ulimit -n`, LimitNOFILE): each connection and each collection takes one",
    )
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
        let told = |gb: &[Option<u64>]| -> Vec<Told<u64>> {
            let shards = (0..).zip(gb);
            shards
                .map(|(k, gb): (u32, _)| (format!("shard s{k}"), gb.map(|gb| gb * GB)))
                .collect()
        };
        type Row<'a> = (&'a [Option<u64>], &'a [Option<u64>], Verdict, &'a str);
        let rows: [Row<'_>; 7] = [
            (&[Some(10)], &[Some(12)], Verdict::Ok, "12.0 GB free"),
            (&[Some(10)], &[Some(11)], Verdict::Warning, "11.0 GB free"),
            (&[Some(0)], &[Some(0)], Verdict::Ok, "0.0 GB free"),
            (
                &[Some(1), Some(9)],
                &[Some(99), Some(10)],
                Verdict::Warning,
                "10.0 GB free",
            ),
            (
                &[Some(1), None],
                &[Some(9)],
                Verdict::Warning,
                "shard s1 does not tell how much",
            ),
            (
                &[Some(1)],
                &[None, Some(9)],
                Verdict::Warning,
                "shard s0 does not tell what is free",
            ),
            (
                &[None],
                &[None],
                Verdict::Warning,
                "shard s0 does not tell what is free",
            ),
        ];
        for (stored, free, verdict, text) in rows {
            let check = decide_disk(&told(stored), &told(free));
            assert_eq!(check.verdict, verdict, "{check:?}");
            assert!(check.found.contains(text), "{check:?}");
        }
        assert_eq!(decide_spool(5, 5).verdict, Verdict::Ok);
        assert_eq!(decide_spool(4, 5).verdict, Verdict::Warning);
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("not/yet/there");
        assert_eq!(spool_disk(&deep, 1).verdict, Verdict::Ok);
        assert_eq!(spool_disk(&deep, u64::MAX).verdict, Verdict::Warning);
    }

    #[test]
    fn a_server_that_does_not_tell_of_its_limit_is_named() {
        let rows = [
            (Some(false), Verdict::Ok, "no server"),
            (Some(true), Verdict::Warning, "a has a low limit"),
            (None, Verdict::Warning, "a does not tell"),
        ];
        for (complains, verdict, text) in rows {
            let check = decide_complaints("open files", &[("a".to_owned(), complains)]);
            assert_eq!(check.verdict, verdict, "{check:?}");
            assert!(check.found.contains(text), "{check:?}");
        }
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
