//! The contents of the source with positions around the listing: the starting point for
//! whoever begins to follow.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bson::Uuid;
use futures_util::future::try_join_all;

use crate::cluster::catalog::{self, Catalog, Collection, Namespace};
use crate::cluster::deployment::Deployment;
use crate::cluster::note;
use crate::control::layout::being_made;
use crate::error::{Error, Kind, Result};
use crate::pair::oplog::cursor::Newest;
use crate::pair::oplog::namings::Namings;
use crate::pair::oplog::proven::{self, Lister};
use crate::position::{Mark, Position};
use crate::scope::Scope;

/// How long a majority may take to acknowledge the note.
const NOTE_WAIT: Duration = Duration::from_secs(60);
/// How often the source is listed while names cannot be told, and the pause in between.
const TRIES_MAX: usize = 100;
const PAUSE: Duration = Duration::from_millis(100);

pub struct Listing {
    pub catalog: Catalog,
    /// UUIDs that each source shard has.
    pub local: Vec<HashSet<Uuid>>,
    /// Newest majority-committed entry of each source shard before the listing.
    pub starts: Vec<Mark>,
    /// The same after the listing: collections created later are seen being created.
    pub catalog_positions: Vec<Position>,
    /// Names as they were listed, where `catalog` has others.
    pub listed: HashMap<Uuid, Namespace>,
    /// Listed, and not in `catalog`: made since the positions before.
    pub left_out: Vec<Collection>,
    /// A rename was under way on the source, on some of its shards perhaps.
    is_renaming: bool,
}

impl Listing {
    /// Some pairs would begin before the rename of a sharded collection, and others after it.
    fn is_amid_a_rename(&self, namings: &Namings) -> bool {
        let collections = self.catalog.collections.iter();
        let mut sharded = collections.filter(|c| c.sharded.is_some());
        let is_renamed = |uuid: &Uuid| namings.before.contains_key(uuid);
        self.is_renaming || sharded.any(|c| c.uuid.as_ref().is_some_and(is_renamed))
    }

    /// The name it was listed by.
    pub fn name_of<'a>(&'a self, collection: &'a Collection) -> &'a Namespace {
        let listed = collection.uuid.and_then(|uuid| self.listed.get(&uuid));
        listed.unwrap_or(&collection.ns)
    }
}

/// Reads both positions and the catalog. Each collection has its name as of the position
/// before: every rename after that is still to be met.
///
/// # Errors
/// `Transient` if a source shard keeps holding elections, or has no majority, or if names
/// pass from one to another in a way that the oplog does not tell.
pub async fn read(source: &Deployment, run_id: &str) -> Result<Listing> {
    let listers = Lister::of_all(source, run_id, NOTE_WAIT);
    for _ in 0..TRIES_MAX {
        let mut listing = once(source, &listers).await?;
        let namings = match namings(&listers, &listing).await {
            // Another server may not show all of it yet.
            Err(e) if e.kind == Kind::Transient => {
                tracing::info!("listing again: {e}");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            namings => namings?,
        };
        if listing.is_amid_a_rename(&namings) {
            tracing::info!("a collection was renamed while the source was listed: listing again");
            tokio::time::sleep(PAUSE).await;
            continue;
        }
        let collections = &mut listing.catalog.collections;
        (listing.listed, listing.left_out) = as_of_start(collections, &namings, &source.scope)?;
        if namings.before.is_empty() || are_unique(&listing.catalog.collections) {
            return Ok(listing);
        }
        tracing::info!("names changed while the source was listed: listing again");
        tokio::time::sleep(PAUSE).await;
    }
    let found =
        "names on the source keep passing from one collection to another while it is listed";
    Err(Error::new(Kind::Transient, found)
        .remedy("try again when fewer collections and views are made, dropped and renamed"))
}

/// What was made and renamed while it was listed.
async fn namings(listers: &[Arc<Lister>], listing: &Listing) -> Result<Namings> {
    let mut namings = Namings::default();
    let between = listing.starts.iter().zip(&listing.catalog_positions);
    for (lister, (start, end)) in listers.iter().zip(between) {
        let noted = lister.note_namings(&mut namings, start.position, *end);
        noted.await?;
    }
    Ok(namings)
}

/// Gives collections the names that they had before the listing, and returns those that they
/// were listed by; and what was made since, if anything was renamed: its name may have been
/// another's. It is met being made.
pub fn as_of_start(
    collections: &mut Vec<Collection>,
    namings: &Namings,
    scope: &Scope,
) -> Result<(HashMap<Uuid, Namespace>, Vec<Collection>)> {
    let (mut listed, mut left_out) = (HashMap::new(), Vec::new());
    if namings.before.is_empty() {
        return Ok((listed, left_out));
    }
    let mut kept = Vec::new();
    for mut collection in std::mem::take(collections) {
        let Some(uuid) = collection.uuid else {
            kept.push(collection);
            continue;
        };
        // A sharded one may have been made on one shard before the listing, and on another
        // since. None was renamed.
        if collection.sharded.is_none() && namings.created.contains(&uuid) {
            left_out.push(collection);
            continue;
        }
        let before = namings.before.get(&uuid);
        if let Some((db, coll)) = before.and_then(|name| name.split_once('.')) {
            if !scope.has(db, coll) {
                continue;
            }
            let before = Namespace::named(scope, db, coll)?;
            listed.insert(uuid, std::mem::replace(&mut collection.ns, before));
        }
        kept.push(collection);
    }
    kept.sort_by(|a, b| a.ns.cmp(&b.ns));
    *collections = kept;
    Ok((listed, left_out))
}

/// A view may have been made by a name that a collection had before.
pub fn are_unique(collections: &[Collection]) -> bool {
    let mut names = HashSet::new();
    collections
        .iter()
        .all(|collection| names.insert(&collection.ns))
}

/// What of it was renamed meanwhile may have either name.
pub async fn read_whatever_is_renamed(source: &Deployment, run_id: &str) -> Result<Listing> {
    once(source, &Lister::of_all(source, run_id, NOTE_WAIT)).await
}

async fn once(source: &Deployment, listers: &[Arc<Lister>]) -> Result<Listing> {
    let list = || async {
        let catalog = catalog::read(source).await?;
        let local = source
            .shards
            .iter()
            .map(|shard| catalog::local_uuids(shard, catalog.names()));
        let local = try_join_all(local).await?;
        let is_renaming = !being_made::renaming(source).await?.is_empty();
        Ok((catalog, local, is_renaming))
    };
    let listed = proven::read(listers, "the source's catalog", list).await?;
    let (catalog, local, is_renaming) = listed.value;
    let starts = listed.before.iter().map(|newest| newest.mark).collect();
    // A collection that no pair tracks and that is written to later than this must
    // have been seen being created.
    let catalog_positions = listed
        .after
        .iter()
        .map(|newest| newest.mark.position)
        .collect();
    Ok(Listing {
        catalog,
        local,
        starts,
        catalog_positions,
        listed: HashMap::new(),
        left_out: Vec::new(),
        is_renaming,
    })
}

/// The newest majority-committed entry of every source shard.
pub async fn newest(source: &Deployment) -> Result<Vec<Newest>> {
    proven::newest(&Lister::of_all(source, "", NOTE_WAIT)).await
}

/// Writes a note to the oplog of every source shard. Everything listed before is at or
/// below the returned positions.
pub async fn notes(source: &Deployment, run_id: &str, wait: Duration) -> Result<Vec<Position>> {
    let deadline = Instant::now() + wait;
    let notes = source
        .shards
        .iter()
        .map(|shard| note::write(shard, "listing", run_id, deadline));
    Ok(try_join_all(notes)
        .await?
        .into_iter()
        .map(Position::from)
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::catalog::CollectionKind;

    fn uuid(byte: u8) -> Uuid {
        Uuid::from_bytes([byte; 16])
    }

    fn listed(coll: &str, byte: u8) -> Collection {
        Collection {
            ns: Namespace {
                db: "d".to_owned(),
                coll: coll.to_owned(),
            },
            kind: CollectionKind::Plain,
            uuid: (0 < byte).then(|| uuid(byte)),
            options: Default::default(),
            primary: 0,
            sharded: None,
            key_index: None,
        }
    }

    /// Names at the start; whether each was one's alone.
    fn at_start(
        list: &[(&str, u8)],
        before: &[(u8, &str)],
        created: &[u8],
    ) -> (Vec<(String, u8)>, bool) {
        let mut collections: Vec<_> = list.iter().map(|(coll, of)| listed(coll, *of)).collect();
        let named = |(of, coll): &(u8, &str)| (uuid(*of), format!("d.{coll}"));
        let namings = Namings {
            before: before.iter().map(named).collect(),
            created: created.iter().map(|of| uuid(*of)).collect(),
            ..Namings::default()
        };
        let scope = Scope::new(
            crate::scope::filters::Filters {
                include: Vec::new(),
                exclude: vec!["d.out".parse().unwrap()],
            },
            Default::default(),
            true,
        );
        as_of_start(&mut collections, &namings, &scope).unwrap();
        let byte = |c: &Collection| c.uuid.map_or(0, |uuid| uuid.bytes()[0]);
        let names = collections.iter().map(|c| (c.ns.coll.clone(), byte(c)));
        (names.collect(), are_unique(&collections))
    }

    #[test]
    fn collections_have_the_names_they_had_before_they_were_listed() {
        type Names<'a> = &'a [(&'a str, u8)];
        type Row<'a> = (Names<'a>, &'a [(u8, &'a str)], &'a [u8], Names<'a>, bool);
        let rows: [Row<'_>; 6] = [
            // Nothing was renamed.
            (
                &[("a", 1), ("b", 2)],
                &[],
                &[2],
                &[("a", 1), ("b", 2)],
                true,
            ),
            // Two traded their names.
            (
                &[("a", 1), ("b", 2)],
                &[(1, "b"), (2, "a")],
                &[],
                &[("a", 2), ("b", 1)],
                true,
            ),
            // `$out`: what it replaced is gone.
            (
                &[("a", 1), ("x", 3)],
                &[(3, "tmp.agg_out.7")],
                &[3],
                &[("a", 1)],
                true,
            ),
            // Moved aside, and made again.
            (
                &[("a", 2), ("a_old", 1)],
                &[(1, "a")],
                &[2],
                &[("a", 1)],
                true,
            ),
            // So was a view, or something in a transaction that began before.
            (
                &[("a", 0), ("a_old", 1)],
                &[(1, "a")],
                &[],
                &[("a", 0), ("a", 1)],
                false,
            ),
            // It comes into the filters, which its entry will say.
            (&[("a", 1)], &[(1, "out")], &[], &[], true),
        ];
        for (list, before, created, expect, unique) in rows {
            let (mut names, are_unique) = at_start(list, before, created);
            names.sort();
            let expect: Vec<_> = expect.iter().map(|(c, of)| (c.to_string(), *of)).collect();
            assert_eq!((names, are_unique), (expect, unique), "{list:?}");
        }
    }
}
