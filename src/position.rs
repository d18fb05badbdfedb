//! Positions in one shard's oplog, and the times that belong to them.
//!
//! | position    | advances when                                   | is never                        | drives |
//! |-------------|-------------------------------------------------|---------------------------------|--------|
//! | `begun`     | the tail starts to classify an entry            | behind anything classified      | fences (R2) |
//! | `passed`    | every op of the entry is classified             | ahead of `begun`                | the watermark's upper bound |
//! | `watermark` | nothing at or below it is held or in a lane     | ahead of any unapplied op (R6)  | lag, cutover |
//! | `horizon`   | a reply that was copied, or an attempt's start, tells the source's clock | behind any op that shows on the target (R3) | unique builds, verification, ready, missed writes |

use std::collections::VecDeque;
use std::fmt;
use std::time::Instant;

use bson::{RawBsonRef, RawDocument};

/// An oplog timestamp: seconds since 1970 in the high half, increment in the low.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position(u64);

impl Position {
    pub const MAX: Position = Position(u64::MAX);

    pub fn seconds(self) -> u64 {
        self.0 >> 32
    }

    /// The greatest position below this one.
    pub fn before(self) -> Position {
        Position(self.0.saturating_sub(1))
    }

    pub fn next(self) -> Self {
        Position(self.0.saturating_add(1))
    }

    pub fn raw(self) -> u64 {
        self.0
    }

    pub fn from_raw(raw: u64) -> Self {
        Position(raw)
    }

    /// The clock of the server that gave a reply. Every entry that shows in the reply, or
    /// is still to come for what shows, is at or below it. Zero if the reply has none.
    pub fn clock_of(reply: &RawDocument) -> Position {
        match reply
            .get_document("$clusterTime")
            .map(|time| time.get("clusterTime"))
        {
            Ok(Ok(Some(RawBsonRef::Timestamp(ts)))) => Position::from(ts),
            _ => Position::default(),
        }
    }
}

impl From<bson::Timestamp> for Position {
    fn from(ts: bson::Timestamp) -> Self {
        Position(u64::from(ts.time) << 32 | u64::from(ts.increment))
    }
}

impl From<Position> for bson::Timestamp {
    fn from(p: Position) -> Self {
        bson::Timestamp {
            time: (p.0 >> 32) as u32,
            increment: p.0 as u32,
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0 >> 32, self.0 as u32)
    }
}

/// An entry of an oplog: its position, and the term it was written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    pub position: Position,
    pub term: i64,
}

/// Passed entries, thinned out, to turn a position into an entry to resume at. Bounded:
/// at `MARKS_MAX` every other one is dropped.
#[derive(Debug)]
pub struct Marks {
    /// Ascending; the first is at or below every position asked for.
    marks: VecDeque<Mark>,
    newest: Mark,
}

const MARKS_MAX: usize = 4_096;

impl Marks {
    pub fn new(start: Mark) -> Self {
        Marks {
            marks: VecDeque::from([start]),
            newest: start,
        }
    }

    /// The tail passed this entry.
    pub fn passed(&mut self, mark: Mark) {
        if self.marks.len() >= MARKS_MAX {
            let mut keep = false;
            self.marks.retain(|_| {
                keep = !keep;
                keep
            });
        }
        self.marks.push_back(mark);
        self.newest = mark;
    }

    /// The newest entry kept at or below `position`.
    pub fn at_or_below(&self, position: Position) -> Mark {
        let after = self.marks.partition_point(|mark| mark.position <= position);
        self.marks
            .get(after.saturating_sub(1))
            .copied()
            .unwrap_or(self.newest)
    }

    /// Nothing below `mark` will be asked for.
    pub fn forget_below(&mut self, mark: Mark) {
        while self
            .marks
            .front()
            .is_some_and(|first| first.position < mark.position)
        {
            self.marks.pop_front();
        }
    }
}

/// Wall clock times of positions, in ms since 1970 by the source's clock, to report a
/// watermark as a time. Bounded: at most one sample per 10 ms of wall time, and at most
/// `SAMPLES_MAX`.
#[derive(Debug, Default)]
pub struct Walls {
    samples: VecDeque<(Position, u64)>,
    newest_ms: u64,
    applied_ms: u64,
    /// When all that the source had was applied, by this host's clock.
    level_at: Option<Instant>,
}

const SAMPLES_MAX: usize = 100_000;
const SAMPLE_SPACING_MS: u64 = 10;

impl Walls {
    /// The tail passed `position`, written at `wall_ms`.
    pub fn passed(&mut self, position: Position, wall_ms: u64) {
        self.newest_ms = self.newest_ms.max(wall_ms);
        let spaced = self
            .samples
            .back()
            .is_none_or(|(_, last)| last + SAMPLE_SPACING_MS <= wall_ms);
        if spaced && self.samples.len() < SAMPLES_MAX {
            self.samples.push_back((position, wall_ms));
        } else if let Some(last) = self.samples.back_mut() {
            // A later position under the older time: lag is told too high by
            // at most twice the spacing, never too low.
            last.0 = position;
        }
    }

    /// Lag in ms once `watermark` is applied, the source's newest write being
    /// at `source_ms`. `caught_up`: everything the source has is applied. A write after a
    /// silence is late only since it came, not since the write before it.
    pub fn lag_ms(
        &mut self,
        watermark: Position,
        source_ms: u64,
        caught_up: bool,
        now: Instant,
    ) -> u64 {
        while self
            .samples
            .front()
            .is_some_and(|(position, _)| *position <= watermark)
        {
            self.applied_ms = self
                .samples
                .pop_front()
                .map_or(self.applied_ms, |(_, ms)| ms);
        }
        let newest_ms = self.newest_ms.max(source_ms);
        if caught_up {
            self.applied_ms = self.applied_ms.max(newest_ms);
            self.level_at = Some(now);
        }
        let level = self.level_at.map(|at| now.saturating_duration_since(at));
        let since_level_ms = level.map_or(u64::MAX, |since| since.as_millis() as u64);
        match self.applied_ms {
            0 => 0,
            applied_ms => newest_ms.saturating_sub(applied_ms).min(since_level_ms),
        }
    }

    /// Sets the time from which lag counts before anything is applied.
    pub fn start_at(&mut self, wall_ms: u64) {
        self.applied_ms = wall_ms;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn positions_order_as_timestamps_do() {
        let at = |time, increment| Position::from(bson::Timestamp { time, increment });
        assert!(at(1, u32::MAX) < at(2, 0));
        assert_eq!(at(2, 0).before(), at(1, u32::MAX));
        assert_eq!(
            bson::Timestamp::from(at(7, 9)),
            bson::Timestamp {
                time: 7,
                increment: 9
            }
        );
    }

    #[test]
    fn a_reply_tells_the_clock_of_its_server() {
        let clock = bson::Timestamp {
            time: 7,
            increment: 9,
        };
        let reply = bson::rawdoc! { "ok": 1, "operationTime": bson::Timestamp { time: 5, increment: 1 }, "$clusterTime": { "clusterTime": clock } };
        assert_eq!(Position::clock_of(&reply), clock.into());
        assert_eq!(
            Position::clock_of(&bson::rawdoc! { "ok": 1 }),
            Position::default()
        );
    }

    #[test]
    fn a_mark_is_never_above_what_was_asked_for() {
        let mark = |i| Mark {
            position: Position(i),
            term: 1,
        };
        let mut marks = Marks::new(mark(0));
        (1..20_000).for_each(|i| marks.passed(mark(i)));
        for asked in [5, 700, 701, 19_999] {
            let found = marks.at_or_below(Position(asked)).position.raw();
            assert!(found <= asked && asked - found < 1_024, "{asked}: {found}");
        }
        let kept = marks.at_or_below(Position(700));
        marks.forget_below(kept);
        assert_eq!(marks.at_or_below(Position(700)), kept);
        assert_eq!(marks.at_or_below(Position(5)), kept, "the oldest there is");
    }

    #[test]
    fn lag_is_never_told_too_low() {
        let mut walls = Walls::default();
        walls.start_at(1_000);
        for i in 0..100u64 {
            walls.passed(Position(i), 1_000 + i);
        }
        // Position 35 applied: true lag is 1099 - 1035 = 64 ms.
        let now = Instant::now();
        let lag = walls.lag_ms(Position(35), 0, false, now);
        assert!((64..=64 + 2 * SAMPLE_SPACING_MS).contains(&lag), "{lag}");
        assert_eq!(walls.lag_ms(Position(99), 1_100, true, now), 0);
        // A minute of silence, then writes.
        let at = |ms| now + Duration::from_millis(ms);
        walls.passed(Position(100), 61_100);
        assert_eq!(walls.lag_ms(Position(99), 0, false, at(60_020)), 60_000);
        assert_eq!(walls.lag_ms(Position(99), 0, true, at(60_030)), 0);
        walls.passed(Position(101), 121_100);
        assert_eq!(walls.lag_ms(Position(100), 0, false, at(60_080)), 50);
        walls.passed(Position(102), 123_100);
        assert_eq!(walls.lag_ms(Position(101), 0, false, at(122_030)), 2_000);
    }
}
