//! What becomes of one collection that is chosen by its name, and of what the target has of it.

use super::*;

/// What becomes of one name alone: kept, gone, made anew, created.
fn only(name: &str, was: Vec<CollectionState>, now: Vec<Collection>) -> String {
    let target = catalog(made_of(&was));
    let states = [state(was), state(Vec::new())];
    let local = now.iter().filter_map(|c| c.uuid).collect();
    let (now, name) = (catalog(now), ns(name));
    let taken = HashMap::new();
    let only = Only {
        ns: &name,
        taken: &taken,
    };
    let changes = changes(0, &states, &now, &local, &target, Some(only));
    assert!(changes.refused.is_empty(), "{:?}", changes.refused);
    let names = |of: Vec<&Namespace>| {
        let names: Vec<_> = of.into_iter().map(|ns| ns.coll.as_str()).collect();
        names.join(",")
    };
    [
        names(changes.kept.iter().map(|was| &was.ns).collect()),
        names(changes.gone.iter().map(|(was, _)| &was.ns).collect()),
        names(changes.anew.iter().map(|(_, is)| &is.ns).collect()),
        names(changes.created.iter().map(|is| &is.ns).collect()),
    ]
    .join(" | ")
}

#[test]
fn what_is_to_have_a_name_after_another_is_not_made_before_it() {
    let taken = HashMap::from([(ns("a"), [1, 2].map(uuid).into())]);
    let early = |now: Vec<Collection>| {
        let states = [state(Vec::new()), state(Vec::new())];
        let local = now.iter().filter_map(|c| c.uuid).collect();
        let (now, target, name) = (catalog(now), catalog(Vec::new()), ns("a"));
        let only = Only {
            ns: &name,
            taken: &taken,
        };
        changes(0, &states, &now, &local, &target, Some(only)).early
    };
    let (last, first) = (collection(2, "a"), collection(1, "b"));
    assert_eq!(early(vec![last.clone(), first]), ["d.b was d.a before"]);
    assert!(early(vec![last]).is_empty(), "the first is gone");
}

#[test]
fn of_one_name_only_what_its_pair_cannot_follow_is_made_up_for() {
    let others = || vec![recorded(2, "b"), recorded(3, "c")];
    let with = |one: CollectionState| [others(), vec![one]].concat();
    let a = || with(recorded(1, "a"));
    let series = |coll: &str| format!("system.buckets.{coll}");
    let in_another = |coll: &str| Collection {
        ns: Namespace {
            db: "e".to_owned(),
            ..ns(coll)
        },
        ..collection(1, coll)
    };
    let given_up = || CollectionState {
        dead: true,
        planned_at: Position::from_raw(5),
        ..recorded(1, "a")
    };
    let rows = [
        ("a", a(), vec![collection(1, "a")], "a |  |  | "),
        // Its rename is still to be met, and the creation of what has its name.
        (
            "a",
            a(),
            vec![collection(1, "z"), collection(8, "a")],
            "a |  |  | ",
        ),
        ("z", a(), vec![collection(1, "z")], "a |  |  | "),
        // To another database on the target: such a rename is never followed.
        ("a", a(), vec![in_another("a")], " |  | a | "),
        // Renamed, and sharded by now: that rename could not be followed.
        (
            "a",
            a(),
            vec![Collection {
                sharded: spread(0, 1).sharded,
                ..collection(1, "z")
            }],
            " |  | z | ",
        ),
        ("a", a(), vec![], " | a |  | "),
        // Given up before, and renamed back.
        (
            "a",
            with(given_up()),
            vec![collection(1, "a")],
            " |  |  | a",
        ),
        ("a", a(), vec![collection(8, "a")], " | a |  | a"),
        (
            "new",
            a(),
            vec![collection(8, "new"), collection(9, "other")],
            " |  |  | new",
        ),
        (
            "a",
            with(recorded(1, &series("a"))),
            vec![collection(1, &series("z"))],
            " |  | system.buckets.z | ",
        ),
    ];
    for (name, was, now, expect) in rows {
        let now = [now, vec![collection(2, "b"), collection(3, "c")]].concat();
        assert_eq!(only(name, was, now.clone()), expect, "{name}: {now:?}");
    }
}

#[test]
fn what_is_no_more_as_it_was_made_on_the_target_is_made_anew_where_no_other_shard_has_it() {
    let touched = |others: Vec<CollectionState>, on_target: Vec<Collection>, name: Option<&str>| {
        let states = [state(vec![recorded(1, "a")]), state(others)];
        let now = catalog(vec![collection(1, "a")]);
        let local = [uuid(1)].into();
        let (target, name, taken) = (catalog(on_target), name.map(ns), HashMap::new());
        let only = name.as_ref().map(|ns| Only { ns, taken: &taken });
        let changes = changes(0, &states, &now, &local, &target, only);
        let (kept, anew) = (changes.kept.len(), changes.anew.len());
        format!("{kept} {anew} {}", changes.refused.join(","))
    };
    let validated = || Collection {
        options: rawdoc! {"validator": {"x": 1}},
        ..collection(101, "a")
    };
    let shared = "0 0 d.a was dropped or recreated on the target, and other shards have it, too";
    for name in [None, Some("a")] {
        let alone = |on_target| touched(Vec::new(), on_target, name);
        assert_eq!(alone(vec![collection(101, "a")]), "1 0 ");
        assert_eq!(alone(vec![]), "0 1 ");
        assert_eq!(alone(vec![collection(9, "a")]), "0 1 ");
        assert_eq!(alone(vec![validated()]), "0 1 ");
        let with_others = |on_target| touched(vec![recorded(1, "a")], on_target, name);
        assert_eq!(with_others(vec![]), shared);
        assert_eq!(with_others(vec![validated()]), "1 0 ");
    }
}
