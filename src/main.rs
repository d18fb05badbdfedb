//! The `shardlift` command.

fn main() {}
