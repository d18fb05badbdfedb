//! Databases that lost their last collection of the run. They are dropped on the target
//! once the source no longer has them.

use std::time::Duration;

use crate::cluster::catalog;
use crate::control::across::ddl::Coordinator;
use crate::control::layout::databases;
use crate::error::{Error, Policy, Result};

/// How often databases are checked for being empty.
const EMPTIED_POLL: Duration = Duration::from_secs(2);

impl Coordinator {
    /// A collection of the run is in this database of the target.
    pub(super) fn has_in(&self, db: &str) -> bool {
        self.state.lock().rendezvous.has_in(db)
    }

    /// Drops databases that their collections have left, until it cannot be told whether
    /// one is dropped.
    pub(super) async fn watch_emptied(&self) -> Error {
        loop {
            tokio::time::sleep(EMPTIED_POLL).await;
            if let Err(e) = self.drop_emptied().await {
                tracing::warn!("{e}");
            }
            if let Err(lost) = self.take_turn().await {
                return lost;
            }
        }
    }

    /// From here on no database is dropped: the target belongs to its users. Waits for a
    /// drop that is under way.
    ///
    /// # Errors
    /// `Transient` if it is not known whether a database was dropped (R7).
    pub async fn drop_no_more(&self) -> Result<()> {
        let _turn = self.take_turn().await?;
        self.state.lock().is_over = true;
        Ok(())
    }

    /// Drops each database of the target in which the run had collections, that is empty
    /// now, and that the source no longer has.
    ///
    /// # Errors
    /// Only transient ones. What the target refuses for good is reported and not retried.
    pub async fn drop_emptied(&self) -> Result<()> {
        let had: Vec<String> = self.state.lock().databases.iter().cloned().collect();
        for db in had.into_iter().filter(|db| !self.has_in(db)) {
            if catalog::has_database(&self.sides.source, &db).await? {
                continue;
            }
            let _turn = self.take_turn().await?;
            if self.state.lock().is_over {
                return Ok(());
            }
            if self.has_in(&db) {
                continue;
            }
            let dropped = self.drop_one_if_empty(&db).await;
            let mut state = self.state.lock();
            match dropped {
                Ok(false) => {}
                Ok(true) => drop(state.databases.remove(&db)),
                Err(e) if e.kind.policy() == Policy::Retry => return Err(e),
                Err(e) => {
                    // It stays: an empty database does no harm but by its name.
                    state.databases.remove(&db);
                    tracing::warn!("{e}");
                }
            }
        }
        Ok(())
    }

    async fn drop_one_if_empty(&self, db: &str) -> Result<bool> {
        let target = &self.sides.target;
        if !databases::holds_nothing(target, db).await? {
            return Ok(false);
        }
        self.until_answered(db, databases::drop_empty(target, db))
            .await
            .map(|()| true)
    }
}
