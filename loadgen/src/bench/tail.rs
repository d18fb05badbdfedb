//! `bench tail`: how fast many ops that were written while the engine was down
//! are followed, beside a native secondary that follows the same ones.
//!
//! Owns the cases and their sizes. `unset` is for sources up to 4.4: only there a field that is
//! taken out is followed otherwise.

use crate::abilities::Abilities;
use crate::bench::args::Common;
use crate::bench::cases::{CONNECTIONS, Case, Shape};
use crate::bench::ground::Ground;
use crate::bench::{Outcome, race};
use crate::error::{Error, Result};

const DOC_BYTES: usize = 1_024;
const LARGE_DOC_BYTES: usize = 100 << 10;
/// One op on a large document for so many on others, one large document for so
/// many others.
const LARGE_PART: u64 = 50;
const LARGE_DOCS_PART: u64 = 250;

/// Catching up with ops written while the engine was down, beside a native
/// secondary that catches up with the same ones.
///
/// ops_s counts from the moment the first oplog entry is fetched, without
/// start-up, until all ops are applied; the two never run at once.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Args {
    /// Ops of each case; of `large` a fiftieth [default: 500000, quick 40000]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1_000..=50_000_000))]
    ops: Option<u64>,
    /// Documents the updates choose from [default: as many as ops]
    #[arg(long, value_parser = clap::value_parser!(u64).range(100..=50_000_000))]
    docs: Option<u64>,
    /// Run one case only: uniform, inserts, deletes, mixed, large or (up to 4.4) unset
    #[arg(long, value_name = "NAME")]
    case: Option<String>,
    #[command(flatten)]
    pub(super) common: Common,
}

pub(super) async fn run(args: &Args, ground: &Ground) -> Result<Outcome> {
    let cases = chosen(cases(args), args.case.as_deref())?;
    race::run("tail", &cases, ground).await
}

fn cases(args: &Args) -> Vec<Case> {
    let ops = args.common.size(args.ops, 40_000, 500_000);
    let docs = args.docs.unwrap_or(ops);
    let case = |name, shape| Case {
        name,
        shape,
        docs,
        doc_bytes: DOC_BYTES,
        ops,
    };
    let mut cases = vec![
        case("uniform", Shape::Uniform),
        case("inserts", Shape::Inserts),
        case("deletes", Shape::Deletes),
        case("mixed", Shape::Mixed),
        Case {
            docs: (docs / LARGE_DOCS_PART).max(CONNECTIONS),
            doc_bytes: LARGE_DOC_BYTES,
            ops: ops / LARGE_PART,
            ..case("large", Shape::Replaced)
        },
    ];
    if !Abilities::from(args.common.server_version).deltas {
        cases.push(case("unset", Shape::Unset));
    }
    cases
}

/// All of them, or the one that is named.
///
/// # Errors
/// If none has the name.
pub(super) fn chosen(cases: Vec<Case>, name: Option<&str>) -> Result<Vec<Case>> {
    let Some(name) = name else { return Ok(cases) };
    let names: Vec<&str> = cases.iter().map(|case| case.name).collect();
    let unknown = || {
        Error::new(format!("no case {name}")).remedy(format!("take one of {}", names.join(", ")))
    };
    let case = cases.iter().find(|case| case.name == name).cloned();
    case.map(|case| vec![case]).ok_or_else(unknown)
}
