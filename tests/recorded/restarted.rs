//! A collection that is to be copied again.

use super::*;

#[tokio::test]
async fn a_restarted_collection_waits_and_is_empty() {
    let recorded = recorded().await;
    let (a, b) = (&recorded.a, &recorded.b);
    for (shard, only, found) in [
        ("u", "d.a", "no source shard u"),
        ("s", "d.x", "has no d.x on source shard s"),
    ] {
        let error = recorded.restart(shard, Some(&ns(only))).await.unwrap_err();
        assert!(
            error.kind == Kind::Refused && error.message.contains(found),
            "{error}"
        );
    }
    assert_eq!(
        (recorded.count("a").await, recorded.count("b").await),
        (1, 1)
    );

    recorded.restart("s", Some(&a.ns)).await.unwrap();
    assert_eq!(
        (recorded.count("a").await, recorded.count("b").await),
        (0, 1)
    );
    let stored = recorded.stored(a.uuid).await;
    let planned_anew = vec![UnitState::Waiting];
    assert_eq!(
        (stored.units, stored.order, stored.wiping),
        (planned_anew.clone(), ScanOrder::Id, false),
        "it is small, whatever it was"
    );
    assert_eq!(recorded.stored(b.uuid).await.units, b.units);
    assert_eq!(
        recorded.indexes("d.a").await,
        ["_id_", "y", "k"],
        "unique ones are built again after the copy"
    );
    assert_eq!(recorded.indexes("d.b").await, ["_id_", "x", "y", "k"]);

    // All of the shard starts over; the dead collection shares a name, and stays dead.
    let before = recorded.store.load().await.unwrap().unwrap();
    recorded.restart("s", None).await.unwrap();
    assert_eq!(recorded.count("b").await, 0);
    assert_eq!(recorded.stored(b.uuid).await.units, planned_anew);
    let state = recorded.store.load().await.unwrap().unwrap();
    assert!(
        before.resume.position < state.resume.position
            && state.resume.position <= state.catalog_position
    );
    assert_eq!(state.applied, state.resume);
    let dead: Vec<String> = state
        .collections
        .iter()
        .filter(|c| c.dead)
        .map(|c| c.ns.to_string())
        .collect();
    assert!(
        dead.len() == 2 && dead.contains(&"d.gone".to_owned()),
        "what is gone from the source is dead: {dead:?}"
    );

    // What was made otherwise since is made anew.
    let validator = doc! {"collMod": "a", "validator": {"a": 1}};
    run(&recorded.source.entry, "d", validator).await;
    let made_before = uuid_of(&recorded.target, "d.a").await;
    let told = recorded.restart("s", None).await.unwrap();
    assert!(told.contains("1 are made anew"), "{told}");
    let made = uuid_of(&recorded.target, "d.a").await;
    let stored = recorded.stored(a.uuid).await;
    assert_eq!(stored.target_uuid, Some(made));
    assert_ne!(made, made_before);
    let options = catalog::read_one(&recorded.target, &a.ns).await.unwrap();
    let options = options.unwrap().options;
    assert_eq!(stored.options, options);
    assert!(options.get_document("validator").is_ok(), "{options:?}");

    RunStore::new(&recorded.target.shards[0])
        .set_stage(Stage::Cancelled)
        .await
        .unwrap();
    assert_eq!(
        recorded.restart("s", None).await.unwrap_err().kind,
        Kind::Refused
    );
}
