//! The turn: one change of the target's catalog at a time. What drops by name may take
//! effect for as long as it is not answered, and then nobody may make anything.

use std::fmt;

use tokio::sync::MutexGuard;

use crate::cluster::catalog::Namespace;
use crate::control::across::ddl::Coordinator;
use crate::error::{Error, Kind, Policy, Result};

impl Coordinator {
    /// # Errors
    /// `Transient` if what drops by name was given up, or its answer is lost.
    pub(super) async fn take_turn(&self) -> Result<MutexGuard<'_, ()>> {
        let turn = self.turn.lock().await;
        match &self.state.lock().lost {
            Some(lost) => Err(lost.clone()),
            None => Ok(turn),
        }
    }

    /// Does work that may drop something called `name`, or something in it. The caller
    /// has the turn.
    ///
    /// IMPORTANT: the work counts as lost from before it is sent until it is answered. A
    /// cutover that runs out of time gives up both the wait and the turn. Anything made
    /// then could be removed by that drop (R7).
    pub(super) async fn until_answered<T>(
        &self,
        name: impl fmt::Display,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let unknown =
            format!("nobody waited for the target's answer to a drop of {name}: it may still come");
        self.state.lock().lost = Some(Error::new(Kind::Transient, unknown));
        let answer = work.await;
        self.state.lock().lost = answer
            .as_ref()
            .err()
            .filter(|e| e.kind.policy() == Policy::Retry)
            .cloned();
        answer
    }

    /// Drops the view of this name, if there is one. The caller has the turn.
    pub(super) async fn drop_view(&self, ns: &Namespace) -> Result<()> {
        if self.views.is_there(ns).await? {
            self.until_answered(ns, self.views.drop(ns)).await
        } else {
            Ok(())
        }
    }
}
