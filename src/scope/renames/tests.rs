//! Rows of renames and names.

use super::*;

fn renames(texts: &[&str]) -> Renames {
    Renames::new(texts.iter().map(|text| text.parse().unwrap()).collect()).unwrap()
}

fn split(name: &str) -> (&str, &str) {
    name.split_once('.').unwrap()
}

fn joined(name: Option<(String, String)>) -> Option<String> {
    name.map(|(db, coll)| format!("{db}.{coll}"))
}

#[test]
fn each_name_has_one_on_the_other_side_or_none() {
    // Of the source, and of the target.
    let rows: [(&[&str], &str, Option<&str>); 17] = [
        (&[], "a.b", Some("a.b")),
        (&["a=c"], "a.b", Some("c.b")),
        (&["a=c"], "a.system.buckets.t", Some("c.system.buckets.t")),
        (&["a=c"], "a.system.js", Some("c.system.js")),
        (&["a=c"], "ab.b", Some("ab.b")),
        (&["a=c"], "c.b", None),
        (&["a=c", "c=a"], "c.b", Some("a.b")),
        (&["a.b=c.d"], "a.b", Some("c.d")),
        (&["a.b=c.d"], "a.x", Some("a.x")),
        (&["a.b=c.d"], "c.d", None),
        (&["a.b=c.d"], "c.x", Some("c.x")),
        (&["a.b=a.d", "a.d=a.b"], "a.d", Some("a.b")),
        (
            &["a.t=a.u"],
            "a.system.buckets.t",
            Some("a.system.buckets.u"),
        ),
        (&["a=c", "a.b=a.d"], "a.b", Some("a.d")),
        (&["a=c", "a.b=c.d"], "a.d", None),
        (&["a=c", "a.b=a.b"], "a.b", Some("a.b")),
        (&["a=c", "a.b=a.b"], "a.d", Some("c.d")),
    ];
    for (texts, source, target) in rows {
        let all = renames(texts);
        let ((db, coll), target) = (split(source), target.map(str::to_owned));
        assert_eq!(joined(all.to_target(db, coll)), target, "{all}: {source}");
        if let Some(target) = target {
            let (db, coll) = split(&target);
            let back = joined(all.to_source(db, coll));
            assert_eq!(back.as_deref(), Some(source), "{all}: {target}");
        }
    }
}

#[test]
fn renames_are_the_same_in_any_order() {
    let all = renames(&["a=c", "x.y=x.z"]);
    assert_eq!(all, renames(&["x.y=x.z", "a=c"]));
    assert_ne!(all, renames(&["a=c"]));
    assert_ne!(all, renames(&["a=c", "x.y=x.w"]));
}

#[test]
fn what_no_name_of_the_source_becomes_is_nobodys() {
    let rows: [(&[&str], &str); 3] = [
        (&["a=c"], "a.b"),
        (&["a.b=a.d"], "a.b"),
        (&["a=c", "a.b=c.d"], "c.b"),
    ];
    for (texts, target) in rows {
        let (db, coll) = split(target);
        assert_eq!(renames(texts).to_source(db, coll), None, "{target}");
    }
}

#[test]
fn databases_are_told_either_way() {
    let all = renames(&["a=c", "a.b=e.d", "x.y=c.z"]);
    assert_eq!(all.databases_to_target("a"), ["c", "e"]);
    assert_eq!(all.databases_to_target("x"), ["x", "c"]);
    assert_eq!(all.databases_to_source("c"), ["a", "c", "x"]);
    assert_eq!(all.databases_to_source("e"), ["e", "a"]);
    assert_eq!(all.databases_to_source("a"), [""; 0]);
    let whole = |db| renames(&["a=c", "x.y=e.z"]).is_whole(db);
    assert!(whole("c") && whole("x") && !whole("a") && !whole("e"));
}

#[test]
fn what_is_no_rename_is_refused() {
    let long = format!("a.b=c.{}", "d".repeat(NAME_BYTES_MAX));
    let texts = [
        "",
        "a",
        "a.b",
        "=c",
        "a=",
        "a.b=c",
        "a=c.d",
        "a=a",
        "a.=c.d",
        "admin=c",
        "a=local",
        "a.system.js=c.d",
        "a.b=c.system.buckets.d",
        "a.*=c.*",
        "a=b c",
        "a=b=c",
        "x.a=b=x.c",
        "a.b=c.d$e",
        &long,
    ];
    for text in texts {
        assert!(text.parse::<Rename>().is_err(), "{text}");
    }
    for twice in [
        ["a=c", "b=c"],
        ["a.b=c.d", "a.b=c.e"],
        ["a.b=c.d", "a.x=c.d"],
        ["a=shop", "b=Shop"],
        ["a=shop", "b.x=SHOP.x"],
    ] {
        let all = twice.iter().map(|text| text.parse().unwrap()).collect();
        assert!(Renames::new(all).is_err(), "{twice:?}");
    }
    let same = "a.b=a.b".parse().unwrap();
    assert!(Renames::new(vec![same]).is_err());
}
