//! The demo's words on stdout: steps, details, figures. A reader that went away
//! is no error.
//!
//! Knows nothing about what they tell.

use std::io::Write;
use std::time::Instant;

pub(super) struct Narrator {
    quiet: bool,
    began: Instant,
}

impl Narrator {
    pub(super) fn new(quiet: bool) -> Narrator {
        Narrator {
            quiet,
            began: Instant::now(),
        }
    }

    /// Something new begins.
    pub(super) fn step(&self, text: String) {
        self.line(&format!(
            "{:6.1} s  {text}",
            self.began.elapsed().as_secs_f64()
        ));
    }

    /// More about the step.
    pub(super) fn detail(&self, text: String) {
        self.line(&format!(
            "{:6.1} s    {text}",
            self.began.elapsed().as_secs_f64()
        ));
    }

    pub(super) fn report(&self, text: &str) {
        self.line(&format!("\n{text}"));
    }

    /// The last line, in quiet too.
    pub(super) fn outcome(&self, json: &serde_json::Value) {
        let _ = writeln!(std::io::stdout(), "{json}");
    }

    fn line(&self, text: &str) {
        if !self.quiet {
            let _ = writeln!(std::io::stdout(), "{text}");
        }
    }
}

/// A count with a space between thousands.
pub(super) fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if 0 < i && (digits.len() - i).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

pub(super) fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_grouped() {
        assert_eq!(
            [0, 999, 1_000, 1_234_567].map(grouped),
            ["0", "999", "1 000", "1 234 567"]
        );
    }
}
