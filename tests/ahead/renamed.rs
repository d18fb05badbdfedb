//! What was touched of collections that have other names on the target: it is looked for
//! on the source by the source's names.

use bson::{Document, doc};
use shardlift::observe::phase::Phase;
use shardlift::observe::status::Snapshot;

use super::{DB, Pair, called_off, differs_as, insert, until_verified, update};
use crate::fixture::run;
use crate::renamed::expect_equal;

/// Two of them trade their names.
const RENAMES: [&str; 3] = ["d.many=d.lots", "d.one=d.other", "d.other=d.one"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_touched_document_is_read_on_the_source_by_its_name_there() {
    let pair = Pair::with(2_000).await;
    insert(&pair.source, "one", 0..500).await;
    insert(&pair.source, "other", 5_000..5_500).await;
    let flags: Vec<&str> = RENAMES.iter().flat_map(|one| ["--rename", one]).collect();
    let mut engine = pair.engine(&flags).await;
    until_verified(&mut engine).await;
    for (coll, there) in [("many", "lots"), ("one", "other")] {
        update(&pair.source, coll, 0..10, doc! {"$inc": {"n": 1}}).await;
        pair.until_target_has(there, doc! {"n": 1}, 10).await;
    }
    engine
        .until("touched", |now| now.sum().documents_touched == 20)
        .await;

    // The source's own `other` has none of this `_id`, either.
    let missing = doc! {"q": {"_id": 7}, "limit": 1};
    let delete = doc! {"delete": "other", "deletes": [missing], "writeConcern": {"w": "majority"}};
    assert_eq!(run(&pair.target, DB, delete).await.get_i32("n").unwrap(), 1);
    let tampered = doc! {"$set": {"tampered": true}};
    update(&pair.target, "lots", 8..9, tampered).await;
    let reason = called_off(&mut engine).await;
    let missing = "d.other: _id 7 is missing on the target";
    for named in [missing, &differs_as("lots", 8)] {
        assert!(reason.contains(named), "{named}: {reason}");
    }
    assert_eq!(reason.matches("_id").count(), 2, "{reason}");

    update(&pair.target, "lots", 8..9, doc! {"$unset": {"tampered": 1}}).await;
    put_back(&pair, ("one", "other"), 7).await;
    engine.request_cutover().await;
    let over = |now: &Snapshot| now.is_final() || 1 < now.cutovers_given_up;
    let now = engine.until("cut over", over).await;
    assert_eq!(now.phase, Phase::Done, "{:?}", now.warnings);
    let report = &engine.end().await.summary["verified"];
    assert_eq!(report["documents_rechecked"], 20, "{report}");
    expect_equal(&pair.sets[0].uri(), &pair.sets[1].uri(), &RENAMES).await;
}

/// A document of the source's `coll`, as it is there, into `there` of the target.
async fn put_back(pair: &Pair, (coll, there): (&str, &str), id: i32) {
    let of_source = pair.source.database(DB).collection::<Document>(coll);
    let found = of_source.find_one(doc! {"_id": id}).await.unwrap().unwrap();
    let insert = doc! {"insert": there, "documents": [found], "writeConcern": {"w": "majority"}};
    run(&pair.target, DB, insert).await;
}
