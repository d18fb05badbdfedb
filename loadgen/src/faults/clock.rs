//! The clock: begins each planned fault where the ground allows it, ends it,
//! and waits until what it hit is back.
//!
//! Knows nothing about how a fault is made, the load, or what must be equal.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::cluster::Deployment;
use crate::engine::keeper::Keeper;
use crate::error::{Error, Result};
use crate::faults::ground::{Ground, Member};
use crate::faults::plan::{Plan, Planned, Side};
use crate::faults::record::Record;
use crate::faults::rolling::Rolling;
use crate::faults::{Fault, act};

/// Between two looks at what ends, recovers or begins.
const TICK: Duration = Duration::from_millis(100);
/// Faults in force at a time.
const AT_ONCE_MAX: usize = 4;
/// From the end of a fault until its member is back in its set.
const RECOVERY_TIMEOUT: Duration = Duration::from_secs(90);
/// One away, two to go on.
const MEMBERS_TO_ROLL_MIN: usize = 3;
/// A life of the engine before it may be killed: shorter ones could not get on.
const ENGINE_LIFE_MIN: Duration = Duration::from_secs(4);

pub struct Clock<'a> {
    source: &'a mut Deployment,
    target: &'a mut Deployment,
    engine: Option<&'a Keeper>,
    record: Arc<Record>,
    ground: Ground,
    running: Vec<Running>,
    recovering: Vec<(Member, Instant)>,
    /// A fault of the engine that waits until the engine has lived long enough.
    waiting: Option<Planned>,
    /// Where indexes are rolled: database and collection, on every shard.
    rolled: Option<(String, String)>,
    rolling: Option<Rolling>,
    /// How many were begun, by set: each other one takes back what was built.
    rolls: BTreeMap<usize, usize>,
}

struct Running {
    fault: Fault,
    /// None for the engine.
    member: Option<Member>,
    place: String,
    until: Instant,
}

impl<'a> Clock<'a> {
    pub fn new(
        source: &'a mut Deployment,
        target: &'a mut Deployment,
        engine: Option<&'a Keeper>,
        record: Arc<Record>,
    ) -> Clock<'a> {
        Clock {
            source,
            target,
            engine,
            record,
            ground: Ground::default(),
            running: Vec::new(),
            recovering: Vec::new(),
            waiting: None,
            rolled: None,
            rolling: None,
            rolls: BTreeMap::new(),
        }
    }

    /// Names the collection of the source on whose members indexes are rolled.
    pub fn rolls_on(mut self, database: &str, collection: &str) -> Clock<'a> {
        self.rolled = Some((database.to_owned(), collection.to_owned()));
        self
    }

    fn phase(&self) -> String {
        self.engine.map_or_else(|| "none".to_owned(), Keeper::phase)
    }

    fn signal_engine(&self, signal: libc::c_int) {
        if let Some(engine) = self.engine {
            engine.signal(signal);
        }
    }

    /// Runs the plan for so long, then ends all faults and waits until every
    /// member is back.
    ///
    /// # Errors
    /// If the engine failed, or a member does not come back.
    pub async fn run(&mut self, plan: Plan, time: Duration) -> Result<()> {
        let began = Instant::now();
        for planned in plan.take_while(|planned| planned.at < time) {
            while began.elapsed() < planned.at {
                self.tick().await?;
            }
            self.begin(&planned).await?;
        }
        while began.elapsed() < time {
            self.tick().await?;
        }
        self.finish().await
    }

    async fn finish(&mut self) -> Result<()> {
        self.waiting = None;
        self.running
            .iter_mut()
            .for_each(|running| running.until = Instant::now());
        while !self.running.is_empty() || !self.recovering.is_empty() || self.rolling.is_some() {
            self.tick().await?;
        }
        self.record.tell("all faults over", json!({}));
        Ok(())
    }

    async fn tick(&mut self) -> Result<()> {
        tokio::time::sleep(TICK).await;
        self.engine.map_or(Ok(()), Keeper::ensure_well)?;
        while let Some(at) = self
            .running
            .iter()
            .position(|running| running.until <= Instant::now())
        {
            let over = self.running.swap_remove(at);
            self.end(over).await?;
        }
        if let Some(planned) = self.waiting.take() {
            self.begin_on_engine(planned);
        }
        for (member, since) in std::mem::take(&mut self.recovering) {
            let set = self.deployment(member.side).set_mut(member.set);
            if act::is_back(set, member).await {
                self.ground.release(member);
                continue;
            }
            if RECOVERY_TIMEOUT <= since.elapsed() {
                let place = self.describe(member);
                return Err(Error::new(format!(
                    "{place} is not back {RECOVERY_TIMEOUT:?} after a fault"
                )));
            }
            self.recovering.push((member, since));
        }
        self.roll().await
    }

    /// One more member of the set whose index is rolled, once the one before is back.
    async fn roll(&mut self) -> Result<()> {
        let Some(mut rolling) = self.rolling.take() else {
            return Ok(());
        };
        let of_set = |member: &Member| (member.side, member.set) == (rolling.side, rolling.set);
        let is_back = !self.recovering.iter().any(|(member, _)| of_set(member));
        if rolling.is_over() {
            self.record.tell(
                "end",
                json!({"fault": Fault::RollingIndex.name(), "phase": self.phase()}),
            );
            return Ok(());
        }
        if !is_back {
            self.rolling = Some(rolling);
            return Ok(());
        }
        let set = self.deployment(rolling.side).set_mut(rolling.set);
        let members = set.members().len();
        if let Some(index) = rolling.next(set).await? {
            let member = Member {
                side: rolling.side,
                set: rolling.set,
                index,
            };
            if self.ground.allows(member, members, true) {
                self.ground.hit(member, true);
                let set = self.deployment(rolling.side).set_mut(rolling.set);
                let changed = rolling.change(set, index).await;
                changed.map_err(|e| e.context(format!("rolling {}", rolling.describe())))?;
                self.recovering.push((member, Instant::now()));
            }
        }
        self.rolling = Some(rolling);
        Ok(())
    }

    /// On a shard of the source; one at a time.
    fn begin_rolling(&mut self, planned: &Planned) {
        let Some((database, collection)) = self.rolled.clone().filter(|_| self.rolling.is_none())
        else {
            return self.skip(planned.fault, "an index is rolled already");
        };
        let shards = match &*self.source {
            Deployment::Sharded(cluster) => cluster.shards().len(),
            Deployment::ReplicaSet(_) => 1,
        };
        let set = planned.place.set % shards;
        let members = self.source.set_mut(set).members().len();
        if members < MEMBERS_TO_ROLL_MIN {
            return self.skip(planned.fault, "a set would lose its majority");
        }
        let n = self.rolls.entry(set).or_default();
        let rolling = Rolling::new(Side::Source, set, members, *n, (&database, &collection));
        *n += 1;
        let place = format!("source {}", self.source.set_mut(set).name());
        self.record.began(
            planned.fault,
            &place,
            &self.phase(),
            json!({"change": rolling.describe()}),
        );
        self.rolling = Some(rolling);
    }

    async fn begin(&mut self, planned: &Planned) -> Result<()> {
        match planned.fault {
            fault if fault.is_on_engine() => {
                if self.engine.is_none() || self.waiting.is_some() {
                    self.skip(fault, "another one waits for the engine");
                } else {
                    self.begin_on_engine(*planned);
                }
            }
            Fault::RollingIndex => self.begin_rolling(planned),
            Fault::RouterRestart => return self.restart_router(planned).await,
            _ => self.begin_on_member(planned).await,
        }
        Ok(())
    }

    async fn restart_router(&mut self, planned: &Planned) -> Result<()> {
        let Deployment::Sharded(cluster) = self.deployment(planned.place.side) else {
            self.skip(planned.fault, "a replica set has no router");
            return Ok(());
        };
        let place = format!("router {}", cluster.router_host());
        cluster.stop_router();
        let started = cluster.start_router().await;
        self.record
            .began(planned.fault, &place, &self.phase(), json!({}));
        started.map_err(|e| e.context(format!("starting {place} again")))
    }

    async fn begin_on_member(&mut self, planned: &Planned) {
        let Some(member) = self.place(planned).await else {
            return self.skip(
                planned.fault,
                "a set would lose its majority, or enough is going on",
            );
        };
        let place = self.describe(member);
        let phase = self.phase();
        act::begin(self.deployment(member.side), member, planned);
        let at_proxy = act::at_proxy(planned)
            .map(|fault| format!("{fault:?} on {} of its connections", planned.share));
        let details = json!({"lasts_ms": planned.lasts.as_millis() as u64, "proxy": at_proxy});
        self.record.began(planned.fault, &place, &phase, details);
        if !planned.fault.is_instant() {
            self.ground.hit(member, planned.fault.is_down());
            let until = Instant::now() + planned.lasts;
            self.running.push(Running {
                fault: planned.fault,
                member: Some(member),
                place,
                until,
            });
        }
    }

    fn skip(&self, fault: Fault, reason: &str) {
        self.record
            .tell("skip", json!({"fault": fault.name(), "reason": reason}));
    }

    /// Waits until the engine has lived long enough.
    fn begin_on_engine(&mut self, planned: Planned) {
        let frozen = self.running.iter().any(|running| running.member.is_none());
        let Some(life) = self
            .engine
            .and_then(Keeper::life)
            .filter(|life| ENGINE_LIFE_MIN <= *life && !frozen)
        else {
            self.waiting = Some(planned);
            return;
        };
        let phase = self.phase();
        self.signal_engine(match planned.fault {
            Fault::EngineKill => libc::SIGKILL,
            Fault::EngineTerm => libc::SIGTERM,
            _ => libc::SIGSTOP,
        });
        let details =
            json!({"life_s": life.as_secs_f64(), "lasts_ms": planned.lasts.as_millis() as u64});
        self.record.began(planned.fault, "engine", &phase, details);
        if !planned.fault.is_instant() {
            let until = Instant::now() + planned.lasts;
            self.running.push(Running {
                fault: planned.fault,
                member: None,
                place: "engine".to_owned(),
                until,
            });
        }
    }

    /// The planned member; where the ground forbids it, one of another set.
    async fn place(&mut self, planned: &Planned) -> Option<Member> {
        if AT_ONCE_MAX <= self.ground.len() {
            return None;
        }
        let down = planned.fault.is_down();
        let sets = self.deployment(planned.place.side).sets().len();
        for step in 0..sets {
            let set = (planned.place.set + step) % sets;
            let replica_set = &*self.deployment(planned.place.side).set_mut(set);
            let members = replica_set.members().len();
            let primary = act::primary(replica_set).await;
            let wants_primary = planned.fault == Fault::StepDown;
            let offset = if wants_primary {
                0
            } else {
                planned.place.member
            };
            let member = Member {
                side: planned.place.side,
                set,
                index: (primary + offset) % members,
            };
            let can_elect = !wants_primary || 1 < members;
            if can_elect && self.ground.allows(member, members, down) {
                return Some(member);
            }
        }
        None
    }

    async fn end(&mut self, over: Running) -> Result<()> {
        match over.member {
            None => self.signal_engine(libc::SIGCONT),
            Some(member) => {
                let ended = act::end(self.deployment(member.side), member, over.fault).await;
                ended.map_err(|e| e.context(format!("ending {} of {}", over.fault, over.place)))?;
                self.recovering.push((member, Instant::now()));
            }
        }
        let fields =
            json!({"fault": over.fault.name(), "where": over.place, "phase": self.phase()});
        self.record.tell("end", fields);
        Ok(())
    }

    fn deployment(&mut self, side: Side) -> &mut Deployment {
        match side {
            Side::Source => self.source,
            Side::Target => self.target,
        }
    }

    fn describe(&mut self, member: Member) -> String {
        let side = if member.side == Side::Source {
            "source"
        } else {
            "target"
        };
        let set = &*self.deployment(member.side).set_mut(member.set);
        format!("{side} {} {}", set.name(), set.server_hosts()[member.index])
    }
}
