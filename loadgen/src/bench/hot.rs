//! `bench hot`: ops that crowd on few documents, beside a native secondary.
//!
//! Owns the cases and their sizes.

use crate::bench::args::Common;
use crate::bench::cases::{Case, Shape};
use crate::bench::ground::Ground;
use crate::bench::{Outcome, race, tail};
use crate::error::Result;

const DOC_BYTES: usize = 1_024;
const COUNTER_BYTES: usize = 128;
/// Enough for each connection to have its own.
const COUNTERS: u64 = 10;

/// Catching up with ops on few documents: zipfian keys (s = 0.99), counters.
///
/// Measured as `tail` is.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Args {
    /// Ops of each case [default: 500000, quick 100000]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1_000..=50_000_000))]
    ops: Option<u64>,
    /// Run one case only: zipf_1000, zipf_100000 or counters
    #[arg(long, value_name = "NAME")]
    case: Option<String>,
    #[command(flatten)]
    pub(super) common: Common,
}

pub(super) async fn run(args: &Args, ground: &Ground) -> Result<Outcome> {
    let ops = args.common.size(args.ops, 100_000, 500_000);
    let zipf = |name, docs| Case {
        name,
        shape: Shape::Zipf,
        docs,
        doc_bytes: DOC_BYTES,
        ops,
    };
    let cases = vec![
        zipf("zipf_1000", 1_000),
        zipf("zipf_100000", 100_000),
        Case {
            name: "counters",
            shape: Shape::Counters,
            docs: COUNTERS,
            doc_bytes: COUNTER_BYTES,
            ops,
        },
    ];
    race::run("hot", &tail::chosen(cases, args.case.as_deref())?, ground).await
}
