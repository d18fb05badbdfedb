//! The target's layout, made through its router with public commands. It makes databases
//! on their mapped primaries; sharded collections with key, uniqueness, zones and one
//! chunk per owner interval, on its shard from the start; unsharded collections and views
//! with their options.
//!
//! The only secondary index it makes is the one that carries the shard key. Expiries are
//! left out; they are set at cutover (R10). Reads no source.

pub mod listing;
pub mod databases;
pub mod owners;
pub mod refined;
mod refining;
pub mod laid_out;
pub(crate) mod options;
pub mod series;
pub mod views;
pub mod zones;
pub mod being_made;
mod chunks;
pub mod dropping;
pub mod prepare;

use bson::{RawDocument, RawDocumentBuf, doc, rawdoc};
use futures_util::{StreamExt, TryStreamExt, stream};

use crate::bson::element::{document, elements};
use crate::bson::view::View;
use crate::cluster::admin;
use crate::cluster::catalog::{self, Catalog, Collection, CollectionKind, Namespace, Sharded};
use crate::cluster::deployment::{Deployment, Shard, Topology};
use crate::cluster::retry::answered;
use crate::codes;

use crate::control::layout::chunks::{AT_START, Moves, ON_THE_FLY};
use crate::error::{Error, Kind, Policy, Result};
use crate::failpoint;
use crate::pair::ddl::options::changes;
use crate::pair::ddl::refused::unless_taken;

/// Collections made side by side.
const CONCURRENCY: usize = 8;

/// Makes the whole layout. `pairs[i]` is the target shard of source shard i.
/// What is there already with the same layout is left alone.
///
/// # Errors
/// `Refused` if something else is there.
pub async fn create_all(target: &Deployment, catalog: &Catalog, pairs: &[usize]) -> Result<()> {
    let moves = Moves::new(target.shards.len(), AT_START);
    let zones = zones::lacking(target, &catalog.shard_zones, pairs).await?;
    zones::join(target, &zones).await?;
    for database in &catalog.databases {
        let primary = pairs[database.primary];
        if let Some(other) = databases::in_the_way(target, &database.name, primary).await? {
            return Err(databases::refused(&database.name, &other));
        }
        create_database(target, &database.name, primary).await?;
    }
    // Time series come with their buckets.
    let (views, collections): (Vec<_>, Vec<_>) = catalog
        .collections
        .iter()
        .filter(|c| c.kind != CollectionKind::TimeSeries)
        .partition(|c| c.kind == CollectionKind::View);
    stream::iter(collections)
        .map(|c| create_one(target, c, pairs, &moves))
        .buffer_unordered(CONCURRENCY)
        .try_collect::<()>()
        .await?;
    for view in views::in_order(&views) {
        create_one(target, view, pairs, &moves).await?;
    }
    zones::forget_temporary(target).await
}

/// Makes one database and one collection (no secondary indexes), as DDL on the
/// fly needs it. It is no error if it is there already with the same layout, or with the
/// shard key that was refined since. No other
/// database is in the way (`databases::in_the_way`), and shards are in the zones that its
/// ranges need (`zones::join_those_of`).
pub async fn create_collection(
    target: &Deployment,
    collection: &Collection,
    pairs: &[usize],
) -> Result<()> {
    create_database(target, &collection.ns.db, pairs[collection.primary]).await?;
    refining::bring_key(target, collection)
        .await
        .map_err(|e| e.context(format_args!("refining {} on the target", collection.ns)))?;
    create_one(
        target,
        collection,
        pairs,
        &Moves::new(target.shards.len(), ON_THE_FLY),
    )
    .await?;
    match collection.sharded {
        Some(_) => zones::forget_temporary(target).await,
        None => Ok(()),
    }
}

/// Puts a database on its primary, where its collections can be sharded. One that is on
/// another is moved: no unsharded collection of it is left, whose data would move too.
async fn create_database(target: &Deployment, name: &str, primary: usize) -> Result<()> {
    if target.topology == Topology::ReplicaSet {
        return Ok(());
    }
    let wanted = &target.shards[primary].id;
    let found = catalog::primary_of(target, name).await?;
    let is_there = found == Some(primary);
    if is_there && !target.dialect.catalog.databases_enabled {
        return Ok(());
    }
    if found.is_some() && !is_there {
        admin::move_primary(&target.entry, name, wanted).await?;
    }
    if found.is_none() || target.dialect.catalog.databases_enabled {
        admin::enable_sharding(&target.entry, name, wanted).await?;
    }
    match catalog::primary_of(target, name).await? {
        Some(found) if found == primary => Ok(()),
        found => {
            let found = found.map_or("nowhere", |i| &target.shards[i].id);
            let what = format!(
                "database {name} of the target should be on shard {wanted} but is on {found}"
            );
            Err(Error::new(Kind::Server, what).remedy(format!(
                "drop the database {name} on the target and start again"
            )))
        }
    }
}

async fn create_one(
    target: &Deployment,
    collection: &Collection,
    pairs: &[usize],
    moves: &Moves,
) -> Result<()> {
    make(target, collection, pairs, moves)
        .await
        .map_err(|e| e.context(format_args!("creating {} on the target", collection.ns)))
}

async fn make(
    target: &Deployment,
    collection: &Collection,
    pairs: &[usize],
    moves: &Moves,
) -> Result<()> {
    let ns = &collection.ns;
    let mut there = catalog::read_one(target, ns).await?;
    if there.is_none() {
        let options = options::to_lay_out(&collection.options, target.dialect.writes);
        match admin::create(&target.entry, ns, &options).await {
            Err(e) if e.code == Some(codes::NAMESPACE_EXISTS) => {
                there = catalog::read_one(target, ns).await?
            }
            Err(e) if databases::made_way(target, &ns.db, &e).await? => {
                admin::create(&target.entry, ns, &options).await?;
            }
            made => made.map_err(|e| {
                let own = ns.own(&target.scope.clone().on(false));
                let without =
                    format!("drop {own} there, or make it anew with what the target takes");
                unless_taken(e, without)
            })?,
        }
    }
    if let Some(there) = &there {
        same_or_refuse(target, collection, there)?;
        bring_options(target, collection, there).await?;
    }
    series::make_view(target, collection).await?;
    let Some(sharded) = &collection.sharded else {
        return Ok(());
    };
    let wanted = chunks::mapped(sharded, pairs, &target.dialect.catalog);
    if there.is_none_or(|t| t.sharded.is_none()) {
        shard(target, collection, sharded, &wanted).await?;
    }
    chunks::arrange(target, ns, &wanted, moves).await?;
    // The last: chunks are where they are, not where a zone would have them.
    zones::set(target, ns, &sharded.zones).await
}

/// Temporary zones first, one for the intervals of each shard, then the index that
/// carries the key, then the sharding itself: so the router makes one chunk per interval,
/// on its shard, with no chunk to move and no range to delete afterwards; and it finds
/// the index instead of making a plain one. Where such zones are refused (hashed keys on
/// 4.2, time in the key of a time series), `chunks::arrange` does all of it.
async fn shard(
    target: &Deployment,
    collection: &Collection,
    sharded: &Sharded,
    wanted: &[chunks::Interval],
) -> Result<()> {
    let (entry, ns) = (&target.entry, &collection.ns);
    let hashed = is_hashed(&sharded.key) && !target.dialect.catalog.hashed_zones_are_whole;
    if !hashed && !series::is_by_time(collection, &sharded.key) {
        zones::place(target, ns, wanted).await?;
    }
    failpoint::hit("layout-placed");
    if let Some(index) = &collection.key_index {
        admin::create_index(
            entry,
            &target.dialect.writes,
            ns,
            catalog::index::to_create(collection.has_collation(), None, index),
        )
        .await?;
    }
    // Of buckets by their time series: the router takes it in no other way.
    let key = match ns.time_series() {
        Some(_) => series::public_key(collection, &sharded.key)?,
        None => sharded.key.clone(),
    };
    admin::shard_collection(
        entry,
        &ns.public(),
        &key,
        sharded.unique,
        collection.has_collation(),
    )
    .await?;
    failpoint::hit("layout-sharded");
    Ok(())
}

/// Shards a collection that is there, with whatever documents it has: all of it stays on its
/// primary shard. No chunk is moved, whatever the router makes of it.
pub async fn shard_in_place(
    target: &Deployment,
    collection: &Collection,
    primary: usize,
) -> Result<()> {
    let ns = &collection.ns;
    let Some(sharded) = &collection.sharded else {
        return Ok(());
    };
    let ends = sharded.chunks.first().zip(sharded.chunks.last());
    let whole = ends.map(|(first, last)| (first.min.clone(), last.max.clone(), primary));
    // One without documents would be spread over all shards by a hash.
    if !is_hashed(&sharded.key) || target.dialect.catalog.hashed_zones_are_whole {
        zones::place(target, ns, whole.as_slice()).await?;
    }
    let made = admin::shard_collection(
        &target.entry,
        ns,
        &sharded.key,
        sharded.unique,
        collection.has_collation(),
    )
    .await;
    // IMPORTANT: without an answer it may still be made, and by the temporary zone. The next
    // attempt takes that away.
    if made
        .as_ref()
        .is_err_and(|e| e.kind.policy() == Policy::Retry)
    {
        return made;
    }
    zones::forget_temporary(target).await?;
    zones::set(target, ns, &sharded.zones).await?;
    made
}

/// The index that carries this shard key is there anyway.
pub fn is_by_id(key: &RawDocument) -> bool {
    let mut fields = elements(key);
    let is_id = fields.next().is_some_and(|field| field.name == b"_id");
    is_id && fields.next().is_none() && !is_hashed(key)
}

/// A shard that holds a document of this name, orphans included. Not by the storage engine's
/// own counts, which may be wrong after a crash.
pub async fn holding<'a>(target: &'a Deployment, ns: &Namespace) -> Result<Option<&'a Shard>> {
    for shard in &target.shards {
        let documents = shard
            .client
            .database(&ns.db)
            .collection::<RawDocumentBuf>(&ns.coll);
        let first = documents.find_one(doc! {}).projection(doc! {"_id": 1});
        let first = answered("the shard", async { Ok(first.await?) }).await?;
        if first.is_some() {
            return Ok(Some(shard));
        }
    }
    Ok(None)
}

fn is_hashed(key: &RawDocument) -> bool {
    elements(key).any(|field| matches!(View::from(field), View::Text(b"hashed")))
}

fn same_or_refuse(target: &Deployment, wanted: &Collection, there: &Collection) -> Result<()> {
    let forms = target.dialect.writes;
    let are_alike = options::made_alike(&wanted.options, &there.options, forms);
    let key = |c: &Collection| c.sharded.as_ref().map(|s| (s.key.clone(), s.unique));
    let differs = if wanted.kind != there.kind {
        "is of another kind"
    } else if !are_alike {
        "has other options"
    } else if there.sharded.is_some() && key(wanted) != key(there) {
        "has another shard key"
    } else {
        return Ok(());
    };
    Err(exists(&wanted.ns, differs))
}

/// Changes options of what is there. No entry of the log may say so: of a collection that is
/// copied anew those up to then are passed.
async fn bring_options(target: &Deployment, wanted: &Collection, there: &Collection) -> Result<()> {
    let ns = &wanted.ns;
    for change in changes(&wanted.options, &there.options) {
        let head = rawdoc! { "collMod": ns.coll.as_str() };
        let command = document(elements(&head).chain(elements(&change)));
        admin::run_majority(&target.entry, &ns.db, &command)
            .await
            .map_err(|e| {
                let own = ns.own(&target.scope.clone().on(false));
                unless_taken(e, format_args!("change {own} there by `collMod`"))
            })?;
    }
    Ok(())
}

/// True if two collections, or views, were created alike.
pub fn same_options(a: &RawDocument, b: &RawDocument) -> bool {
    options::same(a, b)
}

fn exists(ns: &Namespace, differs: &str) -> Error {
    Error::new(
        Kind::Refused,
        format!("{ns} is already on the target and {differs}"),
    )
    .remedy(format!(
        "drop {ns} on the target, or start with an empty target"
    ))
}
