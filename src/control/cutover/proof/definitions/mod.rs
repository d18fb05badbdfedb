//! Compares collections and views of both sides shard by shard: existence, kind, options,
//! and (in `indexes`) indexes. A clustered collection's expiry waits for the cutover, and the
//! size of a capped one: until then the target has none, and the one it will get must be the
//! source's.
//!
//! Pure functions.

use std::collections::{BTreeMap, HashMap, HashSet};

use bson::{RawDocument, Uuid};

use crate::cluster::catalog::capped::{LIMITS, Limits};
use crate::cluster::catalog::contents::Stored;
use crate::cluster::catalog::{Collection, CollectionKind, EXPIRY, Namespace};
use crate::control::cutover::proof::shown::{same_fields, shown};
use crate::control::cutover::proof::{
    Difference, Holdings, Repair, ShardMap, indexes, repaired_or,
};
use crate::control::layout::laid_out::LaidOut;
use crate::control::layout::options::{TEMPORARY, expiry};
use crate::pair::collection::Traits;
use crate::pair::ddl::options::SWITCHED_OFF;
use crate::pair::run::HeldBackOf;

/// Options that servers list for old collections and refuse to create.
const OBSOLETE: [&str; 2] = ["autoIndexId", "flags"];

/// `held_back[i]`: by pair i. `laid_out`: by whose options expiries are given back.
pub(super) fn compare(
    map: &ShardMap,
    source: &Holdings,
    target: &Holdings,
    held_back: &[HeldBackOf],
    laid_out: &LaidOut,
) -> Vec<Difference> {
    let mut found = Vec::new();
    for (pair, stored) in source.shards.iter().enumerate() {
        let there: HashMap<&Namespace, &Stored> = target.shards[map.pairs[pair]]
            .iter()
            .map(|stored| (&stored.ns, stored))
            .collect();
        let place = Place {
            map,
            pair,
            laid_out,
        };
        for wanted in stored
            .iter()
            .filter(|stored| source.lives_on(&stored.ns, pair))
        {
            found.extend(place.one(wanted, there.get(&wanted.ns).copied(), &held_back[pair]));
        }
    }
    found.extend(extra(map, source, target));
    found
}

/// One pair, for the words of what differs there.
struct Place<'a> {
    map: &'a ShardMap,
    pair: usize,
    laid_out: &'a LaidOut,
}

impl Place<'_> {
    fn one(
        &self,
        wanted: &Stored,
        there: Option<&Stored>,
        held_back: &HeldBackOf,
    ) -> Vec<Difference> {
        let ns = &wanted.ns;
        let target = &self.map.target[self.map.pairs[self.pair]];
        let Some(there) = there else {
            let what = format!(
                "{} {ns} is missing on target shard {target}",
                word(wanted.kind)
            );
            return vec![self.whole(what, wanted, None)];
        };
        if wanted.kind != there.kind {
            let (wanted_word, found) = (word(wanted.kind), word(there.kind));
            let what = format!(
                "{ns} is a {wanted_word} on the source and a {found} on target shard {target}"
            );
            return vec![self.whole(what, wanted, Some(there))];
        }
        let limits = Limits::of(&there.options).filter(|_| self.map.trims_come);
        let has_room = limits.is_some_and(Limits::are_room);
        let limits: &[&str] = if has_room { &LIMITS } else { &[] };
        let left_out = [&OBSOLETE[..], &[EXPIRY, TEMPORARY], limits].concat();
        if !same_fields(&wanted.options, &there.options, &left_out) {
            let (options, found) = (shown(&wanted.options), shown(&there.options));
            let what = format!(
                "{ns} has options {options} on the source and {found} on target shard {target}"
            );
            let rest = [&left_out[..], &SWITCHED_OFF].concat();
            let is_ours = same_fields(&wanted.options, &there.options, &rest);
            return vec![match wanted.uuid.filter(|_| is_ours) {
                Some(uuid) => self.definition(what, repaired_or(&self.by_hand(ns)), uuid),
                None => self.whole(what, wanted, Some(there)),
            }];
        }
        let mut found = self.indexes(wanted, there, held_back);
        found.extend(self.expiry(wanted, there));
        if has_room {
            let told = |limits: Limits| match limits.documents {
                Some(documents) => format!("{} bytes or {documents} documents", limits.bytes),
                None => format!("{} bytes", limits.bytes),
            };
            found.extend(self.kept("size", wanted, Limits::of, told));
        }
        found
    }

    fn expiry(&self, wanted: &Stored, there: &Stored) -> Option<Difference> {
        let ns = &wanted.ns;
        let source = &self.map.source[self.pair];
        if expiry(&there.options).is_some() {
            let remedy = format!(
                "remove the expiry by `collMod` on the target with `expireAfterSeconds: \"off\"`; if documents are \
                 gone, run `shardlift recopy --shard {source} --ns {ns}`"
            );
            return Some(
                Difference::new(
                    format!("{ns} of the target already deletes documents"),
                    remedy,
                )
                .of(wanted.uuid),
            );
        }
        self.kept("expiry", wanted, expiry, |seconds| format!("{seconds} s"))
    }

    /// An option that is set at the cutover must be the source's by then.
    fn kept<T: PartialEq>(
        &self,
        name: &str,
        wanted: &Stored,
        option: impl Fn(&RawDocument) -> Option<T>,
        told: impl Fn(T) -> String,
    ) -> Option<Difference> {
        let laid_out = wanted.uuid.and_then(|uuid| self.laid_out.get(&uuid));
        let kept = laid_out.and_then(|c| option(&c.options));
        let on_source = option(&wanted.options);
        if on_source == kept {
            return None;
        }
        let told = |option: Option<T>| option.map_or("none".to_owned(), &told);
        let (on_source, kept) = (told(on_source), told(kept));
        let what = format!(
            "the {name} of {} is {on_source} on the source, and {kept} is kept for the cutover",
            wanted.ns
        );
        let remedy = format!(
            "set that of {} back with `collMod` on the source, or start over with `shardlift migrate --restart`",
            wanted.ns.own(&self.map.scope)
        );
        Some(Difference::new(what, remedy).of(wanted.uuid))
    }

    /// A collection or view that is not alike as a whole.
    fn whole(&self, what: String, wanted: &Stored, there: Option<&Stored>) -> Difference {
        let ns = &wanted.ns;
        let view = |stored: &Stored| stored.kind == CollectionKind::View;
        if view(wanted) && there.is_none_or(view) {
            let on_source = Some(Box::new(as_collection(wanted, self.pair)));
            return Difference::new(what, "shardlift repairs it by itself").ours(Repair::View {
                ns: ns.clone(),
                on_source,
            });
        }
        let again = self.made_again(ns);
        let remedy = match there {
            Some(there) if there.kind == wanted.kind => self.by_hand(ns),
            Some(_) if view(wanted) => "drop what has that name on the target".to_owned(),
            Some(_) => {
                format!("somebody changed the target: drop what has that name there, and {again}")
            }
            None => format!("somebody changed the target: {again}"),
        };
        Difference::new(what, remedy).of(wanted.uuid)
    }

    fn indexes(&self, wanted: &Stored, there: &Stored, held_back: &HeldBackOf) -> Vec<Difference> {
        let ns = &wanted.ns;
        let held_back = wanted
            .uuid
            .and_then(|uuid| held_back.get(&uuid))
            .map_or(&[][..], |(_, options)| options.as_slice());
        let collated = Traits::of(&wanted.options).collated;
        let found = indexes::compare(
            collated,
            self.map.expiry_never,
            &wanted.indexes,
            &there.indexes,
            held_back,
        );
        let source = &self.map.source[self.pair];
        let remedy = repaired_or(&format!(
            "run `shardlift recopy --shard {source} --ns {ns}`"
        ));
        let difference = |what: String| {
            let what = format!("{ns}: {what}");
            match wanted.uuid {
                Some(uuid) => self.definition(what, remedy.clone(), uuid),
                None => Difference::new(what, remedy.clone()),
            }
        };
        found.into_iter().map(difference).collect()
    }

    fn by_hand(&self, ns: &Namespace) -> String {
        let (public, again) = (ns.public(), self.made_again(ns));
        format!("make {public} on the target match with `collMod`, or {again}")
    }

    fn made_again(&self, ns: &Namespace) -> String {
        format!("make it again with `shardlift recopy --ns {}`", ns.public())
    }

    /// Indexes, or options that our own changes may have switched off.
    fn definition(&self, what: String, remedy: String, uuid: Uuid) -> Difference {
        let repair = Repair::Definition {
            pair: self.pair,
            uuid,
        };
        Difference::new(what, remedy).of(Some(uuid)).ours(repair)
    }
}

/// On the target and nowhere on the source.
fn extra(map: &ShardMap, source: &Holdings, target: &Holdings) -> Vec<Difference> {
    let mut known: HashSet<&Namespace> = HashSet::new();
    for (shard, stored) in source.shards.iter().enumerate() {
        known.extend(
            stored
                .iter()
                .map(|stored| &stored.ns)
                .filter(|ns| source.lives_on(ns, shard)),
        );
    }
    let mut extra: BTreeMap<&Namespace, (&Stored, &str)> = BTreeMap::new();
    for (shard, stored) in target.shards.iter().enumerate() {
        let unknown = stored
            .iter()
            .filter(|stored| !known.contains(&stored.ns) && target.lives_on(&stored.ns, shard));
        extra.extend(unknown.map(|stored| (&stored.ns, (stored, map.target[shard].as_str()))));
    }
    let difference = |(ns, (stored, shard)): (&Namespace, (&Stored, &str))| {
        let what = format!(
            "{} {ns} is on target shard {shard} and not on the source",
            word(stored.kind)
        );
        match stored.kind {
            CollectionKind::View => {
                Difference::new(what, "shardlift drops it by itself").ours(Repair::View {
                    ns: ns.clone(),
                    on_source: None,
                })
            }
            _ => Difference::new(
                what,
                format!("somebody else created it: drop {ns} on the target"),
            )
            .of(stored.uuid),
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

#[cfg(test)]
mod tests;
