//! The flags of `loadgen matrix`, and the cells they choose.

use std::path::PathBuf;

use crate::matrix::cell::{Cell, Login, Path, Topology};
use crate::server::version::Release;

/// Prove the engine on every release: whole live migrations, one after the other, each
/// between two deployments of real servers.
///
/// A cell fills its source, keeps writing to it (transactions and DDL among it), runs
/// `shardlift migrate`, kills it once, lets a primary of either side step down, stops the
/// writes, cuts over and compares both sides byte for byte. A cluster whose router is a real
/// mongos has two, of which one ends on the way.
///
/// Each cell is a line as it ends. One that failed leaves the logs of engine and servers
/// behind and says where. The last line on stdout is one JSON object. Exit code: 0 all
/// passed, 1 one failed, 130 Ctrl-C.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Only cells from these releases, such as 4.2,6.0.27
    #[arg(long, value_name = "RELEASE", value_delimiter = ',')]
    only: Vec<Release>,
    /// Only cells to these releases
    #[arg(long, value_name = "RELEASE", value_delimiter = ',')]
    to: Vec<Release>,
    /// Only cells of this topology
    #[arg(long, value_enum)]
    topology: Option<Topology>,
    /// Only cells whose target is of the same release, or of a later one
    #[arg(long, value_enum)]
    paths: Option<Path>,
    /// Only cells without a login, or with TLS and a login of least privilege
    #[arg(long, value_enum)]
    login: Option<Login>,
    /// Show the cells and run none
    #[arg(long)]
    pub(super) list: bool,
    /// How long a cell's load goes on, at least
    #[arg(long, default_value_t = 6.0, value_parser = parse_seconds)]
    pub(super) seconds: f64,
    /// Documents to populate each source with
    #[arg(long, default_value_t = 4_000)]
    pub(super) docs: u64,
    /// Seed of documents, writes and the moments of trouble
    #[arg(long, default_value_t = 1)]
    pub(super) seed: u64,
    /// Routers of the clusters, `:` between them; a cluster takes the one of its release, and
    /// loadgen's own where there is none [default: SHARDLIFT_MONGOS, else those on PATH]
    #[arg(long, value_name = "PATH[:PATH]")]
    pub(super) mongos: Option<PathBuf>,
    /// Run this shardlift program instead of building one
    #[arg(long, value_name = "PATH")]
    pub(super) engine: Option<PathBuf>,
    /// Print nothing on stdout but the last line
    #[arg(long)]
    pub(super) json: bool,
    /// Further arguments of `shardlift migrate`, such as `-- --range-mb 1`
    #[arg(last = true)]
    pub(super) engine_args: Vec<String>,
}

impl Args {
    pub(super) fn cells(&self) -> Vec<Cell> {
        let mut cells = Cell::all();
        cells.retain(|cell| {
            let among = |chosen: &[Release], release| chosen.is_empty() || chosen.contains(release);
            among(&self.only, &cell.source)
                && among(&self.to, &cell.target)
                && self
                    .topology
                    .is_none_or(|topology| topology == cell.topology)
                && self.paths.is_none_or(|path| path == cell.path())
                && self.login.is_none_or(|login| login == cell.login)
        });
        cells
    }
}

fn parse_seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.5..=3600.0).contains(&seconds) => Ok(seconds),
        _ => Err("give a number of seconds, from 0.5 to 3600".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn flags_choose_cells() {
        let count = |flags: &str| {
            let words = ["matrix"].into_iter().chain(flags.split_whitespace());
            Line::parse_from(words).args.cells().len()
        };
        assert_eq!(count(""), Cell::all().len());
        assert_eq!(count("--only 4.2"), 16);
        assert_eq!(count("--only 4.2,5.0 --paths same"), 8);
        assert_eq!(
            count("--to 6.0 --paths upward --topology sharded --login least"),
            3
        );
        assert_eq!(count("--only 6.0.27 --paths upward"), 0);
    }
}
