//! Collections that are chosen by name to be made anew on all shards, and why they cannot be.
//!
//! Pure. Names are those on the target.

use std::collections::{HashMap, HashSet};

use bson::Uuid;

use crate::cluster::catalog::{Catalog, Collection, CollectionKind, Namespace};
use crate::error::{Error, Kind, Result};
use crate::state::{CollectionState, PairState};

/// What stands for all collections of a database.
const ALL: &str = "*";

/// What an operator chose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pattern {
    /// Of a time series its buckets.
    One(Namespace),
    Database(String),
}

impl Pattern {
    pub fn of(ns: &Namespace) -> Self {
        if ns.coll == ALL {
            Pattern::Database(ns.db.clone())
        } else {
            Pattern::One(ns.clone())
        }
    }

    fn has(&self, ns: &Namespace) -> bool {
        match self {
            Pattern::One(one) => ns == one || ns.public() == *one,
            Pattern::Database(db) => ns.db == *db,
        }
    }
}

/// What has such a name on the source now, or as it is recorded.
#[derive(Debug, Default)]
pub struct Chosen<'a> {
    pub uuids: HashSet<Uuid>,
    /// As the source has them now.
    pub made: Vec<&'a Collection>,
    /// What the source has no longer: one record of each.
    pub gone: Vec<&'a CollectionState>,
}

impl<'a> Chosen<'a> {
    /// `states[i]`: what pair i recorded; `local[i]`: UUIDs that source shard i has.
    pub fn by(
        pattern: &Pattern,
        states: &'a [PairState],
        source: &'a Catalog,
        local: &[HashSet<Uuid>],
    ) -> Self {
        let is_local = |uuid: &Uuid| local.iter().any(|local| local.contains(uuid));
        let plain = |c: &&'a Collection| c.kind == CollectionKind::Plain;
        let now: HashMap<Uuid, &Collection> = source
            .collections
            .iter()
            .filter(plain)
            .filter_map(|c| Some((c.uuid?, c)))
            .filter(|(uuid, _)| is_local(uuid))
            .collect();
        let recorded = alive(states).filter(|c| pattern.has(&c.ns));
        let listed = now.iter().filter(|(_, c)| pattern.has(&c.ns));
        let uuids: HashSet<Uuid> = recorded
            .map(|c| c.uuid)
            .chain(listed.map(|(uuid, _)| *uuid))
            .collect();
        let made = now.iter().filter(|(uuid, _)| uuids.contains(uuid));
        let mut made: Vec<&Collection> = made.map(|(_, c)| *c).collect();
        made.sort_by(|a, b| a.ns.cmp(&b.ns));
        let is_gone = |c: &&CollectionState| uuids.contains(&c.uuid) && !now.contains_key(&c.uuid);
        let gone: HashMap<Uuid, &CollectionState> =
            alive(states).filter(is_gone).map(|c| (c.uuid, c)).collect();
        let mut gone: Vec<&CollectionState> = gone.into_values().collect();
        gone.sort_by(|a, b| a.ns.cmp(&b.ns));
        Chosen { uuids, made, gone }
    }

    pub fn is_nothing(&self) -> bool {
        self.uuids.is_empty()
    }

    /// What has on the target the name of one that is to be made there. Of a time series its
    /// buckets: the series itself has no UUID.
    pub fn namesakes<'b>(
        &self,
        there: &'b Catalog,
    ) -> impl Iterator<Item = (&'b Collection, Uuid)> {
        let names: HashSet<Namespace> = self.made.iter().map(|c| c.ns.public()).collect();
        let all = there.collections.iter();
        all.filter(move |c| names.contains(&c.ns.public()))
            .filter_map(|c| Some((c, c.uuid?)))
    }

    /// `taken[i]`: which had each name in entries that pair i has still to read.
    ///
    /// # Errors
    /// `Refused` if one of them cannot be made by its name now, where the others are.
    pub fn expect_free(
        &self,
        states: &[PairState],
        source: &Catalog,
        taken: &[HashMap<Namespace, HashSet<Uuid>>],
    ) -> Result<()> {
        let others = || alive(states).filter(|c| !self.uuids.contains(&c.uuid));
        for is in &self.made {
            let ns = is.ns.public();
            if others().any(|c| c.ns.public() == ns) {
                let found = format!(
                    "{ns} is the name of another collection of the run, of which it is not known yet what became"
                );
                // Where names go round, each has that of the next.
                let remedy = format!(
                    "copy that one, too: `shardlift recopy --ns {ns}`; or {}",
                    whole_database(&ns.db)
                );
                return Err(refused(found, &remedy));
            }
            if others().any(|c| c.ns.db == ns.db && c.primary != is.primary) {
                let found = format!(
                    "the primary shard of database {} moved, and a database moves with all that is in it",
                    ns.db
                );
                return Err(refused(found, &whole_database(&ns.db)));
            }
            let had_it = |uuid: &Uuid| {
                let mut all = source.collections.iter();
                all.find(|c| c.uuid == Some(*uuid) && !self.uuids.contains(uuid))
            };
            let mut before = taken.iter().filter_map(|taken| taken.get(&is.ns)).flatten();
            if let Some(other) = before.find_map(had_it) {
                let found = format!(
                    "{} was {ns} before, which its shard has still to meet",
                    other.ns
                );
                return Err(refused(found, &whole_database(&ns.db)));
            }
        }
        Ok(())
    }
}

fn alive(states: &[PairState]) -> impl Iterator<Item = &CollectionState> {
    states
        .iter()
        .flat_map(|s| &s.collections)
        .filter(|c| !c.dead)
}

fn whole_database(db: &str) -> String {
    format!("copy all of the database again: `shardlift recopy --ns '{db}.{ALL}'`")
}

fn refused(found: String, remedy: &str) -> Error {
    let found = format!("it cannot be copied again on all shards now: {found}");
    Error::new(Kind::Refused, found).remedy(remedy)
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;
    use crate::position::{Mark, Position};

    fn uuid(byte: u8) -> Uuid {
        Uuid::from_bytes([byte; 16])
    }

    fn ns(name: &str) -> Namespace {
        let (db, coll) = name.split_once('.').unwrap();
        Namespace {
            db: db.to_owned(),
            coll: coll.to_owned(),
        }
    }

    fn listed(byte: u8, name: &str, primary: usize) -> Collection {
        Collection {
            ns: ns(name),
            kind: CollectionKind::Plain,
            uuid: Some(uuid(byte)),
            options: rawdoc! {},
            primary,
            sharded: None,
            key_index: None,
        }
    }

    fn recorded(byte: u8, name: &str) -> CollectionState {
        CollectionState::planned(&listed(byte, name, 0), Vec::new()).unwrap()
    }

    fn state(collections: Vec<CollectionState>) -> PairState {
        let at = Mark {
            position: Position::default(),
            term: 1,
        };
        PairState {
            resume: at,
            applied: at,
            catalog_position: at.position,
            collections,
        }
    }

    fn catalog(collections: Vec<Collection>) -> Catalog {
        Catalog {
            databases: Vec::new(),
            collections,
            shard_zones: Vec::new(),
        }
    }

    /// Names of what is made and of what is gone; and why it cannot be. The first pair recorded
    /// `was`, and has all that is `now`; the other has had nothing.
    fn told(
        pattern: &str,
        was: Vec<CollectionState>,
        now: Vec<Collection>,
        taken: &[(&str, u8)],
    ) -> (String, String) {
        let states = [state(was), state(Vec::new())];
        let local = [now.iter().filter_map(|c| c.uuid).collect(), HashSet::new()];
        let source = catalog(now);
        let chosen = Chosen::by(&Pattern::of(&ns(pattern)), &states, &source, &local);
        let of = |(name, byte): &(&str, u8)| (ns(name), HashSet::from([uuid(*byte)]));
        let taken = [HashMap::new(), taken.iter().map(of).collect()];
        let free = chosen.expect_free(&states, &source, &taken);
        let names = |all: Vec<&Namespace>| {
            let all: Vec<String> = all.iter().map(ToString::to_string).collect();
            all.join(",")
        };
        let made = names(chosen.made.iter().map(|c| &c.ns).collect());
        let gone = names(chosen.gone.iter().map(|c| &c.ns).collect());
        let why = free.err().map(|e| format!("{} {:?}", e.message, e.remedy));
        (format!("{made} | {gone}"), why.unwrap_or_default())
    }

    #[test]
    fn what_has_the_name_now_or_had_it_is_chosen() {
        let was = || vec![recorded(1, "d.a"), recorded(2, "d.b"), recorded(3, "e.c")];
        let now = |name: &str| vec![listed(1, name, 0), listed(2, "d.b", 0), listed(3, "e.c", 0)];
        let buckets = "d.system.buckets.s";
        let rows = [
            ("d.a", was(), now("d.a"), "d.a | "),
            ("d.none", was(), now("d.a"), " | "),
            // Renamed: by either name.
            ("d.a", was(), now("d.z"), "d.z | "),
            ("d.z", was(), now("d.z"), "d.z | "),
            ("d.a", was(), vec![listed(9, "d.a", 0)], "d.a | d.a"),
            ("d.a", was(), vec![], " | d.a"),
            ("d.*", was(), now("e.a"), "d.b,e.a | "),
            (
                "d.s",
                vec![recorded(5, buckets)],
                vec![listed(5, buckets, 0)],
                "d.system.buckets.s | ",
            ),
        ];
        for (pattern, was, now, expect) in rows {
            let (chosen, why) = told(pattern, was, now.clone(), &[]);
            assert_eq!(
                (chosen.as_str(), why.as_str()),
                (expect, ""),
                "{pattern} {now:?}"
            );
        }
    }

    #[test]
    fn what_is_dead_or_on_no_shard_is_not_chosen() {
        let dead = CollectionState::dead(uuid(1), &ns("d.a"));
        let (states, source) = ([state(vec![dead])], catalog(vec![listed(2, "d.a", 0)]));
        let pattern = Pattern::of(&ns("d.a"));
        let chosen = Chosen::by(&pattern, &states, &source, &[HashSet::new()]);
        assert!(chosen.is_nothing());
    }

    #[test]
    fn what_cannot_be_made_by_its_name_now_is_refused_and_named() {
        let was = || vec![recorded(1, "d.a"), recorded(2, "d.b")];
        let both = |primary: usize| vec![listed(1, "d.a", primary), listed(2, "d.b", primary)];
        let late = || vec![listed(1, "d.a", 0), listed(7, "d.late", 0)];
        type Row<'a> = (&'a str, Vec<Collection>, &'a [(&'a str, u8)], &'a str);
        let rows: [Row<'_>; 10] = [
            ("d.a", both(0), &[], ""),
            ("d.a", both(1), &[], "recopy --ns 'd.*'"),
            ("d.*", both(1), &[], ""),
            // It has the name of one that is to have another.
            ("d.a", vec![listed(1, "d.b", 0)], &[], "recopy --ns d.b"),
            ("d.a", vec![listed(1, "d.b", 0)], &[], "recopy --ns 'd.*'"),
            ("d.b", vec![listed(1, "d.b", 0)], &[], ""),
            ("d.a", late(), &[("d.a", 7)], "d.late was d.a before"),
            ("d.*", late(), &[("d.a", 7)], ""),
            // Gone by now, or itself.
            ("d.a", late(), &[("d.a", 8)], ""),
            ("d.a", late(), &[("d.a", 1)], ""),
        ];
        for (pattern, now, taken, expect) in rows {
            let (_, why) = told(pattern, was(), now.clone(), taken);
            let is_as_expected = why.is_empty() == expect.is_empty() && why.contains(expect);
            assert!(is_as_expected, "{pattern} {now:?} {taken:?}: {why}");
        }
    }
}
