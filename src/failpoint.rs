//! Named places where a test can end the process as a crash would, or the task
//! as a defect would, and times that it can shorten. Debug builds only; in release builds
//! `hit` is empty.
//!
//! `SHARDLIFT_FAILPOINT=<name>:<n>`: the n-th time the place is reached, the
//! process aborts: nothing is flushed, dropped or answered. With `:panic` after
//! it the task panics instead.

use std::time::Duration;

/// Every place, so that the crash tests can visit them all.
pub const NAMES: &[&str] = &[
    "run-created",
    "plan-stored",
    "layout-placed",
    "layout-sharded",
    "layout-made",
    "layout-bound",
    "incarnation-begun",
    "units-marked",
    "unit-emptied",
    "units-waiting",
    "position-taken",
    "anew-marked",
    "anew-emptied",
    "anew-listed",
    "whole-marked",
    "whole-dropped",
    "whole-made",
    "whole-recorded",
    "unit-started",
    "unit-batch-written",
    "run-written",
    "unit-finished",
    "capped-remade",
    "checkpoint-before",
    "checkpoint-settled",
    "checkpoint-after",
    "flush-before-commit",
    "flush-committed",
    "flush-acknowledged",
    "doubtful-before",
    "doubtful-after",
    "index-built",
    "expiring-index-built",
    "creation-noted",
    "creation-made",
    "creation-recorded",
    "unmade",
    "drop-begun",
    "drop-made",
    "drop-recorded",
    "renamed",
    "rename-recorded",
    "refined",
    "sharded",
    "sharded-recorded",
    "modified",
    "views-followed",
    "spool-rotated",
    "cutover-proven",
    "cutover-finishing",
    "reverse-planned",
    "reverse-begun",
    "reverse-held",
    "cutover-expiries",
    "cutover-balancers",
    "cutover-removed",
];

/// How long `name` is waited for: `usual`, or in debug builds what a test says
/// (`SHARDLIFT_WAIT=<name>:<ms>`).
pub fn wait(name: &str, usual: Duration) -> Duration {
    #[cfg(debug_assertions)]
    return armed::wait(name).unwrap_or(usual);
    #[cfg(not(debug_assertions))]
    {
        let _ = name;
        usual
    }
}

/// Marks the place `name`.
#[inline(always)]
pub fn hit(name: &str) {
    #[cfg(debug_assertions)]
    armed::hit(name);
    #[cfg(not(debug_assertions))]
    let _ = name;
}

#[cfg(debug_assertions)]
mod armed {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
    use std::time::Duration;

    struct Armed {
        name: String,
        left: AtomicU64,
        panics: bool,
    }

    static ARMED: OnceLock<Option<Armed>> = OnceLock::new();

    pub(super) fn hit(name: &str) {
        debug_assert!(
            super::NAMES.contains(&name),
            "{name} is not in the list of failpoints"
        );
        let Some(armed) = ARMED.get_or_init(read) else {
            return;
        };
        if armed.name == name && armed.left.fetch_sub(1, SeqCst) == 1 {
            if armed.panics {
                panic!("at the failpoint {name}");
            }
            std::process::abort();
        }
    }

    pub(super) fn wait(name: &str) -> Option<Duration> {
        let text = std::env::var("SHARDLIFT_WAIT").ok()?;
        let (_, ms) = text.split_once(':').filter(|(of, _)| *of == name)?;
        ms.parse().ok().map(Duration::from_millis)
    }

    fn read() -> Option<Armed> {
        let text = std::env::var("SHARDLIFT_FAILPOINT").ok()?;
        let (text, panics) = text
            .strip_suffix(":panic")
            .map_or((text.as_str(), false), |text| (text, true));
        let (name, count) = text.split_once(':')?;
        Some(Armed {
            name: name.to_owned(),
            left: AtomicU64::new(count.parse().ok()?),
            panics,
        })
    }
}
