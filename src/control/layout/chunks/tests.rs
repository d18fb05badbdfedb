//! Which splits and moves a map needs, and when one gives up.

use bson::{RawBson, rawdoc};

use super::*;
use crate::cluster::deployment::Version;
use crate::cluster::dialect::Dialect;

fn key(n: i32) -> RawDocumentBuf {
    let value = match n {
        i32::MIN => RawBson::MinKey,
        i32::MAX => RawBson::MaxKey,
        n => RawBson::Int32(n),
    };
    let mut key = rawdoc! {};
    key.append(bson::cstr!("a"), value);
    key
}

/// `[(begin, owner)]`, each up to the next.
fn chunks(rows: &[(i32, usize)]) -> Vec<Chunk> {
    let max = |i: usize| rows.get(i + 1).map_or(i32::MAX, |r| r.0);
    let chunk = |(i, r): (usize, &(i32, usize))| Chunk {
        min: key(r.0),
        max: key(max(i)),
        shard: r.1,
    };
    rows.iter().enumerate().map(chunk).collect()
}

fn intervals(rows: &[(i32, usize)]) -> Vec<Interval> {
    chunks(rows)
        .into_iter()
        .map(|c| (c.min, c.max, c.shard))
        .collect()
}

#[tokio::test]
async fn refusals_on_the_fly_end_the_attempt_and_at_a_start_the_run() {
    for (limit, expect) in [(AT_START, Kind::Server), (ON_THE_FLY, Kind::Transient)] {
        let mut patience = Patience::new(Limit {
            refused_max: Duration::ZERO,
            ..limit
        });
        let refused = || Some(Error::new(Kind::Server, "no"));
        let ns = Namespace {
            db: "d".to_owned(),
            coll: "c".to_owned(),
        };
        assert!(patience.after(&ns, 1, refused()).await.is_ok());
        assert_eq!(
            patience.after(&ns, 1, refused()).await.map_err(|e| e.kind),
            Err(expect)
        );
    }
    assert!(ON_THE_FLY.refused_max < AT_START.refused_max);
}

#[test]
fn splits_are_where_no_chunk_begins_and_moves_where_the_owner_differs() {
    const MIN: i32 = i32::MIN;
    type Rows<'a> = &'a [(i32, usize)];
    type Moves<'a> = &'a [(i32, usize, usize)];
    let check = |wanted: Rows<'_>, now: Rows<'_>, split: &[i32], moved: Moves<'_>| {
        let (wanted, now) = (intervals(wanted), chunks(now));
        let split: Vec<RawDocumentBuf> = split.iter().map(|n| key(*n)).collect();
        assert_eq!(
            splits(&wanted, &now),
            split
                .iter()
                .map(AsRef::as_ref)
                .collect::<Vec<&RawDocument>>()
        );
        let found: Vec<_> = moves(&wanted, &now)
            .into_iter()
            .map(|m| (m.min, m.from, m.to))
            .collect();
        assert_eq!(
            found,
            moved
                .iter()
                .map(|(n, from, to)| (key(*n), *from, *to))
                .collect::<Vec<_>>()
        );
    };
    check(&[(MIN, 0), (5, 1)], &[(MIN, 0), (5, 1)], &[], &[]);
    check(&[(MIN, 0), (5, 1)], &[(MIN, 0)], &[5], &[]);
    check(
        &[(MIN, 1), (5, 0)],
        &[(MIN, 0), (5, 0)],
        &[],
        &[(MIN, 0, 1)],
    );
    check(
        &[(MIN, 0), (5, 1)],
        &[(MIN, 0), (3, 1), (5, 1), (7, 0)],
        &[],
        &[(3, 1, 0), (7, 0, 1)],
    );
    check(&[(MIN, 2)], &[(MIN, 0), (3, 2)], &[], &[(MIN, 0, 2)]);
}

#[test]
fn every_chunk_is_made_where_the_balancer_counts_them() {
    let sharded = Sharded {
        key: rawdoc! {"a": 1},
        unique: false,
        chunks: chunks(&[(i32::MIN, 0), (3, 0), (5, 1)]),
        zones: Vec::new(),
        version: None,
    };
    let version = |major, minor, patch| Version {
        major,
        minor,
        patch,
    };
    for (version, expect) in [
        (version(5, 0, 4), &[(i32::MIN, 1), (3, 1), (5, 0)][..]),
        (version(6, 0, 2), &[(i32::MIN, 1), (3, 1), (5, 0)][..]),
        (version(6, 0, 5), &[(i32::MIN, 1), (5, 0)][..]),
    ] {
        let forms = Dialect::of(version, &version.series()).catalog;
        assert_eq!(mapped(&sharded, &[1, 0], &forms), intervals(expect));
    }
}
