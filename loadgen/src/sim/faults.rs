//! What goes wrong in the simulation: elections, lost connections, kills, and
//! writes that run when their sender is gone.

use crate::sim::chore::Work;
use crate::sim::pair::{Halt, Pair, Step};
use crate::sim::round::{Round, store_write};
use crate::sim::scan::Scan;
use crate::sim::store::StoreWrite;
use crate::sim::world::{Process, World};

impl World {
    pub(super) fn fault(&mut self) -> Step {
        let which = self.dice.below(self.targets.len() as u64) as usize;
        match self.dice.below(4) {
            0 | 1 => self.elect(which),
            2 => Err(Halt::Attempt("killed".to_owned())),
            _ => Err(Halt::Attempt("a connection is lost".to_owned())),
        }
    }

    pub(super) fn elect(&mut self, which: usize) -> Step {
        let lost = self.targets[which].written();
        self.targets[which].elect(&mut self.dice);
        let written = self.targets[which].written();
        self.note(|| format!("target {which} elects: {} writes are lost", lost - written));
        let Process::Up(_, pairs) = &mut self.process else {
            return Ok(());
        };
        let pair = &mut pairs[which];
        pair.rounds.elected(written);
        let waits = pair.waits().iter().any(|wait| written < wait.number);
        // Whether anyone notices is another matter: connections may stay.
        if waits || self.dice.below(2) == 0 && pair.is_writing() {
            return Err(Halt::Attempt(
                "a write is cut off by an election".to_owned(),
            ));
        }
        Ok(())
    }

    /// A command whose sender is gone takes effect, or some of it.
    pub(super) fn zombie(&mut self) {
        let which = self.dice.below(self.targets.len() as u64) as usize;
        let (zombies, writes) = (&mut self.zombies[which], &mut self.store_zombies[which]);
        if self.dice.below(4) == 0 && !writes.is_empty() {
            let write = writes.swap_remove(self.dice.below(writes.len() as u64) as usize);
            let taken = self.targets[which].store(write.clone()).is_some();
            self.note(|| format!("late on target {which}, taken {taken}: {write:?}"));
        } else if !zombies.is_empty() {
            let chosen = self.dice.below(zombies.len() as u64) as usize;
            self.targets[which].run(&mut zombies[chosen], &mut self.dice);
            if zombies[chosen].writes.is_empty() {
                zombies.swap_remove(chosen);
            }
            self.note(|| format!("a late statement runs on target {which}"));
        }
    }

    /// All memory is lost; what was sent may still run.
    pub(super) fn end_attempt(&mut self, why: &str) -> Step {
        self.note(|| format!("the attempt ends: {why}"));
        let mut router = match std::mem::replace(&mut self.process, Process::Between) {
            Process::Up(coordinator, pairs) => {
                let router = coordinator.into_router(&mut self.dice, &pairs)?;
                for pair in pairs {
                    self.leave(pair);
                }
                router
            }
            Process::Down(router)
            | Process::Begun(router, _)
            | Process::Alone(router, _)
            | Process::Loaded(router, _, _) => router,
            Process::Between => unreachable!("a step puts the process back"),
        };
        let carried_out = self.carry_out(&mut router);
        self.process = Process::Down(router);
        carried_out
    }

    pub(super) fn leave(&mut self, pair: Pair) {
        let which = pair.index;
        let mut writes = Vec::new();
        if let Round::Writing { next } = pair.rounds.round {
            writes.push(store_write(&pair.rounds.pipeline, next, pair.incarnation));
        }
        for lane in pair.lanes {
            self.zombies[which].extend(lane.into_commands());
        }
        for scan in pair.scans {
            match scan {
                Scan::Starting { unit, started } => {
                    let fence = started.fence;
                    writes.push(StoreWrite::Start(unit.tracked.uuid, unit.index, fence))
                }
                Scan::Natural(natural) => {
                    let sent = natural.into_sent();
                    self.zombies[which].extend(sent.into_iter().map(|sent| sent.command))
                }
                Scan::Reading { sent, .. } => {
                    self.zombies[which].extend(sent.into_iter().map(|sent| sent.command))
                }
                _ => {}
            }
        }
        for chore in pair.chores {
            match chore.work {
                Work::Record(state) => writes.push(StoreWrite::Add(state)),
                Work::Exact(exact) => self.zombies[which].extend(exact.into_command()),
                Work::Kill => writes.push(StoreWrite::Kill(chore.tracked.uuid)),
                Work::Renamed { to, position } => {
                    writes.push(StoreWrite::Renamed(chore.tracked.uuid, to, position))
                }
                _ => {}
            }
        }
        self.zombies[which].extend(pair.orphans);
        self.zombies[which].retain(|command| !command.writes.is_empty());
        self.store_zombies[which].extend(writes);
    }

    /// A command nobody waits for may run at any time.
    pub(super) fn orphan(&mut self, pair: &mut Pair) {
        if !pair.orphans.is_empty() && self.dice.below(100) == 0 {
            let which = self.dice.below(pair.orphans.len() as u64) as usize;
            let mut command = pair.orphans.swap_remove(which);
            while !command.writes.is_empty() {
                self.targets[pair.index].run(&mut command, &mut self.dice);
            }
        }
    }
}
