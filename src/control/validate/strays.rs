//! Collections of a source shard that no router shows: created on the shard itself, or
//! left there by an interrupted `movePrimary`. None of them travels.
//!
//! Their writes are in the shard's oplog. A pair that meets a write to a collection it
//! does not know stops the run, so such a collection is more than a warning. A view gets
//! no writes; a copy of a collection that lives on another shard is known, and skipped.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use futures_util::future::try_join_all;

use crate::cluster::catalog::contents::{self, Stored};
use crate::cluster::catalog::{self, Catalog, Collection, CollectionKind, Namespace};
use crate::cluster::deployment::{Deployment, Topology};
use crate::control::validate::{Check, listed};
use crate::error::Result;
use crate::scope::Scope;

const NAME: &str = "no collection outside the cluster";
/// A collection being created is on its shard before the routers show it.
const PAUSE: Duration = Duration::from_secs(2);

/// Those found, as `db.collection on shard`, by the source's names.
#[derive(Debug, Default, PartialEq)]
struct Strays {
    /// A write to one of these stops a run.
    unknown: BTreeSet<String>,
    harmless: BTreeSet<String>,
}

impl Strays {
    fn of(shards: &[(&str, &[Stored])], catalog: &Catalog, scope: &Scope) -> Strays {
        let known: HashMap<&Namespace, &Collection> =
            catalog.collections.iter().map(|c| (&c.ns, c)).collect();
        let mut strays = Strays::default();
        for (index, (id, stored)) in shards.iter().enumerate() {
            for stored in stored.iter() {
                let known = known
                    .get(&stored.ns)
                    .filter(|known| known.uuid == stored.uuid);
                let is_view = stored.kind == CollectionKind::View;
                let strange = match known {
                    Some(known) if known.sharded.is_some() || known.primary == index => continue,
                    Some(_) if stored.uuid.is_some() => &mut strays.harmless,
                    _ if is_view => &mut strays.harmless,
                    _ => &mut strays.unknown,
                };
                strange.insert(format!("{} on {id}", stored.ns.own(scope)));
            }
        }
        strays
    }

    fn are_none(&self) -> bool {
        self.unknown.is_empty() && self.harmless.is_empty()
    }

    fn both(&self, other: &Strays) -> Strays {
        Strays {
            unknown: &self.unknown & &other.unknown,
            harmless: &self.harmless & &other.harmless,
        }
    }
}

pub(super) async fn check(source: &Deployment, catalog: &Catalog) -> Check {
    if source.topology == Topology::ReplicaSet {
        return Check::pass(NAME, "a replica set has none");
    }
    Check::answered(
        NAME,
        look(source, catalog).await.map(|strays| decide(&strays)),
    )
}

async fn look(source: &Deployment, catalog: &Catalog) -> Result<Strays> {
    let first = once(source, catalog).await?;
    if first.are_none() {
        return Ok(first);
    }
    tokio::time::sleep(PAUSE).await;
    let again = once(source, &catalog::read(source).await?).await?;
    Ok(first.both(&again))
}

async fn once(source: &Deployment, catalog: &Catalog) -> Result<Strays> {
    let stored = try_join_all(source.shards.iter().map(contents::read)).await?;
    let shards: Vec<(&str, &[Stored])> = source
        .shards
        .iter()
        .map(|shard| shard.id.as_str())
        .zip(stored.iter().map(Vec::as_slice))
        .collect();
    Ok(Strays::of(&shards, catalog, &source.scope))
}

fn decide(strays: &Strays) -> Check {
    let names = |of: &BTreeSet<String>| listed(&of.iter().cloned().collect::<Vec<_>>());
    if !strays.unknown.is_empty() {
        return Check::fail(
            NAME,
            format!(
                "no router shows {}; a write to one of these stops the run",
                names(&strays.unknown)
            ),
            "they are not moved: copy what you need by other means, then drop them on that shard itself",
        );
    }
    if strays.are_none() {
        return Check::pass(NAME, "none");
    }
    Check::warn(
        NAME,
        format!("no router shows {}", names(&strays.harmless)),
        "these were made on a shard directly, or left there by a movePrimary; they are not moved",
    )
}

#[cfg(test)]
mod tests {
    use bson::{RawDocumentBuf, Uuid};

    use super::*;

    const A: [u8; 16] = [1; 16];
    const B: [u8; 16] = [2; 16];

    fn ns(coll: &str) -> Namespace {
        Namespace {
            db: "d".to_owned(),
            coll: coll.to_owned(),
        }
    }

    fn stored(coll: &str, kind: CollectionKind, uuid: Option<[u8; 16]>) -> Stored {
        let uuid = uuid.map(Uuid::from_bytes);
        Stored {
            ns: ns(coll),
            kind,
            uuid,
            options: RawDocumentBuf::new(),
            indexes: Vec::new(),
        }
    }

    /// `d.c`, with this UUID, of which the first shard is the primary.
    fn catalog(kind: CollectionKind, uuid: Option<[u8; 16]>) -> Catalog {
        let collection = Collection {
            ns: ns("c"),
            kind,
            uuid: uuid.map(Uuid::from_bytes),
            options: RawDocumentBuf::new(),
            primary: 0,
            sharded: None,
            key_index: None,
        };
        Catalog {
            databases: Vec::new(),
            collections: vec![collection],
            shard_zones: Vec::new(),
        }
    }

    #[test]
    fn only_what_a_pair_would_not_know_is_more_than_a_warning() {
        use CollectionKind::{Plain, TimeSeries, View};
        let (plain, view) = (catalog(Plain, Some(A)), catalog(View, None));
        // Where it is found besides; whether it stops a run.
        let rows = [
            (&plain, 0, stored("c", Plain, Some(A)), None),
            (&plain, 1, stored("c", Plain, Some(A)), Some(false)),
            (&plain, 1, stored("c", Plain, Some(B)), Some(true)),
            (&plain, 0, stored("x", Plain, Some(B)), Some(true)),
            (&plain, 1, stored("x", TimeSeries, None), Some(true)),
            (&plain, 1, stored("x", View, None), Some(false)),
            (&view, 0, stored("c", View, None), None),
            (&view, 1, stored("c", View, None), Some(false)),
        ];
        for (catalog, shard, stored, expect) in rows {
            let text = format!("{stored:?} on {shard}");
            let mut shards: [(&str, &[Stored]); 2] = [("a", &[]), ("b", &[])];
            let stored = [stored];
            shards[shard].1 = &stored;
            let strays = Strays::of(&shards, catalog, &Scope::default());
            let check = decide(&strays);
            assert_eq!(
                (strays.are_none(), !check.has_failed()),
                (expect.is_none(), expect != Some(true)),
                "{text}"
            );
            assert_eq!(check.remedy.is_some(), expect.is_some(), "{text}");
        }
    }

    #[test]
    fn a_sharded_collection_is_known_on_every_shard_by_its_uuid() {
        use crate::cluster::catalog::Sharded;
        let mut catalog = catalog(CollectionKind::Plain, Some(A));
        let key = bson::rawdoc! {"k": 1};
        let sharded = Sharded {
            key,
            unique: false,
            chunks: Vec::new(),
            zones: Vec::new(),
            version: None,
        };
        catalog.collections[0].sharded = Some(sharded);
        for (uuid, expect) in [(A, true), (B, false)] {
            let stored = [stored("c", CollectionKind::Plain, Some(uuid))];
            let shards: [(&str, &[Stored]); 2] = [("a", &[]), ("b", &stored)];
            let strays = Strays::of(&shards, &catalog, &Scope::default());
            assert_eq!(!decide(&strays).has_failed(), expect);
        }
    }

    #[test]
    fn what_is_to_be_dropped_on_a_shard_has_its_name_there() {
        let scope = Scope::with_renames(&["d.x=d.y", "d.y=d.x"]);
        let catalog = catalog(CollectionKind::Plain, Some(A));
        let stored = [stored("x", CollectionKind::Plain, Some(B))];
        let check = decide(&Strays::of(&[("a", &stored)], &catalog, &scope));
        assert!(
            check.found.starts_with("no router shows d.y on a;"),
            "{check:?}"
        );
    }
}
