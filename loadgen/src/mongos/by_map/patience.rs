//! How long a command goes again because the map it went by was outdated: as long as a
//! chunk's move may take, and no longer.

use std::time::Duration;

use crate::mongos::metadata::is_stale;
use crate::mongos::reply::Failure;
use crate::mongos::session::Session;

const TRIES_MAX: u32 = 100;
const PAUSE: Duration = Duration::from_millis(20);

pub(super) struct Patience {
    ns: String,
    tries: u32,
}

impl Patience {
    pub(super) fn new(db: &str, coll: &str) -> Patience {
        Patience {
            ns: format!("{db}.{coll}"),
            tries: 0,
        }
    }

    /// Forgets the map and returns when it is time for another try.
    ///
    /// # Errors
    /// The failure, if it says something else or comes too often.
    pub(super) async fn wait(
        &mut self,
        session: &Session,
        failure: Failure,
    ) -> Result<(), Failure> {
        if !is_stale(failure.code()) || self.tries == TRIES_MAX {
            return Err(failure);
        }
        session.shared.forget_map(&self.ns);
        self.tries += 1;
        tokio::time::sleep(PAUSE).await;
        Ok(())
    }

    /// After an answer: what comes now is another matter.
    pub(super) fn renew(&mut self) {
        self.tries = 0;
    }
}
