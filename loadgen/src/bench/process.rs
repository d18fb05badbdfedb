//! What a process has used so far: CPU time and memory, as the kernel counts
//! them in `/proc`.
//!
//! Knows nothing about what the process is.

use std::fs;
use std::time::Instant;

use crate::error::{Error, Result};

/// User and system time of all its threads, ended ones too, s. The kernel counts
/// in ticks of 10 ms.
///
/// # Errors
/// If the process is gone.
pub(super) fn cpu_s(pid: u32) -> Result<f64> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).map_err(|e| Error::from(e).context(&path))?;
    let ticks =
        cpu_ticks(&stat).ok_or_else(|| Error::new(format!("{path} cannot be read: {stat}")))?;
    // SAFETY: it only asks for a constant of the system.
    let ticks_per_s = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    Ok(ticks as f64 / ticks_per_s as f64)
}

/// Largest resident memory so far (`VmHWM`), MB of 10^6 bytes.
///
/// # Errors
/// If the process is gone.
pub(super) fn rss_peak_mb(pid: u32) -> Result<f64> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).map_err(|e| Error::from(e).context(&path))?;
    let kib = peak_kib(&status).ok_or_else(|| Error::new(format!("{path} tells no VmHWM")))?;
    Ok(kib as f64 * 1024.0 / 1e6)
}

/// The clock and the CPU time of some processes at one moment.
#[derive(Debug, Clone)]
pub(super) struct Meter {
    at: Instant,
    /// With the CPU time of each then, s.
    processes: Vec<(u32, f64)>,
}

/// What went by since that moment, s.
#[derive(Debug, Clone, Default)]
pub(super) struct Used {
    pub(super) seconds: f64,
    /// Of each process, in the order they were given.
    pub(super) cpu_s: Vec<f64>,
}

impl Meter {
    /// # Errors
    /// If one of the processes is gone.
    pub(super) fn now(pids: &[u32]) -> Result<Meter> {
        let processes = pids
            .iter()
            .map(|pid| Ok((*pid, cpu_s(*pid)?)))
            .collect::<Result<_>>()?;
        Ok(Meter {
            at: Instant::now(),
            processes,
        })
    }

    pub(super) fn seconds(&self) -> f64 {
        self.at.elapsed().as_secs_f64()
    }

    /// # Errors
    /// If one of the processes is gone.
    pub(super) fn used(&self) -> Result<Used> {
        let seconds = self.seconds();
        let cpu_s = self
            .processes
            .iter()
            .map(|(pid, began_s)| Ok(cpu_s(*pid)? - began_s))
            .collect::<Result<_>>()?;
        Ok(Used { seconds, cpu_s })
    }
}

/// Fields 14 and 15; the name in field 2 may hold anything, so the count begins
/// behind its closing bracket.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

fn peak_kib(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_are_found_behind_any_name() {
        let stat = "12 (a) b) S 1 2 3 4 5 6 7 8 9 10 700 34 0 0 20";
        assert_eq!(cpu_ticks(stat), Some(734));
        assert_eq!(cpu_ticks("12 (a"), None);
        assert_eq!(peak_kib("VmPeak:\t 9 kB\nVmHWM:\t   2048 kB\n"), Some(2048));
        assert_eq!(peak_kib("VmPeak:\t 9 kB\n"), None);
    }

    #[test]
    fn our_own_use_only_grows() {
        let pid = std::process::id();
        let meter = Meter::now(&[pid]).unwrap();
        let mut sum = 0u64;
        while meter.used().unwrap().cpu_s[0] <= 0.0 {
            sum = std::hint::black_box(sum + 1);
        }
        assert!(0.0 < meter.seconds());
        assert!(1.0 < rss_peak_mb(pid).unwrap());
    }
}
