//! Figures as an operator reads them: sizes, counts, times.
//!
//! Knows nothing about what is counted.

/// `1.5 GiB`; plain bytes below 1 KiB.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let (mut value, mut unit) = (bytes as f64 / 1024.0, 0);
    while 1023.95 <= value && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// `9999`, `51.2k`, `3.4M`, `1.2G`.
pub fn count(count: u64) -> String {
    const UNITS: [&str; 3] = ["k", "M", "G"];
    if count < 10_000 {
        return count.to_string();
    }
    let (mut value, mut unit) = (count as f64 / 1000.0, 0);
    while 999.95 <= value && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{value:.1}{}", UNITS[unit])
}

/// `0.4s`, `1m05s`, `2h05m`, `3d04h`.
pub fn seconds(seconds: f64) -> String {
    if seconds < 59.95 {
        return format!("{:.1}s", seconds.max(0.0));
    }
    let whole = seconds.round() as u64;
    match whole {
        0..3_600 => format!("{}m{:02}s", whole / 60, whole % 60),
        3_600..86_400 => format!("{}h{:02}m", whole / 3_600, whole % 3_600 / 60),
        _ => format!("{}d{:02}h", whole / 86_400, whole % 86_400 / 3_600),
    }
}

/// Milliseconds, as [`seconds`].
pub fn millis(ms: u64) -> String {
    seconds(ms as f64 / 1000.0)
}

/// The part of an estimated total in percent. 100 only if `all` is true, since estimates
/// may be too low.
pub fn percent(part: u64, total: u64, all: bool) -> u64 {
    if all {
        return 100;
    }
    if total == 0 {
        return 0;
    }
    (part as f64 / total as f64 * 100.0).min(99.0) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short_and_round_well() {
        for (n, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1536, "1.5 KiB"),
            (1 << 20, "1.0 MiB"),
            (5 << 40, "5.0 TiB"),
        ] {
            assert_eq!(bytes(n), text);
        }
        assert_eq!(bytes((1 << 30) - 1), "1.0 GiB");
        for (n, text) in [
            (0, "0"),
            (9_999, "9999"),
            (51_234, "51.2k"),
            (999_990, "1.0M"),
            (3_400_000_000, "3.4G"),
        ] {
            assert_eq!(count(n), text);
        }
        for (s, text) in [
            (0.41, "0.4s"),
            (59.99, "1m00s"),
            (65.0, "1m05s"),
            (7_500.0, "2h05m"),
            (273_600.0, "3d04h"),
        ] {
            assert_eq!(seconds(s), text);
        }
    }

    #[test]
    fn a_hundred_percent_means_all() {
        assert_eq!(
            [
                percent(5, 0, false),
                percent(7, 5, false),
                percent(5, 10, false)
            ],
            [0, 99, 50]
        );
        assert_eq!([percent(0, 0, true), percent(3, 5, true)], [100, 100]);
    }
}
