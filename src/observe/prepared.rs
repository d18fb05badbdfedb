//! What a cutover would wait for at one moment, and what the operator does next.
//!
//! Knows nothing about how it is asked for.

use serde::{Deserialize, Serialize};

use crate::observe::counters::PairSnapshot;
use crate::observe::figures;
use crate::observe::phase::Phase;
use crate::observe::plain;
use crate::observe::reverse::Reverse;
use crate::observe::status::Snapshot;

/// Bytes of both sides compared in a second, of one pair: less than was measured.
const COMPARED_BYTES_PER_S: f64 = 200_000_000.0;
/// Documents read again in a second, of one pair.
const REREAD_DOCUMENTS_PER_S: f64 = 10_000.0;
/// Markers, lists of collections, and the last checkpoint.
const FIXED_S: f64 = 1.0;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Prepared {
    pub phase: Phase,
    pub can_cutover: bool,
    pub shards: Vec<Shard>,
    pub obstacles: Vec<String>,
    /// About how long a cutover takes once nothing writes, s. None before all is copied.
    pub takes_s: Option<f64>,
    pub steps: Vec<String>,
    /// The target's connection string, without credentials.
    pub target: String,
}

/// One source shard.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Shard {
    /// "source id → target id"
    pub name: String,
    /// How far the target is behind the source's newest write, ms.
    pub gap_ms: u64,
    /// Who still writes, most first.
    pub writes: Vec<Writes>,
    /// Transactions and index builds that are open.
    pub open: Vec<String>,
    /// Why the shard did not tell.
    pub unasked: Option<String>,
}

/// Writes to one namespace.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Writes {
    pub ns: String,
    pub ops_per_s: f64,
    /// Those that were seen at it; the server shows them only while they write.
    pub clients: Vec<String>,
}

/// How much the cutover compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compares {
    /// What was not verified ahead.
    Rest,
    All,
    Nothing,
}

impl Prepared {
    pub fn of(now: &Snapshot, shards: Vec<Shard>, compares: Compares) -> Self {
        let takes_s = now.pairs.iter().map(|pair| takes_s(pair, compares));
        let is_copied = !now.pairs.is_empty() && now.pairs.iter().all(PairSnapshot::is_copied);
        let mut prepared = Prepared {
            phase: now.phase,
            can_cutover: now.can_cutover,
            takes_s: takes_s.reduce(f64::max).filter(|_| is_copied),
            obstacles: now.obstacles.clone(),
            target: now.target.clone(),
            shards,
            steps: Vec::new(),
        };
        prepared.steps = prepared.next_steps(now.reverse);
        prepared
    }

    fn next_steps(&self, reverse: Reverse) -> Vec<String> {
        let mut steps = Vec::new();
        if !self.can_cutover && self.phase != Phase::Ready {
            steps.push(format!(
                "wait until `shardlift status` says ready: the run is {}",
                self.phase
            ));
        }
        let writes = self.shards.iter().flat_map(|shard| &shard.writes);
        let written: Vec<&str> = writes.map(|writes| writes.ns.as_str()).collect();
        steps.push(match &written[..] {
            [] => "stop your applications: no writes are seen now".to_owned(),
            [ns] => format!("stop your applications: {ns} is still written to"),
            [ns, more @ ..] => format!(
                "stop your applications: {ns} and {} more are still written to",
                more.len()
            ),
        });
        if self.shards.iter().any(|shard| !shard.open.is_empty()) {
            steps.push("wait for the open transactions and index builds, or end them".to_owned());
        }
        steps.push("wait until the gap of every shard is 0:00".to_owned());
        steps.push(format!(
            "run `{}` (`--block-writes` lets a source of 6.0 refuse writes from then on)",
            reverse.cutover()
        ));
        steps.push(format!(
            "when it is done, start your applications with {} and their own credentials",
            self.target
        ));
        steps
    }

    /// What `shardlift prepare` prints.
    pub fn table(&self) -> String {
        let mut out = String::new();
        for shard in &self.shards {
            out += &format!("{}: gap {}\n", plain::line(&shard.name), gap(shard.gap_ms));
            for writes in &shard.writes {
                out += &format!("  written to: {}\n", plain::line(&writes.line()));
            }
            for open in &shard.open {
                out += &format!("  open: {}\n", plain::line(open));
            }
            if let Some(why) = &shard.unasked {
                out += &format!("  cannot tell who writes: {}\n", plain::line(why));
            }
        }
        for obstacle in &self.obstacles {
            out += &format!("in the way of a cutover: {}\n", plain::line(obstacle));
        }
        out += &match self.takes_s {
            Some(s) => format!(
                "a cutover takes about {} once nothing writes\n",
                figures::seconds(s)
            ),
            None => "how long a cutover takes is known once all is copied\n".to_owned(),
        };
        for (number, step) in (1..).zip(&self.steps) {
            out += &format!("{number}. {}\n", plain::line(step));
        }
        out
    }
}

impl Writes {
    fn line(&self) -> String {
        let clients = match &self.clients[..] {
            [] => "its clients were not seen".to_owned(),
            clients => format!("by {}", clients.join(", ")),
        };
        format!("{}, about {:.0} ops/s, {clients}", self.ns, self.ops_per_s)
    }
}

/// Optime gap: minutes and seconds.
pub fn gap(ms: u64) -> String {
    format!("{}:{:02}", ms / 60_000, ms % 60_000 / 1_000)
}

/// About how long the cutover takes for one pair, s.
fn takes_s(pair: &PairSnapshot, compares: Compares) -> f64 {
    let part = match pair.documents_total {
        0 => 0.0,
        all => (1.0 - pair.documents_verified as f64 / all as f64).clamp(0.0, 1.0),
    };
    let reread_s = pair.documents_touched as f64 / REREAD_DOCUMENTS_PER_S;
    let compare_s = |part: f64| pair.bytes_total as f64 * part / COMPARED_BYTES_PER_S;
    FIXED_S
        + pair.lag_ms as f64 / 1_000.0
        + match compares {
            Compares::Nothing => 0.0,
            Compares::All => compare_s(1.0),
            Compares::Rest if pair.verified => reread_s,
            Compares::Rest => reread_s + compare_s(part),
        }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::status::tests::copying;

    #[test]
    fn a_cutover_takes_as_long_as_what_is_left_to_apply_and_to_compare() {
        let pair = PairSnapshot {
            documents_total: 1_000,
            bytes_total: 2_000_000_000,
            lag_ms: 2_000,
            ..PairSnapshot::default()
        };
        // documents verified, all of them, touched, what is compared, s
        let rows = [
            (0, false, 0, Compares::Nothing, 3.0),
            (0, false, 0, Compares::All, 13.0),
            (0, false, 0, Compares::Rest, 13.0),
            (500, false, 0, Compares::Rest, 8.0),
            (1_000, true, 20_000, Compares::Rest, 5.0),
            (1_000, true, 20_000, Compares::All, 13.0),
        ];
        for (documents_verified, verified, documents_touched, compares, expect) in rows {
            let pair = PairSnapshot {
                documents_verified,
                verified,
                documents_touched,
                ..pair.clone()
            };
            assert_eq!(
                takes_s(&pair, compares),
                expect,
                "{documents_verified} {compares:?}"
            );
        }
        let empty = PairSnapshot::default();
        assert_eq!(takes_s(&empty, Compares::Rest), FIXED_S);
    }

    #[test]
    fn it_tells_who_writes_what_is_open_and_what_to_do() {
        let shard = Shard {
            name: "a → x".into(),
            gap_ms: 61_000,
            writes: vec![Writes {
                ns: "shop.orders".into(),
                ops_per_s: 12.4,
                clients: vec!["10.0.0.9 (till)".into()],
            }],
            open: vec!["a transaction, for 12 s, by 10.0.0.9".into()],
            unasked: None,
        };
        let mut now = copying();
        now.target = "mongodb://t".into();
        let early = Prepared::of(&now, vec![shard], Compares::Rest);
        assert_eq!(early.takes_s, None);
        let table = early.table();
        for line in [
            "a → x: gap 1:01",
            "  written to: shop.orders, about 12 ops/s, by 10.0.0.9 (till)",
            "  open: a transaction, for 12 s, by 10.0.0.9",
            "how long a cutover takes is known once all is copied",
            "1. wait until `shardlift status` says ready: the run is copying",
            "2. stop your applications: shop.orders is still written to",
            "3. wait for the open transactions and index builds, or end them",
            "6. when it is done, start your applications with mongodb://t and their own credentials",
        ] {
            assert!(table.lines().any(|known| known == line), "{line}\n{table}");
        }
        now.can_cutover = true;
        now.pairs.iter_mut().for_each(|pair| pair.units_copied = 64);
        let ready = Prepared::of(&now, Vec::new(), Compares::Nothing);
        assert_eq!(ready.takes_s, Some(1.42));
        assert!(ready.steps[0].contains("no writes are seen"), "{ready:?}");
        now.reverse = Reverse::Running;
        let back = Prepared::of(&now, Vec::new(), Compares::Nothing).table();
        assert!(back.contains("run `shardlift reverse cutover` ("), "{back}");
        // Ready, and yet the gap is in the way.
        (now.phase, now.can_cutover) = (Phase::Ready, false);
        let behind = Prepared::of(&now, Vec::new(), Compares::Nothing);
        assert!(behind.steps[0].contains("no writes are seen"), "{behind:?}");
    }
}
