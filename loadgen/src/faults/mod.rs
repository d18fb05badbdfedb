//! Faults on a running pair of deployments and on the engine between them: one
//! seeded clock begins and ends them, counts them and keeps a record.
//!
//! Every fault ends after a bounded time, and no set ever lacks its majority:
//! what it acknowledged by majority stays. Knows nothing about the load.

mod act;
pub mod clock;
pub mod elections;
mod ground;
pub mod plan;
pub mod record;
mod rolling;

use std::fmt;
use std::str::FromStr;

/// Everything that can be made to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// The primary steps down.
    StepDown,
    /// A member is frozen (SIGSTOP), then goes on.
    Freeze,
    /// A member is killed (SIGKILL), then started again on its data.
    Kill,
    /// What follows happens at a member's proxy, on all or a share of its connections.
    Delay,
    Throttle,
    Cut,
    Reset,
    HalfOpen,
    BlackHole,
    Refuse,
    /// The engine is killed (SIGKILL), asked to end (SIGTERM), frozen.
    EngineKill,
    EngineTerm,
    EngineFreeze,
    /// What operators do, where there is a second one: `fsyncLock` for a while; an index
    /// built or dropped on the members of a source's set one by one, outside the set.
    FsyncLock,
    RollingIndex,
    /// A cluster's router ends, with all its connections, and starts again.
    RouterRestart,
}

impl Fault {
    /// With name and weight in a plan.
    pub const ALL: [(Fault, &str, u64); 16] = [
        (Fault::StepDown, "step_down", 4),
        (Fault::Freeze, "freeze", 3),
        (Fault::Kill, "kill", 4),
        (Fault::Delay, "delay", 2),
        (Fault::Throttle, "throttle", 1),
        (Fault::Cut, "cut", 2),
        (Fault::Reset, "reset", 2),
        (Fault::HalfOpen, "half_open", 2),
        (Fault::BlackHole, "black_hole", 2),
        (Fault::Refuse, "refuse", 1),
        (Fault::EngineKill, "engine_kill", 6),
        (Fault::EngineTerm, "engine_term", 1),
        (Fault::EngineFreeze, "engine_freeze", 2),
        (Fault::FsyncLock, "fsync_lock", 3),
        (Fault::RollingIndex, "rolling_index", 3),
        (Fault::RouterRestart, "router_restart", 1),
    ];

    pub fn name(self) -> &'static str {
        Fault::ALL[self as usize].1
    }

    pub fn weight(self) -> u64 {
        Fault::ALL[self as usize].2
    }

    /// Takes a member from its set while it lasts.
    pub fn is_down(self) -> bool {
        matches!(
            self,
            Fault::Freeze | Fault::Kill | Fault::HalfOpen | Fault::BlackHole | Fault::Refuse
        ) || self.is_operators()
    }

    /// Only where there is a second operator.
    pub fn is_operators(self) -> bool {
        matches!(self, Fault::FsyncLock | Fault::RollingIndex)
    }

    /// Over as soon as it has begun.
    pub fn is_instant(self) -> bool {
        matches!(
            self,
            Fault::StepDown
                | Fault::Cut
                | Fault::Reset
                | Fault::EngineKill
                | Fault::EngineTerm
                | Fault::RouterRestart
        )
    }

    pub fn is_on_engine(self) -> bool {
        matches!(
            self,
            Fault::EngineKill | Fault::EngineTerm | Fault::EngineFreeze
        )
    }

    /// A process dies without a warning.
    pub fn is_kill(self) -> bool {
        matches!(self, Fault::Kill | Fault::EngineKill)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Fault, String> {
        let found = Fault::ALL.iter().find(|(_, name, _)| *name == text);
        let names = || Fault::ALL.map(|(_, name, _)| name).join(", ");
        found
            .map(|(fault, ..)| *fault)
            .ok_or_else(|| format!("no fault {text}; there are {}", names()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_numbered_as_listed() {
        assert!(
            Fault::ALL
                .iter()
                .enumerate()
                .all(|(i, (fault, ..))| *fault as usize == i)
        );
        assert_eq!("black_hole".parse(), Ok(Fault::BlackHole));
    }
}
