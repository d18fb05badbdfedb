//! What was seen over time, as lines of a plot; drawn as SVG.
//!
//! Knows nothing about how it was measured.

use std::fmt::Write;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 240.0;
/// Around the drawing, px: left for the numbers, below for the seconds.
const LEFT: f64 = 70.0;
const BELOW: f64 = 34.0;
const ABOVE: f64 = 14.0;
const COLOURS: [&str; 6] = [
    "#1f6fb2", "#d1622b", "#2f8f4e", "#8a4fbf", "#b23a48", "#5a6570",
];
/// Points of a line at most; more are averaged.
const POINTS_MAX: usize = 400;

/// `(seconds, value)`, by time.
#[derive(Debug, Clone, Default)]
pub(super) struct Line {
    pub(super) name: String,
    pub(super) points: Vec<(f64, f64)>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Plot {
    pub(super) title: String,
    /// What the values are, with their unit.
    pub(super) unit: &'static str,
    pub(super) lines: Vec<Line>,
}

impl Line {
    pub(super) fn new(name: impl Into<String>, points: Vec<(f64, f64)>) -> Line {
        Line {
            name: name.into(),
            points,
        }
    }

    /// The rate of a counter, per second, over windows of at least `window_s`.
    pub(super) fn rate_of(name: impl Into<String>, counts: &[(f64, f64)], window_s: f64) -> Line {
        let mut points = Vec::new();
        let mut since = counts.first().copied().unwrap_or_default();
        for &(at, count) in counts {
            if window_s <= at - since.0 {
                points.push(((at + since.0) / 2.0, (count - since.1) / (at - since.0)));
                since = (at, count);
            }
        }
        Line::new(name, points)
    }

    fn thinned(&self) -> Vec<(f64, f64)> {
        let block = self.points.len().div_ceil(POINTS_MAX).max(1);
        let average = |points: &[(f64, f64)]| {
            let count = points.len() as f64;
            (
                points.iter().map(|p| p.0).sum::<f64>() / count,
                points.iter().map(|p| p.1).sum::<f64>() / count,
            )
        };
        self.points.chunks(block).map(average).collect()
    }
}

impl Plot {
    /// An `svg` element with a legend.
    pub(super) fn svg(&self) -> String {
        let points = || self.lines.iter().flat_map(|line| &line.points);
        let seconds = points().fold(1e-3, |most: f64, point| most.max(point.0));
        let most = points().fold(1e-9, |most: f64, point| most.max(point.1)) * 1.05;
        let x = |at: f64| LEFT + at / seconds * (WIDTH - LEFT - 10.0);
        let y = |value: f64| HEIGHT - BELOW - value / most * (HEIGHT - BELOW - ABOVE);
        let mut out = format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">\n");
        for step in 0..=4 {
            let part = f64::from(step) / 4.0;
            let (across, up) = (x(seconds * part), y(most * part));
            let right = WIDTH - 10.0;
            let _ = writeln!(
                out,
                "<path class=\"grid\" d=\"M{LEFT:.1} {up:.1}H{right:.1}\"/>"
            );
            let _ = writeln!(
                out,
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 6.0,
                up + 4.0,
                short(most * part)
            );
            let _ = writeln!(
                out,
                "<text x=\"{across:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{:.1} s</text>",
                HEIGHT - 12.0,
                seconds * part
            );
        }
        for (i, line) in self.lines.iter().enumerate() {
            let points: Vec<String> = line
                .thinned()
                .iter()
                .map(|(at, value)| format!("{:.1},{:.1}", x(*at), y(*value)))
                .collect();
            let colour = COLOURS[i % COLOURS.len()];
            let _ = writeln!(
                out,
                "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.6\" points=\"{}\"/>",
                points.join(" ")
            );
        }
        out + "</svg>\n"
    }

    /// Name and colour of each line.
    pub(super) fn legend(&self) -> impl Iterator<Item = (&str, &'static str)> {
        self.lines
            .iter()
            .enumerate()
            .map(|(i, line)| (line.name.as_str(), COLOURS[i % COLOURS.len()]))
    }
}

/// A number in few characters.
fn short(value: f64) -> String {
    match value {
        value if 1e6 <= value => format!("{:.1} M", value / 1e6),
        value if 1e4 <= value => format!("{:.0} k", value / 1e3),
        value if 100.0 <= value => format!("{value:.0}"),
        value => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_taken_over_windows() {
        let counts: Vec<(f64, f64)> = (0..=10)
            .map(|i| (f64::from(i) / 10.0, f64::from(i) * 5.0))
            .collect();
        let line = Line::rate_of("a", &counts, 0.45);
        assert_eq!(line.points.len(), 2);
        assert!(
            line.points
                .iter()
                .all(|(_, rate)| (49.9..50.1).contains(rate)),
            "{line:?}"
        );
    }

    #[test]
    fn long_lines_are_thinned_and_drawn_within_the_frame() {
        let line = Line::new("a", (0..5_000).map(|i| (f64::from(i), 1.0)).collect());
        assert!(line.thinned().len() <= POINTS_MAX);
        let plot = Plot {
            title: "t".into(),
            unit: "u",
            lines: vec![line, Line::default()],
        };
        let svg = plot.svg();
        assert_eq!(svg.matches("<polyline").count(), 2);
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }
}
