//! The cells: which release goes to which, of which topology, behind which login; and
//! which of them are asked for.
//!
//! Knows nothing about running one.

use std::fmt;

use crate::server::version::Release;

/// All that servers are fetched for, in ascending order.
pub const RELEASES: [Release; 5] = [
    of_series(4, 2),
    of_series(4, 4),
    of_series(5, 0),
    of_series(6, 0),
    Release {
        major: 6,
        minor: 0,
        patch: Some(27),
    },
];

const fn of_series(major: u32, minor: u32) -> Release {
    Release {
        major,
        minor,
        patch: None,
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Topology {
    ReplicaSet,
    Sharded,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Path {
    /// Both sides are of one release.
    Same,
    /// The target is of a later one.
    Upward,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Login {
    /// Nobody is asked.
    None,
    /// By TLS, as a user with exactly the roles that README names.
    Least,
}

/// One migration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cell {
    pub source: Release,
    pub target: Release,
    pub topology: Topology,
    pub login: Login,
}

impl Cell {
    /// Every one, by source, target, topology and login.
    pub fn all() -> Vec<Cell> {
        let mut all = Vec::new();
        for (i, source) in RELEASES.into_iter().enumerate() {
            for target in targets(i) {
                for topology in [Topology::ReplicaSet, Topology::Sharded] {
                    for login in [Login::None, Login::Least] {
                        all.push(Cell {
                            source,
                            target,
                            topology,
                            login,
                        });
                    }
                }
            }
        }
        all
    }

    pub fn path(&self) -> Path {
        if self.source == self.target {
            Path::Same
        } else {
            Path::Upward
        }
    }

    /// Of a folder.
    pub fn name(&self) -> String {
        let topology = match self.topology {
            Topology::ReplicaSet => "replica-set",
            Topology::Sharded => "sharded",
        };
        let login = match self.login {
            Login::None => "",
            Login::Least => "-login",
        };
        format!("{}-to-{}-{topology}{login}", self.source, self.target)
    }
}

/// Its own release, and each later one; a patch of a series only from that series.
fn targets(source: usize) -> Vec<Release> {
    let own = RELEASES[source];
    let later = RELEASES[source + 1..].iter().copied();
    let fits = |target: &Release| target.patch.is_none() || target.series() == own.series();
    [own].into_iter().chain(later.filter(fits)).collect()
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let topology = match self.topology {
            Topology::ReplicaSet => "replica set",
            Topology::Sharded => "sharded",
        };
        let login = match self.login {
            Login::None => "none",
            Login::Least => "TLS, login",
        };
        let [source, target] = [self.source, self.target].map(|release| release.to_string());
        write!(f, "{source:<7} {target:<7} {topology:<12} {login:<11}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_release_goes_to_itself_and_to_each_later_one() {
        let paths: Vec<String> = Cell::all()
            .iter()
            .filter(|cell| cell.topology == Topology::Sharded && cell.login == Login::None)
            .map(|cell| format!("{}>{}", cell.source, cell.target))
            .collect();
        let expected = "4.2>4.2 4.2>4.4 4.2>5.0 4.2>6.0 4.4>4.4 4.4>5.0 4.4>6.0 5.0>5.0 5.0>6.0 \
                        6.0>6.0 6.0>6.0.27 6.0.27>6.0.27";
        assert_eq!(paths.join(" "), expected);
        assert_eq!(Cell::all().len(), 4 * paths.len());
    }
}
