//! The log on real files: what was appended is read, whatever happens to the
//! files in between, or the log is refused. Never other entries, never a gap.

mod damage;

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use tempfile::TempDir;

use super::log::{Limits, OplogLog};
use super::quota::Quota;
use super::reader::Reader;
use super::segment::Block;
use super::{frame, segment};
use crate::error::{Kind, Result};
use crate::position::{Mark, Position};

const ROOMY: Limits = Limits {
    bytes_max: 1 << 30,
    segment_bytes: 1 << 20,
    cache_bytes: 1 << 20,
    stored_bytes: 0,
};
/// Two or three of the test's blocks a segment, none in memory.
const TIGHT: Limits = Limits {
    segment_bytes: 408,
    cache_bytes: 0,
    ..ROOMY
};

fn open(dir: &Path, limits: Limits) -> Result<OplogLog> {
    OplogLog::open(dir, limits, Arc::new(Quota::new(1 << 30)))
}

fn at(raw: u64) -> Position {
    Position::from_raw(raw)
}

/// Entries `from..to`, each its own position.
fn block(from: u64, to: u64) -> Block {
    let mark = |raw| Mark {
        position: at(raw),
        term: 3,
    };
    Block {
        first: mark(from),
        last: mark(to - 1),
        payload: (from..to)
            .flat_map(u64::to_le_bytes)
            .collect::<Vec<u8>>()
            .into(),
    }
}

fn entries(block: &Block) -> Vec<u64> {
    block
        .payload
        .chunks(8)
        .map(|entry| u64::from_le_bytes(entry.try_into().unwrap()))
        .collect()
}

/// Appends blocks of these sizes, from entry 1 on (or the log's end).
fn fill(log: &OplogLog, sizes: &[u64]) {
    let mut next = log.range().map_or(1, |(_, last)| last.position.raw() + 1);
    for size in sizes {
        log.append(block(next, next + size)).unwrap();
        next += size;
    }
}

/// All that `reader` has by now.
async fn drain(reader: &mut Reader) -> Result<Vec<u64>> {
    let mut read = Vec::new();
    while let Some(block) = reader.try_next().await? {
        read.extend(entries(&block));
    }
    Ok(read)
}

/// Entries above `after`, skipped as a tail does.
fn read_above(log: &OplogLog, after: u64) -> Result<Vec<u64>> {
    let mut read = runtime().block_on(drain(&mut log.reader(at(after))))?;
    read.retain(|&entry| after < entry);
    Ok(read)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = paths
        .filter(|path| path.extension().is_some_and(|e| e == "oplog"))
        .collect();
    paths.sort();
    paths
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_reader_reads_exactly_what_is_above_its_start(
        sizes in prop::collection::vec(1u64..40, 1..20), more in prop::collection::vec(1u64..40, 0..5),
        cache_bytes in prop_oneof![Just(0), Just(500), Just(1 << 20)],
        stored_bytes in prop_oneof![Just(0), Just(900), Just(1 << 20)], reopened: bool,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let limits = Limits { cache_bytes, stored_bytes, ..TIGHT };
        let mut log = open(dir.path(), limits).unwrap();
        fill(&log, &sizes);
        if reopened {
            drop(log);
            log = open(dir.path(), limits).unwrap();
        }
        fill(&log, &more);
        let end: u64 = sizes.iter().chain(&more).sum();
        let on_disk: u64 = segments(dir.path()).iter().map(|path| path.metadata().unwrap().len()).sum();
        prop_assert_eq!(log.bytes(), on_disk);
        for after in 0..=end + 1 {
            prop_assert_eq!(read_above(&log, after).unwrap(), Vec::from_iter(after + 1..=end));
            prop_assert_eq!(log.covers(at(after)), (1..=end).contains(&after));
        }
    }
}

#[tokio::test]
async fn readers_wait_at_the_end_and_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(
        dir.path(),
        Limits {
            cache_bytes: 900,
            ..TIGHT
        },
    )
    .unwrap();
    let read = |mut reader: Reader, end: u64, pause_ms: u64| {
        tokio::spawn(async move {
            let mut read = Vec::new();
            while read.last() != Some(&end) {
                read.extend(entries(&reader.next().await.unwrap()));
                tokio::time::sleep(Duration::from_millis(pause_ms)).await;
            }
            read
        })
    };
    // One from memory, one that falls back to the disk.
    let (near, far) = (
        read(log.reader(at(0)), 2_000, 0),
        read(log.reader(at(0)), 2_000, 3),
    );
    for _ in 0..100 {
        let log = log.clone();
        tokio::task::spawn_blocking(move || fill(&log, &[20]))
            .await
            .unwrap();
    }
    assert_eq!(near.await.unwrap(), Vec::from_iter(1..=2_000));
    assert_eq!(far.await.unwrap(), Vec::from_iter(1..=2_000));
}

#[tokio::test]
async fn a_wait_that_is_given_up_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), TIGHT).unwrap();
    fill(&log, &[7; 40]);
    let (mut reader, mut read) = (log.reader(at(0)), Vec::new());
    while read.len() < 280 {
        tokio::select! {
            biased;
            () = tokio::task::yield_now() => {}
            block = reader.next() => read.extend(entries(&block.unwrap())),
        }
        if let Ok(block) = tokio::time::timeout(Duration::from_micros(50), reader.next()).await {
            read.extend(entries(&block.unwrap()));
        }
    }
    assert_eq!(read, Vec::from_iter(1..=280));
    assert!(
        tokio::time::timeout(Duration::from_millis(20), reader.next())
            .await
            .is_err()
    );
}

#[tokio::test]
async fn a_trim_keeps_what_is_needed() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), TIGHT).unwrap();
    fill(&log, &[20; 12]);
    let (all, mut slow) = (segments(dir.path()).len(), log.reader(at(0)));
    let first = entries(&slow.next().await.unwrap());
    for below in [0, 1, 20, 90, 91, 150] {
        log.trim(at(below)).unwrap();
        let (first, last) = log.range().unwrap();
        assert!(first.position.raw() <= below.max(1) && last.position.raw() == 240);
        let mut read = drain(&mut log.reader(at(below))).await.unwrap();
        read.retain(|&entry| below < entry);
        assert_eq!(read, Vec::from_iter(below + 1..=240));
        assert_eq!(log.covers(at(below)), 0 < below);
    }
    assert!(segments(dir.path()).len() < all);
    log.trim(Position::MAX).unwrap();
    assert_eq!(segments(dir.path()).len(), 1, "the newest stays");
    // The slow one had its segment open and a block ahead; what it misses it is told.
    let mut read = first;
    let error = loop {
        match slow.try_next().await {
            Ok(block) => read.extend(entries(&block.expect("the rest was trimmed"))),
            Err(error) => break error,
        }
    };
    assert!(error.message.contains("begins above"), "{error}");
    assert_eq!(read, Vec::from_iter(1..=read.len() as u64));
    // What was trimmed is known after a restart too.
    let begin = log.range().unwrap().0.position.raw();
    drop((log, slow));
    let log = open(dir.path(), TIGHT).unwrap();
    assert!(log.covers(at(begin - 1)) && !log.covers(at(begin - 2)));
    assert!(log.reader(at(begin - 2)).try_next().await.is_err());
}

#[tokio::test]
async fn a_full_log_waits_for_a_trim_or_for_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let quota = Arc::new(Quota::new(5_000));
    let log = OplogLog::open(
        dir.path(),
        Limits {
            bytes_max: 2_000,
            ..TIGHT
        },
        quota.clone(),
    )
    .unwrap();
    while log.has_room() {
        fill(&log, &[20]);
    }
    assert!((2_000..2_400).contains(&log.bytes()), "{}", log.bytes());
    assert_eq!(quota.used(), log.bytes());
    let waits = |log: &OplogLog| {
        let log = log.clone();
        async move {
            tokio::time::timeout(Duration::from_millis(50), log.room())
                .await
                .is_err()
        }
    };
    assert!(waits(&log).await);
    let waiting = tokio::spawn({
        let log = log.clone();
        async move { log.room().await }
    });
    tokio::task::yield_now().await;
    log.trim(log.range().unwrap().1.position).unwrap();
    waiting.await.unwrap();
    // Others took the quota: one segment is this log's all the same.
    quota.charge(5_000);
    assert!(!waits(&log).await);
    fill(&log, &[20; 6]);
    assert!(waits(&log).await);
    let waiting = tokio::spawn({
        let log = log.clone();
        async move { log.room().await }
    });
    tokio::task::yield_now().await;
    quota.give_back(5_000);
    waiting.await.unwrap();
    drop(log);
    assert_eq!(quota.used(), 0);
}

#[tokio::test]
async fn a_reset_log_begins_anywhere_and_a_removed_one_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("pair-0");
    let log = open(&dir, TIGHT).unwrap();
    fill(&log, &[20; 5]);
    assert!(
        log.append(block(50, 60))
            .unwrap_err()
            .message
            .contains("ends at")
    );
    let mut old = log.reader(at(0));
    old.next().await.unwrap();
    log.reset().unwrap();
    assert_eq!(
        (log.range(), log.bytes(), segments(&dir).len()),
        (None, 0, 0)
    );
    assert!(!log.covers(at(10)));
    log.append(block(50, 60)).unwrap();
    assert!(old.try_next().await.is_err(), "it reads other contents");
    assert_eq!(
        drain(&mut log.reader(at(3))).await.unwrap(),
        Vec::from_iter(50..60)
    );
    let other = log.clone();
    log.remove().unwrap();
    assert!(!dir.exists());
    assert!(other.append(block(60, 61)).is_err());
}

#[test]
fn one_process_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), ROOMY).unwrap();
    assert!(
        open(dir.path(), ROOMY)
            .unwrap_err()
            .message
            .contains("in use")
    );
    drop(log);
    open(dir.path(), ROOMY).unwrap();
}

#[test]
fn a_directory_that_cannot_be_written_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, b"").unwrap();
    let error = open(&file.join("spool"), ROOMY).unwrap_err();
    assert_eq!((error.kind, error.kind.exit_code()), (Kind::Spool, 6));
    assert!(error.remedy.unwrap().contains("another directory"));
}
