//! How fast a run may go, as operators see it.
//!
//! Knows nothing about who holds it back.

use serde::{Deserialize, Serialize};

use crate::observe::plain;

/// How fast the run may go, and what it holds for by itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Throttled {
    /// Most MiB copied per second; 0: no limit.
    pub copy_mb_s: u64,
    /// Most ops applied per second; 0: no limit.
    pub ops_s: u64,
    /// Why copying holds now.
    pub held_by: Vec<String>,
}

impl Throttled {
    /// A line each; none if nothing is limited.
    pub fn lines(&self) -> Vec<String> {
        let limit = |most: u64, of: &str| (most != 0).then(|| format!("at most {most} {of}"));
        let limits = [
            limit(self.copy_mb_s, "MiB/s copied"),
            limit(self.ops_s, "ops/s applied"),
        ];
        let limits: Vec<String> = limits.into_iter().flatten().collect();
        let mut lines = Vec::new();
        if !limits.is_empty() {
            lines.push(format!("throttled by the operator: {}", limits.join(", ")));
        }
        let held = self.held_by.iter().map(|why| plain::line(why));
        lines.extend(held.map(|why| format!("copying holds: {why}")));
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::status::tests::copying;

    #[test]
    fn what_slows_the_run_down_is_told_in_line_and_table() {
        let mut snapshot = copying();
        assert!(snapshot.throttle.lines().is_empty());
        snapshot.throttle = Throttled {
            copy_mb_s: 10,
            ops_s: 5,
            held_by: vec!["shard a is behind by 40 s".into()],
        };
        let told = [
            "throttled by the operator: at most 10 MiB/s copied, at most 5 ops/s applied",
            "copying holds: shard a is behind by 40 s",
        ];
        assert_eq!(snapshot.throttle.lines(), told);
        let (line, table) = (snapshot.line(), snapshot.table());
        assert!(told.iter().all(|told| line.contains(told)), "{line}");
        assert!(told.iter().all(|told| table.contains(told)), "{table}");
    }
}
