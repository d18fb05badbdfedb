//! Copies collections again on all shards, within a recorded run that no process works on: those
//! of which documents have other owners by now, on either side. Each is dropped once on the
//! target, laid out there by the source's map of now, and copied by each pair that has it. The
//! pairs keep their positions, and pass what their entries say of it up to where each is planned
//! anew. The progress of all else stays.
//!
//! | step | if it ends here |
//! |------|-----------------|
//! | what cannot be proven is refused | nothing is changed |
//! | each pair that has it, or is to have it, is marked | what was marked is emptied and copied as before, or no attempt begins: run the same command again |
//! | it is dropped on the target, with what an earlier one left there | no attempt begins: run the same command again |
//! | it is made there anew | the same |
//! | each pair that has it no longer gives it up | the same |
//! | each pair that has it records it, to be copied | the same, until the last has |
//!
//! One exception: up to 5.0 an attempt makes a marked capped collection again by its recorded
//! UUID (`emptying`). If nothing else was dropped, and no pair was marked that had none, the
//! attempt begins, with all as after the marks.
//!
//! IMPORTANT: it is recorded last, and by each pair that has it. Until then some pair has a UUID
//! of it that the target has not, while its source shard has the collection: an attempt refuses
//! to begin with that (`register::check_dropped_by_us`). Not so of a pair whose shard has it no
//! longer: so those give it up before the first records it. A pair that has none gets one by its
//! mark, or its tail would take what another pair recorded for its own, without what moved there.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use bson::{RawDocumentBuf, Uuid};

use crate::cluster::catalog::{self, Catalog, Collection, CollectionKind, Namespace};
use crate::cluster::deployment::Shard;
use crate::control::layout;
use crate::control::layout::listing::{self, Listing};
use crate::control::layout::{being_made, databases};
use crate::control::recorded;
use crate::control::recorded::chosen::{Chosen, Pattern};
use crate::control::recorded::made::{self, OfRun, Place};
use crate::control::recorded::{ahead, at_rest, namesakes};
use crate::error::{Error, Kind, Result};
use crate::failpoint;
use crate::pair::oplog::proven::Lister;
use crate::position::Position;
use crate::state::pair_store::PairStore;
use crate::state::run_store::RunStore;
use crate::state::{CollectionState, PairState};

/// How long a majority of a source shard may take to answer.
const LISTED_WITHIN: Duration = Duration::from_secs(60);

/// Collections that are to be copied again on all shards. No process works on the target.
pub struct Whole<'a> {
    pub of: OfRun<'a>,
    /// Every pair of the run, in order.
    pub places: Vec<Place<'a>>,
    pub ns: &'a Namespace,
    /// Called before anything is changed.
    pub accepted: &'a (dyn Fn() + Sync),
}

impl Whole<'_> {
    /// Returns what was done, as a sentence.
    ///
    /// # Errors
    /// `Refused`, with nothing changed, while anything moves chunks on either side, or if it is
    /// not known what became of others.
    pub async fn begin(&self, states: &[PairState]) -> Result<String> {
        let OfRun { source, target, .. } = self.of;
        at_rest::expect(source, target).await?;
        let before = at_rest::before(source).await?;
        let listing = listing::read(source, &self.of.run.id).await?;
        let unsure = being_made::looks_unsharded(source, &listing).await?;
        if !unsure.is_empty() {
            let found = format!("the source still shards {}", unsure.join(", "));
            return Err(Error::new(Kind::Refused, found).remedy("try again when that is done"));
        }
        // IMPORTANT: again. What moves from here on changes the version of the map.
        at_rest::expect(source, target).await?;
        let there = catalog::read(target).await?;
        let pattern = Pattern::of(self.ns);
        let chosen = Chosen::by(&pattern, states, &listing.catalog, &listing.local);
        self.expect_any(&chosen)?;
        if let Some(before) = &before {
            at_rest::expect_unmoved(before, &source.scope, &chosen.made)?;
        }
        let taken = self.taken(states, &listing).await?;
        chosen.expect_free(states, &listing.catalog, &taken)?;
        let left = self.left(&chosen, states, &listing.catalog, &there).await?;
        (self.accepted)();

        self.mark(&chosen, states, &listing).await?;
        failpoint::hit("whole-marked");
        self.drop_all(&chosen, states, (&left, &there)).await?;
        failpoint::hit("whole-dropped");
        for collection in &chosen.made {
            self.make(collection).await?;
        }
        failpoint::hit("whole-made");
        for place in &self.places {
            give_up_all(place, &chosen, &states[place.pair], &listing).await?;
        }
        // IMPORTANT: only now. A pair of which the shard has it no longer does not miss it.
        for place in &self.places {
            self.record(place, &chosen, &listing).await?;
            failpoint::hit("whole-recorded");
        }
        let (made, gone) = (chosen.made.len(), chosen.gone.len());
        Ok(format!(
            "collections laid out anew on all shards of the target: {made}, gone from the source: {gone}; what the oplogs say of them up to now is passed"
        ))
    }

    fn expect_any(&self, chosen: &Chosen<'_>) -> Result<()> {
        if !chosen.is_nothing() {
            return Ok(());
        }
        let found = format!("neither the recorded run nor the source has {}", self.ns);
        Err(Error::new(Kind::Refused, found).remedy(
            "check --ns, which is a name on the target; `'DB.*'` stands for all collections of a database",
        ))
    }

    /// Of each pair, which had each name in entries that it has still to read.
    async fn taken(
        &self,
        states: &[PairState],
        listing: &Listing,
    ) -> Result<Vec<HashMap<Namespace, HashSet<Uuid>>>> {
        let OfRun { source, run, .. } = self.of;
        let listers = Lister::of_all(source, &run.id, LISTED_WITHIN);
        let mut taken = Vec::new();
        for ((lister, state), start) in listers.iter().zip(states).zip(&listing.starts) {
            let noting = (&**lister, start.position);
            taken.push(ahead::taken(state, &source.scope, noting).await?);
        }
        Ok(taken)
    }

    /// What an interrupted process made on the target and did not record: by these names, or by
    /// one that the source has no longer. Empty, or it would be recorded.
    ///
    /// # Errors
    /// `Refused` if one of the names is that of what the run did not make.
    async fn left(
        &self,
        chosen: &Chosen<'_>,
        states: &[PairState],
        source: &Catalog,
        there: &Catalog,
    ) -> Result<HashSet<Uuid>> {
        let target = self.of.target;
        let over = namesakes::empty_left_over(target, states, source, there).await?;
        let mut left: HashSet<Uuid> = over.iter().filter_map(|c| c.uuid).collect();
        let known = made_of(states, |_| true);
        let making = RunStore::new(recorded::first(target)).load_making().await?;
        for (found, uuid) in chosen.namesakes(there) {
            if known.contains(&uuid) || left.contains(&uuid) {
                continue;
            }
            if !making.contains(&found.ns) || layout::holding(target, &found.ns).await?.is_some() {
                let ns = found.ns.public();
                let found = format!("{ns} is on the target, and this run did not make it");
                let remedy = format!("drop {ns} there, if nobody needs it, and try again");
                return Err(Error::new(Kind::Refused, found).remedy(remedy));
            }
            left.insert(uuid);
        }
        Ok(left)
    }

    /// What is on the target, and is copied again, is going to be emptied first; what is there no
    /// longer, or never was, gets a UUID that is not there.
    async fn mark(
        &self,
        chosen: &Chosen<'_>,
        states: &[PairState],
        listing: &Listing,
    ) -> Result<()> {
        for place in &self.places {
            let start = listing.starts[place.pair].position;
            let mut wiping = Vec::new();
            for is in &chosen.made {
                let Some(uuid) = is.uuid else { continue };
                let was = recorded_as(&states[place.pair], uuid);
                let is_made = was.is_some_and(|was| !was.dead && was.target_uuid.is_some());
                if is_made {
                    wiping.push(uuid);
                } else if listing.local[place.pair].contains(&uuid) {
                    let made = was.and_then(|was| was.target_uuid);
                    let none = Uuid::new();
                    let mark = mark(is, made.unwrap_or(none), start)?;
                    place.store.clear_units(Some(&[uuid])).await?;
                    place.store.add(&mark).await?;
                }
            }
            if !wiping.is_empty() {
                place.store.mark_wiping(&wiping, true).await?;
            }
        }
        Ok(())
    }

    /// What was made of them, however often; and views that have their names.
    async fn drop_all(
        &self,
        chosen: &Chosen<'_>,
        states: &[PairState],
        (left, there): (&HashSet<Uuid>, &Catalog),
    ) -> Result<()> {
        let target = self.of.target;
        let runs = RunStore::new(recorded::first(target));
        let mut known = made_of(states, |c| chosen.uuids.contains(&c.uuid));
        known.extend(left);
        let is_known = |c: &&Collection| c.uuid.is_some_and(|uuid| known.contains(&uuid));
        for old in there.collections.iter().filter(is_known) {
            let shard = self.shard_of(old.primary)?;
            made::drop_made(target, shard, old.uuid, there).await?;
            runs.forget_making(&old.ns).await?;
        }
        for is in &chosen.made {
            let name = is.ns.public();
            let mut views = there.collections.iter();
            let view = views.find(|c| c.kind == CollectionKind::View && c.ns == name);
            if let Some(view) = view {
                let shard = self.shard_of(view.primary)?;
                made::drop_named(shard, &name, CollectionKind::View, there).await?;
            }
            if catalog::read_one(target, &is.ns).await?.is_some() {
                let found = format!("{} is still on the target, and was to be dropped", is.ns);
                return Err(Error::new(Kind::Transient, found)
                    .remedy("if it is another by now, drop it there; then try again"));
            }
        }
        Ok(())
    }

    async fn make(&self, collection: &Collection) -> Result<()> {
        let OfRun { target, run, .. } = self.of;
        let db = &collection.ns.db;
        let primary = run.pairs[collection.primary];
        if let Some(other) = databases::in_the_way(target, db, primary).await? {
            return Err(databases::refused(db, &other));
        }
        made::make(self.of, collection).await
    }

    /// From here on the pair has them as they are now.
    async fn record(
        &self,
        place: &Place<'_>,
        chosen: &Chosen<'_>,
        listing: &Listing,
    ) -> Result<()> {
        let start = listing.starts[place.pair].position;
        let local = &listing.local[place.pair];
        let is_local = |is: &&&Collection| is.uuid.is_some_and(|uuid| local.contains(&uuid));
        for is in chosen.made.iter().filter(is_local) {
            place.record(self.of, is, (start, start)).await?;
        }
        Ok(())
    }

    /// Over connections of the incarnation. `index`: of the target's shards.
    fn shard_of(&self, index: usize) -> Result<&Shard> {
        let pairs = &self.of.run.pairs;
        let mut places = self.places.iter();
        let place = places.find(|place| pairs[place.pair] == index);
        place
            .map(|place| place.shard)
            .ok_or_else(|| Error::internal(format!("no pair has target shard {index}")))
    }
}

/// What the source, or the pair's shard, has no longer.
async fn give_up_all(
    place: &Place<'_>,
    chosen: &Chosen<'_>,
    state: &PairState,
    listing: &Listing,
) -> Result<()> {
    let start = listing.starts[place.pair].position;
    for gone in &chosen.gone {
        // Also one that it has still to meet being made.
        let none = CollectionState::dead(gone.uuid, &gone.ns);
        let was = recorded_as(state, gone.uuid).unwrap_or(&none);
        give_up(place.store, was.clone(), start).await?;
    }
    for is in &chosen.made {
        let local = &listing.local[place.pair];
        let elsewhere = is.uuid.filter(|uuid| !local.contains(uuid));
        if let Some(was) = elsewhere.and_then(|uuid| recorded_as(state, uuid)) {
            // Others have it: it is not dead for them.
            let none = CollectionState::dead(was.uuid, &is.ns);
            give_up(place.store, none, start).await?;
        }
    }
    Ok(())
}

/// No entry on it up to `start` says anything more.
async fn give_up(store: &PairStore, was: CollectionState, start: Position) -> Result<()> {
    let given_up = CollectionState {
        dead: true,
        wiping: false,
        planned_at: start,
        ..was
    };
    let uuid = given_up.uuid;
    store.add(&given_up).await?;
    store.clear_units(Some(&[uuid])).await.map(drop)
}

/// UUIDs on the target of what is recorded, dead or not.
fn made_of(states: &[PairState], which: impl Fn(&&CollectionState) -> bool) -> HashSet<Uuid> {
    let all = states.iter().flat_map(|state| &state.collections);
    all.filter(which).filter_map(|c| c.target_uuid).collect()
}

fn recorded_as(state: &PairState, uuid: Uuid) -> Option<&CollectionState> {
    state.collections.iter().find(|c| c.uuid == uuid)
}

/// A record with which no attempt begins. Without options, by which it would be made (`emptying`).
fn mark(is: &Collection, made: Uuid, at: Position) -> Result<CollectionState> {
    let bare = Collection {
        options: RawDocumentBuf::new(),
        ..is.clone()
    };
    Ok(CollectionState {
        target_uuid: Some(made),
        planned_at: at,
        renamed_at: at,
        ..CollectionState::planned(&bare, Vec::new())?
    })
}
