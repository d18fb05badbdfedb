//! What a suite found, for people: as text, and as the page of `--report`, one
//! file with the figures as tables and what was seen over time as plots.
//!
//! Measures nothing.

use std::fmt::Write;

use serde_json::{Map, Value};

use crate::bench::plot::Plot;

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:860px;margin:2em auto;padding:0 1em;color:#222;background:#fff}\
table{border-collapse:collapse;margin:.6em 0}td,th{padding:.2em .8em;border-bottom:1px solid #ddd;text-align:right}\
td:first-child,th:first-child{text-align:left}svg{width:100%;height:auto}svg text{font-size:11px;fill:#555}\
.grid{stroke:#e4e4e4;fill:none}.key{display:inline-block;width:1em;height:.25em;margin:0 .4em 0 1em;vertical-align:middle}";

/// The whole page.
pub(super) fn page(json: &Map<String, Value>, plots: &[Plot]) -> String {
    let suite = shown(json.get("suite").unwrap_or(&Value::Null));
    let mut out = String::from("<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\">\n");
    let _ = writeln!(
        out,
        "<title>shardlift bench: {suite}</title>\n<style>{STYLE}</style>\n<h1>bench {suite}</h1>"
    );
    out += &figures(json);
    for (name, value) in json {
        if let (false, Value::Object(cases)) = (name == "spread", value) {
            let _ = writeln!(out, "<h2>{}</h2>", escaped(name));
            out += &case_table(cases);
        }
    }
    for plot in plots {
        let _ = writeln!(
            out,
            "<h2>{}</h2>\n<p>{}",
            escaped(&plot.title),
            escaped(plot.unit)
        );
        for (name, colour) in plot.legend() {
            let _ = write!(
                out,
                "<span class=\"key\" style=\"background:{colour}\"></span>{}",
                escaped(name)
            );
        }
        let _ = writeln!(out, "</p>\n{}", plot.svg());
    }
    out + "</html>\n"
}

/// A line a figure, a case indented below its name.
pub(super) fn text(json: &Map<String, Value>) -> String {
    let mut out = String::new();
    lines(json, "", &mut out);
    out
}

fn lines(json: &Map<String, Value>, indent: &str, out: &mut String) {
    for (name, value) in json.iter().filter(|(name, _)| *name != "spread") {
        match value {
            Value::Object(inner) => {
                let _ = writeln!(out, "{indent}{name}");
                lines(inner, &format!("{indent}  "), out);
            }
            value => {
                let ends = spread(json, name);
                let ends = if ends.is_empty() {
                    ends
                } else {
                    format!("  ({ends})")
                };
                let _ = writeln!(out, "{indent}{name:<28} {value}{ends}");
            }
        }
    }
}

/// What stands at the top level, with its spread.
fn figures(json: &Map<String, Value>) -> String {
    let mut out =
        String::from("<table><tr><th>figure</th><th>value</th><th>least to largest</th></tr>\n");
    for (name, value) in json.iter().filter(|(_, value)| !value.is_object()) {
        let _ = writeln!(
            out,
            "<tr><td>{}</td><td>{}</td><td>{}</td></tr>",
            escaped(name),
            shown(value),
            spread(json, name)
        );
    }
    out + "</table>\n"
}

/// A row a case; its columns are the figures of the first one.
fn case_table(cases: &Map<String, Value>) -> String {
    let rows: Vec<(&String, &Map<String, Value>)> = cases
        .iter()
        .filter_map(|(name, value)| Some((name, value.as_object()?)))
        .collect();
    let Some((_, first)) = rows.first() else {
        return String::new();
    };
    let columns: Vec<&String> = first
        .iter()
        .filter(|(_, value)| !value.is_object())
        .map(|(name, _)| name)
        .collect();
    let heads: String = columns
        .iter()
        .map(|name| format!("<th>{}</th>", escaped(name)))
        .collect();
    let mut out = format!("<table><tr><th>case</th>{heads}</tr>\n");
    for (name, figures) in rows {
        let cell = |column: &&String| {
            let value = figures.get(*column).map(shown).unwrap_or_default();
            format!("<td title=\"{}\">{value}</td>", spread(figures, column))
        };
        let cells: String = columns.iter().map(cell).collect();
        let _ = writeln!(out, "<tr><td>{}</td>{cells}</tr>", escaped(name));
    }
    out + "</table>\n"
}

fn spread(figures: &Map<String, Value>, name: &str) -> String {
    let ends = figures
        .get("spread")
        .and_then(|spread| spread.get(name))
        .and_then(Value::as_array);
    ends.map(|ends| ends.iter().map(shown).collect::<Vec<_>>().join(" to "))
        .unwrap_or_default()
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => escaped(text),
        Value::Null => "–".to_owned(),
        other => escaped(&other.to_string()),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn figures_cases_and_plots_are_all_there() {
        let json = json!({"suite": "tail", "equal": true, "copy_s": 2, "spread": {"copy_s": [1, 3]},
            "cases": {"a<b": {"ops": 5, "ratio": 0.5}}});
        let plot = Plot {
            title: "rate".into(),
            unit: "ops/s",
            lines: Vec::new(),
        };
        let page = page(json.as_object().unwrap(), &[plot]);
        for part in [
            "bench tail",
            "<td>2</td><td>1 to 3</td>",
            "a&lt;b",
            "<th>ratio</th>",
            "0.5",
            "<svg",
        ] {
            assert!(page.contains(part), "{part} is not in {page}");
        }
        assert!(!page.contains("http"));
    }
}
