//! Rows of what either side has, and the differences they are.

use std::sync::Arc;

use bson::{RawDocumentBuf, Uuid, rawdoc};

use super::*;
use crate::cluster::catalog::{Chunk, Database, Sharded, Sharding};
use crate::scope::Scope;

fn map() -> ShardMap {
    let ids = |side: &str| ["0", "1"].map(|n| format!("{side}{n}")).into();
    ShardMap {
        source: ids("a"),
        target: ids("b"),
        pairs: vec![1, 0],
        expiry_never: None,
        trims_come: true,
        scope: Scope::with_renames(&["d.own=d.c"]),
    }
}

fn ns(coll: &str) -> Namespace {
    Namespace {
        db: "d".to_owned(),
        coll: coll.to_owned(),
    }
}

fn plain(coll: &str, options: RawDocumentBuf) -> Stored {
    let indexes = vec![rawdoc! {"v": 2, "key": {"_id": 1}, "name": "_id_"}];
    Stored {
        ns: ns(coll),
        kind: CollectionKind::Plain,
        uuid: Some(Uuid::from_bytes([1; 16])),
        options,
        indexes,
    }
}

fn view(coll: &str, on: &str) -> Stored {
    let options = rawdoc! {"viewOn": on, "pipeline": []};
    Stored {
        ns: ns(coll),
        kind: CollectionKind::View,
        uuid: None,
        options,
        indexes: Vec::new(),
    }
}

/// Database `d` is on shard 0 of the source, so on shard 1 of the target.
fn holdings(primary: usize, on_primary: Vec<Stored>, on_other: Vec<Stored>) -> Holdings {
    let mut shards = vec![on_other.clone(), on_other];
    shards[primary] = on_primary;
    let databases = vec![Database {
        name: "d".to_owned(),
        primary,
    }];
    Holdings::new(
        shards,
        Some(Sharding {
            databases,
            ..Sharding::default()
        }),
    )
}

/// `laid_out`: options of `d.c` as it was laid out.
fn compared(
    source: &Holdings,
    target: &Holdings,
    laid_out: Option<RawDocumentBuf>,
) -> Vec<Difference> {
    let collection = |options| {
        Arc::new(Collection {
            options,
            ..as_collection(&plain("c", rawdoc! {}), 0)
        })
    };
    let laid_out = laid_out
        .map(|options| (Uuid::from_bytes([1; 16]), collection(options)))
        .into_iter()
        .collect();
    compare(
        &map(),
        source,
        target,
        &[HeldBackOf::new(), HeldBackOf::new()],
        &laid_out,
    )
}

fn check(source: Vec<Stored>, target: Vec<Stored>, expect: &[(&str, bool)]) {
    let (source, target) = (
        holdings(0, source, Vec::new()),
        holdings(1, target, Vec::new()),
    );
    let found = compared(&source, &target, None);
    assert_eq!(found.len(), expect.len(), "{found:?}");
    for (found, (part, ours)) in found.iter().zip(expect) {
        assert!(
            found.what.contains(part) && found.repair.is_some() == *ours,
            "{found:?}"
        );
    }
}

#[test]
fn collections_and_views_are_compared_where_they_live() {
    let none = || plain("c", rawdoc! {});
    check(
        vec![none(), view("v", "c")],
        vec![none(), view("v", "c")],
        &[],
    );
    check(
        vec![none()],
        vec![],
        &[("collection d.c is missing on target shard b1", false)],
    );
    check(
        vec![],
        vec![none()],
        &[(
            "collection d.c is on target shard b1 and not on the source",
            false,
        )],
    );
    check(
        vec![view("v", "c")],
        vec![],
        &[("view d.v is missing", true)],
    );
    check(
        vec![],
        vec![view("v", "c")],
        &[("view d.v is on target shard b1", true)],
    );
    check(
        vec![view("v", "c")],
        vec![view("v", "x")],
        &[("d.v has options", true)],
    );
    check(
        vec![view("c", "x")],
        vec![none()],
        &[("d.c is a view on the source and a collection", false)],
    );
    check(
        vec![none()],
        vec![view("c", "x")],
        &[("d.c is a collection on the source and a view", false)],
    );
}

#[test]
fn options_count_but_for_obsolete_ones() {
    let capped = |size: i64| plain("c", rawdoc! {"capped": true, "size": size});
    check(vec![capped(4096)], vec![capped(4096)], &[]);
    check(
        vec![capped(4096)],
        vec![capped(8192)],
        &[("d.c has options", false)],
    );
    let room = || {
        Limits::of(&rawdoc! {"capped": true, "size": 1})
            .unwrap()
            .room()
            .bytes
    };
    check(
        vec![capped(4096)],
        vec![capped(room())],
        &[(
            "the size of d.c is 4096 bytes on the source, and none is kept",
            false,
        )],
    );
    // Our own changes may have switched off pre-images: that is ours to mend.
    let with = |images: bool, level: &str| {
        plain(
            "c",
            rawdoc! {"recordPreImages": images, "validationLevel": level},
        )
    };
    for (level, ours) in [("strict", true), ("off", false)] {
        check(
            vec![with(true, "strict")],
            vec![with(false, level)],
            &[("d.c has options", ours)],
        );
    }
    let old = plain("c", rawdoc! {"autoIndexId": true});
    check(vec![old], vec![plain("c", rawdoc! {})], &[]);
}

#[test]
fn an_expiry_is_kept_for_the_cutover_as_the_source_has_it_and_the_target_has_none_yet() {
    let expires =
        |seconds: i64| rawdoc! {"clusteredIndex": {"v": 2}, "expireAfterSeconds": seconds};
    let never = || rawdoc! {"clusteredIndex": {"v": 2}};
    let rows = [
        (never(), never(), never(), None),
        (expires(5), never(), expires(5), None),
        (
            expires(5),
            expires(5),
            expires(5),
            Some("d.c of the target already deletes documents"),
        ),
        (
            never(),
            expires(5),
            never(),
            Some("d.c of the target already deletes documents"),
        ),
        (
            expires(6),
            never(),
            expires(5),
            Some("d.c is 6 s on the source, and 5 s is kept"),
        ),
        (
            never(),
            never(),
            expires(5),
            Some("d.c is none on the source, and 5 s is kept"),
        ),
        (
            expires(5),
            never(),
            never(),
            Some("d.c is 5 s on the source, and none is kept"),
        ),
    ];
    for (on_source, on_target, laid_out, expect) in rows {
        let source = holdings(0, vec![plain("c", on_source)], Vec::new());
        let target = holdings(1, vec![plain("c", on_target)], Vec::new());
        let found = compared(&source, &target, Some(laid_out));
        assert_eq!(found.len(), expect.iter().len(), "{expect:?}: {found:?}");
        let as_told = found
            .iter()
            .zip(expect)
            .all(|(found, part)| found.what.contains(part));
        assert!(
            as_told && found.iter().all(|found| found.repair.is_none()),
            "{expect:?}: {found:?}"
        );
        // What is to be done on the source has its name there.
        let mut kept = found.iter().filter(|found| found.what.contains("is kept"));
        assert!(
            kept.all(|kept| kept.remedy.contains("set that of d.own back")),
            "{found:?}"
        );
    }
}

#[test]
fn what_no_router_of_the_source_shows_is_no_excuse_for_an_extra_collection() {
    let stale = || plain("c", rawdoc! {});
    let source = holdings(0, Vec::new(), vec![stale()]);
    let found = compared(&source, &holdings(1, vec![stale()], Vec::new()), None);
    assert!(
        found.len() == 1
            && found[0]
                .what
                .contains("d.c is on target shard b1 and not on"),
        "{found:?}"
    );
    assert!(compared(&source, &holdings(1, Vec::new(), vec![stale()]), None).is_empty());
}

#[test]
fn indexes_are_ours_to_mend_and_name_the_way_out() {
    let with = |index: RawDocumentBuf| {
        let mut stored = plain("c", rawdoc! {});
        stored.indexes.push(index);
        stored
    };
    let index = rawdoc! {"v": 2, "key": {"k": 1}, "name": "k"};
    check(
        vec![with(index.clone())],
        vec![plain("c", rawdoc! {})],
        &[("d.c: index", true)],
    );
    check(
        vec![plain("c", rawdoc! {})],
        vec![with(index.clone())],
        &[("d.c: index", true)],
    );
    let (source, target) = (
        holdings(0, vec![with(index)], Vec::new()),
        holdings(1, vec![plain("c", rawdoc! {})], Vec::new()),
    );
    let found = compared(&source, &target, None);
    assert!(
        found[0]
            .to_string()
            .contains("`shardlift recopy --shard a0 --ns d.c`"),
        "{found:?}"
    );
}

#[test]
fn a_sharded_collection_counts_on_the_shards_that_own_chunks_of_it() {
    let sharded = |shard| {
        let chunks = vec![Chunk {
            min: rawdoc! {"k": 0},
            max: rawdoc! {"k": 1},
            shard,
        }];
        let sharded = Sharded {
            key: rawdoc! {"k": 1},
            unique: false,
            chunks,
            zones: Vec::new(),
            version: None,
        };
        HashMap::from([(ns("c"), sharded)])
    };
    // The primary keeps an empty one with other indexes: it does not count.
    let mut shell = plain("c", rawdoc! {});
    shell
        .indexes
        .push(rawdoc! {"v": 2, "key": {"k": 1}, "name": "k"});
    let (mut source, mut target) = (
        holdings(0, vec![shell], vec![plain("c", rawdoc! {})]),
        holdings(1, vec![], vec![plain("c", rawdoc! {})]),
    );
    source.sharding.as_mut().unwrap().collections = sharded(1);
    target.sharding.as_mut().unwrap().collections = sharded(0);
    assert!(compared(&source, &target, None).is_empty());
    target.shards[0].clear();
    let found = compared(&source, &target, None);
    assert!(
        found.len() == 1 && found[0].what.contains("missing on target shard b0"),
        "{found:?}"
    );
    let remedy = "make it again with `shardlift recopy --ns d.c`";
    assert!(found[0].to_string().contains(remedy), "{found:?}");
}
