//! Whether what is chosen stays where it is while the source is listed: a chunk or a primary that
//! moves meanwhile would have owners before and after it in one listing.
//!
//! Changes nothing.

use std::time::{Duration, Instant};

use crate::cluster::catalog::versions::{self, Versions};
use crate::cluster::catalog::{Collection, Namespace};
use crate::cluster::deployment::{Deployment, Topology};
use crate::control::balancer;
use crate::error::{Error, Kind, Result};
use crate::scope::Scope;

/// How long a move that has just ended may look as if it went on.
const AT_REST_WITHIN: Duration = Duration::from_secs(5);
const AT_REST_POLL: Duration = Duration::from_millis(200);

/// # Errors
/// `Refused` while something moves chunks on either side, or may at any moment.
pub async fn expect(source: &Deployment, target: &Deployment) -> Result<()> {
    let deadline = Instant::now() + AT_REST_WITHIN;
    loop {
        let (source, target) =
            tokio::try_join!(balancer::unrest(source), balancer::unrest(target))?;
        let unrest = [source, target].concat();
        if unrest.is_empty() {
            return Ok(());
        }
        if deadline <= Instant::now() {
            let found = format!("chunks may move now: {}", unrest.join("; "));
            return Err(Error::new(Kind::Refused, found).remedy("then try again"));
        }
        tokio::time::sleep(AT_REST_POLL).await;
    }
}

/// To be read before the listing. None where nothing can move.
pub async fn before(source: &Deployment) -> Result<Option<Versions>> {
    Ok(match source.topology {
        Topology::ReplicaSet => None,
        Topology::Sharded => Some(versions::read(source).await?),
    })
}

/// What began and ended within the listing is seen by this alone.
///
/// # Errors
/// `Refused` for one of `listed` that has other owners, or another map, than `before`.
pub fn expect_unmoved(before: &Versions, scope: &Scope, listed: &[&Collection]) -> Result<()> {
    let Some(ns) = moved(before, scope, listed) else {
        return Ok(());
    };
    let found = format!("{ns} was moved, made or changed on the source while it was listed");
    Err(Error::new(Kind::Refused, found).remedy("run the same command again"))
}

fn moved<'a>(before: &Versions, scope: &Scope, listed: &[&'a Collection]) -> Option<&'a Namespace> {
    let has_moved = |c: &&&Collection| {
        let home = before.databases.get(&c.ns.own(scope).db);
        let row = c.uuid.and_then(|uuid| before.collections.get(&uuid));
        let was = row.map(|row| (row.epoch, row.major));
        let version = c.sharded.as_ref().and_then(|sharded| sharded.version);
        let is = version.map(|version| (version.epoch, version.major));
        was != is || home.is_none_or(|home| home.primary != c.primary)
    };
    listed.iter().find(has_moved).map(|c| &c.ns)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use bson::oid::ObjectId;
    use bson::{Uuid, rawdoc};

    use super::*;
    use crate::cluster::catalog::versions::{Home, Row};
    use crate::cluster::catalog::{CollectionKind, MapVersion, Sharded};

    fn ns() -> Namespace {
        Namespace {
            db: "d".to_owned(),
            coll: "c".to_owned(),
        }
    }

    fn listed(primary: usize, version: Option<(u8, u32)>) -> Collection {
        let sharded = |(epoch, major)| Sharded {
            key: rawdoc! {"k": 1},
            unique: false,
            chunks: Vec::new(),
            zones: Vec::new(),
            version: Some(MapVersion {
                epoch: ObjectId::from_bytes([epoch; 12]),
                major,
                moved_at: None,
            }),
        };
        Collection {
            ns: ns(),
            kind: CollectionKind::Plain,
            uuid: Some(Uuid::from_bytes([1; 16])),
            options: rawdoc! {},
            primary,
            sharded: version.map(sharded),
            key_index: None,
        }
    }

    #[test]
    fn another_primary_epoch_or_major_version_is_a_move() {
        // Of each the primary, and the epoch and the major version of its map.
        let rows = [
            ((0, None), (0, None), false),
            ((0, None), (1, None), true),
            ((0, Some((7, 2))), (0, Some((7, 2))), false),
            ((0, Some((7, 2))), (0, Some((7, 3))), true),
            ((0, Some((7, 2))), (0, Some((8, 2))), true),
            ((0, Some((7, 2))), (1, Some((7, 2))), true),
            ((0, None), (0, Some((7, 1))), true),
            ((0, Some((7, 1))), (0, None), true),
        ];
        for ((primary, version), (is_on, is), expect) in rows {
            let home = Home {
                primary,
                incarnation: None,
                moves: 0,
            };
            let row = |(epoch, major): (u8, u32)| {
                let epoch = ObjectId::from_bytes([epoch; 12]);
                let ns = ns();
                (Uuid::from_bytes([1; 16]), Row { ns, epoch, major })
            };
            let before = Versions {
                databases: HashMap::from([("d".to_owned(), home)]),
                collections: version.map(row).into_iter().collect(),
            };
            let told = expect_unmoved(&before, &Scope::default(), &[&listed(is_on, is)]);
            assert_eq!(
                told.is_err(),
                expect,
                "{primary} {version:?}: {is_on} {is:?}"
            );
        }
        let made = listed(0, None);
        assert!(moved(&Versions::default(), &Scope::default(), &[&made]).is_some());
    }
}
