//! What a seed does in a sharded cluster besides: collections that are sharded, by a range
//! or a hash, and transactions across shards.
//!
//! Knows nothing about who owns which document.

use bson::{Bson, Document, doc};

use super::ddl::{DDL_IN_TRANSACTION, KINDS, Kind, kind, steps};
use super::op::{Cluster, Command, Deed, Maker, Op};
use super::write::{self, Write};
use super::{index, value};

/// Ops that a seed begins with, before it fills collections.
pub(super) const SETTING_UP: usize = 4;
/// Names of collections that are sharded most of the time, renamed only to one another.
pub(super) const SHARDED: [&str; 3] = ["sh1", "sh2", "sh3"];
/// A zone of each shard.
pub(super) const ZONES: [&str; 2] = ["z0", "z1"];

/// Whether the engine follows them; else a run stops at the first one, by rule.
const FOLLOWS_RENAMES_OF_SHARDED: bool = true;
const FOLLOWS_SHARDING_IN_PLACE: bool = true;

/// No router has them, or the stand-in has not.
const NOT_BY_ROUTERS: [&str; 3] = ["cloneCollectionAsCapped", "mapReduce", DDL_IN_TRANSACTION];
/// Renames, or what servers do by one.
const RENAMES: [&str; 7] = [
    "renameCollection",
    "rename over",
    "rename in a ring",
    "rename across databases",
    "convertToCapped",
    "$out",
    "mapReduce",
];
const COMMANDS_MAX: u64 = 4;

const OWN: [Kind; 8] = [
    steps("shardCollection", 10, shard),
    kind("drop sharded", 3, drop),
    kind("split", 2, split),
    kind("zone gone", 1, forget_zone),
    kind("index sharded", 4, index_key),
    steps(
        "shard in place",
        4 * FOLLOWS_SHARDING_IN_PLACE as u64,
        shard_in_place,
    ),
    steps("refine", 3, refine),
    steps(
        "rename sharded",
        4 * FOLLOWS_RENAMES_OF_SHARDED as u64,
        rename,
    ),
];

/// Those of a replica set that a cluster has, too, go on.
pub(super) const WRITES: [Write; 6] = [
    (20, write::insert),
    (50, write::update),
    (12, write::find_and_modify),
    (7, write::delete),
    (12, transaction),
    (1, write::large_transaction),
];

/// Changes of collections that are done in such a cluster.
pub(super) fn kinds(cluster: Cluster) -> impl Iterator<Item = &'static Kind> + Clone {
    let fits = move |kind: &&Kind| {
        !NOT_BY_ROUTERS.contains(&kind.name) && (cluster.renames || !RENAMES.contains(&kind.name))
    };
    KINDS.iter().filter(fits).chain(&OWN)
}

/// Where both databases of the seed live, and what is sharded from the beginning.
pub(super) fn set_up(maker: &mut Maker<'_>, number: usize) -> Op {
    if 0 < number {
        return Op {
            kind: "shardCollection",
            deed: Deed::Steps(shard(maker)),
        };
    }
    let mut shards = Cluster::SHARDS;
    if maker.dice.one_in(2) {
        shards.reverse();
    }
    let databases = [maker.database.to_owned(), maker.other_database()];
    let commands = databases.into_iter().zip(shards).map(|(name, shard)| {
        Command::on_admin(doc! {"enableSharding": name, "primaryShard": shard})
    });
    Op {
        kind: "enableSharding",
        deed: Deed::Commands(commands.collect()),
    }
}

fn sharded(maker: &mut Maker<'_>) -> &'static str {
    maker.dice.pick(&SHARDED)
}

/// Either one of the seed.
fn database(maker: &mut Maker<'_>) -> String {
    if maker.dice.one_in(4) {
        maker.other_database()
    } else {
        maker.database.to_owned()
    }
}

fn key(maker: &mut Maker<'_>) -> Document {
    match maker.dice.below(5) {
        0 => doc! {"_id": "hashed"},
        1 => doc! {"n": "hashed"},
        2 => doc! {"_id": 1},
        3 => doc! {"n": 1, "_id": 1},
        _ => doc! {"n": 1},
    }
}

/// Of one that was not there, or is not any more.
fn shard(maker: &mut Maker<'_>) -> Vec<Command> {
    let (database, name, key) = (database(maker), sharded(maker), key(maker));
    let ns = format!("{database}.{name}");
    let mut commands = vec![Command::new(&database, value::raw(&doc! {"drop": name}))];
    let is_range = key.values().all(|kind| kind.as_i32().is_some());
    if is_range && !maker.dice.one_in(4) {
        commands.extend(zones(&ns, &key, true));
    }
    commands.push(Command::on_admin(doc! {"shardCollection": ns, "key": key}));
    if maker.dice.one_in(2) {
        let mut filled = write::inserts_into(maker, name);
        filled.database = database;
        commands.push(filled);
    }
    commands
}

/// Two ranges, one a shard; set, or taken away.
fn zones(ns: &str, key: &Document, set: bool) -> Vec<Command> {
    let bound = |first: Bson, rest: Bson| -> Document {
        let values = std::iter::once(first).chain(std::iter::repeat(rest));
        key.keys().cloned().zip(values).collect()
    };
    let bounds = [
        bound(Bson::MinKey, Bson::MinKey),
        bound(Bson::Int32(1), Bson::MinKey),
        bound(Bson::MaxKey, Bson::MaxKey),
    ];
    let ranges = bounds.windows(2).zip(ZONES);
    let command = |(ends, zone): (&[Document], &str)| {
        let zone = if set { zone.into() } else { Bson::Null };
        let [min, max] = [&ends[0], &ends[1]];
        Command::on_admin(doc! {"updateZoneKeyRange": ns, "min": min, "max": max, "zone": zone})
    };
    ranges.map(command).collect()
}

/// Refused where there is none of that key.
fn forget_zone(maker: &mut Maker<'_>) -> Vec<Command> {
    let ns = format!("{}.{}", database(maker), sharded(maker));
    let key = key(maker);
    zones(&ns, &key, false)
}

fn drop(maker: &mut Maker<'_>) -> Vec<Command> {
    let (database, name) = (database(maker), sharded(maker));
    vec![Command::new(&database, value::raw(&doc! {"drop": name}))]
}

/// At a value of a key that it may have, also of a hashed one. Refused for any other key.
fn split(maker: &mut Maker<'_>) -> Vec<Command> {
    let ns = format!("{}.{}", database(maker), sharded(maker));
    let middle = doc! {maker.dice.pick(&["n", "_id"]): maker.dice.below(7) as i64 - 2};
    vec![Command::on_admin(doc! {"split": ns, "middle": middle})]
}

fn index_key(maker: &mut Maker<'_>) -> Vec<Command> {
    let name = sharded(maker);
    let indexes = vec![index::specification(maker.dice.below(index::COUNT))];
    vec![maker.command(doc! {"createIndexes": name, "indexes": indexes})]
}

fn shard_in_place(maker: &mut Maker<'_>) -> Vec<Command> {
    let name = sharded(maker);
    let filled = write::inserts_into(maker, name);
    let sharded = doc! {"shardCollection": maker.ns(name), "key": {"_id": 1}};
    vec![filled, Command::on_admin(sharded)]
}

/// Refused where there is none of a shorter key, and before 4.4.
fn refine(maker: &mut Maker<'_>) -> Vec<Command> {
    let name = sharded(maker);
    let key = match maker.dice.below(3) {
        0 => doc! {"n": "hashed", "_id": 1},
        1 => doc! {"_id": 1, "n": 1},
        _ => doc! {"n": 1, "_id": 1},
    };
    let index = doc! {"key": key.clone(), "name": "refined"};
    let indexed = maker.command(doc! {"createIndexes": name, "indexes": [index]});
    let refined = doc! {"refineCollectionShardKey": maker.ns(name), "key": key};
    vec![indexed, Command::on_admin(refined)]
}

fn rename(maker: &mut Maker<'_>) -> Vec<Command> {
    let (from, to) = (sharded(maker), sharded(maker));
    let command = doc! {
        "renameCollection": maker.ns(from), "to": maker.ns(to), "dropTarget": maker.dice.one_in(2),
    };
    vec![Command::on_admin(command)]
}

/// Of several collections, on the shards that own their documents.
fn transaction(maker: &mut Maker<'_>) -> Op {
    write::transaction_of(maker, COMMANDS_MAX, |maker| {
        if maker.dice.one_in(3) {
            of_ordinary(maker)
        } else {
            of_sharded(maker)
        }
    })
}

fn of_ordinary(maker: &mut Maker<'_>) -> Command {
    let name = maker.ordinary();
    match maker.dice.below(3) {
        0 => write::inserts_into(maker, name),
        1 => write::deletes_of(maker, name),
        _ => write::updates_of(maker, name).1,
    }
}

/// On all shards alike, so no document may come to belong to another one.
fn of_sharded(maker: &mut Maker<'_>) -> Command {
    let name = sharded(maker);
    let query = match maker.dice.below(3) {
        0 => return write::inserts_into(maker, name),
        _ => write::query(maker),
    };
    if maker.dice.one_in(4) {
        return maker.command(doc! {"delete": name, "deletes": [{"q": query, "limit": 0}]});
    }
    let dollars = maker.dollars();
    let change = doc! {"$set": {"t": value::value(&mut maker.dice, dollars)}, "$inc": {"times": 1}};
    maker.command(doc! {"update": name, "updates": [{"q": query, "u": change, "multi": true}]})
}
