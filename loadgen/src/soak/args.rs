//! The flags of `loadgen soak`, and what follows from them alone.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::cli::releases::Releases;
use crate::error::{Error, Result};
use crate::faults::Fault;
use crate::load::mix::Mix;
use crate::operator::Deed;

/// Migrate under load while servers, network and engine fail, and prove that
/// nothing is lost.
///
/// Starts two deployments of real servers with a fault proxy before each, fills
/// the source, keeps writing to it, and runs `shardlift migrate`, which is
/// started again whenever it was killed, stopped or parked. A seeded clock makes
/// primaries step down, kills, freezes and cuts off members (never a majority of
/// a set), restarts routers, and kills the engine. Then all faults end, the engine
/// catches up, the writes stop, `shardlift cutover` runs, and both sides are compared.
///
/// With --operators somebody else works on both deployments too. Where shardlift
/// rightly refuses to go on (a chunk moved, a view was made), what its error says is
/// done, and the run goes on; what it refuses without a remedy, or otherwise than
/// expected, is a failure.
///
/// Every fault is a line of JSON on stderr or in --log; a table of them by the
/// engine's phase comes at the end. The last line on stdout is one JSON object.
/// Exit code: 0 both sides are equal, 1 they are not or a step failed, 130 Ctrl-C.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// How long faults go on
    #[arg(long, default_value_t = 5.0, value_parser = parse_positive)]
    pub minutes: f64,
    /// Seed of documents, writes and faults
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// One replica set on each side instead of a sharded cluster
    #[arg(long)]
    pub replica_set: bool,
    /// Shards on each side
    #[arg(long, default_value_t = 2, conflicts_with = "replica_set", value_parser = clap::value_parser!(u8).range(1..=8))]
    pub shards: u8,
    /// Members of each shard, or of the replica set
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=7))]
    pub members: u8,
    /// Config servers of each side; from 3 on they are killed and frozen too
    #[arg(long, default_value_t = 1, conflicts_with = "replica_set", value_parser = clap::value_parser!(u8).range(1..=7))]
    pub config_members: u8,
    /// Documents to populate the source with
    #[arg(long, default_value_t = 100_000)]
    pub documents: u64,
    /// Writes per second on the source
    #[arg(long, default_value_t = 500.0, value_parser = parse_positive)]
    pub rate: f64,
    /// Weights of the kinds of writes, as of `loadgen load`
    #[arg(long, default_value = "all")]
    pub mix: Mix,
    /// Create, fill and drop collections and indexes meanwhile
    #[arg(long)]
    pub ddl: bool,
    /// A second operator works on both sides meanwhile: moves chunks, starts balancers,
    /// kills ops and cursors, makes databases anew, builds indexes member by member
    #[arg(long)]
    pub operators: bool,
    /// Seconds between two deeds of the second operator, on average
    #[arg(long, default_value_t = 3.0, requires = "operators", value_parser = parse_positive)]
    pub deed_every_s: f64,
    /// Kinds of deeds of the second operator, such as move_target,view [default: all]
    #[arg(long, requires = "operators", value_delimiter = ',')]
    pub deeds: Vec<Deed>,
    /// Seconds between two faults, on average
    #[arg(long, default_value_t = 4.0, value_parser = parse_positive)]
    pub fault_every_s: f64,
    /// Kinds of faults, such as step_down,kill,engine_kill [default: all; those of
    /// operators only with --operators]
    #[arg(long, value_delimiter = ',')]
    pub faults: Vec<Fault>,
    #[command(flatten)]
    pub releases: Releases,
    /// Run this shardlift program instead of building one
    #[arg(long, value_name = "PATH")]
    pub engine: Option<PathBuf>,
    /// Write the record of faults here instead of to stderr
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
    /// Keep the engine's logs in this directory [default: kept only where it fails]; the
    /// servers' are kept where it fails
    #[arg(long, value_name = "DIR")]
    pub engine_logs: Option<PathBuf>,
    /// Further arguments of `shardlift migrate`, such as `-- --range-mb 1`
    #[arg(last = true)]
    pub engine_args: Vec<String>,
}

impl Args {
    /// Kinds that the clock picks from.
    pub(super) fn kinds(&self) -> Vec<Fault> {
        let all = Fault::ALL.map(|(fault, ..)| fault).into_iter();
        if self.faults.is_empty() {
            all.filter(|fault| self.operators || !fault.is_operators())
                .collect()
        } else {
            self.faults.clone()
        }
    }

    /// Where the record of faults goes.
    pub(super) fn log(&self) -> Result<Box<dyn Write + Send>> {
        let Some(path) = &self.log else {
            return Ok(Box::new(std::io::stderr()));
        };
        let file = File::create(path).map_err(|e| Error::from(e).context(path.display()))?;
        Ok(Box::new(file))
    }

    pub(super) fn work_dir(&self) -> Result<WorkDir> {
        if let Some(path) = &self.engine_logs {
            std::fs::create_dir_all(path).map_err(|e| Error::from(e).context(path.display()))?;
            return Ok(WorkDir::Given(path.clone()));
        }
        Ok(WorkDir::Own(
            tempfile::Builder::new()
                .prefix("shardlift-soak-")
                .tempdir()?,
        ))
    }
}

/// Where the engine's logs go. An own one goes when dropped, unless kept.
pub(super) enum WorkDir {
    Given(PathBuf),
    Own(tempfile::TempDir),
}

impl WorkDir {
    pub(super) fn path(&self) -> &Path {
        match self {
            WorkDir::Given(path) => path,
            WorkDir::Own(dir) => dir.path(),
        }
    }

    /// Keeps it: something went wrong.
    pub(super) fn keep(&mut self) {
        if let WorkDir::Own(dir) = self {
            dir.disable_cleanup(true);
        }
    }
}

fn parse_positive(text: &str) -> std::result::Result<f64, String> {
    match text.parse() {
        Ok(number) if 0.0 < number && number <= 1e6 => Ok(number),
        _ => Err("give a number above 0, at most 1000000".to_owned()),
    }
}
