//! Changes to a pair's collections while nobody followed its source shard: its recorded
//! state compared with the source's catalog now.
//!
//! Pure. A change that only its oplog entry could have shown is refused, by name.

use std::collections::{HashMap, HashSet};

use bson::Uuid;

use crate::cluster::catalog::{Catalog, Collection, CollectionKind, Namespace};
use crate::control::layout;
use crate::control::layout::owners;
use crate::state::{CollectionState, PairState};

#[derive(Debug, Default)]
pub struct Changes<'a> {
    pub gone: Vec<(&'a CollectionState, Gone)>,
    pub created: Vec<&'a Collection>,
    /// What they were, and are now. No pair but this one has them.
    pub renamed: Vec<(&'a CollectionState, &'a Collection)>,
    /// Phrases for a sentence.
    pub refused: Vec<String>,
}

/// Which pairs still have to meet the drop of a collection that is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gone {
    OnlyHere,
    OthersHoldIt,
}

/// `states[i]`: what pair i tracks; `local`: UUIDs that the pair's source shard
/// has; `views`: those that the run made, or was about to.
pub fn changes<'a>(
    pair: usize,
    states: &'a [PairState],
    source: &'a Catalog,
    local: &HashSet<Uuid>,
    target: &Catalog,
    views: &[Namespace],
) -> Changes<'a> {
    let mut changes = Changes::default();
    let now: HashMap<Uuid, &Collection> = source
        .collections
        .iter()
        .filter_map(|c| Some((c.uuid?, c)))
        .filter(|(uuid, _)| local.contains(uuid))
        .collect();
    for was in states[pair].collections.iter().filter(|c| !c.dead) {
        match now.get(&was.uuid) {
            None => changes
                .gone
                .push((was, held_by_others(pair, states, &was.uuid))),
            Some(is) => match differs(was, is) {
                Some(what) => changes.refused.push(what),
                None if was.ns != is.ns => changes.renamed.push((was, is)),
                None => {}
            },
        }
    }
    let known: HashMap<Uuid, &CollectionState> = states[pair]
        .collections
        .iter()
        .map(|c| (c.uuid, c))
        .collect();
    let mut created: Vec<&Collection> = now
        .iter()
        .filter(|(uuid, _)| known.get(uuid).is_none_or(|c| c.dead))
        .map(|(_, c)| *c)
        .collect();
    created.sort_by(|a, b| a.ns.cmp(&b.ns));
    let mut refused: Vec<String> = Vec::new();
    for (_, is) in &changes.renamed {
        refused.extend(in_the_way(pair, states, &changes, is, target));
    }
    created.retain(|is| {
        let why = in_the_way(pair, states, &changes, is, target);
        let is_free = why.is_none();
        refused.extend(why);
        is_free
    });
    changes.created = created;
    changes.refused.extend(refused);
    changes
        .refused
        .extend(views_changed(pair, source, target, views));
    changes
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

fn differs(was: &CollectionState, is: &Collection) -> Option<String> {
    let what = if was.ns != is.ns && was.sharded.is_some() {
        format!("{} was renamed to {}", was.ns, is.ns)
    } else if !layout::same_options(&was.options, &is.options) {
        format!("the options of {} were changed", was.ns)
    } else if layout::options::expiry(&was.options) != layout::options::expiry(&is.options) {
        format!("the expiry of {} was changed", was.ns)
    } else if !owners::are_same(&was.collection(), is) {
        format!("{} was sharded, or owners of it changed", was.ns)
    } else {
        return None;
    };
    Some(what)
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
    if states[pair]
        .collections
        .iter()
        .any(|c| c.dead && Some(c.uuid) == is.uuid)
    {
        return Some(format!("the drop of {ns} was rolled back"));
    }
    let mut laid_out = states
        .iter()
        .flat_map(|s| &s.collections)
        .filter(|c| !c.dead && Some(c.uuid) == is.uuid);
    match laid_out.next() {
        // A shard creates a collection, too, when it gets the first chunk of it.
        Some(was) if !owners::are_same(&was.collection(), is) => {
            return Some(format!("owners of {ns} changed"));
        }
        None if owners::has_moved(is) => {
            return Some(format!("{ns} was created, and a chunk of it moved"));
        }
        _ => {}
    }
    let is_dropped_first = |uuid: &Uuid| {
        let mut gone = changes.gone.iter();
        gone.any(|(g, by)| g.uuid == *uuid && *by == Gone::OnlyHere)
            || changes.renamed.iter().any(|(was, _)| was.uuid == *uuid)
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

/// Views of the databases that are at home on the pair.
fn views_changed(
    pair: usize,
    source: &Catalog,
    target: &Catalog,
    views: &[Namespace],
) -> Vec<String> {
    let is_view = |c: &&Collection| c.kind == CollectionKind::View;
    let homes: HashSet<&str> = source
        .databases
        .iter()
        .filter(|d| d.primary == pair)
        .map(|d| d.name.as_str())
        .collect();
    let now: HashMap<&Namespace, &Collection> = source
        .collections
        .iter()
        .filter(is_view)
        .map(|c| (&c.ns, c))
        .collect();
    let made: HashMap<&Namespace, &Collection> = target
        .collections
        .iter()
        .filter(is_view)
        .map(|c| (&c.ns, c))
        .collect();
    let mut changed = Vec::new();
    for ns in views
        .iter()
        .filter(|ns| homes.contains(ns.db.as_str()) && made.contains_key(ns))
        .filter(|ns| !now.contains_key(ns))
    {
        changed.push(format!("the view {ns} was dropped"));
    }
    for (ns, view) in now.iter().filter(|(ns, _)| homes.contains(ns.db.as_str())) {
        match made.get(ns).filter(|_| views.contains(ns)) {
            None => changed.push(format!("the view {ns} was created")),
            Some(made) if !layout::same_options(&view.options, &made.options) => {
                changed.push(format!("the view {ns} was changed"));
            }
            Some(_) => {}
        }
    }
    changed.sort();
    changed
}

#[cfg(test)]
mod tests;
