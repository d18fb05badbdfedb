//! Seeded writes of documents: inserts, updates, deletes, `findAndModify`, transactions and
//! a user's own `applyOps`.
//!
//! Knows nothing about collections that come and go.

use bson::raw::RawArrayBuf;
use bson::{Bson, Document, doc, rawdoc};

use super::op::{CAPPED, Command, DUPLICATES, Deed, Maker, Op};
use super::update::{self, Change};
use super::value;

/// Of one command.
const INSERTS_MAX: u64 = 12;
const STATEMENTS_MAX: u64 = 4;
const COMMANDS_MAX: u64 = 5;
/// Bytes of a document of which two are more than one oplog entry takes.
const LARGE_BYTES: usize = 9 << 20;

/// Weight, and what makes one.
pub(super) type Write = (u64, fn(&mut Maker<'_>) -> Op);

pub(super) const WRITES: [Write; 7] = [
    (20, insert),
    (50, update),
    (12, find_and_modify),
    (7, delete),
    (10, transaction),
    (6, apply_ops),
    (1, large_transaction),
];

fn op(kind: &'static str, mut command: Command, maker: &mut Maker<'_>) -> Op {
    command.retryable = maker.dice.one_in(3);
    Op {
        kind,
        deed: Deed::Commands(vec![command]),
    }
}

pub(super) fn insert(maker: &mut Maker<'_>) -> Op {
    let command = inserts(maker);
    op("insert", command, maker)
}

fn inserts(maker: &mut Maker<'_>) -> Command {
    let collection = maker.collection();
    inserts_into(maker, collection)
}

/// Some of whose `_id`s are there already.
pub(super) fn inserts_into(maker: &mut Maker<'_>, collection: &str) -> Command {
    let dollars = maker.dollars();
    let count = 1 + maker.dice.below(INSERTS_MAX);
    let documents = (0..count).map(|_| {
        if collection == DUPLICATES {
            value::with_duplicates(&mut maker.dice, dollars)
        } else {
            value::raw(&value::document(&mut maker.dice, dollars))
        }
    });
    let documents = RawArrayBuf::from_iter(documents);
    let mut command = rawdoc! {"insert": collection, "ordered": maker.dice.one_in(6)};
    value::append(&mut command, "documents", bson::RawBson::Array(documents));
    if maker.dice.one_in(3) {
        value::append(&mut command, "bypassDocumentValidation", true);
    }
    Command::new(maker.database, command)
}

pub(super) fn update(maker: &mut Maker<'_>) -> Op {
    let (kind, command) = updates(maker);
    op(kind, command, maker)
}

/// Named by the first statement.
fn updates(maker: &mut Maker<'_>) -> (&'static str, Command) {
    let collection = maker.collection();
    updates_of(maker, collection)
}

pub(super) fn updates_of(maker: &mut Maker<'_>, collection: &str) -> (&'static str, Command) {
    let count = if maker.dice.one_in(4) {
        1 + maker.dice.below(STATEMENTS_MAX)
    } else {
        1
    };
    let mut kind = None;
    let mut statements = Vec::new();
    for _ in 0..count {
        let change = change(maker, collection);
        let mut query = query(maker);
        query.extend(change.also);
        let multi = change.may_be_multi && maker.dice.one_in(4);
        let mut statement = doc! {"q": query, "u": change.update, "multi": multi};
        statement.insert("upsert", maker.dice.one_in(5));
        if !change.array_filters.is_empty() {
            statement.insert("arrayFilters", change.array_filters);
        }
        kind.get_or_insert(change.kind);
        statements.push(statement);
    }
    let command = doc! {"update": collection, "updates": statements, "ordered": maker.dice.one_in(2), "bypassDocumentValidation": maker.dice.one_in(3)};
    (kind.unwrap_or("update"), maker.command(command))
}

fn change(maker: &mut Maker<'_>, collection: &str) -> Change {
    let dollars = maker.dollars();
    if collection == DUPLICATES {
        update::by_operators(&mut maker.dice, dollars)
    } else {
        update::any(&mut maker.dice, dollars)
    }
}

pub(super) fn query(maker: &mut Maker<'_>) -> Document {
    let dice = &mut maker.dice;
    match dice.below(10) {
        0 => doc! {},
        1 => doc! {"n": {"$gte": value::number(dice)}},
        2 => doc! {"sub.a": {"$lt": value::number(dice)}},
        3 => doc! {"_id": {"$in": [value::id(dice), value::id(dice)]}},
        _ => doc! {"_id": value::id(dice)},
    }
}

pub(super) fn find_and_modify(maker: &mut Maker<'_>) -> Op {
    let command = one_found(maker);
    op("findAndModify", command, maker)
}

fn one_found(maker: &mut Maker<'_>) -> Command {
    let collection = maker.collection();
    let mut query = query(maker);
    let mut command = doc! {"findAndModify": collection};
    if maker.dice.one_in(5) {
        command.extend(doc! {"query": query, "remove": true});
    } else {
        let change = change(maker, collection);
        query.extend(change.also);
        command.extend(doc! {"query": query, "update": change.update});
        command.insert("new", maker.dice.one_in(2));
        command.insert("upsert", maker.dice.one_in(4));
        if !change.array_filters.is_empty() {
            command.insert("arrayFilters", change.array_filters);
        }
    }
    if maker.dice.one_in(2) {
        command.insert("sort", doc! {"n": maker.dice.pick(&[1, -1])});
    }
    maker.command(command)
}

pub(super) fn delete(maker: &mut Maker<'_>) -> Op {
    let command = deletes(maker);
    op("delete", command, maker)
}

fn deletes(maker: &mut Maker<'_>) -> Command {
    let collection = maker.collection();
    deletes_of(maker, collection)
}

pub(super) fn deletes_of(maker: &mut Maker<'_>, collection: &str) -> Command {
    let count = 1 + maker.dice.below(STATEMENTS_MAX);
    let statements = (0..count).map(|_| {
        let limit = i32::from(!maker.dice.one_in(6));
        doc! {"q": query(maker), "limit": limit}
    });
    let statements: Vec<_> = statements.collect();
    maker.command(doc! {"delete": collection, "deletes": statements, "ordered": false})
}

/// Of several collections, in both databases of the seed.
fn transaction(maker: &mut Maker<'_>) -> Op {
    transaction_of(maker, COMMANDS_MAX, |maker| match maker.dice.below(8) {
        0..=2 => inserts(maker),
        3 => deletes(maker),
        4 => one_found(maker),
        _ => updates(maker).1,
    })
}

/// Of two such commands, and fewer than `more` others; some go to another database.
pub(super) fn transaction_of(
    maker: &mut Maker<'_>,
    more: u64,
    make: impl Fn(&mut Maker<'_>) -> Command,
) -> Op {
    let count = 2 + maker.dice.below(more);
    let commands = (0..count).map(|_| {
        let mut command = make(maker);
        if maker.dice.one_in(4) {
            command.database = maker.other_database();
        }
        command
    });
    let commands = commands.collect();
    let commit = !maker.dice.one_in(5);
    Op {
        kind: if commit { "transaction" } else { "aborted" },
        deed: Deed::Transaction { commands, commit },
    }
}

/// Of more than one oplog entry.
pub(super) fn large_transaction(maker: &mut Maker<'_>) -> Op {
    let mut commands = vec![inserts(maker)];
    for _ in 0..2 {
        let (collection, id) = (maker.ordinary(), value::id(&mut maker.dice));
        let large = doc! {"large": "l".repeat(LARGE_BYTES)};
        let statement = doc! {"q": {"_id": id}, "u": {"$set": large}, "upsert": true};
        commands.push(maker.command(doc! {"update": collection, "updates": [statement]}));
        let shrunk = doc! {"q": {"large": {"$exists": true}}, "u": {"$unset": {"large": 1}}};
        commands.push(maker.command(doc! {"update": collection, "updates": [shrunk]}));
    }
    Op {
        kind: "large transaction",
        deed: Deed::Transaction {
            commands,
            commit: true,
        },
    }
}

/// By namespace, never on what may be capped: the engine does not carry that over. A
/// collection with names twice is left out, for a delta is applied by a pipeline there.
fn apply_ops(maker: &mut Maker<'_>) -> Op {
    let count = 1 + maker.dice.below(STATEMENTS_MAX);
    let ops: Vec<Bson> = (0..count).map(|_| Bson::Document(own_op(maker))).collect();
    let mut command = doc! {"applyOps": ops};
    if maker.dice.one_in(3) {
        command.insert("allowAtomic", false);
    }
    Op {
        kind: "applyOps",
        deed: Deed::Commands(vec![Command::on_admin(command)]),
    }
}

fn own_op(maker: &mut Maker<'_>) -> Document {
    let collection = maker.ordinary();
    debug_assert!(!CAPPED.contains(&collection) && collection != DUPLICATES);
    let (ns, dollars) = (maker.ns(collection), maker.dollars());
    let dice = &mut maker.dice;
    let id = doc! {"_id": value::id(dice)};
    let with_id = |content: Document| id.clone().into_iter().chain(content).collect::<Document>();
    match dice.below(5) {
        0 => doc! {"op": "i", "ns": ns, "o": with_id(value::content(dice, dollars))},
        1 => doc! {"op": "d", "ns": ns, "o": id},
        2 => {
            doc! {"op": "u", "ns": ns, "o2": id.clone(), "o": with_id(value::content(dice, dollars))}
        }
        _ if maker.abilities.deltas => {
            let diff = doc! {"d": {"a": false}, "u": {"n": value::number(dice)}, "i": {"x": value::value(dice, dollars)}};
            doc! {"op": "u", "ns": ns, "o2": id, "o": {"$v": 2, "diff": diff}}
        }
        _ => {
            let change = doc! {"$v": 1, "$set": {"n": value::number(dice), "sub.a": 1}, "$unset": {"a": true}};
            doc! {"op": "u", "ns": ns, "o2": id, "o": change}
        }
    }
}
