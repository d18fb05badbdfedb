//! How every command of loadgen starts the engine: by hand to be cut over, with an API on
//! a free port.
//!
//! Knows nothing about what a caller adds.

/// Of `shardlift migrate`, and then `more` of them.
pub fn migrate(source: &str, target: &str, more: &[String]) -> Vec<String> {
    let words = [
        "migrate",
        "--source",
        source,
        "--target",
        target,
        "--cutover",
        "manual",
        "--grace-s",
        "1",
        "--api-port",
        "0",
        "--progress",
        "none",
        "--json",
    ];
    let words = words.into_iter().map(str::to_owned);
    words.chain(more.iter().cloned()).collect()
}
