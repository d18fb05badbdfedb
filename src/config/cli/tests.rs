//! What the command line takes.

use super::*;

fn parse_words(line: &str) -> Result<Invocation, clap::Error> {
    parse(line.split(' ').map(OsString::from))
}

#[test]
fn the_command_line_is_sound() {
    command().debug_assert();
}

#[test]
fn flags_carry_knob_names() {
    let call =
        parse_words("shardlift migrate --memory-mb 512 --cutover=auto --json --config x.toml")
            .unwrap();
    assert_eq!(call.verb, Verb::Migrate);
    assert_eq!(call.flags["memory_mb"], "512");
    assert_eq!(call.flags["cutover"], "auto");
    assert!(!call.restart && parse_words("shardlift migrate --restart").unwrap().restart);
    assert!(call.json && call.file == Some("x.toml".into()));
}

#[test]
fn commands_take_their_own_flags_only() {
    for (line, ok) in [
        ("shardlift validate --source mongodb://h --map a=b", true),
        ("shardlift validate --lanes 4", false),
        ("shardlift verify --verify counts", true),
        ("shardlift status --api-port 9", true),
        ("shardlift status --api-port 9 --api http://h", false),
        ("shardlift cutover --no-wait", true),
        ("shardlift cancel --no-wait", false),
        ("shardlift status --watch --json", true),
        ("shardlift pause --why backup --api http://h", true),
        ("shardlift resume --why backup", false),
        ("shardlift extend --api-port 9", true),
        ("shardlift throttle --copy-mb-s 10 --api https://h", true),
        ("shardlift throttle --source-lag-max-s 10", false),
        ("shardlift prepare --json --api-ca x.pem", true),
        ("shardlift migrate --api-token abc", false),
        ("shardlift cutover --block-writes", true),
        ("shardlift migrate --reverse", true),
        ("shardlift validate --reverse", true),
        ("shardlift cutover --reverse", false),
        ("shardlift reverse status --json --api http://h", true),
        ("shardlift reverse cutover --no-wait --block-writes", true),
        (
            "shardlift reverse stop --source mongodb://h --target mongodb://g",
            true,
        ),
        ("shardlift reverse", false),
        ("shardlift reverse start", false),
        (
            "shardlift mirror --host a/h --destination b/g -j 2 --drop",
            true,
        ),
        ("shardlift mirror --source mongodb://h", false),
        ("shardlift completions zsh", true),
        ("shardlift completions", false),
        ("shardlift man", true),
        (
            "shardlift cancel --source mongodb://h --target mongodb://g",
            true,
        ),
        (
            "shardlift restart --shard a --ns d.c --target mongodb://g",
            true,
        ),
        (
            "shardlift recopy --shard a --ns d.c --target mongodb://g",
            true,
        ),
        ("shardlift recopy --ns d.c", true),
        ("shardlift recopy --ns d.* --api http://h", true),
        ("shardlift recopy", false),
        ("shardlift recopy --shard a --map a=b", false),
        ("shardlift migrate --restart --shard a", false),
        ("shardlift", false),
    ] {
        assert_eq!(parse_words(line).is_ok(), ok, "{line}");
    }
}

#[test]
fn cutover_waits_by_default_and_the_last_word_wins() {
    for (line, no_wait) in [
        ("", false),
        (" --wait", false),
        (" --no-wait", true),
        (" --no-wait --wait", false),
    ] {
        assert_eq!(
            parse_words(&format!("shardlift cutover{line}"))
                .unwrap()
                .no_wait,
            no_wait,
            "{line}"
        );
    }
}
