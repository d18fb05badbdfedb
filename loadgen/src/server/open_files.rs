//! As many open files as this machine grants: a `mongod` keeps two for each collection,
//! and the usual limit is reached with some hundreds of them.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Enough for 20 000 collections, and connections.
const WANTED: u64 = 65_536;
/// Of a server: what is not a collection's.
const OTHERS: u64 = 2_000;
/// The collection's, and that of its index on `_id`.
const EACH_COLLECTION: u64 = 2;

/// For this process and the servers it starts from now on. Where the limit cannot be
/// raised, things stay as they are.
pub fn raise() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let most = maximum.map(|most| most.max(WANTED));
    let raised = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: most,
            maximum: most,
        },
    );
    if raised.is_err() {
        let _ = setrlimit(
            Resource::Nofile,
            Rlimit {
                current: maximum,
                maximum,
            },
        );
    }
}

/// Collections with so many further indexes each that a server has files for: it aborts
/// beyond.
pub fn collections_max(indexes: u64) -> u64 {
    let limit = getrlimit(Resource::Nofile).current;
    limit.map_or(u64::MAX, |limit| {
        limit.saturating_sub(OTHERS) / (EACH_COLLECTION + indexes)
    })
}
