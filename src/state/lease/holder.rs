//! Identifies the holder of a lease: a process on a host. It differs from a later process
//! with the same number, and from one in another container on the same host.

use std::fmt;
use std::fs;

use bson::{Document, RawDocumentBuf, rawdoc};

/// A process. Empty texts and zeros are what could not be found out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holder {
    pub host: String,
    /// Identifies this boot of the machine and the PID namespace in it. A process number
    /// is only unique within one of them.
    pub machine: String,
    pub pid: i64,
    /// Start time of the process, in clock ticks since the machine booted.
    pub started: i64,
}

impl Holder {
    /// This process.
    pub fn me() -> Holder {
        Holder::of(std::process::id())
    }

    /// A process of this host.
    pub fn of(pid: u32) -> Holder {
        let text = |path: &str| {
            fs::read_to_string(path)
                .map(|text| text.trim().to_owned())
                .unwrap_or_default()
        };
        let numbers = fs::read_link("/proc/self/ns/pid")
            .map(|link| link.display().to_string())
            .unwrap_or_default();
        let boot = text("/proc/sys/kernel/random/boot_id");
        Holder {
            host: text("/proc/sys/kernel/hostname"),
            machine: if boot.is_empty() || numbers.is_empty() {
                String::new()
            } else {
                format!("{boot} {numbers}")
            },
            pid: i64::from(pid),
            started: started(i64::from(pid)).unwrap_or(0),
        }
    }

    pub(super) fn is_me(&self) -> bool {
        self.started != 0 && *self == Holder::me()
    }

    /// True only if it is certain that the process ran on this machine and no longer
    /// does.
    pub(super) fn is_gone(&self) -> bool {
        let me = Holder::me();
        let here = !me.machine.is_empty() && (&self.host, &self.machine) == (&me.host, &me.machine);
        here && self.started != 0 && started(self.pid) != Some(self.started)
    }

    /// The holder in its stored form.
    pub fn document(&self) -> RawDocumentBuf {
        rawdoc! {
            "host": self.host.as_str(), "machine": self.machine.as_str(), "pid": self.pid, "started": self.started,
        }
    }

    pub(super) fn read(stored: &Document) -> Holder {
        let text = |field| stored.get_str(field).unwrap_or_default().to_owned();
        let number = |field| stored.get_i64(field).unwrap_or_default();
        Holder {
            host: text("host"),
            machine: text("machine"),
            pid: number("pid"),
            started: number("started"),
        }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = if self.host.is_empty() {
            "an unknown host"
        } else {
            &self.host
        };
        write!(f, "process {} on {host}", self.pid)
    }
}

/// Start time of a process; None if there is none, or it ended and only waits
/// for its parent.
fn started(pid: i64) -> Option<i64> {
    start_in(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Fields of `/proc/<pid>/stat` (proc(5)): the second is the name in brackets,
/// which may hold anything; the third the state, the 22nd the start time.
fn start_in(stat: &str) -> Option<i64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_time_is_the_22nd_field_whatever_the_name_holds() {
        let rest: Vec<String> = (4..=30).map(|n: i32| n.to_string()).collect();
        let stat = |state| format!("1 (a ) b) {state} {}", rest.join(" "));
        assert_eq!(start_in(&stat("S")), Some(22));
        assert_eq!(start_in(&stat("Z")), None);
        assert_eq!(start_in("1 (a"), None);
    }

    #[test]
    fn only_a_process_of_this_machine_is_known_to_be_gone() {
        let me = Holder::me();
        assert!(me.is_me() && !me.is_gone());
        let reused = Holder {
            started: me.started + 1,
            ..me.clone()
        };
        assert!(reused.is_gone() && !reused.is_me());
        for elsewhere in [
            Holder {
                host: "other".to_owned(),
                ..reused.clone()
            },
            Holder {
                machine: String::new(),
                ..reused
            },
        ] {
            assert!(!elsewhere.is_gone());
        }
    }
}
