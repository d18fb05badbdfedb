//! One seed: sources, targets and an engine that is started, stopped, cut off
//! and killed, one random step after the other, until all must be equal.
//!
//! Virtual throughout: no clock, no thread, no server.

use bson::Uuid;
use shardlift::state::PairState;

use crate::layout::dice::Dice;
use crate::sim::command::Command;
use crate::sim::coordinator::{Coordinator, Order, Router};
use crate::sim::pair::{Halt, Pair, Reach, Shape, Step, wrong};
use crate::sim::scan::Scan;
use crate::sim::source::{Place, Source};
use crate::sim::store::StoreWrite;
use crate::sim::tally::Tally;
use crate::sim::target::Target;

pub(super) struct World {
    pub(super) dice: Dice,
    pub(super) trace: bool,
    pub(super) steps: u64,
    pub(super) sources: Vec<Source>,
    pub(super) targets: Vec<Target>,
    pub(super) process: Process,
    /// Commands whose sender is gone, by target: they may still run.
    pub(super) zombies: Vec<Vec<Command>>,
    pub(super) store_zombies: Vec<Vec<StoreWrite>>,
    pub(super) shape: Shape,
    pub(super) uuids: u128,
    /// Sharded DDL that a shard has yet to make.
    pub(super) ddl: Vec<Ddl>,
    pub(super) writes_left: u64,
    /// One fault in this many steps; 0: none any more.
    pub(super) fault_steps: u64,
    pub(super) attempts: u64,
    /// The step that the newest of them began at.
    pub(super) began: u64,
}

/// How far the engine is.
pub(super) enum Process {
    Down(Router),
    Begun(Router, Vec<(i64, i64)>),
    Alone(Router, Vec<(i64, i64)>),
    Loaded(Router, Vec<(i64, i64)>, Vec<PairState>),
    Up(Box<Coordinator>, Vec<Pair>),
    /// Only while the variant changes.
    Between,
}

#[derive(Debug)]
pub(super) struct Ddl {
    pub(super) shard: usize,
    pub(super) uuid: Uuid,
    pub(super) name: String,
    pub(super) change: Change,
}

#[derive(Debug, Clone)]
pub(super) enum Change {
    Create(Place),
    Drop,
    Rename { to: String },
    Modify { option: i32 },
}

/// What a seed may take; one that takes more is stuck.
const STEPS_MAX: u64 = 60_000;
/// One step in so many is one of the target's catalog.
const TURN_STEPS: u64 = 8;
/// For how long an attempt is young.
const YOUNG_STEPS: u64 = 120;

impl World {
    pub(super) fn new(seed: u64, trace: bool) -> Self {
        let mut dice = Dice::new(&[seed]);
        let pairs = [1, 1, 1, 1, 1, 2, 2, 3][dice.below(8) as usize];
        let shape = Shape {
            lanes: 1 + dice.below(3) as usize,
            scans: 1 + dice.below(2) as usize,
            flush_ops: 1 + dice.below(8) as usize,
            lame: dice.below(3) == 0,
            uneven: dice.below(3) == 0,
            strays: seed.is_multiple_of(2),
            held_max: [None, Some(0), Some(1_000)][dice.below(3) as usize],
            restless: dice.below(3) == 0,
            refuses: [0, 40, 8][dice.below(3) as usize],
            trace,
        };
        let fault_steps = [0, 300, 120, 60][dice.below(4) as usize];
        let mut world = World {
            steps: 0,
            sources: (0..pairs).map(|_| Source::new(shape.strays)).collect(),
            targets: Vec::new(),
            process: Process::Between,
            zombies: vec![Vec::new(); pairs],
            store_zombies: vec![Vec::new(); pairs],
            shape,
            uuids: 0,
            ddl: Vec::new(),
            writes_left: 60 + dice.below(140),
            fault_steps,
            attempts: 0,
            began: 0,
            dice,
            trace,
        };
        world.plan();
        world
    }

    /// Runs until source and target are equal.
    pub(super) fn run(&mut self) -> Result<(), String> {
        loop {
            let stepped = match self.step() {
                Err(Halt::Attempt(why)) => self.end_attempt(&why).map(|()| false),
                stepped => stepped,
            };
            match stepped {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(Halt::Attempt(what) | Halt::Wrong(what)) => {
                    return Err(format!("step {}: {what}", self.steps));
                }
            }
            self.steps += 1;
            if self.steps == STEPS_MAX {
                return Err(format!(
                    "stuck: not equal after {STEPS_MAX} steps; {}",
                    self.describe()
                ));
            }
        }
    }

    /// Some processes end more often than not soon after their start.
    fn is_fault_due(&mut self) -> bool {
        let is_young = self.steps < self.began + YOUNG_STEPS;
        let hurry = if self.shape.restless && is_young {
            4
        } else {
            1
        };
        0 < self.fault_steps && self.dice.one_in(self.fault_steps / hurry)
    }

    fn step(&mut self) -> Step<bool> {
        let source_active = 0 < self.writes_left;
        if source_active && self.dice.below(8) == 0 {
            self.writes_left -= 1;
            self.source_step();
            if self.writes_left == 0 {
                self.stop_source();
            }
            return Ok(false);
        }
        if source_active && self.is_fault_due() {
            return self.fault().map(|()| false);
        }
        if self.dice.below(12) == 0 {
            self.zombie();
        }
        if self.dice.below(4) == 0 {
            let which = self.dice.below(self.targets.len() as u64) as usize;
            let count = self.dice.below(4);
            for _ in 0..count {
                self.targets[which].commit_one();
            }
        }
        match std::mem::replace(&mut self.process, Process::Between) {
            Process::Up(coordinator, pairs) => self.work(coordinator, pairs),
            down => {
                let next = if self.dice.below(3) == 0 {
                    self.begin(down)?
                } else {
                    down
                };
                self.process = next;
                Ok(false)
            }
        }
    }

    /// One step of a running attempt.
    fn work(&mut self, mut coordinator: Box<Coordinator>, mut pairs: Vec<Pair>) -> Step<bool> {
        let which = self.dice.below(pairs.len() as u64) as usize;
        coordinator.under_way = self.ddl.iter().map(|ddl| ddl.uuid).collect();
        self.note_owners(&mut coordinator.owners);
        let stepped = self.pair_step(&mut coordinator, &mut pairs[which], which);
        let turned = if self.dice.below(TURN_STEPS) == 0 {
            coordinator.turn(&mut self.dice, &pairs)
        } else {
            Ok(())
        };
        let carried_out = turned.and_then(|()| self.carry_out(&mut coordinator.router));
        self.forget(&mut coordinator, &mut pairs);
        let end = stepped
            .and(carried_out)
            .and_then(|()| self.at_end(&mut pairs));
        self.process = Process::Up(coordinator, pairs);
        end
    }

    fn pair_step(&mut self, coordinator: &mut Coordinator, pair: &mut Pair, which: usize) -> Step {
        let source = &self.sources[which];
        let what = self.dice.below(20);
        let term = pair.term;
        let (target, dice) = (&mut self.targets[which], &mut self.dice);
        let mut reach = Reach {
            source,
            target,
            dice,
            term,
        };
        let uneven = self.shape.uneven && 0 < self.writes_left;
        let slow = |what| uneven && (what > 5 || pair.slow_tail);
        match what {
            0..5 | 16 | 17 if slow(what) && reach.dice.below(8) != 0 => {}
            0..5 => {
                if let Some(held_max) = self.shape.held_max.filter(|_| reach.dice.below(6) == 0) {
                    pair.gate.leave(held_max);
                }
                pair.tail(source)?;
            }
            5..11 => {
                let lane = reach.dice.below(pair.lanes.len() as u64) as usize;
                let is_lame = self.shape.lame
                    && 0 < self.writes_left
                    && 0 < lane
                    && lane + 1 == pair.lanes.len();
                if !is_lame || reach.dice.below(12) == 0 {
                    let stepped = pair.lanes[lane].step(&mut reach)?;
                    pair.doubt(stepped.doubted);
                    pair.applied(&stepped.applied);
                }
            }
            11..16 => {
                let scanner = reach.dice.below(pair.scans.len() as u64) as usize;
                let mut scan = std::mem::replace(&mut pair.scans[scanner], Scan::Idle);
                let finished = scan.step(pair, &mut reach);
                pair.scans[scanner] = scan;
                if let Some(tracked) = finished? {
                    let is_unique = source.collections[&tracked.uuid].unique;
                    if is_unique || reach.dice.below(2) == 0 {
                        pair.build(tracked);
                    }
                }
            }
            16 | 17 => pair.checkpoint(&mut reach)?,
            _ => pair.chore(coordinator, &mut reach)?,
        }
        pair.check()?;
        self.orphan(pair);
        let source = &self.sources[which];
        let exact = self.targets[which].term == pair.term
            && self.zombies[which].is_empty()
            && pair.is_idle(source);
        if exact {
            pair.check_exact(source, &self.targets[which])
        } else {
            Ok(())
        }
    }

    pub(super) fn carry_out(&mut self, router: &mut Router) -> Step {
        for order in std::mem::take(&mut router.orders) {
            if let Order::Rename(..) = &order {
                self.targets[0].tally.renamed += 1;
            }
            for target in &mut self.targets {
                match &order {
                    Order::Create(uuid, name) | Order::Rename(uuid, name) => {
                        target.name(*uuid, name)
                    }
                    Order::Drop(uuid) => target.drop_collection(*uuid),
                    Order::DropEmpty(uuid) if target.holds_documents(*uuid) => {
                        return wrong(format!("{uuid} holds documents, and belongs to no one"));
                    }
                    Order::DropEmpty(uuid) => target.drop_collection(*uuid),
                }
            }
        }
        Ok(())
    }

    /// What it met.
    pub(super) fn tally(&self) -> Tally {
        let mut all = Tally::default();
        self.targets
            .iter()
            .for_each(|target| all.add(&target.tally));
        all
    }

    pub(super) fn note(&self, what: impl FnOnce() -> String) {
        if self.trace {
            println!("{:6}  {}", self.steps, what());
        }
    }

    fn describe(&self) -> String {
        match &self.process {
            Process::Up(_, pairs) => {
                let pair = |p: &Pair| {
                    format!(
                        "pair {}: passed {}, watermark {}, units {}, chores {}, doubtful {}",
                        p.index,
                        p.gate.passed(),
                        p.gate.watermark(),
                        p.queue.len(),
                        p.chores.len(),
                        p.doubted.len()
                    )
                };
                pairs.iter().map(pair).collect::<Vec<_>>().join("; ")
            }
            _ => "not started".to_owned(),
        }
    }
}
