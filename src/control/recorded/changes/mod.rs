//! Changes to a pair's collections while nobody followed its source shard: its recorded
//! state compared with the source's catalog now.
//!
//! Pure. A change that only its oplog entry could have shown is refused, by name.

mod on_target;

use std::collections::{HashMap, HashSet};

use bson::Uuid;

use crate::cluster::catalog::{Catalog, Collection, CollectionKind, Namespace};
use crate::control::layout;
use crate::control::layout::{owners, refined};
use crate::control::recorded::changes::on_target::{Touched, touched};
use crate::position::Position;
use crate::state::{CollectionState, PairState};

#[derive(Debug, Default)]
pub struct Changes<'a> {
    /// What stays on the target as it is, to be emptied.
    pub kept: Vec<&'a CollectionState>,
    pub gone: Vec<(&'a CollectionState, Gone)>,
    pub created: Vec<&'a Collection>,
    /// What they were, and what they are to be made as. No pair but this one has them.
    pub anew: Vec<(&'a CollectionState, Collection)>,
    /// Phrases for a sentence.
    pub refused: Vec<String>,
    /// What can be made only once the pair has come to it. Phrases, too.
    pub early: Vec<String>,
}

/// One collection is chosen, by its name.
#[derive(Debug, Clone, Copy)]
pub struct Only<'a> {
    pub ns: &'a Namespace,
    /// Which had each name at some time in entries that the pair has still to read.
    pub taken: &'a HashMap<Namespace, HashSet<Uuid>>,
}

/// Which pairs still have to meet the drop of a collection that is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gone {
    OnlyHere,
    OthersHoldIt,
}

/// `states[i]`: what pair i tracks; `local`: UUIDs that the pair's source shard has. `only`:
/// what has this name, or had it. The pair then keeps its position: renames that it can follow
/// are still to be met, and so are creations but where the name has no other collection.
pub fn changes<'a>(
    pair: usize,
    states: &'a [PairState],
    source: &'a Catalog,
    local: &HashSet<Uuid>,
    target: &Catalog,
    only: Option<Only<'_>>,
) -> Changes<'a> {
    let mut changes = Changes::default();
    let now: HashMap<Uuid, &Collection> = source
        .collections
        .iter()
        .filter_map(|c| Some((c.uuid?, c)))
        .filter(|(uuid, _)| local.contains(uuid))
        .collect();
    // Of a time series its buckets.
    let is_chosen =
        |ns: &Namespace| only.is_none_or(|only| ns == only.ns || ns.public() == *only.ns);
    for was in states[pair].collections.iter().filter(|c| !c.dead) {
        let is = now.get(&was.uuid);
        if !is_chosen(&was.ns) && !is.is_some_and(|is| is_chosen(&is.ns)) {
            continue;
        }
        let others = held_by_others(pair, states, &was.uuid);
        let Some(is) = is else {
            changes.gone.push((was, others));
            continue;
        };
        let is_followed = only.is_some() && renames_are_followed(was, is);
        let ns = if is_followed { &was.ns } else { &is.ns };
        let is = Collection {
            ns: ns.clone(),
            ..(*is).clone()
        };
        match (differs_anywhere(was, &is, (target, others)), others) {
            (None, _) => changes.kept.push(was),
            // The pair's own entries say it, too.
            (Some(Differs::Options(_)), Gone::OthersHoldIt) if only.is_some() => {
                changes.kept.push(was);
            }
            (Some(Differs::Options(_) | Differs::Layout(_)), Gone::OnlyHere) => {
                changes.anew.push((was, is));
            }
            (Some(Differs::Options(what) | Differs::Layout(what)), Gone::OthersHoldIt) => {
                let why = "other shards have it, too";
                changes.refused.push(format!("{what}, and {why}"));
            }
            (Some(Differs::Owners(what)), _) => changes.refused.push(what),
        }
    }
    let known: HashMap<Uuid, &CollectionState> = states[pair]
        .collections
        .iter()
        .map(|c| (c.uuid, c))
        .collect();
    let is_there = !changes.kept.is_empty() || !changes.anew.is_empty();
    let mut created: Vec<&Collection> = now
        .iter()
        .filter(|(uuid, _)| known.get(uuid).is_none_or(|c| c.dead))
        .map(|(_, c)| *c)
        .filter(|c| only.is_none() || !is_there && is_chosen(&c.ns))
        .collect();
    created.sort_by(|a, b| a.ns.cmp(&b.ns));
    let passes = |is: &Collection| only.and_then(|only| passes_on(&only, is, &now));
    let mut early: Vec<String> = Vec::new();
    let mut refused: Vec<String> = Vec::new();
    for (was, is) in &changes.anew {
        refused.extend(in_the_way(pair, states, &changes, is, target));
        if !renames_are_followed(was, is) {
            early.extend(passes(is));
        }
    }
    early.extend(created.iter().filter_map(|is| passes(is)));
    created.retain(|is| {
        let why = in_the_way(pair, states, &changes, is, target);
        let is_free = why.is_none();
        refused.extend(why);
        is_free
    });
    changes.early = early;
    changes.created = created;
    changes.refused.extend(refused);
    changes
}

impl<'a> Changes<'a> {
    /// What of it is on the target, and is copied again.
    pub fn emptied(&self) -> Vec<&'a CollectionState> {
        let anew = self.anew.iter().map(|(was, _)| *was);
        self.kept.iter().copied().chain(anew).collect()
    }

    /// One is made by a name that another may be to have first.
    pub fn take_names(&self) -> bool {
        let mut anew = self.anew.iter();
        !self.created.is_empty() || anew.any(|(was, is)| !renames_are_followed(was, is))
    }

    pub fn are_none(&self) -> bool {
        self.emptied().is_empty() && self.gone.is_empty() && self.created.is_empty()
    }

    fn was_sharded(&self, is: &Collection) -> bool {
        let mut of_it = self
            .anew
            .iter()
            .filter(|(was, _)| Some(was.uuid) == is.uuid);
        of_it.any(|(was, _)| was.sharded.is_some())
    }
}

fn held_by_others(pair: usize, states: &[PairState], uuid: &Uuid) -> Gone {
    let others = states
        .iter()
        .enumerate()
        .filter(|(other, _)| *other != pair);
    if others
        .flat_map(|(_, s)| &s.collections)
        .any(|c| c.uuid == *uuid && !c.dead)
    {
        Gone::OthersHoldIt
    } else {
        Gone::OnlyHere
    }
}

/// On the source, or on the target. Options there are compared where the collection can be
/// made again.
fn differs_anywhere(
    was: &CollectionState,
    is: &Collection,
    (target, others): (&Catalog, Gone),
) -> Option<Differs> {
    let on_source = differs(was, is);
    if matches!(on_source, Some(Differs::Owners(_))) {
        return on_source;
    }
    let ns = &was.ns;
    match (touched(was, target), others) {
        (Some(Touched::Gone), _) => {
            let what = format!("{ns} was dropped or recreated on the target");
            Some(Differs::Layout(what))
        }
        (Some(Touched::Options), Gone::OnlyHere) => on_source.or_else(|| {
            let what = format!("the options of {ns} were changed on the target");
            Some(Differs::Options(what))
        }),
        _ => on_source,
    }
}

/// How a collection is other than it was recorded, in words.
#[derive(Debug, PartialEq, Eq)]
enum Differs {
    Options(String),
    /// Its name, it is sharded, or what was made of it is no more.
    Layout(String),
    /// Documents of it may have other owners.
    Owners(String),
}

fn differs(was: &CollectionState, is: &Collection) -> Option<Differs> {
    let ns = &was.ns;
    let renamed = || format!("{ns} was renamed to {}", is.ns);
    let is_sharded_renamed = is_renamed(&was.collection(), is);
    let is_sharded_now = was.sharded.is_none() && is.sharded.is_some();
    let differs = if is_sharded_renamed && *ns != is.ns {
        Differs::Owners(renamed())
    } else if is_sharded_renamed {
        Differs::Owners(format!("{ns} was renamed there and back"))
    } else if !is_sharded_now && !owners::are_same(&was.collection(), is) {
        Differs::Owners(format!("owners of {ns} changed"))
    } else if is_sharded_now {
        Differs::Layout(format!("{ns} was sharded"))
    } else if *ns != is.ns {
        Differs::Layout(renamed())
    } else if !layout::same_options(&was.options, &is.options) {
        Differs::Options(format!("the options of {ns} were changed"))
    } else if layout::options::expiry(&was.options) != layout::options::expiry(&is.options) {
        Differs::Options(format!("the expiry of {ns} was changed"))
    } else {
        return None;
    };
    Some(differs)
}

/// Whether a sharded collection of the source was renamed, there and back too. A refined key has
/// another epoch, too, and is followed: no entry of a log tells of it.
fn is_renamed(before: &Collection, now: &Collection) -> bool {
    let (Some(was), Some(is)) = (&before.sharded, &now.sharded) else {
        return before.sharded.is_some() && before.ns != now.ns;
    };
    let mut versions = was.version.zip(is.version).into_iter();
    let is_other = versions.any(|(was, is)| was.epoch != is.epoch);
    before.ns != now.ns || is_other && !refined::is_of(was, is)
}

/// Until the target's is sharded so, too, it cannot be made for one more pair.
fn is_sharded_anew(before: &Collection, now: &Collection) -> bool {
    match (&before.sharded, &now.sharded) {
        (Some(was), Some(is)) => refined::is_of(was, is),
        (was, is) => was.is_none() && is.is_some(),
    }
}

/// The pair follows renames of it. Never to another database.
fn renames_are_followed(was: &CollectionState, is: &Collection) -> bool {
    let is_plain = was.sharded.is_none() && was.ns.time_series().is_none();
    is_plain && is.sharded.is_none() && was.ns.db == is.ns.db
}

/// Its name is still to be given to another first, which then waits for it for ever. What is gone
/// by now waits for no name.
fn passes_on(only: &Only<'_>, is: &Collection, now: &HashMap<Uuid, &Collection>) -> Option<String> {
    let mut others = only.taken.get(&is.ns)?.iter();
    let other = others.find(|uuid| Some(**uuid) != is.uuid && now.contains_key(*uuid))?;
    let (ns, called) = (&is.ns, &now[other].ns);
    Some(format!("{called} was {ns} before"))
}

/// Why a collection cannot be made on the target now.
fn in_the_way(
    pair: usize,
    states: &[PairState],
    changes: &Changes<'_>,
    is: &Collection,
    target: &Catalog,
) -> Option<String> {
    let ns = &is.ns;
    if is.kind != CollectionKind::Plain {
        return Some(format!("{ns} was created, and is not a plain collection"));
    }
    let own = states[pair].collections.iter();
    let mut dead = own.filter(|c| c.dead && Some(c.uuid) == is.uuid);
    if dead.any(|dead| !was_given_up(dead, target)) {
        return Some(format!("the drop of {ns} was rolled back"));
    }
    let others = states.iter().enumerate().filter(|(at, _)| *at != pair);
    let mut laid_out = others
        .flat_map(|(_, s)| &s.collections)
        .filter(|c| !c.dead && Some(c.uuid) == is.uuid);
    match laid_out.next() {
        // The pairs that have it are still to meet that.
        Some(was) if is_renamed(&was.collection(), is) => {
            return Some(format!("{} was renamed", was.ns));
        }
        Some(was) if is_sharded_anew(&was.collection(), is) => {
            return Some(format!("{} was sharded, or its shard key refined", was.ns));
        }
        // A shard creates a collection, too, when it gets the first chunk of it.
        Some(was) if !owners::are_same(&was.collection(), is) => {
            return Some(format!("owners of {ns} changed"));
        }
        // What moved before it was planned is in the plan.
        None if owners::has_moved(is) && !changes.was_sharded(is) => {
            return Some(format!("{ns} was sharded, and a chunk of it moved"));
        }
        _ => {}
    }
    let is_dropped_first = |uuid: &Uuid| {
        let mut gone = changes.gone.iter();
        gone.any(|(g, by)| g.uuid == *uuid && *by == Gone::OnlyHere)
            || changes.anew.iter().any(|(was, _)| was.uuid == *uuid)
    };
    let others = states
        .iter()
        .flat_map(|s| &s.collections)
        .filter(|c| !c.dead && Some(c.uuid) != is.uuid);
    let mut others = others.filter(|c| !is_dropped_first(&c.uuid));
    // A database moves with all that is in it.
    if others
        .clone()
        .any(|c| c.ns.db == ns.db && c.primary != is.primary)
    {
        let why = "was recreated on another shard, and the drop of its older collections is not followed yet";
        return Some(format!("{ns} was created; its database {why}"));
    }
    let there = target
        .collections
        .iter()
        .find(|c| c.ns == *ns)
        .and_then(|c| c.uuid)?;
    others.any(|c| c.target_uuid == Some(there)).then(|| {
        format!(
            "{ns} was recreated, and another shard has not followed the drop of the old one yet"
        )
    })
}

/// Given up by an earlier `recopy`, and dropped on the target then: it may be taken in again,
/// as one that was never known.
fn was_given_up(dead: &CollectionState, target: &Catalog) -> bool {
    let is_there = |made| target.collections.iter().any(|c| c.uuid == Some(made));
    let is_dropped = dead.target_uuid.is_some_and(|made| !is_there(made));
    Position::default() < dead.planned_at && is_dropped
}

#[cfg(test)]
mod tests;
