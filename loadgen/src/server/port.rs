//! Free ports on 127.0.0.1, below the range the kernel gives to outgoing
//! connections. A port is only believed to be free: who fails to bind asks for
//! the next one.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::sync::Mutex;

use rand::Rng;

use crate::error::{Error, Result};

const RANGE: std::ops::Range<u16> = 20_000..32_000;
const TRIES_MAX: u32 = 1000;
/// How often a server that found its port taken gets another one.
pub(crate) const RACES_MAX: u32 = 5;

/// Given out by this process before; never again, so that two servers that
/// start at once do not meet.
static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

pub fn free() -> Result<u16> {
    let mut given = GIVEN
        .lock()
        .expect("no code panics while it holds this lock");
    for _ in 0..TRIES_MAX {
        let port = rand::rng().random_range(RANGE);
        if !given.contains(&port) && TcpListener::bind(("127.0.0.1", port)).is_ok() {
            given.insert(port);
            return Ok(port);
        }
    }
    Err(
        Error::new(format!("no free port in {}..{}", RANGE.start, RANGE.end))
            .remedy("stop other local servers"),
    )
}
