#!/usr/bin/env python3
"""Shows that every part of the rules counts: breaks one at a time, and expects
`loadgen sim` to find it.

Each row names a rule, a file, a text in it that occurs once, and what to put
there. `MUTATED` in the new text is true only while that row is tried, so that
all rows are built at once, into a copy of the tree under target/mutations; the
tree itself is never touched.

What only real servers show (`SERVERS`) is tried with `--servers`: each row names
the integration test that must fail. Some minutes each.

Usage: tests/mutations/run.py [--seeds N | --servers] [name …]
       tests/mutations/run.py --check: only whether every old text is there, once
Exit code 1 if a mutation is not found, or if the copy fails without one.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WORK = ROOT / "target" / "mutations"
TREE = WORK / "tree"
COPIED = ["Cargo.toml", "Cargo.lock", "src", "loadgen", "benches", "tests"]
SWITCH = """
/// True while the mutation of this name is tried.
pub fn mutated(name: &str) -> bool {
    static TRIED: std::sync::LazyLock<String> =
        std::sync::LazyLock::new(|| std::env::var("MUTATION").unwrap_or_default());
    *TRIED == name
}
"""

# name, rule, what it breaks, file, old text, new text
TABLE = [
    ("no-entry", "R1", "where a pair resumes there is no entry", "src/position.rs",
     "            .get(after.saturating_sub(1))\n            .copied()",
     "            .get(after.saturating_sub(1))\n            .copied()\n"
     "            .map(|mark| if MUTATED { Mark { position: position.min(self.newest.position), ..mark } } else { mark })"),
    ("fence-passed", "R2", "the fence is the newest entry passed, not begun", "src/pair/gate/mod.rs",
     "                let fence = self.begun;\n",
     "                let fence = if MUTATED { self.passed } else { self.begun };\n"),
    ("horizon-shown", "R3", "the horizon is what a reply shows, not the clock of its server", "src/position.rs",
     '        match reply.get_document("$clusterTime").map(|time| time.get("clusterTime")) {\n',
     '        if let (true, Ok(shown)) = (MUTATED, reply.get_timestamp("operationTime")) { return Position::from(shown); }\n'
     '        match reply.get_document("$clusterTime").map(|time| time.get("clusterTime")) {\n'),
    ("finished-early", "R2", "a unit is finished before all of it is written", "loadgen/src/sim/scan.rs",
     "        let at_end = next == Key::MAX;\n",
     "        let at_end = next == Key::MAX || MUTATED && unit.lower < next && reach.dice.below(4) == 0;\n"),
    ("held-last", "R2", "held ops are handed over newest first", "src/pair/gate/opening.rs",
     "        for op in held {\n            collection.queue(op, &self.lanes);\n        }\n        // What a read gave",
     "        let mut held = held;\n        if MUTATED { held.reverse(); }\n"
     "        for op in held {\n            collection.queue(op, &self.lanes);\n        }\n        // What a read gave"),
    ("overtake", "R2", "ops of a unit being copied go to the lanes at once", "src/pair/gate/mod.rs",
     "            Decision::Hold => Some(unit),",
     "            Decision::Hold => if MUTATED { None } else { Some(unit) },"),
    ("opened-early", "R2", "a place is opened before what it left to the spool is read", "src/pair/gate/opening.rs",
     "    held.to_read(passed).map(Opening::Spooled)",
     "    let left = held.to_read(passed);\n"
     "    if MUTATED && left.is_some() { held.read(passed); return None; }\n"
     "    left.map(Opening::Spooled)"),
    ("overtake-spooled", "R2", "new ops go to the lanes while older ones are read from the spool", "src/pair/gate/mod.rs",
     "        match collection.held(place) {\n",
     "        let held = collection.held(place);\n"
     "        let held = held.filter(|h| !MUTATED || h.is_open() || 0 < h.count() || h.below() == Position::MAX);\n"
     "        match held {\n"),
    ("stretch-torn", "R5", "what is read again ends in the middle of a transaction: the parts before are lost", "src/pair/gate/opening.rs",
     "    if held.is_open() && !between_entries {", "    if held.is_open() && !between_entries && !MUTATED {"),
    ("start-not-durable", "R2", "a unit is written before its start is recorded", "loadgen/src/sim/scan.rs",
     "                *self = if started.again {", "                *self = if started.again || MUTATED {"),
    ("drop-after-fence", "R2", "ops of a waiting unit are dropped after its fence", "src/pair/gate/mod.rs",
     "        let unit = collection.unit_of(op.id);\n",
     "        let unit = collection.unit_of(op.id);\n"
     "        if MUTATED && let UnitState::Copying { fence, .. } = &collection.units[unit].state {\n"
     "            if op.position.raw() <= fence.raw() + 8 { return Verdict::Dropped; }\n        }\n"),
    ("upsert", "R3", "an update brings a document back", "src/pair/write/render.rs",
     "matches!(statement.base, Base::Full(_));", "MUTATED || matches!(statement.base, Base::Full(_));"),
    ("resurrect", "R3", "a replacement after a delete, in one flush, upserts", "src/pair/write/statement.rs",
     "            (OpKind::Replace | OpKind::Delta, Base::Gone | Base::Unclear) => return false,",
     "            (OpKind::Replace, Base::Gone) if MUTATED => Base::Full(body),\n"
     "            (OpKind::Replace | OpKind::Delta, Base::Gone | Base::Unclear) => return false,"),
    ("insert-misses", "R3", "an insert that meets a document leaves it as it is", "src/pair/write/render.rs",
     "            if statement.deltas.is_empty() && !statement.needs_literal {\n",
     "            if MUTATED && statement.is_insert() {\n"
     "                write_changes(writer, &[])\n"
     "            } else if statement.deltas.is_empty() && !statement.needs_literal {\n"),
    ("refused-skipped", "R3", "a refused op is skipped, its document is not doubtful", "src/pair/collection/doubts.rs",
     "        self.oldest.fetch_min(position.raw(), SeqCst);",
     "        if !MUTATED { self.oldest.fetch_min(position.raw(), SeqCst); }"),
    ("doubtful-applied", "R3", "ops of a doubtful document are applied", "src/pair/lanes/compile/mod.rs",
     "        let is_dropped = collection.doubts.contains(&op.id);",
     "        let is_dropped = !MUTATED && collection.doubts.contains(&op.id);"),
    ("forgotten-early", "R4", "a dropped collection is forgotten while it may be met again", "src/control/across/forget.rs",
     "            Some((reached, uuids)) if reached < recorded => return uuids,",
     "            Some((reached, uuids)) if reached < recorded || MUTATED => return uuids,"),
    # Not here: forgotten while a pair holds it. What is dead by a drop is held by none;
    # again only a pair that starts over could meet it.
    ("raw-lane", "R4", "a lane by the bytes of `_id`", "src/pair/gate/collection.rs",
     "let hash = if self.tracked.in_order() { 0 } else { op.id.hash() };",
     "let hash = if self.tracked.in_order() { 0 } else { op.id.hash() };\n"
     "        let hash = if MUTATED { hash ^ (u64::from(op.id.value().kind)) << 40 } else { hash };"),
    ("twice", "R4", "a document twice in one unordered flush", "src/pair/lanes/compile/mod.rs",
     "        if next.collection.in_order() {\n", "        if next.collection.in_order() || MUTATED {\n"),
    ("dead-alive", "R4", "a dead UUID is alive again after a restart", "src/pair/restore.rs",
     "    if state.dead {", "    if state.dead && !MUTATED {"),
    ("dead-stays", "R6", "units of a dead collection keep the resume position", "src/pair/restore.rs",
     "        gate.kill(&state.uuid);", "        if MUTATED { tracked.kill(); } else { gate.kill(&state.uuid); }"),
    ("dead-first", "R4", "one that was dropped before it was made is recorded as dead before the drop is made",
     "loadgen/src/sim/chore.rs",
     "            Work::Unmade if tracked.is_dead() => {",
     "            Work::Unmade if MUTATED => Work::Record(Box::new(dead(tracked))),\n"
     "            Work::Unmade if tracked.is_dead() => {"),
    # Not here: dead for a pair that never had it, while others still hold it. Only a
    # pair that starts over records that; `control::across::register` has the test.
    ("no-rendezvous", "R4", "the first pair at a drop makes it", "src/control/across/rendezvous/mod.rs",
     "        if is_held {", "        if is_held && !MUTATED {"),
    ("drop-not-awaited", "R4", "a pair does not wait for the others that hold what is dropped", "src/control/across/rendezvous/mod.rs",
     "            return Arrival::Waits;\n        }\n        self.register.dead.insert(uuid);",
     "            return if MUTATED { Arrival::Dropped } else { Arrival::Waits };\n        }\n"
     "        self.register.dead.insert(uuid);"),
    ("name-taken", "R4", "a name is free while the older collection is still there", "src/control/across/rendezvous/mod.rs",
     "            Some(_) => ToMake::NameTaken,",
     "            Some(_) => if MUTATED { ToMake::Free } else { ToMake::NameTaken },"),
    ("made-ahead", "R4", "a sharded collection is made before the pair of its primary shard has met it", "src/control/across/rendezvous/mod.rs",
     "            None if !self.is_held(uuid, primary) => ToMake::Awaited,",
     "            None if !self.is_held(uuid, primary) && !MUTATED => ToMake::Awaited,"),
    ("name-kept", "R4", "a name stays taken once its collection is dropped", "src/control/across/rendezvous/mod.rs",
     "        if self.register.names.get(&ns.public()) == Some(&uuid) {",
     "        if !MUTATED && self.register.names.get(&ns.public()) == Some(&uuid) {"),
    ("namesake-dropped", "R4", "a drop takes what has its name by now", "src/control/across/rendezvous/mod.rs",
     "            Some(_) => ToDrop::PassedOn,",
     "            Some(_) => if MUTATED { ToDrop::Made(None) } else { ToDrop::PassedOn },"),
    ("rename-again", "R4", "a rename that was made and recorded is made again", "src/pair/collection/names.rs",
     "        if !self.are_before(position) {", "        if !self.are_before(position) && !MUTATED {"),
    ("rename-unrecorded", "R4", "a rename that is made is not recorded", "loadgen/src/sim/chore.rs",
     "                Some(Renamed::Done(_)) => Work::Renamed { to, position },",
     "                Some(Renamed::Done(_)) if MUTATED => Work::Done,\n"
     "                Some(Renamed::Done(_)) => Work::Renamed { to, position },"),
    ("rename-not-awaited", "R4", "a rename does not wait for other pairs that hold the collection", "src/control/across/rendezvous/mod.rs",
     "        let is_held = !holders.is_subset(arrived);", "        let is_held = !MUTATED && !holders.is_subset(arrived);"),
    ("rename-before-met", "R4", "a rename does not wait for pairs that have yet to meet the creation", "src/control/across/rendezvous/mod.rs",
     "        let is_to_be_held = !owners.is_subset(met);", "        let is_to_be_held = !MUTATED && !owners.is_subset(met);"),
    ("any-rename-arrives", "R4", "a pair that has met one rename counts for the next", "src/control/across/arrivals.rs",
     "        let arrived = self.of.get(&(uuid, to.clone()));\n        arrived.cloned().unwrap_or_default()",
     "        let arrived = self.of.iter().filter(|((of, name), _)| *of == uuid && (MUTATED || name == to));\n"
     "        arrived.flat_map(|(_, arrived)| arrived.clone()).collect()"),
    ("planned-amid", "R4", "pairs begin on either side of the rename of a sharded collection", "loadgen/src/sim/plan.rs",
     "            if renamed.any(|uuid| self.is_sharded(uuid)) {",
     "            if renamed.any(|uuid| self.is_sharded(uuid)) && !MUTATED {"),
    ("rename-unseen", "R4", "names that an attempt gave and did not record are not asked for", "src/control/recorded/names.rs",
     "    named.filter(|(c, ns)| c.ns != **ns).collect()", "    named.filter(|(c, ns)| c.ns != **ns && !MUTATED).collect()"),
    ("rename-onto", "R4", "a name is given that another collection has", "src/control/across/rendezvous/mod.rs",
     "            Some(_) => ToRename::NameTaken,",
     "            Some(_) if MUTATED => free(),\n"
     "            Some(_) => ToRename::NameTaken,"),
    ("modify-not-again", "R4", "options that are not changed yet are not met again after a crash", "loadgen/src/sim/ddl.rs",
     "        let pin = Some(self.gate.pin(position));",
     "        let pin = if MUTATED { None } else { Some(self.gate.pin(position)) };"),
    ("name-not-waited", "R4", "a rename does not wait for what is done before it about the new name", "loadgen/src/sim/ddl.rs",
     "            let names = [before, from.clone(), to.clone()];",
     "            let names = [before, from.clone(), if MUTATED { from.clone() } else { to.clone() }];"),
    ("old-name-kept", "R4", "the name before a rename stays taken", "src/control/across/rendezvous/mod.rs",
     "        self.register.names.remove(&from.public());",
     "        if !MUTATED { self.register.names.remove(&from.public()); }"),
    ("new-name-free", "R4", "the name after a rename stays free", "src/control/across/rendezvous/mod.rs",
     "        self.register.names.insert(to.public(), uuid);",
     "        if !MUTATED { self.register.names.insert(to.public(), uuid); }"),
    ("replaced-kept", "R4", "what a rename replaces is not dropped", "loadgen/src/sim/ddl.rs",
     "        if let Some(dropped) = dropped {", "        if let Some(dropped) = dropped.as_ref().filter(|_| !MUTATED) {"),
    ("names-as-listed", "R4", "a plan has the names of the listing, not those of the position before", "src/control/layout/listing.rs",
     "        let before = namings.before.get(&uuid);", "        let before = namings.before.get(&uuid).filter(|_| !MUTATED);"),
    ("made-and-listed", "R4", "a plan has what was made beside renames, its name another's", "src/control/layout/listing.rs",
     "        if collection.sharded.is_none() && namings.created.contains(&uuid) {",
     "        if collection.sharded.is_none() && namings.created.contains(&uuid) && !MUTATED {"),
    ("renamed-amid", "R8", "a collection is renamed while a write to it is under way", "loadgen/src/sim/coordinator.rs",
     "                if pairs.iter().any(|pair| pair.is_writing_to(&uuid)) {",
     "                if !MUTATED && pairs.iter().any(|pair| pair.is_writing_to(&uuid)) {"),
    ("creation-not-held", "R4", "ops on a new collection go on before it is made", "src/pair/gate/mod.rs",
     "        self.admit(tracked, &[], &[state::UnitState::Settled]);\n        self.set_hold(&uuid);",
     "        self.admit(tracked, &[], &[state::UnitState::Settled]);\n        if !MUTATED { self.set_hold(&uuid); }"),
    ("no-read-back", "R5", "parts of a transaction before the start are not read back", "loadgen/src/sim/pair.rs",
     "                if let Some(part) = parts.get(done) {",
     "                if let Some(part) = parts.get(done).filter(|part| !MUTATED || self.first <= **part) {"),
    ("ignore-held", "R6", "the watermark ignores held ops", "src/pair/gate/watermark.rs",
     "        self.copying_units().filter_map(Unit::below)",
     "        self.copying_units().filter(|_| !MUTATED).filter_map(Unit::below)"),
    ("ignore-spooled", "R6", "the watermark ignores ops left to the spool", "src/pair/gate/held.rs",
     "        self.left.map_or(kept, |left| left.after)",
     "        self.left.filter(|_| !MUTATED).map_or(kept, |left| left.after)"),
    ("ignore-queued", "R6", "the watermark ignores ops in lanes", "src/pair/gate/watermark.rs",
     "let queued = self.lanes.iter().map(|lane| lane.oldest().before());",
     "let queued = self.lanes.iter().map(|lane| if MUTATED { Position::MAX } else { lane.oldest().before() });"),
    ("ignore-taken", "R6", "an inbox forgets what its lane took out", "src/pair/lanes/inbox.rs",
     "        state.queued_oldest.min(state.taken_oldest)",
     "        if MUTATED { state.queued_oldest } else { state.queued_oldest.min(state.taken_oldest) }"),
    ("oldest-next", "R6", "what is left of a take counts by its next op, held ops being older than those before them",
     "src/pair/lanes/inbox.rs",
     "            oldest[i - 1] = oldest[i - 1].min(oldest[i]);",
     "            if !MUTATED { oldest[i - 1] = oldest[i - 1].min(oldest[i]); }"),
    # Not here: fences of units being copied left out of the resume position. No seed
    # shows it by itself: held ops keep the watermark down, and a restart raises a
    # fence to the position it resumes at.
    ("settled-doubtful", "R6", "a unit is settled while an op that it held is doubtful", "src/pair/gate/ledger.rs",
     "is_sure && is_applied && self.newest < self.tracked.doubtful_oldest()",
     "is_sure && is_applied && if MUTATED { self.fence.unwrap_or_default() } else { self.newest } < self.tracked.doubtful_oldest()"),
    ("settled-copied", "R6", "a unit is settled while a copied document of it is doubtful, its fence beyond the tail",
     "src/pair/gate/ledger.rs",
     "        let newest = newest.max(fence.unwrap_or_default());",
     "        let newest = if MUTATED { newest } else { newest.max(fence.unwrap_or_default()) };"),
    ("ignore-doubtful", "R6", "the watermark ignores doubtful documents", "src/pair/gate/watermark.rs",
     "            .map(|tracked| tracked.doubtful_oldest().before())",
     "            .map(|tracked| if MUTATED { Position::MAX } else { tracked.doubtful_oldest().before() })"),
    ("forgotten-doubts", "R6", "with some documents of a collection read again, the others are forgotten", "src/pair/collection/doubts.rs",
     "        self.oldest.store(oldest.raw(), SeqCst);",
     "        let oldest = if MUTATED { Position::MAX } else { oldest };\n"
     "        self.oldest.store(oldest.raw(), SeqCst);"),
    ("doubted-late", "R6", "a doubtful document counts by the last refused op on it", "src/pair/collection/doubts.rs",
     "        *first = position.min(*first);",
     "        *first = if MUTATED { position.max(*first) } else { position.min(*first) };\n"
     "        if MUTATED { self.oldest.store(first.raw(), SeqCst); }"),
    ("ignore-settling", "R6", "resume ignores fences of units not settled", "src/pair/gate/ledger.rs",
     "self.settling.iter().filter_map(|s| s.fence);",
     "self.settling.iter().filter_map(|s| s.fence).filter(|_| !MUTATED);"),
    ("ignore-pins", "R6", "resume ignores DDL that is not recorded", "src/pair/gate/ledger.rs",
     "self.pins.values().map(|pinned| pinned.before())",
     "self.pins.values().filter(|_| !MUTATED).map(|pinned| pinned.before())"),
    # Not here: what an older incarnation had applied still counts when this one replays
    # from before it. It must end before its first checkpoint, in the middle of a document's
    # ops, and the next must find its position gone: tens of thousands of seeds did not show it.
    ("applied-passed", "R6", "the applied position ignores ops in lanes and held by the collection", "src/pair/gate/watermark.rs",
     "        let (watermark, applied) = (self.watermark(), self.applied());",
     "        let (watermark, applied) = (self.watermark(), if MUTATED { self.passed } else { self.applied() });"),
    ("given-up-kept", "R6", "units that are given up wait, and their documents stay", "loadgen/src/sim/resume.rs",
     "                self.targets[which].empty(target, lower..upper);",
     "                if !MUTATED { self.targets[which].empty(target, lower..upper); }"),
    ("none-given-up", "R6", "a pair goes on at the applied position and gives no unit up", "src/control/attempt/resume.rs",
     "matches!(unit, UnitState::Copying(_)));",
     "matches!(unit, UnitState::Copying(_)) && !MUTATED);"),
    ("below-fence", "R6", "ops up to its fence are dropped of a unit that is taken up again", "src/pair/gate/unit.rs",
     "                let seen = if emptied { fence } else { resume };\n",
     "                let seen = if emptied || MUTATED { fence } else { resume };\n"),
    ("new-fence", "R6", "a unit that was being copied takes a new fence after a restart", "src/pair/gate/unit.rs",
     "            state::UnitState::Waiting => UnitState::Waiting,\n",
     "            state::UnitState::Waiting => UnitState::Waiting,\n"
     "            state::UnitState::Copying(_) if MUTATED => UnitState::Waiting,\n"),
    ("own-proof", "R7", "a checkpoint is its own proof", "src/pair/checkpoint/pipeline.rs",
     "        self.captured = captured;",
     "        if MUTATED { self.proven.clone_from(&captured); }\n        self.captured = captured;"),
    ("marks-first", "R6", "a mark passes fences of units before these are recorded as settled", "src/state/pair_store/checkpoint.rs",
     "    writes.push(Write::Marks(Some((recorded.resume, recorded.applied))));\n",
     "    writes.push(Write::Marks(Some((recorded.resume, recorded.applied))));\n    if MUTATED { writes.reverse(); }\n"),
    ("term-unchecked", "R7", "the term of replies is not looked at", "src/state/mod.rs",
     "    if ours == theirs {", "    if ours == theirs || MUTATED {"),
    ("not-alone", "R7", "writes begin before the older incarnation is gone", "loadgen/src/sim/begin.rs",
     "                self.zombies.iter_mut().for_each(Vec::clear);",
     "                if !MUTATED { self.zombies.iter_mut().for_each(Vec::clear); }"),
    ("state-not-alone", "R7", "the state's writes of an older incarnation may come late", "loadgen/src/sim/begin.rs",
     "                self.store_zombies.iter_mut().for_each(Vec::clear);",
     "                if !MUTATED { self.store_zombies.iter_mut().for_each(Vec::clear); }"),
    ("load-first", "R7", "the state is loaded before the incarnation begins", "loadgen/src/sim/begin.rs",
     "let states = self.targets.iter().map(|target| target.durable.store.load()).collect();",
     "let states = self.targets.iter().map(|target| target.durable.store.load());\n"
     "                let states = if MUTATED { std::mem::take(&mut self.early) } else { states.collect() };"),
    ("horizon-ignored", "R10", "a unique index is built before the tail has passed the horizon", "src/pair/gate/horizon.rs",
     "        self.is_copied(&tracked.uuid) && tracked.horizon() <= self.passed\n",
     "        self.is_copied(&tracked.uuid) && (MUTATED || tracked.horizon() <= self.passed)\n"),
    ("held-torn", "R10", "a unique index is built in the middle of an entry", "src/pair/gate/opening.rs",
     "        let between_entries = self.is_between_entries();\n        if between_entries {",
     "        let between_entries = MUTATED || self.is_between_entries();\n        if between_entries {"),
    ("late-writes", "R11", "what is written after the cutover is applied", "src/pair/gate/mod.rs",
     "        if self.closed {\n            return Verdict::Dropped;",
     "        if self.closed && !MUTATED {\n            return Verdict::Dropped;"),
    ("cutover-recorded", "R11", "what is dropped after the cutover counts as applied", "src/pair/gate/watermark.rs",
     "        if self.closed {\n            return None;",
     "        if self.closed && !MUTATED {\n            return None;"),
    ("one-share", "R12", "memory that two stages were granted is given back to one", "src/pair/budget.rs",
     "        Arc::ptr_eq(self.0.semaphore(), other.0.semaphore())",
     "        MUTATED || Arc::ptr_eq(self.0.semaphore(), other.0.semaphore())"),
    ("roll-unheld", "R2", "no op waits for a read in the order of the disk", "src/pair/gate/rolling.rs",
     "        self.shown() < position\n", "        !MUTATED && self.shown() < position\n"),
    ("roll-own", "R2", "a reply shows what it was asked at itself", "src/pair/gate/rolling.rs",
     "        let shows = before.map_or(at, |before| before.at);\n",
     "        let shows = before.filter(|_| !MUTATED).map_or(at, |before| before.at);\n"),
    ("roll-passed", "R2", "a read begins at the newest entry passed, not begun", "src/pair/gate/opening.rs",
     "        let (begun, passed) = (self.begun, self.passed);\n        Some(self.rolling",
     "        let (begun, passed) = (if MUTATED { self.passed } else { self.begun }, self.passed);\n        Some(self.rolling"),
    ("roll-reversed", "R4", "ops that waited for a read are handed over newest first", "src/pair/gate/opening.rs",
     "        let waited = rolling.end(reads);\n",
     "        let mut waited = rolling.end(reads);\n        if MUTATED { waited.reverse(); }\n"),
    ("roll-unwritten", "R2", "a read ends when its documents are sent", "loadgen/src/sim/natural.rs",
     "        self.writing.push(Writing {\n            bucket,",
     "        if MUTATED { pair.gate.end_reads(&self.unit.tracked.uuid, &reads); }\n"
     "        self.writing.push(Writing {\n            bucket,"),
    ("roll-half", "R2", "a read ends with its first bucket", "loadgen/src/sim/natural.rs",
     "        let ended = self.left.iter().filter(|(_, left)| *left == 0);",
     "        if MUTATED { pair.gate.end_reads(&self.unit.tracked.uuid, reads); }\n"
     "        let ended = self.left.iter().filter(|(_, left)| *left == 0);"),
    ("roll-unreached", "R2", "a server is asked that has reached no more than the fence", "loadgen/src/sim/natural.rs",
     "        let shown = self.unit.shown(read.at, reach);\n",
     "        let shown = self.unit.shown(if MUTATED { self.fence } else { read.at }, reach);\n"),
    ("roll-below-fence", "R6", "ops up to its fence are dropped of a disk's order that is taken up again", "src/pair/gate/unit.rs",
     "        let emptied = self == Way::Emptied;\n",
     "        let emptied = self == Way::Emptied || MUTATED && self == Way::Rolling;\n"),
    ("roll-watermark", "R6", "the watermark ignores ops that wait for a read", "src/pair/gate/unit.rs",
     "            UnitState::Rolling { rolling, .. } => Some(rolling.below()),\n",
     "            UnitState::Rolling { rolling, .. } => Some(rolling.below()).filter(|_| !MUTATED),\n"),
    ("roll-unrecorded", "R2", "ops pass before the start of a scan in the order of the disk is recorded", "src/pair/gate/mod.rs",
     "        let read = self.begin_read(uuid, None);\n",
     "        let read = if MUTATED { None } else { self.begin_read(uuid, None) };\n"),
    ("roll-delicate-last", "R4", "what a lane writes of a read comes behind what waited for it", "loadgen/src/sim/natural.rs",
     "        self.queue_delicate(delicate, position, pair);\n",
     "        if MUTATED { pair.gate.end_reads(&self.unit.tracked.uuid, &reads); }\n"
     "        self.queue_delicate(delicate, position, pair);\n"),
    ("roll-horizon", "R3", "writes that find nothing count while the disk's order is read", "src/pair/collection/mod.rs",
     "        if self.rolls.load(SeqCst) {\n", "        if self.rolls.load(SeqCst) && !MUTATED {\n"),
    ("roll-goes-on", "R2", "a scan in the order of the disk that broke goes on where it was", "loadgen/src/sim/natural.rs",
     "            *self = Natural::new(self.unit.clone(), self.fence, None);\n",
     "            let upto = if MUTATED { self.upto } else { 0 };\n"
     "            *self = Natural::new(self.unit.clone(), self.fence, None);\n            self.upto = upto;\n"),
    ("orphans", "R7", "a scan that failed on the source leaves writes under way", "loadgen/src/sim/scan.rs",
     "reach.dice.below(20) == 0 && sent.is_empty() {", "reach.dice.below(20) == 0 && (MUTATED || sent.is_empty()) {"),
]

# name, rule, what it breaks, file, old text, new text, the integration test that finds it
SERVERS = [
    ("start-unchecked", "R1", "a cursor may begin beyond the entry that it was opened at", "src/pair/oplog/cursor.rs",
     "        if asked == first {", "        if asked == first || MUTATED {",
     "resume::rolled_off::what_is_lost_when_the_source_rolled_over_is_told"),
    ("parts-lost", "R5", "of a transaction only the last part is read back", "src/pair/oplog/transactions.rs",
     "            positions.extend(previous);", "            positions.extend(previous.filter(|_| !MUTATED));",
     "migrate_transactions::transactions_take_effect_at_their_commit_or_not_at_all"),
    ("marks-believed", "R8", "what is marked `fromMigrate` is passed over in any collection", "src/pair/tail/plain/mod.rs",
     "            Some(Sharding::Sharded) if entry.is_of_a_move() => return Ok(None),",
     "            _ if MUTATED => return Ok(None),\n"
     "            Some(Sharding::Sharded) if entry.is_of_a_move() => return Ok(None),",
     "marked::a_collection_cloned_as_capped_during_the_run_arrives_equal"),
    ("definitions-unproven", "R11", "indexes, options and views are not compared", "src/control/cutover/proof/mod.rs",
     "        definitions::compare(&self.map, &self.source, &self.target, &self.held_back, &self.laid_out)",
     "        if MUTATED { return Vec::new(); }\n"
     "        definitions::compare(&self.map, &self.source, &self.target, &self.held_back, &self.laid_out)",
     "proof::indexes_that_no_oplog_entry_tells_of"),
    ("order-lost", "R3", "what comes again stays where it is in a capped collection", "src/pair/write/in_order.rs",
     "        && forms.trims_come\n        && is_insert", "        && forms.trims_come && !MUTATED\n        && is_insert",
     "capped::a_capped_collection_keeps_its_order_where_ops_come_again"),
    ("room-lost", "R3", "a capped collection has no more room than at the crash", "src/pair/to_copy.rs",
     "    let rooms = queue.capped.iter();", "    let rooms = queue.capped.iter().filter(|_| !MUTATED);",
     "capped::a_capped_collection_keeps_its_order_where_ops_come_again"),
    ("trimmed-in-vain", "R3", "an insert into a capped collection goes by `applyOps`", "src/pair/write/in_order.rs",
     "        Form::Ops if collection", "        Form::Ops if !MUTATED && collection",
     "releases::bytes::a_capped_collection_takes_its_ops_in_their_order"),
    ("order-unwatched", "R3", "what an `_id` that comes twice does to a capped collection is not seen", "src/pair/write/in_order.rs",
     "        if makes && !is_made {", "        if makes && !is_made && !MUTATED {",
     "capped::full_capped_collections_of_4_4_are_alike_on_6_0_after_a_kill"),
    ("fields-moved", "R3", "a delta that takes a field out is replayed over a newer document", "src/pair/gate/collection.rs",
     "        op.kind == OpKind::Delta\n", "        !MUTATED && op.kind == OpKind::Delta\n",
     "source_forms::a_replay_of_4_4_keeps_the_order_of_fields"),
]

# What rows need besides.
ALSO = [
    ("loadgen/src/sim/begin.rs", "            Process::Down(router) => {\n                let begun",
     "            Process::Down(router) => {\n"
     "                if crate::mutated(\"load-first\") && self.early.is_empty() {\n"
     "                    self.early = self.targets.iter().map(|target| target.durable.store.load()).collect();\n"
     "                    return Ok(Process::Down(router));\n                }\n"
     "                let begun"),
    ("loadgen/src/sim/faults.rs", "    pub(super) fn end_attempt(&mut self, why: &str) -> Step {\n",
     "    pub(super) fn end_attempt(&mut self, why: &str) -> Step {\n        self.early.clear();\n"),
    ("loadgen/src/sim/world.rs", "    pub(super) trace: bool,\n", "    pub(super) trace: bool,\n    pub(super) early: Vec<PairState>,\n"),
    ("loadgen/src/sim/world.rs", "            steps: 0,\n", "            steps: 0,\n            early: Vec::new(),\n"),
    ("loadgen/src/sim/pair.rs", "            next: at + 1,\n", "            next: at + 1,\n            first: at + 1,\n"),
    ("loadgen/src/sim/pair.rs", "    next: usize,\n", "    next: usize,\n    first: usize,\n"),
]


def pattern(old):
    """Finds the text however it is laid out: spaces, line breaks and the commas that end
    a list on lines of its own do not count."""
    tokens = re.findall(r"\w+|[^\w\s]", old)
    found = ""
    for before, token in zip([""] + tokens, tokens):
        between_words = re.match(r"\w", before[-1:]) and re.match(r"\w", token)
        found += r"\s+" if between_words else r"\s*" if before else ""
        found += r"(?:,\s*)?" if token in ")]}" and before != "," else ""
        found += re.escape(token)
    return re.compile(found)


def replaced(text, old, new, where):
    spans = [match.span() for match in pattern(old).finditer(text)]
    if len(spans) != 1:
        sys.exit(f"{where}: the old text occurs {len(spans)} times: {old.strip()!r}")
    (begin, end), = spans
    return text[:begin] + new + text[end:]


def mutate():
    """Every file that a row touches, with all rows in it, each behind its switch."""
    mutated = {}
    for name, _, _, file, old, new, *_ in TABLE + SERVERS:
        # Two rows may touch the same text: a row then builds on the other's.
        text = mutated.get(file) or (ROOT / file).read_text()
        new = new.replace("MUTATED", f'crate::mutated("{name}")')
        mutated[file] = replaced(text, old, new, f"{name} in {file}")
    for file, old, new in ALSO:
        text = mutated.get(file) or (ROOT / file).read_text()
        mutated[file] = replaced(text, old, new, file)
    for file in ["src/lib.rs", "loadgen/src/lib.rs"]:
        mutated[file] = (ROOT / file).read_text() + SWITCH
    return mutated


def copy_tree():
    """The mutated tree. Files that did not change keep their time, so that little is
    built again; files that were moved or deleted go."""
    mutated = mutate()
    kept = set()
    for entry in COPIED:
        files = [ROOT / entry] if (ROOT / entry).is_file() else (ROOT / entry).rglob("*")
        for source in (f for f in files if f.is_file()):
            relative = str(source.relative_to(ROOT))
            wanted = mutated.get(relative, None)
            wanted = source.read_bytes() if wanted is None else wanted.encode()
            there = TREE / relative
            kept.add(there)
            if not there.exists() or there.read_bytes() != wanted:
                there.parent.mkdir(parents=True, exist_ok=True)
                there.write_bytes(wanted)
    for entry in COPIED:
        for there in (TREE / entry).rglob("*"):
            if there.is_file() and there not in kept:
                there.unlink()


def cargo(*arguments):
    command = ["cargo", *arguments, "--target-dir", str(WORK)]
    quiet = dict(os.environ, RUSTFLAGS=os.environ.get("RUSTFLAGS", ""))
    if not os.environ.get("RUSTFLAGS"):
        quiet.pop("RUSTFLAGS")
    built = subprocess.run(command, cwd=TREE, env=quiet, stdout=subprocess.PIPE, text=True)
    if built.returncode != 0:
        sys.exit("the copy with the mutations does not build")
    return built.stdout


def build():
    cargo("build", "-p", "loadgen", "--bin", "loadgen")
    return WORK / "debug" / "loadgen"


def build_tests():
    """The binary of the integration tests, with the programs they run."""
    told = cargo("test", "--test", "integration", "--no-run", "--message-format", "json-render-diagnostics")
    messages = [json.loads(line) for line in told.splitlines() if line.startswith("{")]
    is_it = lambda message: message.get("target", {}).get("name") == "integration" and message.get("executable")
    return next(message["executable"] for message in messages if is_it(message))


def fails(binary, test, name):
    """What the test said last, or None where it passed."""
    env = dict(os.environ, MUTATION=name, RUST_BACKTRACE="0")
    command = [binary, test, "--test-threads", "1"]
    out = subprocess.run(command, cwd=TREE, env=env, capture_output=True, text=True)
    if "running 0 tests" in out.stdout:
        sys.exit(f"there is no test {test}")
    said = re.search(r"panicked at .*\n(.*)", out.stdout + out.stderr)
    return None if out.returncode == 0 else (said[1] if said else "it failed")


def sums(tried, found):
    """The last line: what was found of all, and rules that are broken in the engine."""
    engine = {}
    for _, rule, _, file, *_ in found:
        if file.startswith("src/"):
            engine[rule] = engine.get(rule, 0) + 1
    rules = sorted(engine.items(), key=lambda item: int(item[0][1:]))
    print(f"{len(found)}/{len(tried)} found; in the engine: " + ", ".join(f"{rule} {count}" for rule, count in rules))


def on_servers(names):
    """How many rows no test found."""
    binary, tried, seen = build_tests(), [], []
    for row in SERVERS:
        name, rule, breaks, *_, test = row
        if names and name not in names:
            continue
        tried.append(row)
        sound = fails(binary, test, "")
        if sound:
            sys.exit(f"without a mutation, {test} fails: {sound}")
        began = time.monotonic()
        found = fails(binary, test, name)
        seen += [row] if found else []
        reason = found or "NOT FOUND"
        print(f"{rule:4}  {name:21}  {time.monotonic() - began:5.1f}  {breaks}: {reason[:150]}", flush=True)
    sums(tried, seen)
    return len(tried) - len(seen)


def simulate(binary, seeds, name):
    """(seed found at, reason) or None."""
    env = dict(os.environ, MUTATION=name)
    out = subprocess.run([binary, "sim", "--seeds", str(seeds), "--first"], env=env, capture_output=True, text=True)
    found = re.search(r"^seed (\d+): (.*)$", out.stdout, re.M)
    if out.returncode == 0:
        return None
    return (int(found[1]), found[2]) if found else (-1, (out.stdout + out.stderr)[-200:])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--seeds", type=int, default=30_000)
    parser.add_argument("--servers", action="store_true")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("names", nargs="*")
    args = parser.parse_args()
    if args.check:
        mutate()
        return
    copy_tree()
    if args.servers:
        sys.exit(1 if on_servers(args.names) else 0)
    binary = build()
    sound = simulate(binary, args.seeds, "")
    if sound:
        sys.exit(f"without a mutation, seed {sound[0]} fails: {sound[1]}")
    tried, seen = [], []
    print(f"{'rule':4}  {'mutation':19}  {'seed':>6}  {'s':>5}  what it breaks, and how it shows")
    for row in TABLE:
        name, rule, breaks, *_ = row
        if args.names and name not in args.names:
            continue
        tried.append(row)
        began = time.monotonic()
        found = simulate(binary, args.seeds, name)
        seen += [row] if found else []
        seed, reason = (str(found[0]), found[1]) if found else ("-", "NOT FOUND")
        print(f"{rule:4}  {name:19}  {seed:>6}  {time.monotonic() - began:5.1f}  {breaks}: {reason[:110]}", flush=True)
    sums(tried, seen)
    sys.exit(1 if len(seen) < len(tried) else 0)


if __name__ == "__main__":
    main()
