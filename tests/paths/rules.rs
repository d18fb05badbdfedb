//! Rules of `validate` about what a later release refuses: each is a real server's.

use std::collections::BTreeSet;

use bson::{Bson, Document, RawDocumentBuf, bson, doc};
use loadgen::cluster::ReplicaSet;
use shardlift::cluster::catalog;
use shardlift::control::validate::indexes::refused;
use shardlift::control::validate::{self, Check};

use super::{RELEASES, set, takes};
use crate::fixture::{self, run};
use crate::validate_verdicts::told;
use crate::validate_warnings::create_named;

const DB: &str = "rules";

async fn every_release() -> Vec<ReplicaSet> {
    let sets = RELEASES.map(|release| set(release, "rules"));
    futures_util::future::join_all(sets).await
}

/// Options that a release takes and a later one does not, and their like.
fn indexes() -> Vec<Document> {
    let on = |key: Document, more: Document| {
        let mut index = doc! {"key": key, "name": "n"};
        index.extend(more);
        index
    };
    let plain = |more: Document| on(doc! {"a": 1}, more);
    let mut all = vec![
        on(doc! {"p": "geoHaystack", "t": 1}, doc! {"bucketSize": 5}),
        on(doc! {"p": "2d"}, doc! {"bits": 26.0, "min": -1.5}),
        on(doc! {"p": "2dsphere"}, doc! {"coarsestIndexedLevel": 1.0}),
        on(doc! {"a": "text"}, doc! {"weights": {"a": 2.5}}),
        on(doc! {"a": "text"}, doc! {"default_language": "de"}),
        on(doc! {"a": "text"}, doc! {"textIndexVersion": 1}),
        on(doc! {"a": "hashed"}, doc! {"weights": {"a": 1}}),
        on(doc! {"$**": 1}, doc! {"wildcardProjection": {"a": 1}}),
        on(doc! {"a": 1, "b": -1.5}, doc! {"v": 1}),
        plain(doc! {"bucketSize": 5}),
        plain(doc! {"weights": {"a": 1}}),
        plain(doc! {"partialFilterExpression": {}}),
        plain(doc! {"collation": {"locale": "de"}}),
    ];
    let values = [
        Bson::Null,
        true.into(),
        5.into(),
        0.5.into(),
        "x".into(),
        bson!({"a": 1}),
        bson!([1]),
    ];
    for name in [
        "sparse",
        "background",
        "unique",
        "dropDups",
        "bits",
        "min",
        "max",
        "finestIndexedLevel",
        "coarsestIndexedLevel",
        "textIndexVersion",
        "2dsphereIndexVersion",
        "default_language",
        "language_override",
    ] {
        all.extend(values.iter().map(|value| plain(doc! {name: value.clone()})));
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_of_an_older_release_is_refused_exactly_where_a_later_one_would_not_build_it() {
    let sets = every_release().await;
    let mut clients = Vec::new();
    for set in &sets {
        clients.push(set.client().await.unwrap());
    }
    let (mut sides, mut refusals) = (Vec::new(), 0);
    for set in &sets {
        sides.push(fixture::source(&set.uri()).await);
    }
    for (at, index) in indexes().iter().enumerate() {
        let ns = catalog::Namespace {
            db: DB.to_owned(),
            coll: format!("c{at}"),
        };
        let create =
            |index: &Document| doc! {"createIndexes": &ns.coll, "indexes": [index.clone()]};
        for from in [0, 1] {
            if !takes(&clients[from], DB, create(index)).await {
                continue;
            }
            let listed = catalog::indexes(&sides[from].shards[0], &ns).await.unwrap();
            let is_it = |spec: &&RawDocumentBuf| spec.get_str("name").is_ok_and(|name| name == "n");
            let spec = listed.iter().find(is_it).unwrap();
            let again = Document::try_from(&**spec).unwrap();
            for to in from..RELEASES.len() {
                let db = format!("after_{from}");
                let is_taken = takes(&clients[to], &db, create(&again)).await;
                let found = refused(spec, &sides[to].dialect.catalog);
                let path = (RELEASES[from], RELEASES[to]);
                assert_eq!(found.is_none(), is_taken, "{path:?} {spec:?} {found:?}");
                refusals += usize::from(found.is_some());
            }
        }
    }
    assert!(10 < refusals, "{refusals}");
}

type Named<T> = Vec<(&'static str, T)>;

/// Pipelines of views, and filters of validators.
fn definitions() -> (Named<Bson>, Named<Document>) {
    let mut sort = Document::new();
    for at in 0..40 {
        sort.insert(format!("a{at}"), 1);
    }
    let views = vec![
        ("many_sorted", bson!([{"$sort": sort}])),
        ("half_a_document", bson!([{"$limit": 1.5}])),
        ("nan", bson!([{"$match": {"a": {"$mod": [f64::NAN, 0]}}}])),
        (
            "no_such_option",
            bson!([{"$match": {"a": {"$regex": "a", "$options": "z"}}}]),
        ),
        (
            "plain",
            bson!([{"$match": {"a": 1}}, {"$project": {"b": "$c"}}]),
        ),
        // Refused by every release where it is run, but not where it is made.
        (
            "needs_an_index",
            bson!([{"$match": {"$text": {"$search": "a"}}}]),
        ),
        (
            "constant",
            bson!([{"$project": {"a": {"$divide": [1, 0]}}}]),
        ),
    ];
    let validators = vec![
        ("by_nan", doc! {"a": {"$mod": [f64::NAN, 0]}}),
        ("by_option", doc! {"a": {"$regex": "a", "$options": "z"}}),
        ("by_schema", doc! {"$jsonSchema": {"required": ["a"]}}),
        ("by_expression", doc! {"$expr": {"$gt": ["$a", "$b"]}}),
    ];
    (views, validators)
}

async fn checks(source: &ReplicaSet, target: &ReplicaSet) -> Vec<Check> {
    let source = fixture::source(&source.uri()).await;
    let target = fixture::target(&target.uri()).await;
    let catalog = catalog::read(&source).await.unwrap();
    validate::run(&source, &target, &catalog, &BTreeSet::new()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_view_or_validator_is_refused_exactly_where_a_later_release_would_not_make_it() {
    let sets = every_release().await;
    let (views, validators) = definitions();
    let mut commands: Vec<(&str, Document)> = Vec::new();
    for (name, pipeline) in views {
        commands.push((
            name,
            doc! {"create": name, "viewOn": "c", "pipeline": pipeline},
        ));
    }
    for (name, filter) in validators {
        commands.push((name, doc! {"create": name, "validator": filter}));
    }
    let mut made: Vec<BTreeSet<&str>> = Vec::new();
    for set in &sets {
        let client = set.client().await.unwrap();
        let mut names = BTreeSet::new();
        for (name, command) in &commands {
            if takes(&client, DB, command.clone()).await {
                names.insert(*name);
            }
        }
        made.push(names);
    }
    assert!(made[0].contains("many_sorted") && made[2].contains("by_option"));
    for of in 0..RELEASES.len() {
        for at in of..RELEASES.len() {
            let checks = checks(&sets[of], &sets[at]).await;
            let check = checks
                .iter()
                .find(|check| check.name == "views and validators supported")
                .unwrap();
            let lost: Vec<&&str> = made[of].difference(&made[at]).collect();
            let path = (RELEASES[of], RELEASES[at]);
            assert_eq!(!check.has_failed(), lost.is_empty(), "{path:?} {check:?}");
            for name in lost {
                assert!(check.found.contains(&format!("{DB}.{name} (")), "{check:?}");
            }
            if check.has_failed() {
                assert!(!check.found.contains("plain"), "{check:?}");
            }
        }
    }
}

/// Everything at once that such a path may have against it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_later_release_refuses_is_told_all_at_once_with_remedies() {
    let (source, target) = tokio::join!(set("4.4", "old"), set("6.0", "new"));
    let client = source.client().await.unwrap();
    for index in [
        doc! {"key": {"p": "geoHaystack", "t": 1}, "name": "small", "bucketSize": 5},
        doc! {"key": {"a": 1}, "name": "loose", "sparse": "yes"},
    ] {
        run(&client, DB, doc! {"createIndexes": "c", "indexes": [index]}).await;
    }
    let half = doc! {"create": "half", "viewOn": "c", "pipeline": [{"$limit": 1.5}]};
    run(&client, DB, half).await;
    let odd = doc! {"a": {"$regex": "a", "$options": "z"}};
    run(&client, DB, doc! {"create": "strict", "validator": odd}).await;
    create_named(&client, b"\xffname").await;
    run(&client, "admin", lowered("4.2")).await;
    let there = target.client().await.unwrap();
    fixture::insert(&there, "left", "c").await;
    let blocked = doc! {"setUserWriteBlockMode": 1, "global": true};
    run(&there, "admin", blocked).await;
    // What is to be changed on the source has its name there.
    let renames = ["rules.c=rules.half", "rules.half=rules.c"];
    let flags = renames.map(|rename| ["--rename", rename]).concat();
    let told = told(&source.uri(), &target.uri(), &flags);
    let failed = told.failed();
    for [name, found, remedy] in &failed {
        assert!(!remedy.is_empty(), "{name}: {found}");
    }
    let of = |name: &str| failed.iter().find(|[of, ..]| *of == name).unwrap();
    let names: BTreeSet<&str> = failed.iter().map(|[name, ..]| *name).collect();
    let expect = [
        "feature compatibility version",
        "names are UTF-8",
        "indexes can be rebuilt",
        "views and validators supported",
        "target takes writes",
        "target is empty",
    ];
    assert_eq!(names, BTreeSet::from(expect), "{failed:?}");
    for (name, expect) in [
        ("indexes can be rebuilt", "small of rules.c (geoHaystack"),
        ("indexes can be rebuilt", "loose of rules.c (sparse"),
        ("views and validators supported", "rules.half ("),
        ("views and validators supported", "rules.strict ("),
        ("names are UTF-8", "name"),
        ("target is empty", "left.c"),
    ] {
        let [_, found, _] = of(name);
        assert!(found.contains(expect), "{name}: {found}");
    }
    let [.., remedy] = of("feature compatibility version");
    let raise = "setFeatureCompatibilityVersion: \"4.4\"";
    assert!(remedy.contains(raise), "{remedy}");
}

fn lowered(fcv: &str) -> Document {
    doc! {"setFeatureCompatibilityVersion": fcv}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lower_feature_compatibility_version_passes_if_both_sides_have_it() {
    let (source, target) = tokio::join!(set("5.0", "a"), set("5.0", "b"));
    let failed = async || {
        let checks = checks(&source, &target).await;
        let failed = checks.into_iter().filter(|check| check.has_failed());
        failed.map(|check| check.name).collect::<Vec<_>>()
    };
    for (set, expect) in [
        (&source, &["feature compatibility version"][..]),
        (&target, &[][..]),
    ] {
        let client = set.client().await.unwrap();
        run(&client, "admin", lowered("4.4")).await;
        assert_eq!(failed().await, expect);
    }
}
