//! The table of pairs in `shardlift status`.

use crate::observe::counters::PairSnapshot;
use crate::observe::figures;
use crate::observe::plain;

const HEAD: [&str; 10] = [
    "pair",
    "copied",
    "%",
    "bytes/s",
    "docs/s",
    "units",
    "indexes",
    "ops applied (/s)",
    "lag",
    "eta",
];

fn row(pair: &PairSnapshot) -> [String; 10] {
    [
        plain::line(&pair.name).into_owned(),
        format!(
            "{} of {}",
            figures::bytes(pair.bytes_done),
            figures::bytes(pair.bytes_total)
        ),
        pair.percent_copied().to_string(),
        figures::bytes(pair.bytes_per_s as u64),
        figures::count(pair.documents_per_s as u64),
        format!("{}/{}", pair.units_copied, pair.units_total),
        format!("{}/{}", pair.indexes_built, pair.indexes_total),
        format!(
            "{} ({})",
            figures::count(pair.ops_applied),
            figures::count(pair.ops_per_s as u64)
        ),
        figures::millis(pair.lag_ms),
        eta(pair.eta_s),
    ]
}

/// Rows under `HEAD`, every column as wide as its widest cell.
pub fn columns(pairs: &[PairSnapshot]) -> String {
    let rows: Vec<[String; 10]> = std::iter::once(HEAD.map(str::to_string))
        .chain(pairs.iter().map(row))
        .collect();
    let width = |column: usize| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..HEAD.len()).map(width).collect();
    let text = |row: &[String; 10]| {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    rows.iter().map(text).collect()
}

/// Time left, or a dash.
pub fn eta(eta_s: Option<f64>) -> String {
    eta_s.map_or("-".to_string(), figures::seconds)
}
