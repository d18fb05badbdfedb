//! Collections and views of both sides, shard by shard: there or not, kind, options,
//! and (in `indexes`) indexes.
//!
//! Pure functions.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::cluster::catalog::contents::Stored;
use crate::cluster::catalog::{Collection, CollectionKind, EXPIRY, Namespace};
use crate::control::layout::options::TEMPORARY;
use crate::control::proof::shown::{same_fields, shown};
use crate::control::proof::{Difference, Holdings, Repair, indexes};
use crate::control::sides::Sides;
use crate::pair::index::Expiries;

/// Options that servers list for old collections and refuse to create.
const OBSOLETE: [&str; 2] = ["autoIndexId", "flags"];

/// `expiries[i]`: held back by pair i.
pub(super) fn compare(sides: &Sides, source: &Holdings, target: &Holdings, expiries: &[Expiries]) -> Vec<Difference> {
    let mut found = Vec::new();
    for (pair, stored) in source.shards.iter().enumerate() {
        let there: HashMap<&Namespace, &Stored> =
            target.shards[sides.pairs[pair]].iter().map(|stored| (&stored.ns, stored)).collect();
        let place = Place { sides, pair };
        for wanted in stored.iter().filter(|stored| source.lives_on(&stored.ns, pair)) {
            found.extend(place.one(wanted, there.get(&wanted.ns).copied(), &expiries[pair]));
        }
    }
    found.extend(extra(sides, source, target));
    found
}

/// One pair, for the words of what differs there.
struct Place<'a> {
    sides: &'a Sides,
    pair: usize,
}

impl Place<'_> {
    fn one(&self, wanted: &Stored, there: Option<&Stored>, expiries: &Expiries) -> Vec<Difference> {
        let ns = &wanted.ns;
        let target = &self.sides.target.shards[self.sides.pairs[self.pair]].id;
        let Some(there) = there else {
            let what = format!("{} {ns} is missing on target shard {target}", word(wanted.kind));
            return vec![self.whole(what, wanted, None)];
        };
        if wanted.kind != there.kind {
            let (wanted_word, found) = (word(wanted.kind), word(there.kind));
            let what = format!("{ns} is a {wanted_word} on the source and a {found} on target shard {target}");
            return vec![self.whole(what, wanted, Some(there))];
        }
        let left_out = [&OBSOLETE[..], &[EXPIRY, TEMPORARY]].concat();
        if !same_fields(&wanted.options, &there.options, &left_out) {
            let (options, found) = (shown(&wanted.options), shown(&there.options));
            let what = format!("{ns} has options {options} on the source and {found} on target shard {target}");
            return vec![self.whole(what, wanted, Some(there))];
        }
        self.indexes(wanted, there, expiries)
    }

    /// A collection or view that is not alike as a whole.
    fn whole(&self, what: String, wanted: &Stored, there: Option<&Stored>) -> Difference {
        let ns = &wanted.ns;
        let view = |stored: &Stored| stored.kind == CollectionKind::View;
        if view(wanted) && there.is_none_or(view) {
            let on_source = Some(Box::new(as_collection(wanted, self.pair)));
            return Difference::new(what, "shardlift makes it alike by itself")
                .ours(Repair::View { ns: ns.clone(), on_source });
        }
        let remedy = match there {
            Some(there) if there.kind == wanted.kind => {
                format!("bring {ns} of the target alike by `collMod`, or begin anew with `shardlift migrate --restart`")
            }
            _ => "somebody changed the target; begin anew with `shardlift migrate --restart`".to_owned(),
        };
        Difference::new(what, remedy).of(wanted.uuid)
    }

    fn indexes(&self, wanted: &Stored, there: &Stored, expiries: &Expiries) -> Vec<Difference> {
        let ns = &wanted.ns;
        let held = |index: &str| expiries.get(&(ns.clone(), index.to_owned())).cloned();
        let found = indexes::compare(&wanted.indexes, &there.indexes, held);
        let source = &self.sides.source.shards[self.pair].id;
        let remedy = format!(
            "shardlift makes indexes alike by itself; if this stays, stop it, run `shardlift restart --shard {source} \
             --ns {ns}` and start it again"
        );
        let difference = |what: String| {
            let difference = Difference::new(format!("{ns}: {what}"), remedy.clone()).of(wanted.uuid);
            match wanted.uuid {
                Some(uuid) => difference.ours(Repair::Indexes { pair: self.pair, uuid }),
                None => difference,
            }
        };
        found.into_iter().map(difference).collect()
    }
}

/// On the target and nowhere on the source.
fn extra(sides: &Sides, source: &Holdings, target: &Holdings) -> Vec<Difference> {
    let known: HashSet<&Namespace> = source.shards.iter().flatten().map(|stored| &stored.ns).collect();
    let mut extra: BTreeMap<&Namespace, (&Stored, &str)> = BTreeMap::new();
    for (shard, stored) in sides.target.shards.iter().zip(&target.shards) {
        let unknown = stored.iter().filter(|stored| !known.contains(&stored.ns));
        extra.extend(unknown.map(|stored| (&stored.ns, (stored, shard.id.as_str()))));
    }
    let difference = |(ns, (stored, shard)): (&Namespace, (&Stored, &str))| {
        let what = format!("{} {ns} is on target shard {shard} and not on the source", word(stored.kind));
        match stored.kind {
            CollectionKind::View => Difference::new(what, "shardlift drops it by itself")
                .ours(Repair::View { ns: ns.clone(), on_source: None }),
            _ => Difference::new(what, format!("somebody else made it: drop {ns} on the target")).of(stored.uuid),
        }
    };
    extra.into_iter().map(difference).collect()
}

fn word(kind: CollectionKind) -> &'static str {
    match kind {
        CollectionKind::Plain => "collection",
        CollectionKind::View => "view",
        CollectionKind::TimeSeries => "time series",
    }
}

/// A view, as the layout makes it.
fn as_collection(view: &Stored, primary: usize) -> Collection {
    Collection {
        ns: view.ns.clone(),
        kind: view.kind,
        uuid: None,
        options: view.options.clone(),
        primary,
        sharded: None,
        key_index: None,
    }
}
