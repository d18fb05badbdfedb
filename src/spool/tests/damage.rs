//! Files that were cut, flipped, mixed up or not written: an exact prefix comes
//! back, or a refusal that says what to do.

use super::*;

fn copy(from: &Path) -> TempDir {
    let to = tempfile::tempdir().unwrap();
    for path in segments(from) {
        fs::copy(&path, to.path().join(path.file_name().unwrap())).unwrap();
    }
    to
}

fn flip(path: &Path, bit: u64) {
    let file = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, bit / 8).unwrap();
    file.write_all_at(&[byte[0] ^ 1 << (bit % 8)], bit / 8)
        .unwrap();
}

/// An open and a read give a prefix of `1..=count`, or a refusal that says what to do.
fn prefix_or_refusal(dir: &Path, count: u64) -> Option<u64> {
    let read = open(dir, TIGHT).and_then(|log| Ok((read_above(&log, 0)?, log)));
    match read {
        Ok((read, log)) => {
            let end = read.len() as u64;
            assert!(read.iter().copied().eq(1..=end) && end <= count, "{read:?}");
            assert_eq!(log.range().map_or(0, |(_, last)| last.position.raw()), end);
            // It can be gone on with, and is whole after that.
            fill(&log, &[3]);
            drop(log);
            assert_eq!(
                read_above(&open(dir, TIGHT).unwrap(), 0).unwrap(),
                Vec::from_iter(1..=end + 3)
            );
            Some(end)
        }
        Err(error) => {
            let refused = ["damaged", "has format"]
                .iter()
                .any(|text| error.message.contains(text));
            assert!(refused && error.remedy.is_some(), "{error}");
            None
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_flipped_bit_gives_a_prefix_or_a_refusal(
        sizes in prop::collection::vec(1u64..40, 1..12), synced_after in 0usize..12,
        file in any::<prop::sample::Index>(), bit in any::<prop::sample::Index>(),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let log = open(dir.path(), TIGHT).unwrap();
        for (at, &size) in sizes.iter().enumerate() {
            fill(&log, &[size]);
            if at == synced_after {
                log.sync().unwrap();
            }
        }
        drop(log);
        let paths = segments(dir.path());
        let file = file.index(paths.len());
        let bits = paths[file].metadata().unwrap().len() * 8;
        flip(&paths[file], bit.index(bits as usize) as u64);
        let kept = prefix_or_refusal(dir.path(), sizes.iter().sum());
        prop_assert!(file + 1 == paths.len() || kept.is_none(), "an older segment is whole or refused");
    }
}

#[test]
fn a_log_cut_at_any_byte_keeps_its_whole_blocks() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), TIGHT).unwrap();
    fill(&log, &[5, 20, 9, 30, 2]);
    drop(log);
    let newest = segments(dir.path()).pop().unwrap();
    let mut before = 66;
    for bytes in (0..newest.metadata().unwrap().len()).rev() {
        let cut = copy(dir.path());
        let path = cut.path().join(newest.file_name().unwrap());
        fs::OpenOptions::new()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(bytes)
            .unwrap();
        let kept = prefix_or_refusal(cut.path(), 66).expect("a torn end is cut");
        assert!(kept <= before);
        before = kept;
    }
    assert!(0 < before && before < 64, "older segments stay: {before}");
}

#[test]
fn an_older_segment_cut_short_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    fill(&open(dir.path(), TIGHT).unwrap(), &[20; 6]);
    let oldest = &segments(dir.path())[0];
    for bytes in 0..oldest.metadata().unwrap().len() {
        let cut = copy(dir.path());
        let path = cut.path().join(oldest.file_name().unwrap());
        fs::OpenOptions::new()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(bytes)
            .unwrap();
        if bytes <= segment::HEADER_BYTES as u64 {
            assert!(open(cut.path(), TIGHT).is_err(), "{bytes}");
        } else {
            assert_eq!(prefix_or_refusal(cut.path(), 120), None, "{bytes}");
        }
    }
}

/// A power loss may write later pages and not earlier ones: no corruption, as
/// long as nothing says that the earlier ones were synced.
#[test]
fn a_hole_is_cut_where_nothing_was_synced_and_refused_where_it_was() {
    for synced in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let log = open(dir.path(), ROOMY).unwrap();
        fill(&log, &[10, 10]);
        if synced {
            log.sync().unwrap();
        }
        fill(&log, &[10]);
        drop(log);
        let path = segments(dir.path()).pop().unwrap();
        flip(
            &path,
            (segment::HEADER_BYTES + frame::HEADER_BYTES + 5) as u64 * 8,
        );
        assert_eq!(
            prefix_or_refusal(dir.path(), 30),
            if synced { None } else { Some(0) }
        );
    }
}

/// A document may hold anything: also what a spool wrote, of a block whose label
/// says that all before it was synced.
#[test]
fn a_torn_end_that_holds_blocks_of_another_log_is_cut() {
    let stored = Limits {
        stored_bytes: 1 << 30,
        ..ROOMY
    };
    let other = tempfile::tempdir().unwrap();
    let log = open(other.path(), stored).unwrap();
    fill(&log, &[50]);
    log.sync().unwrap();
    fill(&log, &[1]);
    drop(log);
    let payload = fs::read(&segments(other.path())[0]).unwrap();

    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), stored).unwrap();
    fill(&log, &[5]);
    log.append(Block {
        payload: payload.into(),
        ..block(6, 7)
    })
    .unwrap();
    drop(log);
    let path = segments(dir.path()).pop().unwrap();
    let bytes = path.metadata().unwrap().len();
    fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(bytes - 1)
        .unwrap();
    assert_eq!(prefix_or_refusal(dir.path(), 5), Some(5));
}

#[test]
fn a_missing_or_foreign_segment_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    fill(&open(dir.path(), TIGHT).unwrap(), &[20; 8]);
    let paths = segments(dir.path());
    assert!(3 < paths.len());
    let refused = |change: &dyn Fn(&Path), text: &str| {
        let changed = copy(dir.path());
        change(changed.path());
        let error = open(changed.path(), TIGHT).unwrap_err();
        assert!(
            error.message.contains(text) && error.remedy.is_some(),
            "{error}"
        );
    };
    let name = |i: usize| paths[i].file_name().unwrap().to_owned();
    refused(
        &|dir| fs::remove_file(dir.join(name(1))).unwrap(),
        "missing",
    );
    let put = |from: PathBuf, to: PathBuf| assert!(0 < fs::copy(from, to).unwrap());
    refused(
        &|dir| put(dir.join(name(0)), dir.join(name(2))),
        "segment 1, not 3",
    );
    let of_another_format = |dir: &Path| {
        let mut bytes = fs::read(dir.join(name(0))).unwrap();
        bytes[8] = 1;
        fs::write(dir.join(name(0)), bytes).unwrap();
    };
    refused(&of_another_format, "format 1");
    // Another log's segment of the right number: whole, but it does not follow.
    let other = tempfile::tempdir().unwrap();
    let log = open(other.path(), TIGHT).unwrap();
    fill(&log, &[21; 8]);
    refused(
        &|dir| put(segments(other.path())[1].clone(), dir.join(name(1))),
        "does not follow",
    );
}

#[test]
fn a_crash_right_after_a_roll_leaves_nothing_to_complain_of() {
    let dir = tempfile::tempdir().unwrap();
    fill(&open(dir.path(), TIGHT).unwrap(), &[20; 3]);
    let next = segments(dir.path()).len() as u64 + 1;
    drop(segment::create(dir.path(), next).unwrap());
    assert_eq!(prefix_or_refusal(dir.path(), 60), Some(60));
}

/// /dev/full refuses the block, and the cut too: nobody knows what is there.
#[test]
fn a_file_that_cannot_even_be_cut_takes_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), ROOMY).unwrap();
    fill(&log, &[5]);
    log.write_to(
        fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/full")
            .unwrap(),
    );
    for _ in 0..2 {
        let error = log.append(block(6, 9)).unwrap_err();
        assert!(
            error.remedy.as_ref().unwrap().contains("free space"),
            "{error}"
        );
    }
    assert_eq!(log.range().unwrap().1.position, at(5));
    log.reset().unwrap();
    log.append(block(6, 9)).unwrap();
}

const CHILD_DIR: &str = "SHARDLIFT_TEST_SPOOL_DIR";

/// Runs the test that calls this once more, in a process of its own: a limit or
/// a crash there is only its own. What it told, and whether it ended well.
fn in_child(dir: &Path, before: &str, failpoint: &str) -> (bool, String) {
    let run = format!("{before} exec \"$0\" --exact \"$1\" --nocapture");
    let name = std::thread::current()
        .name()
        .expect("tests run in named threads")
        .to_owned();
    let mut child = std::process::Command::new("sh");
    child
        .args(["-c", &run])
        .arg(std::env::current_exe().unwrap())
        .arg(name);
    let ended = child
        .env(CHILD_DIR, dir)
        .env("SHARDLIFT_FAILPOINT", failpoint)
        .output()
        .unwrap();
    let told = [ended.stdout, ended.stderr].concat();
    (
        ended.status.success(),
        String::from_utf8_lossy(&told).into_owned(),
    )
}

/// A limit on file sizes cuts a write in the middle, as a full disk does.
#[test]
fn a_full_disk_leaves_the_last_whole_block() {
    if let Some(dir) = std::env::var_os(CHILD_DIR) {
        return fill_the_disk(Path::new(&dir));
    }
    let dir = tempfile::tempdir().unwrap();
    let (ended_well, told) = in_child(dir.path(), "trap '' XFSZ; ulimit -f 100;", "");
    assert!(ended_well && told.contains("1 passed"), "{told}");
    let log = open(dir.path(), ROOMY).unwrap();
    let end = log.range().unwrap().1.position.raw();
    assert_eq!(read_above(&log, 0).unwrap(), Vec::from_iter(1..=end));
}

#[test]
fn a_crash_keeps_every_block_that_was_appended() {
    if let Some(dir) = std::env::var_os(CHILD_DIR) {
        let log = open(Path::new(&dir), TIGHT).unwrap();
        return (0..100).for_each(|_| {
            fill(&log, &[20]);
            fs::write(
                Path::new(&dir).join("appended"),
                log.range().unwrap().1.position.raw().to_string(),
            )
            .unwrap();
        });
    }
    let dir = tempfile::tempdir().unwrap();
    for _ in 0..3 {
        let (ended_well, told) = in_child(dir.path(), "ulimit -c 0;", "spool-rotated:4");
        assert!(!ended_well, "{told}");
        let appended: u64 = fs::read_to_string(dir.path().join("appended"))
            .unwrap()
            .parse()
            .unwrap();
        let log = open(dir.path(), TIGHT).unwrap();
        assert_eq!(read_above(&log, 0).unwrap(), Vec::from_iter(1..=appended));
    }
}

fn fill_the_disk(dir: &Path) {
    let log = open(dir, ROOMY).unwrap();
    let mut next = 1;
    let error = loop {
        match log.append(block(next, next + 1_000)) {
            Ok(()) => next += 1_000,
            Err(error) => break error,
        }
    };
    assert!(
        error.remedy.as_ref().unwrap().contains("free space"),
        "{error}"
    );
    assert!(1 < next, "the first blocks fit");
    assert_eq!(
        segments(dir)[0].metadata().unwrap().len(),
        log.bytes(),
        "the partial block is cut"
    );
    // A small one still fits, and all is read.
    log.append(block(next, next + 1)).unwrap();
    assert_eq!(read_above(&log, 0).unwrap(), Vec::from_iter(1..=next));
}
