//! mongomirror's flags become ours, or are refused with a hint.

use super::*;

fn of(line: &str) -> Given {
    let words = std::iter::once("mirror").chain(line.split_whitespace());
    given(&command(Command::new("mirror")).get_matches_from(words))
}

const BOTH: &str = "--host a/h1:1,h2:2 --destination b/g:3 ";

#[test]
fn flags_become_uris_and_flags() {
    let rows = [
        (
            "",
            "mongodb://h1:1,h2:2/?replicaSet=a",
            "mongodb://g:3/?replicaSet=b",
            "",
        ),
        (
            "--username u@x --password p:1 --authenticationDatabase admin --authenticationMechanism SCRAM-SHA-1",
            "mongodb://u%40x:p%3A1@h1:1,h2:2/?replicaSet=a&authSource=admin&authMechanism=SCRAM-SHA-1",
            "mongodb://g:3/?replicaSet=b",
            "",
        ),
        (
            "--ssl --sslCAFile /x/ca.pem --tlsInsecure --destinationUsername v --destinationPassword q --compressors zstd,snappy",
            "mongodb://h1:1,h2:2/?replicaSet=a&compressors=zstd%2Csnappy&tlsCAFile=%2Fx%2Fca.pem&tls=true&tlsInsecure=true",
            "mongodb://v:q@g:3/?replicaSet=b&compressors=zstd%2Csnappy&tls=true",
            "",
        ),
        (
            "--includeNamespace d.c --includeNamespace d.e --includeDB f -j 3 --oplogPath /s --oplogBatchSize 500 --httpStatusPort 8000 --readPreference primary --writeConcern majority",
            "mongodb://h1:1,h2:2/?replicaSet=a",
            "mongodb://g:3/?replicaSet=b",
            "--include d.c --include d.e --include f.* --scans 3 --spool-dir /s --bulk-ops-max 500 --http-status-port 8000",
        ),
    ];
    for (line, source, target, args) in rows {
        let found = translate(&of(&format!("{BOTH}{line}")), None).unwrap();
        assert_eq!(
            (found.source.as_str(), found.target.as_str()),
            (source, target)
        );
        assert_eq!(found.args.join(" "), args);
    }
    let atlas = of("--host a/h:1 --destination b/x.mongodb.net:27017");
    assert!(
        translate(&atlas, None)
            .unwrap()
            .target
            .ends_with("&tls=true")
    );
}

#[test]
fn what_has_no_meaning_is_refused_with_a_hint() {
    for line in [
        "--drop",
        "--noIndexRestore",
        "--bookmarkFile x",
        "--forceDump",
        "--collStatsThreshold 5",
        "--readPreference secondary",
        "--writeConcern 1",
        "--host h:1",
    ] {
        let line = if line.starts_with("--host") {
            format!("{line} --destination b/g:3")
        } else {
            format!("{BOTH}{line}")
        };
        let refused = translate(&of(&line), None).unwrap_err();
        assert!(
            refused.kind == Kind::Config && refused.remedy.is_some(),
            "{line}"
        );
    }
}

#[test]
fn secrets_come_from_the_file() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(
        file.path(),
        "# secrets\npassword: \"p w\"\ndestinationPassword: q\n",
    )
    .unwrap();
    let line = of(&format!("{BOTH}--username u --destinationUsername v"));
    let found = translate(&line, Some(file.path())).unwrap();
    assert!(found.source.starts_with("mongodb://u:p%20w@"), "{found:?}");
    assert!(found.target.starts_with("mongodb://v:q@"), "{found:?}");
    std::fs::write(file.path(), "passwort: secret\n").unwrap();
    let refused = translate(&line, Some(file.path())).unwrap_err();
    assert!(!refused.to_string().contains("secret"), "{refused}");
}

#[test]
fn the_uri_of_the_file_is_the_source_unless_a_host_is_given() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let of_uri = |uri: &str, line: &str| {
        std::fs::write(file.path(), format!("uri: \"{uri}\"\n")).unwrap();
        translate(&of(line), Some(file.path()))
    };
    const TO: &str = "--destination b/g:3 ";
    let plain = "mongodb://u:p@h:1,i:2/?replicaSet=a";
    let rows = [
        (plain, "", plain),
        (plain, "--host c/x:1", "mongodb://x:1/?replicaSet=c"),
        (
            plain,
            "--ssl --compressors zstd",
            "mongodb://u:p@h:1,i:2/?replicaSet=a&tls=true&compressors=zstd",
        ),
        (
            "mongodb://h:1/?ssl=false&compressors=snappy",
            "--ssl --compressors zstd",
            "mongodb://h:1/?ssl=false&compressors=snappy",
        ),
        (
            "mongodb+srv://h.example",
            "--ssl",
            "mongodb+srv://h.example/?tls=true",
        ),
    ];
    for (uri, line, expect) in rows {
        let found = of_uri(uri, &format!("{TO}{line}")).unwrap();
        assert_eq!(found.source, expect, "{line}");
        assert!(found.target.starts_with("mongodb://g:3/?replicaSet=b"));
    }
    for (uri, line) in [
        (plain, "--username u"),
        (plain, "--tlsInsecure"),
        ("secret@h:1", ""),
    ] {
        let refused = of_uri(uri, &format!("{TO}{line}")).unwrap_err();
        assert_eq!(refused.kind, Kind::Config);
        assert!(!refused.to_string().contains("secret"), "{refused}");
    }
}
