//! One attempt: from what is recorded on the target as far as it goes. Ends
//! with the run, or with a fault; then nothing of it is left running.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::config::Config;
use crate::control::drive::{self, Drive};
use crate::control::open::Opened;
use crate::control::patience::Patience;
use crate::control::run::Run;
use crate::control::setup::Running;
use crate::control::stop::Stop;
use crate::control::summary::Summary;
use crate::control::{databases, prepare, setup};
use crate::error::{Error, Kind, Result};
use crate::observe::api;
use crate::observe::phase::Phase;
use crate::pair::run::Pair;
use crate::state::Stage;

/// How long the last checkpoints may take when a signal ends the process.
const LAST_CHECKPOINT: Duration = Duration::from_secs(3);

pub struct Attempt<'a> {
    pub config: &'a Config,
    pub run: &'a Arc<Run>,
    pub opened: &'a Opened,
    pub stop: &'a Stop,
}

impl Attempt<'_> {
    /// `patience` is told how far the pairs came.
    pub async fn to_the_end(
        &self,
        requests: &mut mpsc::Receiver<api::Request>,
        patience: &mut Patience,
    ) -> Result<Summary> {
        let asked = async {
            self.opened.renew_lease().await?;
            self.stage().await
        };
        let stage =
            drive::unless_stopped(requests, self.stop, "asking for the lease", asked).await?;
        if stage == Stage::Cancelled {
            return Err(
                Error::new(Kind::Cancelled, "the run was cancelled by another process")
                    .remedy("`shardlift migrate --restart` wipes what was copied and begins anew"),
            );
        }
        if stage == Stage::Finishing {
            self.run.enter(Phase::CuttingOver);
            drive::finish_unless_stopped(self.config, self.opened, self.run, requests, self.stop)
                .await?;
            self.run.enter(Phase::Done);
            self.remove_spool().await;
            return Ok(Summary::of(self.run, None, 0, 0));
        }
        let prepared = drive::unless_stopped(
            requests,
            self.stop,
            "preparing the target",
            self.prepare(stage),
        );
        let Running {
            pairs,
            mut tasks,
            coordinator,
            ddl,
        } = prepared.await?;
        let drive = Drive {
            config: self.config,
            run: self.run,
            opened: self.opened,
            stop: self.stop,
        };
        let outcome = drive
            .to_the_end(&pairs, &mut tasks, coordinator, ddl, requests)
            .await;
        let is_over = pairs
            .iter()
            .any(|pair| pair.with_gate(|gate| gate.is_closed()));
        if !is_over && matches!(&outcome, Err(e) if e.kind == Kind::Stopped) {
            record_all(&pairs).await;
        }
        patience.saw(pairs.iter().map(|pair| pair.outcome()));
        for tasks in tasks {
            tasks.end().await;
        }
        if outcome.is_ok() {
            self.remove_spool().await;
        }
        outcome
    }

    async fn remove_spool(&self) {
        if let Err(e) = self.opened.remove_spool(self.config, self.run).await {
            self.run
                .warn(format!("the spool could not be removed: {e}"));
        }
    }

    async fn stage(&self) -> Result<Stage> {
        let missing = || {
            Error::new(Kind::Refused, "the run's state is gone from the target").remedy(
                "something removed the database __shardlift there: begin anew with an empty target",
            )
        };
        Ok(self
            .opened
            .stores
            .run
            .load()
            .await?
            .ok_or_else(missing)?
            .stage)
    }

    async fn prepare(&self, mut stage: Stage) -> Result<Running> {
        let Opened { sides, stores, .. } = self.opened;
        setup::stop_balancers(sides).await?;
        databases::none_is_being_dropped(&sides.target).await?;
        if stage == Stage::Planning {
            self.run.enter(Phase::Layout);
            prepare::plan(self.config, sides, stores, &self.run.id()).await?;
            stage = Stage::Layout;
        }
        if stage == Stage::Layout {
            self.run.enter(Phase::Layout);
            prepare::lay_out(sides, stores, &self.run.id()).await?;
        }
        let running = setup::start(self.config, self.opened, self.run).await?;
        self.run.enter(Phase::Copying);
        Ok(running)
    }
}

async fn record_all(pairs: &[Arc<Pair>]) {
    let all = futures_util::future::try_join_all(pairs.iter().map(|pair| pair.record_all()));
    match tokio::time::timeout(LAST_CHECKPOINT, all).await {
        Ok(Ok(_)) => tracing::info!("stopped at a checkpoint"),
        Ok(Err(e)) => {
            tracing::warn!("the last checkpoint could not be recorded, an earlier one stands: {e}")
        }
        Err(_) => tracing::warn!("the last checkpoint took too long, an earlier one stands"),
    }
}
