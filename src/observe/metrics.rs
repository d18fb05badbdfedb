//! The snapshot as Prometheus reads it: each metric's name, unit and meaning with its
//! value.
//!
//! Knows nothing about who scrapes. Written by hand: the crate `prometheus` gives the same text
//! in a quarter more lines than these 40, as its counters live on and ours are those of one
//! snapshot. `prometheus-client` gives OpenMetrics alone, whose `TYPE` of a counter lacks its
//! `_total`.

use crate::observe::counters::{Metric, PAIR_METRICS, Type, counter, gauge, one_or_zero, seconds};
use crate::observe::phase::Phase;
use crate::observe::status::Snapshot;

/// Metrics of the run.
#[rustfmt::skip]
pub const RUN_METRICS: &[Metric<Snapshot>] = &[
    gauge("shardlift_elapsed_seconds", "Time since this process began.", |s| s.elapsed_s),
    gauge("shardlift_lag_seconds", "Largest lag of any pair.", |s| seconds(s.lag_ms)),
    gauge("shardlift_lag_max_seconds", "Largest lag of any pair so far.", |s| seconds(s.lag_ms_max)),
    gauge("shardlift_can_cutover", "1 when a cutover would be accepted now.", |s| one_or_zero(s.can_cutover)),
    gauge("shardlift_obstacles", "Number of obstacles to a cutover now.", |s| s.obstacles.len() as f64),
    gauge("shardlift_failed", "1 when the run ended by an error, or parked; not when somebody stopped or cancelled it.", |s| one_or_zero(matches!(s.phase, Phase::Failed | Phase::Parked))),
    gauge("shardlift_warnings", "Warnings an operator should read.", |s| s.warnings.len() as f64),
    counter("shardlift_cutovers_given_up_total", "Cutovers that were called off.", |s| s.cutovers_given_up as f64),
    counter("shardlift_recoveries_total", "Times the run went back to its last checkpoint.", |s| s.recoveries as f64),
    gauge("shardlift_cutover_seconds", "Duration of the finished cutover; 0 before.", |s| seconds(s.cutover_ms.unwrap_or(0))),
    gauge("shardlift_window_left_seconds", "What is left of the cutover window; 0 before it begins.", |s| s.window_left_s.unwrap_or(0) as f64),
    gauge("shardlift_throttle_copy_bytes_per_second", "Most that may be copied; 0: no limit.", |s| (s.throttle.copy_mb_s << 20) as f64),
    gauge("shardlift_throttle_ops_per_second", "Most ops that may be applied; 0: no limit.", |s| s.throttle.ops_s as f64),
    gauge("shardlift_copying_held", "1 while copying holds by itself: a side is behind.", |s| one_or_zero(!s.throttle.held_by.is_empty())),
    gauge("shardlift_paused", "1 while an operator holds the run back.", |s| one_or_zero(s.paused.is_some())),
];

/// Constant 1, labelled with the run's id and phase.
const INFO: &str = "shardlift_run_info";

/// The snapshot in Prometheus' text format (version 0.0.4).
pub fn render(snapshot: &Snapshot) -> String {
    let mut out = String::new();
    head(&mut out, INFO, Type::Gauge, "The run and its phase.");
    let run = escape(&snapshot.run_id);
    let phase = snapshot.phase;
    out += &format!("{INFO}{{run_id=\"{run}\",phase=\"{phase}\"}} 1\n");
    for metric in RUN_METRICS {
        head(&mut out, metric.name, metric.r#type, metric.help);
        out += &format!("{} {}\n", metric.name, (metric.read)(snapshot));
    }
    for metric in PAIR_METRICS {
        head(&mut out, metric.name, metric.r#type, metric.help);
        for pair in &snapshot.pairs {
            out += &format!(
                "{}{{pair=\"{}\"}} {}\n",
                metric.name,
                escape(&pair.name),
                (metric.read)(pair)
            );
        }
    }
    out
}

fn head(out: &mut String, name: &str, r#type: Type, help: &str) {
    let r#type = match r#type {
        Type::Counter => "counter",
        Type::Gauge => "gauge",
    };
    out.push_str(&format!("# HELP {name} {help}\n# TYPE {name} {type}\n"));
}

/// A label's value: backslash, quote and line end are escaped.
fn escape(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::phase::tests::ALL;
    use crate::observe::status::tests::copying;
    use crate::observe::throttled::Throttled;

    #[test]
    fn every_metric_is_told_once_with_its_values() {
        let text = render(&copying());
        for line in [
            "shardlift_run_info{run_id=\"r1\",phase=\"copying\"} 1",
            "# TYPE shardlift_pair_bytes_copied_total counter",
            "shardlift_pair_bytes_copied_total{pair=\"a → x\"} 1073741824",
            "shardlift_pair_lag_seconds{pair=\"b → y\"} 0.09",
            "shardlift_elapsed_seconds 21",
            "shardlift_can_cutover 0",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
        let names: Vec<&str> = text
            .lines()
            .filter_map(|l| l.strip_prefix("# TYPE ")?.split(' ').next())
            .collect();
        let mut once = names.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), names.len());
        assert!(text.ends_with('\n'));
    }

    #[test]
    fn every_figure_of_the_run_is_a_metric() {
        let run = Snapshot {
            elapsed_s: 1.5,
            lag_ms: 2_000,
            lag_ms_max: 3_000,
            can_cutover: true,
            obstacles: vec!["an obstacle".to_owned(); 4],
            phase: Phase::Failed,
            warnings: vec!["a warning".to_owned(); 5],
            cutovers_given_up: 6,
            recoveries: 7,
            cutover_ms: Some(8_000),
            window_left_s: Some(9),
            paused: Some("by ann".to_owned()),
            throttle: Throttled {
                copy_mb_s: 10,
                ops_s: 11,
                held_by: vec!["a reason".to_owned()],
            },
            ..copying()
        };
        let metrics: Vec<(&str, f64)> = RUN_METRICS
            .iter()
            .map(|metric| (metric.name, (metric.read)(&run)))
            .collect();
        let expect = [
            ("shardlift_elapsed_seconds", 1.5),
            ("shardlift_lag_seconds", 2.0),
            ("shardlift_lag_max_seconds", 3.0),
            ("shardlift_can_cutover", 1.0),
            ("shardlift_obstacles", 4.0),
            ("shardlift_failed", 1.0),
            ("shardlift_warnings", 5.0),
            ("shardlift_cutovers_given_up_total", 6.0),
            ("shardlift_recoveries_total", 7.0),
            ("shardlift_cutover_seconds", 8.0),
            ("shardlift_window_left_seconds", 9.0),
            (
                "shardlift_throttle_copy_bytes_per_second",
                10.0 * 1_048_576.0,
            ),
            ("shardlift_throttle_ops_per_second", 11.0),
            ("shardlift_copying_held", 1.0),
            ("shardlift_paused", 1.0),
        ];
        assert_eq!(metrics, expect);
    }

    #[test]
    fn what_somebody_wanted_is_no_failure() {
        let failed = RUN_METRICS
            .iter()
            .find(|metric| metric.name == "shardlift_failed");
        let failed = failed.unwrap().read;
        for (phase, _) in ALL {
            let error = Some("an error".to_owned());
            let now = Snapshot {
                phase,
                error,
                ..copying()
            };
            let expect = matches!(phase, Phase::Failed | Phase::Parked);
            assert_eq!(failed(&now), one_or_zero(expect), "{phase}");
        }
    }

    /// Values of a label in a rule: `phase=~"a|b"`.
    #[test]
    fn phases_in_the_alerts_are_phases() {
        let rules = include_str!("../../packaging/alerts.yml");
        let named = rules.split("phase=\"").skip(1);
        let named: Vec<&str> = named.filter_map(|rest| rest.split('"').next()).collect();
        assert!(!named.is_empty());
        for name in named {
            assert!(ALL.iter().any(|(_, text)| *text == name), "{name}");
        }
    }

    #[test]
    fn counters_end_with_total_and_only_they() {
        let names = RUN_METRICS.iter().map(|m| (m.name, m.r#type));
        for (name, r#type) in names.chain(PAIR_METRICS.iter().map(|m| (m.name, m.r#type))) {
            assert_eq!(name.ends_with("_total"), r#type == Type::Counter, "{name}");
        }
    }

    #[test]
    fn labels_are_escaped() {
        let mut snapshot = copying();
        snapshot.pairs[0].name = "a\"\\\n".into();
        assert!(render(&snapshot).contains(r#"{pair="a\"\\\n"}"#));
    }

    #[test]
    fn the_dashboard_and_the_alerts_name_metrics_that_exist() {
        let pages = [
            include_str!("../../packaging/grafana.json"),
            include_str!("../../packaging/alerts.yml"),
        ];
        let dashboard: serde_json::Value = serde_json::from_str(pages[0]).unwrap();
        assert!(!dashboard["panels"].as_array().unwrap().is_empty());
        let run = RUN_METRICS.iter().map(|metric| metric.name);
        let known: Vec<&str> = run
            .chain(PAIR_METRICS.iter().map(|metric| metric.name))
            .chain([INFO])
            .collect();
        let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        for page in pages {
            let names = page.split(|c| !is_of_name(c));
            let names: Vec<&str> = names
                .filter(|word| word.starts_with("shardlift_"))
                .collect();
            assert!(5 < names.len());
            for name in names {
                assert!(known.contains(&name), "there is no metric {name}");
            }
        }
    }
}
