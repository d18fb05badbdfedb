//! Operations as write statements, made from a kind, a document's ordinal and
//! dice. Values under unique indexes stay as `populate` wrote them.
//!
//! Knows nothing about sending, batching and latency.

use bson::{Document, RawDocumentBuf, doc};

use super::pick::KeySpace;
use crate::layout::{
    dice::Dice,
    documents::{STATUSES, WORDS, email, group, text},
};

/// Elements that arrays of a document may grow to.
const ARRAY_ELEMENTS_MAX: i32 = 12;

fn statement(filter: Document, update: impl Into<bson::Bson>) -> Document {
    doc! {"q": filter, "u": update.into()}
}

/// Scalar changes of one document.
pub(super) fn update(space: &KeySpace, n: u64, dice: &mut Dice) -> Document {
    let filter = space.spec.filter(n);
    let change = match dice.below(8) {
        0 => doc! {"$set": {"status": dice.pick(STATUSES), "score": dice.unit() * 100.0}},
        1 => doc! {"$inc": {"counter": 1, "stats.hits": 1_i64}},
        2 => doc! {"$set": {"note": dice.pick(WORDS), "left": dice.below(100) as i32}},
        3 => doc! {"$unset": {"note": ""}, "$inc": {"counter": -1}},
        4 => doc! {"$rename": {"left": "right"}, "$set": {"status": dice.pick(STATUSES)}},
        5 => doc! {"$set": {"address.city": dice.pick(WORDS), "filler": text(dice, 200)}},
        6 => {
            doc! {"$max": {"stats.top": dice.below(1000) as i32}, "$mul": {"score": 1.01}, "$currentDate": {"stats.at": true}}
        }
        _ => {
            let total = doc! {"$add": [{"$ifNull": ["$stats.total", 0]}, dice.below(10) as i32]};
            return statement(
                filter,
                vec![
                    doc! {"$set": {"stats.total": total}},
                    doc! {"$unset": ["right"]},
                ],
            );
        }
    };
    statement(filter, change)
}

/// Array changes of one document.
pub(super) fn array(space: &KeySpace, n: u64, dice: &mut Dice) -> Document {
    let mut filter = space.spec.filter(n);
    let word = dice.pick(WORDS);
    let change = match dice.below(7) {
        0 => doc! {"$push": {"tags": {"$each": [word], "$slice": -ARRAY_ELEMENTS_MAX}}},
        1 => doc! {"$pull": {"tags": word}},
        2 => doc! {"$addToSet": {"tags": {"$each": [word, "common"]}}},
        3 => {
            doc! {"$push": {"items": {"$each": [{"sku": word, "qty": 1}], "$position": 0, "$slice": ARRAY_ELEMENTS_MAX}}}
        }
        4 => doc! {"$pop": {"tags": -1}},
        5 => {
            filter.insert("items.sku", word);
            doc! {"$inc": {"items.$.qty": 1}}
        }
        _ => {
            filter.insert("items.0", doc! {"$exists": true});
            let mut statement = statement(
                filter,
                doc! {"$set": {"items.$[line].price": dice.unit() * 99.0}},
            );
            statement.insert("arrayFilters", vec![doc! {"line.qty": {"$gt": 4}}]);
            return statement;
        }
    };
    statement(filter, change)
}

/// A whole new version of one document.
pub(super) fn replacement(space: &KeySpace, seed: u64, n: u64, dice: &mut Dice) -> Document {
    let filter = space.spec.filter(n);
    let document = space.spec.document(seed, n, 1 + dice.below(1 << 40));
    statement(
        filter,
        Document::try_from(document).expect("the layout's documents are well formed"),
    )
}

pub(super) fn upsert(space: &KeySpace, n: u64, dice: &mut Dice) -> Document {
    let fixed = doc! {"n": n as i64, "group": group(n), "email": email(n)};
    let change = doc! {
        "$setOnInsert": fixed,
        "$set": {"status": dice.pick(STATUSES)},
        "$inc": {"counter": 1},
    };
    let mut statement = statement(space.spec.filter(n), change);
    statement.insert("upsert", true);
    statement
}

pub(super) fn delete(space: &KeySpace, n: u64) -> Document {
    doc! {"q": space.spec.filter(n), "limit": 1}
}

/// All documents of a group, on whatever shards.
pub(super) fn multi(n: u64, dice: &mut Dice) -> Document {
    let change = doc! {"$inc": {"counter": 1}, "$set": {"stats.swept": dice.below(1000) as i32}};
    let mut statement = statement(doc! {"group": group(n)}, change);
    statement.insert("multi", true);
    statement
}

/// The command alone; its collection is the first field.
pub(super) fn find_and_modify(space: &KeySpace, n: u64, dice: &mut Dice) -> Document {
    let change = doc! {"$inc": {"counter": 1}, "$set": {"status": dice.pick(STATUSES)}};
    doc! {"findAndModify": space.spec.name, "query": space.spec.filter(n), "update": change, "new": true, "writeConcern": {"w": 1}}
}

/// Two documents trade their unique values, by way of a third value.
pub(super) fn swap_unique(space: &KeySpace, a: u64, b: u64) -> Vec<Document> {
    let set =
        |n: u64, value: String| statement(space.spec.filter(n), doc! {"$set": {"email": value}});
    vec![
        set(a, format!("swap{a}-{b}@example.com")),
        set(b, email(a)),
        set(a, email(b)),
    ]
}

/// A document with `extra` bytes on top.
pub(super) fn large(space: &KeySpace, seed: u64, n: u64, extra: usize) -> RawDocumentBuf {
    let mut document = space.spec.document(seed, n, 0);
    document.append(
        bson::raw::cstr!("extra"),
        text(&mut Dice::new(&[seed, n]), extra),
    );
    document
}
