//! Seeded changes of collections, indexes and databases: a table of kinds, each with a
//! switch, for the engine does not follow all of them.
//!
//! Knows nothing about writes of documents, but for those that fill what was just made.

use bson::{Bson, Document, doc};

use super::op::{CAPPED, Command, Deed, Maker, ORDINARY};
use super::{index, modify, series, value, write};

/// A kind of DDL.
pub(super) struct Kind {
    pub(super) name: &'static str,
    pub(super) weight: u64,
    make: Make,
    /// How its commands are done.
    done: Done,
}

type Make = fn(&mut Maker<'_>) -> Vec<Command>;
type Done = fn(Vec<Command>, &mut Maker<'_>) -> Deed;

pub(super) const fn kind(name: &'static str, weight: u64, make: Make) -> Kind {
    Kind {
        name,
        weight,
        make,
        done: |commands, _| Deed::Commands(commands),
    }
}

/// Each command is for what the one before made.
pub(super) const fn steps(name: &'static str, weight: u64, make: Make) -> Kind {
    Kind {
        done: |commands, _| Deed::Steps(commands),
        ..kind(name, weight, make)
    }
}

const fn in_transaction(name: &'static str, weight: u64, make: Make) -> Kind {
    Kind {
        done: |commands, maker| Deed::Transaction {
            commands,
            commit: !maker.dice.one_in(5),
        },
        ..kind(name, weight, make)
    }
}

impl Kind {
    pub(super) fn deed(&self, maker: &mut Maker<'_>) -> Deed {
        let commands = (self.make)(maker);
        (self.done)(commands, maker)
    }
}

/// All of them.
pub(super) const KINDS: [Kind; 35] = [
    kind("create", 6, create),
    kind("create capped", 4, create_capped),
    kind("drop", 4, drop),
    kind("drop and create", 4, drop_and_create),
    kind("dropDatabase", 1, drop_database),
    kind("createIndexes", 12, create_indexes),
    kind("dropIndexes", 6, drop_indexes),
    kind("$merge", 2, merge),
    kind("renameCollection", 4, rename),
    kind("rename over", 4, rename_over),
    kind("rename in a ring", 2, rename_in_a_ring),
    kind("rename across databases", 2, rename_across),
    kind("convertToCapped", 2, convert_to_capped),
    kind("$out", 4, out),
    kind("collMod expiry", 3, modify::expiry),
    kind("collMod hidden", 2, modify::hidden),
    kind("collMod validator", 3, modify::validator),
    kind("collMod cappedSize", 2, modify::capped),
    kind("collMod pre-images", 1, modify::images),
    kind("create view", 3, create_view),
    kind("change view", 2, change_view),
    kind("drop view", 2, drop_view),
    kind("time series", 3, series::any),
    kind("collMod prepareUnique", 2, modify::unique),
    kind("cloneCollectionAsCapped", 2, clone_as_capped),
    kind("mapReduce", 1, map_reduce),
    kind("stored function", 1, stored_function),
    kind("granularity of series", 2, series::granularity),
    kind("expiry of series", 2, series::expiry),
    kind("index on series", 2, series::index),
    kind("update of series", 2, series::update),
    kind("collMod clustered", 2, modify::clustered),
    kind("collMod by key", 2, modify::by_key),
    kind("dropIndexes of several", 2, drop_several_indexes),
    in_transaction(DDL_IN_TRANSACTION, 2, create_in_transaction),
];

/// A router has it, but transactions go around the stand-in here: straight to the shards.
pub(super) const DDL_IN_TRANSACTION: &str = "create in a transaction";

const VIEWS: [&str; 2] = ["v1", "v2"];
/// Made in transactions, which drop nothing: so many that most are new.
const MADE_IN_TRANSACTIONS: u64 = 12;

fn create(maker: &mut Maker<'_>) -> Vec<Command> {
    let name = maker.ordinary();
    let command = creation(maker, name);
    vec![maker.command(command)]
}

fn creation(maker: &mut Maker<'_>, name: &str) -> Document {
    let dice = &mut maker.dice;
    let options = match dice.below(9) {
        0 | 1 => {
            let locale = dice.pick(&["de", "fr", "en"]);
            doc! {"collation": {"locale": locale, "strength": 1 + dice.below(3) as i32}}
        }
        2 | 3 => validation(maker),
        4 => doc! {"recordPreImages": true},
        5 => doc! {"changeStreamPreAndPostImages": {"enabled": true}},
        6 => doc! {"clusteredIndex": {"key": {"_id": 1}, "unique": true}},
        7 => doc! {"storageEngine": {"wiredTiger": {"configString": "block_compressor=zlib"}}},
        _ => doc! {},
    };
    doc! {"create": name}.into_iter().chain(options).collect()
}

pub(super) fn validation(maker: &mut Maker<'_>) -> Document {
    let dice = &mut maker.dice;
    let validator = match dice.below(3) {
        0 => doc! {"n": {"$gte": value::number(dice)}},
        1 => {
            doc! {"$jsonSchema": {"required": ["arr"], "properties": {"arr": {"bsonType": "array"}}}}
        }
        _ => doc! {},
    };
    let (level, action) = (
        dice.pick(&["strict", "moderate", "off"]),
        dice.pick(&["error", "warn"]),
    );
    doc! {"validator": validator, "validationLevel": level, "validationAction": action}
}

fn create_capped(maker: &mut Maker<'_>) -> Vec<Command> {
    let name = maker.dice.pick(&CAPPED);
    let mut command = doc! {"create": name, "capped": true};
    let size = maker.dice.pick(&[4096, 10_000, 1_000_000]);
    let max = maker.dice.one_in(2);
    let most = 1 + maker.dice.below(20) as i32;
    if maker.abilities.refused_inserts_trim_nothing {
        command.insert("size", size);
        max.then(|| command.insert("max", most));
    } else {
        // Never full.
        command.insert("size", 100_000_000);
    }
    let dropped = maker.command(doc! {"drop": name});
    vec![dropped, maker.command(command)]
}

fn drop(maker: &mut Maker<'_>) -> Vec<Command> {
    let name = maker.collection();
    vec![maker.command(doc! {"drop": name})]
}

/// And filled at once.
fn drop_and_create(maker: &mut Maker<'_>) -> Vec<Command> {
    let name = maker.ordinary();
    let dropped = maker.command(doc! {"drop": name});
    let created = creation(maker, name);
    let indexes = vec![index::specification(maker.dice.below(index::COUNT))];
    let indexed = maker.command(doc! {"createIndexes": name, "indexes": indexes});
    vec![
        dropped,
        maker.command(created),
        indexed,
        write::inserts_into(maker, name),
    ]
}

fn drop_database(maker: &mut Maker<'_>) -> Vec<Command> {
    let dropped = doc! {"dropDatabase": 1};
    if maker.dice.one_in(2) {
        return vec![Command::new(&maker.other_database(), value::raw(&dropped))];
    }
    let name = maker.ordinary();
    vec![maker.command(dropped), write::inserts_into(maker, name)]
}

fn create_indexes(maker: &mut Maker<'_>) -> Vec<Command> {
    // A unique index may refuse what a capped collection cannot take back.
    let name = maker.uncapped();
    let count = 1 + maker.dice.below(2);
    let indexes: Vec<Document> = (0..count)
        .map(|_| index::specification(maker.dice.below(index::COUNT)))
        .collect();
    vec![maker.command(doc! {"createIndexes": name, "indexes": indexes})]
}

fn drop_indexes(maker: &mut Maker<'_>) -> Vec<Command> {
    let name = maker.uncapped();
    let specification = index::specification(maker.dice.below(index::COUNT));
    let which = match maker.dice.below(6) {
        0 => Bson::String("*".to_owned()),
        1 => specification.get("key").cloned().unwrap_or(Bson::Null),
        _ => specification.get("name").cloned().unwrap_or(Bson::Null),
    };
    vec![maker.command(doc! {"dropIndexes": name, "index": which})]
}

/// Built, and taken away by one command; on releases that take a list of names.
fn drop_several_indexes(maker: &mut Maker<'_>) -> Vec<Command> {
    let name = maker.uncapped();
    let first = maker.dice.below(index::COUNT - 1);
    let both = [first, first + 1].map(index::specification);
    let names: Vec<Bson> = both
        .iter()
        .filter_map(|specification| specification.get("name").cloned())
        .collect();
    vec![
        maker.command(doc! {"createIndexes": name, "indexes": both.to_vec()}),
        maker.command(doc! {"dropIndexes": name, "index": names}),
    ]
}

/// With an index, and filled at once: no `_id` twice, for that would end it. Older releases
/// refuse all of it.
fn create_in_transaction(maker: &mut Maker<'_>) -> Vec<Command> {
    let name = format!("made{}", maker.dice.below(MADE_IN_TRANSACTIONS));
    let mut created = doc! {"create": &name};
    if maker.dice.one_in(3) {
        created.insert("collation", doc! {"locale": "fr", "strength": 2});
    }
    let indexes = vec![index::specification(maker.dice.below(index::COUNT))];
    let dollars = maker.dollars();
    let documents = (0..1 + maker.dice.below(4) as i32).map(|id| {
        let content = value::content(&mut maker.dice, dollars);
        let document = doc! {"_id": id}.into_iter().chain(content);
        document.collect::<Document>()
    });
    let documents: Vec<Document> = documents.collect();
    vec![
        maker.command(created),
        maker.command(doc! {"createIndexes": &name, "indexes": indexes}),
        maker.command(doc! {"insert": &name, "documents": documents}),
    ]
}

fn merge(maker: &mut Maker<'_>) -> Vec<Command> {
    let (from, into) = (maker.uncapped(), maker.uncapped());
    let matched = maker.dice.pick(&["replace", "merge", "keepExisting"]);
    let stage = doc! {"$merge": {"into": into, "whenMatched": matched, "whenNotMatched": "insert"}};
    vec![maker.command(doc! {"aggregate": from, "pipeline": [stage], "cursor": {}})]
}

fn renaming(from: String, to: String, drop_target: bool) -> Command {
    Command::on_admin(doc! {"renameCollection": from, "to": to, "dropTarget": drop_target})
}

fn rename(maker: &mut Maker<'_>) -> Vec<Command> {
    let (from, to) = (maker.ordinary(), maker.ordinary());
    vec![renaming(maker.ns(from), maker.ns(to), false)]
}

fn rename_over(maker: &mut Maker<'_>) -> Vec<Command> {
    let names = if maker.dice.one_in(4) {
        &CAPPED[..]
    } else {
        &ORDINARY[..]
    };
    let (from, to) = (maker.dice.pick(names), maker.dice.pick(names));
    vec![renaming(maker.ns(from), maker.ns(to), true)]
}

/// Two collections take each other's name.
fn rename_in_a_ring(maker: &mut Maker<'_>) -> Vec<Command> {
    let ends = [maker.ordinary(), maker.ordinary()].map(|name| maker.ns(name));
    let ([one, other], between) = (ends, maker.ns("between"));
    vec![
        renaming(one.clone(), between.clone(), true),
        renaming(other.clone(), one, false),
        renaming(between, other, true),
    ]
}

fn rename_across(maker: &mut Maker<'_>) -> Vec<Command> {
    let (here, there) = (maker.ordinary(), maker.ordinary());
    let ends = [
        maker.ns(here),
        format!("{}.{there}", maker.other_database()),
    ];
    let [from, to] = if maker.dice.one_in(3) {
        [ends[1].clone(), ends[0].clone()]
    } else {
        ends
    };
    vec![renaming(from, to, maker.dice.one_in(2))]
}

fn convert_to_capped(maker: &mut Maker<'_>) -> Vec<Command> {
    let (name, size) = (maker.dice.pick(&CAPPED), maker.dice.pick(&[4096, 100_000]));
    vec![maker.command(doc! {"convertToCapped": name, "size": size})]
}

fn out(maker: &mut Maker<'_>) -> Vec<Command> {
    let (from, to) = (maker.uncapped(), maker.ordinary());
    let filter = doc! {"n": {"$gte": value::number(&mut maker.dice)}};
    let pipeline = [doc! {"$match": filter}, doc! {"$out": to}];
    vec![maker.command(doc! {"aggregate": from, "pipeline": pipeline.to_vec(), "cursor": {}})]
}

/// What a view shows.
fn shown(maker: &mut Maker<'_>) -> Document {
    let on = maker.uncapped();
    let stage = doc! {"$match": {"n": {"$gte": value::number(&mut maker.dice)}}};
    doc! {"viewOn": on, "pipeline": [stage]}
}

fn create_view(maker: &mut Maker<'_>) -> Vec<Command> {
    let command = doc! {"create": maker.dice.pick(&VIEWS)};
    let shown = shown(maker);
    vec![maker.command(command.into_iter().chain(shown).collect())]
}

fn change_view(maker: &mut Maker<'_>) -> Vec<Command> {
    let command = doc! {"collMod": maker.dice.pick(&VIEWS)};
    let shown = shown(maker);
    vec![maker.command(command.into_iter().chain(shown).collect())]
}

fn drop_view(maker: &mut Maker<'_>) -> Vec<Command> {
    let name = maker.dice.pick(&VIEWS);
    vec![maker.command(doc! {"drop": name})]
}

/// Refused where the name is taken. Not of a clustered one: the clone would be capped and
/// clustered, and no server takes a `create` of that.
fn clone_as_capped(maker: &mut Maker<'_>) -> Vec<Command> {
    let (from, to) = (cloned(maker), maker.dice.pick(&CAPPED));
    let size = if maker.abilities.refused_inserts_trim_nothing {
        maker.dice.pick(&[4096, 100_000])
    } else {
        // Never full.
        100_000_000
    };
    let dropped = maker.command(doc! {"drop": to});
    let cloned = doc! {"cloneCollectionAsCapped": from, "toCollection": to, "size": size};
    vec![dropped, maker.command(cloned)]
}

fn cloned(maker: &mut Maker<'_>) -> &'static str {
    if maker.abilities.clustered_collections {
        maker.dice.pick(&CAPPED)
    } else {
        maker.ordinary()
    }
}

/// Into a collection that is replaced, or that takes what it finds.
fn map_reduce(maker: &mut Maker<'_>) -> Vec<Command> {
    let (from, to) = (maker.ordinary(), maker.ordinary());
    let how = maker.dice.pick(&["replace", "merge"]);
    let mapped = "function () { emit(typeof this.n, 1); }";
    let reduced = "function (key, values) { return Array.sum(values); }";
    vec![maker.command(doc! {
        "mapReduce": from,
        "map": Bson::JavaScriptCode(mapped.to_owned()),
        "reduce": Bson::JavaScriptCode(reduced.to_owned()),
        "out": {how: to},
    })]
}

/// Put again and again, or taken away.
fn stored_function(maker: &mut Maker<'_>) -> Vec<Command> {
    let id = maker.dice.pick(&["f", "g"]);
    if maker.dice.one_in(4) {
        let deleted = doc! {"q": {"_id": id}, "limit": 1};
        return vec![maker.command(doc! {"delete": "system.js", "deletes": [deleted]})];
    }
    let text = format!("function () {{ return {}; }}", maker.dice.below(100));
    let put = doc! {
        "q": {"_id": id},
        "u": {"$set": {"value": Bson::JavaScriptCode(text)}},
        "upsert": true,
    };
    vec![maker.command(doc! {"update": "system.js", "updates": [put]})]
}
