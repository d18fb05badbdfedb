//! State of other releases, and state that is damaged.

use super::*;

#[tokio::test]
async fn what_cannot_be_read_is_refused() {
    let (_set, target) = one_shard("rs").await;
    let shard = &target.shards[0];
    let (runs, pairs) = (RunStore::new(shard), PairStore::new(shard, RUN, 0));
    let newer = doc! {"$set": {"format": 7}};
    let rows = [
        ("run", newer.clone(), "format 7; this release knows 6"),
        ("run", doc! {"$unset": {"format": 1}}, "has no format"),
        (
            "run",
            doc! {"$set": {"stage": "resting"}},
            "unknown stage \"resting\"",
        ),
        ("run", doc! {"$set": {"pairs": ["x"]}}, "cannot be read"),
        ("making", newer.clone(), "what is being made has format 7"),
        (
            "expiries",
            newer.clone(),
            "what waits for the finish has format 7",
        ),
        ("pairs", newer.clone(), "pair 0 has format 7"),
        (
            "pairs",
            doc! {"$set": {"format": 7}, "$unset": {"whole": 1}},
            "pair 0 has format 7",
        ),
        (
            "pairs",
            doc! {"$unset": {"resume": 1}},
            "pair 0 cannot be read",
        ),
        ("collections", newer.clone(), "d.c has format 7"),
        (
            "collections",
            doc! {"$set": {"bounds": 1}},
            "d.c cannot be read",
        ),
        ("units", newer, "a unit has format 7"),
        (
            "units",
            doc! {"$set": {"fence": 1}},
            "a unit cannot be read",
        ),
    ];
    for (name, damage, found) in rows {
        runs.remove().await.unwrap();
        runs.create(&run_state(Stage::Moving, &target))
            .await
            .unwrap();
        runs.save_held_back(&[held_back()]).await.unwrap();
        runs.add_making(&ns("d.made")).await.unwrap();
        pairs
            .create(&pair_state(vec![collection(
                "d.c",
                vec![UnitState::Settled],
            )]))
            .await
            .unwrap();
        set(shard, name, doc! {}, damage).await;
        let error: Error = match name {
            "run" => runs.load().await.unwrap_err(),
            "expiries" => runs.load_held_back().await.unwrap_err(),
            "making" => runs.load_making().await.unwrap_err(),
            _ => pairs.load().await.unwrap_err(),
        };
        assert!(
            error.kind == Kind::Unsupported && error.message.contains(found),
            "{name}: {error}"
        );
        assert!(error.remedy.unwrap().contains("--restart"));
    }
}

#[tokio::test]
async fn the_first_form_is_read_on() {
    let (_set, target) = one_shard("rs").await;
    let shard = &target.shards[0];
    let (runs, pairs) = (RunStore::new(shard), PairStore::new(shard, RUN, 0));
    let run = run_state(Stage::Moving, &target);
    let plan = pair_state(vec![collection(
        "d.c",
        vec![UnitState::Copying(at(90, 7)), UnitState::Settled],
    )]);
    runs.create(&run).await.unwrap();
    pairs.create(&plan).await.unwrap();
    for name in ["run", "pairs", "collections", "units"] {
        set(shard, name, doc! {}, doc! {"$set": {"format": 1}}).await;
    }
    set(shard, "pairs", doc! {}, doc! {"$unset": {"applied": 1}}).await;
    assert_eq!(runs.load().await.unwrap(), Some(run));
    assert_eq!(
        text(&pairs.load().await.unwrap().unwrap()),
        text(&plan),
        "the resume position counts as applied"
    );
}

#[tokio::test]
async fn names_being_made_that_an_earlier_release_noted_count_until_they_are_dropped() {
    let (_set, target) = one_shard("rs").await;
    let shard = &target.shards[0];
    let runs = RunStore::new(shard);
    runs.create(&run_state(Stage::Moving, &target))
        .await
        .unwrap();
    set(
        shard,
        "run",
        doc! {},
        doc! {"$set": {"making": [{"db": "d", "coll": "old"}, {"db": "d", "coll": "both"}]}},
    )
    .await;
    let added = [ns("d.both"), ns("d.new"), ns("d.$x.y")];
    for name in added.iter().chain(&added) {
        runs.add_making(name).await.unwrap();
    }
    let mut known = runs.load_making().await.unwrap();
    known.sort();
    known.dedup();
    assert_eq!(
        known,
        [ns("d.$x.y"), ns("d.both"), ns("d.new"), ns("d.old")]
    );
    for name in ["d.both", "d.old", "d.both"] {
        runs.forget_making(&ns(name)).await.unwrap();
    }
    assert_eq!(
        runs.load_making().await.unwrap(),
        [ns("d.$x.y"), ns("d.new")]
    );
    runs.remove().await.unwrap();
    assert!(runs.load_making().await.unwrap().is_empty());
}

#[tokio::test]
async fn expiries_that_an_earlier_release_recorded_are_given_back() {
    let (_set, target) = one_shard("rs").await;
    let shard = &target.shards[0];
    let runs = RunStore::new(shard);
    runs.create(&run_state(Stage::Moving, &target))
        .await
        .unwrap();
    runs.save_held_back(&[held_back()]).await.unwrap();
    let rows = [
        (
            doc! {"index": "n", "seconds": 2.5},
            OptionsOf::Index,
            rawdoc! {"name": "n", "expireAfterSeconds": 2.5},
        ),
        (
            doc! {"index": null, "seconds": 7i64},
            OptionsOf::Collection,
            rawdoc! {"expireAfterSeconds": 7i64},
        ),
    ];
    for (form, of, options) in rows {
        set(
            shard,
            "expiries",
            doc! {},
            doc! {"$set": form, "$unset": {"of_index": 1, "options": 1}},
        )
        .await;
        assert_eq!(
            runs.load_held_back().await.unwrap(),
            [HeldBack {
                ns: ns("d.c"),
                of,
                options
            }]
        );
    }
}
