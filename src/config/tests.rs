//! Rows over the whole way from raw to resolved.

use std::io::Write;

use super::*;

const URIS: [(&str, &str); 2] = [
    ("source", "mongodb://a:s3cret@h1"),
    ("target", "mongodb://b:s3cret@h2"),
];

fn sources(
    file: Option<&std::path::Path>,
    env: &[(&str, &str)],
    flags: &[(&str, &str)],
) -> Sources {
    let own = |pairs: &[(&str, &str)]| {
        pairs
            .iter()
            .map(|(n, v)| (n.to_string(), v.to_string()))
            .collect::<Vec<_>>()
    };
    let flags = own(&URIS).into_iter().chain(own(flags)).collect();
    Sources {
        file: file.map(Into::into),
        env: own(env),
        flags,
    }
}

fn toml(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn refusal(file: Option<&str>, env: &[(&str, &str)], flags: &[(&str, &str)]) -> Error {
    let file = file.map(toml);
    let error = resolve(
        Verb::Migrate,
        &sources(file.as_ref().map(|f| f.path()), env, flags),
    )
    .unwrap_err();
    assert_eq!(error.kind, Kind::Config, "{error}");
    assert!(error.remedy.is_some(), "{error}");
    assert!(!error.to_string().contains("s3cret"), "{error}");
    error
}

#[test]
fn defaults_stand_where_nothing_is_set() {
    let config = Config::new("mongodb://h1", "mongodb://h2").unwrap();
    assert_eq!(
        (
            config.memory_mb,
            config.range_mb,
            config.scans,
            config.lanes
        ),
        (384, 64, 2, 4)
    );
    assert_eq!(
        (config.bulk_ops_max, config.bulk_mb_max, config.api_port),
        (2000, 8, 27182)
    );
    assert_eq!(
        (config.cutover, config.verify),
        (CutoverMode::Manual, VerifyMode::Digests)
    );
    assert_eq!(
        (config.log_format, config.progress),
        (LogFormat::Text, ProgressMode::Auto)
    );
    assert_eq!(
        (
            config.cutover_lag_ms,
            config.grace_s,
            config.cutover_timeout_s
        ),
        (1000, 5, 120)
    );
    assert_eq!(
        (
            config.away_max_s,
            config.command_timeout_s,
            config.checkpoint_ms
        ),
        (1800, 60, 1000)
    );
    assert_eq!(
        (
            config.watchdog_s,
            config.oplog_warn_s,
            config.spool_bytes_max()
        ),
        (60, 3600, 16 << 30)
    );
    assert!(!config.restart && config.spool_path().unwrap().ends_with("shardlift"));
    let set = Config {
        spool_dir: "/x/y".to_owned(),
        ..config.clone()
    };
    assert_eq!(set.spool_path().unwrap(), std::path::Path::new("/x/y"));
    assert!(config.map.is_empty() && config.log_level == "info");
    assert_eq!(
        (config.memory_bytes(), config.bulk_bytes_max()),
        (384 << 20, 8 << 20)
    );
}

#[test]
fn the_stronger_source_wins() {
    let file =
        toml("lanes = 8\nscans = 3\nrange_mb = 5\nverify = \"counts\"\nmap = \"a=x, b=y\"\n");
    let env = [
        ("SHARDLIFT_SCANS", "4"),
        ("SHARDLIFT_RANGE_MB", "6"),
        ("PATH", "x"),
        ("SHARDLIFT_OTHER", "y"),
    ];
    let config = resolve(
        Verb::Migrate,
        &sources(Some(file.path()), &env, &[("range_mb", "7")]),
    )
    .unwrap();
    assert_eq!(
        (
            config.lanes,
            config.scans,
            config.range_mb,
            config.bulk_mb_max
        ),
        (8, 4, 7, 8)
    );
    assert_eq!(config.verify, VerifyMode::Counts);
    assert_eq!(
        config.map,
        [("a".into(), "x".into()), ("b".into(), "y".into())]
    );
}

#[test]
fn out_of_bounds_names_knob_value_origin_and_bounds() {
    for (file, env, flags, found) in [
        (
            None,
            &[][..],
            &[("memory_mb", "12")][..],
            ["memory_mb = 12", "--memory-mb", "64 to 65536 MiB"],
        ),
        (
            None,
            &[("SHARDLIFT_LANES", "65")],
            &[],
            ["lanes = 65", "SHARDLIFT_LANES", "1 to 64"],
        ),
        (
            None,
            &[("SHARDLIFT_LANES", "many")],
            &[],
            ["lanes = \"many\"", "SHARDLIFT_LANES", "1 to 64"],
        ),
        (
            None,
            &[],
            &[("lanes", "-1")],
            ["lanes = \"-1\"", "--lanes", "1 to 64"],
        ),
        (
            Some("grace_s = -1"),
            &[],
            &[],
            ["grace_s = -1", "/", "0 to 3600 s"],
        ),
        (
            Some("grace_s = 1.5"),
            &[],
            &[],
            ["grace_s = 1.5", "/", "0 to 3600 s"],
        ),
        (
            Some("lanes = \"4\""),
            &[],
            &[],
            ["lanes = \"4\"", "/", "1 to 64"],
        ),
        (Some("map = 4"), &[], &[], ["map = 4", "/", "any text"]),
        (
            None,
            &[],
            &[("verify", "all")],
            [
                "verify = \"all\"",
                "--verify",
                "digests, full, counts, none",
            ],
        ),
        (
            None,
            &[],
            &[("api_port", "70000")],
            ["api_port = 70000", "--api-port", "0 to 65535"],
        ),
    ] {
        let error = refusal(file, env, flags).to_string();
        assert!(found.iter().all(|part| error.contains(part)), "{error}");
    }
}

#[test]
fn every_bound_is_taken_and_one_beyond_it_refused() {
    for knob in knobs::KNOBS {
        let knobs::Bounds::Between(least, most) = knob.bounds else {
            continue;
        };
        for (value, ok) in [(least, true), (most, true), (most + 1, false)] {
            let taken = resolve(
                Verb::Migrate,
                &sources(None, &[], &[(knob.name, &value.to_string())]),
            );
            assert_eq!(taken.is_ok(), ok, "{} = {value}", knob.name);
        }
    }
}

#[test]
fn a_file_that_cannot_be_used_says_why() {
    assert!(
        refusal(Some("lane = 4"), &[], &[])
            .message
            .contains("unknown key `lane`")
    );
    assert!(
        refusal(Some("[pair]\nlanes = 4"), &[], &[])
            .message
            .contains("unknown key `pair`")
    );
    assert!(
        refusal(Some("source = \"mongodb://a:s3cret@h"), &[], &[])
            .message
            .contains("cannot be read")
    );
    let missing = resolve(
        Verb::Migrate,
        &sources(Some("/nowhere/x.toml".as_ref()), &[], &[]),
    )
    .unwrap_err();
    assert!(missing.message.contains("/nowhere/x.toml does not exist"));
}

#[test]
fn a_bad_map_is_refused() {
    for map in ["a", "a=", "=x", "a=x,a=y", "a=x,b=x"] {
        assert!(
            refusal(None, &[], &[("map", map)]).message.contains("map"),
            "{map}"
        );
    }
}

#[test]
fn deployments_are_needed_only_where_they_are_used() {
    let none = Sources::default();
    for verb in [Verb::Validate, Verb::Migrate, Verb::Verify] {
        assert!(
            resolve(verb, &none)
                .unwrap_err()
                .message
                .contains("source is not set")
        );
    }
    for verb in [Verb::Status, Verb::Cutover, Verb::Cancel, Verb::Recopy] {
        assert_eq!(resolve(verb, &none).unwrap().api_port, 27182);
    }
    let stored = resolve(
        Verb::Cancel,
        &sources(None, &[], &[("server_timeout_s", "3")]),
    )
    .unwrap();
    assert!(stored.has_deployments() && stored.server_timeout_s == 3);
    assert!(resolve(Verb::Cancel, &sources(None, &[], &[("target", "http://h")])).is_err());
    assert!(
        Config::new("mongodb://h", "mongodb://h")
            .unwrap_err()
            .message
            .contains("the same")
    );
    assert!(
        Config::new("mongodb://h", "http://h")
            .unwrap_err()
            .message
            .contains("target")
    );
}

#[test]
fn what_is_printed_holds_every_knob_and_no_secret() {
    let config = resolve(
        Verb::Migrate,
        &sources(None, &[("SHARDLIFT_URIS_MOVED", "1")], &[]),
    )
    .unwrap();
    let line = config.describe();
    assert!(
        line.starts_with("source=mongodb://***@h1 target=mongodb://***@h2 "),
        "{line}"
    );
    assert!(
        knobs::KNOBS
            .iter()
            .all(|knob| line.contains(&format!("{}=", knob.name))),
        "{line}"
    );
    assert!(!line.contains("s3cret") && !format!("{config:?}").contains("s3cret"));
    assert_eq!(config.warnings.len(), 1);
}

#[test]
fn renames_come_from_a_file_as_from_flags_and_contradicting_ones_are_refused() {
    let file = toml("rename = [\"a=c\", \"x.y=x.z\"]");
    let read = |sources: &Sources| resolve(Verb::Migrate, sources).unwrap();
    let of_file = read(&sources(Some(file.path()), &[], &[]));
    let of_flags = read(&sources(None, &[], &[("rename", "a=c\nx.y=x.z")]));
    assert_eq!(of_file.rename, of_flags.rename);
    assert_eq!(
        of_file.settings()["rename"],
        serde_json::json!(["a=c", "x.y=x.z"])
    );
    let error = refusal(Some("rename = [\"a=c\", \"b=c\"]"), &[], &[]);
    assert!(error.message.contains("are about one name"), "{error}");
}

/// The operator's page must not fall behind the knobs.
#[test]
fn every_knob_is_in_tuning_md() {
    let page = include_str!("../../tuning.md");
    let missing: Vec<_> = knobs::KNOBS
        .iter()
        .filter(|knob| !page.contains(&format!("`{}`", knob.name)))
        .collect();
    assert!(
        missing.is_empty(),
        "not in tuning.md: {:?}",
        missing.iter().map(|k| k.name).collect::<Vec<_>>()
    );
}
