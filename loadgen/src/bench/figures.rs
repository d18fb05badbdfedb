//! Figures of repeated runs: medians, and how far the runs lay apart.
//!
//! Knows nothing about what they mean.

use serde_json::{Map, Value, json};

/// Named figures of one run, in the order they are told.
#[derive(Debug, Clone, Default)]
pub(super) struct Figures(Vec<(&'static str, f64)>);

impl Figures {
    pub(super) fn set(&mut self, name: &'static str, value: f64) {
        self.0.push((name, value));
    }

    pub(super) fn get(&self, name: &str) -> Option<f64> {
        self.0
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| *value)
    }
}

/// The median of each figure over all runs; of several runs also
/// `spread: {name: [least, largest]}`.
pub(super) fn fold(runs: &[Figures]) -> Map<String, Value> {
    let (mut folded, mut spread) = (Map::new(), Map::new());
    for (name, _) in runs.first().into_iter().flat_map(|run| &run.0) {
        let mut values: Vec<f64> = runs.iter().filter_map(|run| run.get(name)).collect();
        values.sort_by(f64::total_cmp);
        folded.insert((*name).to_owned(), rounded(percentile(&values, 50.0)));
        let ends = [values.first(), values.last()]
            .map(|value| rounded(value.copied().unwrap_or_default()));
        spread.insert((*name).to_owned(), json!(ends));
    }
    if 1 < runs.len() {
        folded.insert("spread".to_owned(), Value::Object(spread));
    }
    folded
}

/// Of sorted values, between two of them by weight; 0 of none.
pub(super) fn percentile(sorted: &[f64], percent: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else {
        return 0.0;
    };
    let at = percent / 100.0 * last as f64;
    let below = at as usize;
    let above = (below + 1).min(last);
    sorted[below] + (sorted[above] - sorted[below]) * (at - below as f64)
}

/// Three decimals; none from a hundred on, where they would be noise.
fn rounded(value: f64) -> Value {
    match value {
        value if !value.is_finite() => Value::Null,
        value if 100.0 <= value.abs() || value.fract() == 0.0 => json!(value.round() as i64),
        value => json!((value * 1e3).round() / 1e3),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(copy_s: f64, docs: f64) -> Figures {
        let mut figures = Figures::default();
        figures.set("copy_s", copy_s);
        figures.set("docs", docs);
        figures
    }

    #[test]
    fn one_run_is_told_as_it_is() {
        assert_eq!(
            json!(fold(&[run(1.23456, 1_000.0)])),
            json!({"copy_s": 1.235, "docs": 1_000})
        );
    }

    #[test]
    fn several_runs_are_told_by_median_and_spread() {
        let folded = json!(fold(&[run(3.0, 10.0), run(1.5, 10.0), run(2.0, 10.0)]));
        let spread = json!({"copy_s": [1.5, 3], "docs": [10, 10]});
        assert_eq!(folded, json!({"copy_s": 2, "docs": 10, "spread": spread}));
    }

    #[test]
    fn percentiles_lie_between_values() {
        assert_eq!(percentile(&[], 50.0), 0.0);
        assert_eq!(percentile(&[7.0], 99.0), 7.0);
        assert_eq!(percentile(&[1.0, 2.0], 50.0), 1.5);
        assert_eq!(percentile(&[0.0, 10.0, 20.0], 100.0), 20.0);
    }
}
