//! Seeded updates: every operator, arrays by position and by filter, pipelines and
//! replacements.
//!
//! Knows nothing about which documents they meet: what a server refuses is no update.

use bson::{Bson, Document, doc};

use super::value;
use crate::layout::dice::Dice;

/// What an update statement has besides its query.
pub(super) struct Change {
    /// Name of its kind, as it is counted.
    pub(super) kind: &'static str,
    /// Added to the query.
    pub(super) also: Document,
    /// A document, or an array of stages.
    pub(super) update: Bson,
    pub(super) array_filters: Vec<Bson>,
    /// A replacement changes one document at most.
    pub(super) may_be_multi: bool,
}

/// Name, and what it does to one path.
type Operator = (&'static str, fn(&mut Dice, bool) -> Document);

const OPERATORS: [Operator; 16] = [
    ("$set", |dice, dollars| {
        doc! {path(dice): value::value(dice, dollars)}
    }),
    ("$set", |dice, dollars| {
        doc! {path(dice): value::value(dice, dollars), path(dice): value::number(dice)}
    }),
    ("$unset", |dice, _| doc! {path(dice): "", path(dice): 1}),
    (
        "$inc",
        |dice, _| doc! {number_path(dice): value::number(dice)},
    ),
    (
        "$mul",
        |dice, _| doc! {number_path(dice): value::number(dice)},
    ),
    (
        "$min",
        |dice, dollars| doc! {path(dice): value::value(dice, dollars)},
    ),
    (
        "$max",
        |dice, dollars| doc! {path(dice): value::value(dice, dollars)},
    ),
    ("$rename", |dice, _| {
        doc! {dice.pick(&["a", "n", "sub.a", "sub", "x", "arr"]): dice.pick(&["b", "sub.b.d", "y", "n", "new.z"])}
    }),
    ("$currentDate", |dice, _| {
        let kind = dice.pick(&["date", "timestamp"]);
        doc! {path(dice): {"$type": kind}}
    }),
    ("$push", push),
    ("$pull", |dice, dollars| match dice.below(4) {
        0 => doc! {list_path(dice): {"a": {"$gte": value::number(dice)}}},
        1 => doc! {list_path(dice): {"$lt": value::number(dice)}},
        _ => doc! {list_path(dice): value::value(dice, dollars)},
    }),
    (
        "$pullAll",
        |dice, _| doc! {list_path(dice): value::list(dice)},
    ),
    (
        "$addToSet",
        |dice, _| doc! {list_path(dice): {"$each": value::list(dice)}},
    ),
    ("$addToSet", |dice, dollars| {
        doc! {list_path(dice): value::value(dice, dollars)}
    }),
    (
        "$pop",
        |dice, _| doc! {list_path(dice): dice.pick(&[1, -1])},
    ),
    ("$bit", |dice, _| {
        let operation = dice.pick(&["and", "or", "xor"]);
        doc! {number_path(dice): {operation: dice.below(16) as i32}}
    }),
];

pub(super) fn any(dice: &mut Dice, dollars: bool) -> Change {
    match dice.below(14) {
        0..=2 => pipeline(dice, dollars),
        3 | 4 => replacement(dice, dollars),
        _ => by_operators(dice, dollars),
    }
}

/// Without a pipeline.
pub(super) fn by_operators(dice: &mut Dice, dollars: bool) -> Change {
    match dice.below(10) {
        0 => positional(dice, dollars),
        1 | 2 => filtered(dice, dollars),
        3 | 4 => several(dice, dollars),
        _ => {
            let (operator, make) = dice.pick(&OPERATORS);
            plain(&operator[1..], doc! {operator: make(dice, dollars)})
        }
    }
}

fn plain(kind: &'static str, update: Document) -> Change {
    Change {
        kind,
        also: Document::new(),
        update: Bson::Document(update),
        array_filters: Vec::new(),
        may_be_multi: true,
    }
}

/// Operators whose paths may touch: then the server refuses them.
fn several(dice: &mut Dice, dollars: bool) -> Change {
    let mut update = Document::new();
    for _ in 0..2 + dice.below(3) {
        let (operator, make) = dice.pick(&OPERATORS);
        update.insert(operator, make(dice, dollars));
    }
    if dice.one_in(3) {
        update.insert("$setOnInsert", doc! {"born": value::value(dice, dollars)});
    }
    plain("several", update)
}

/// The first element that the query finds.
fn positional(dice: &mut Dice, dollars: bool) -> Change {
    let change = match dice.below(3) {
        0 => doc! {"$inc": {"arr.$": value::number(dice)}},
        1 => doc! {"$unset": {"arr.$": 1}},
        _ => doc! {"$set": {"arr.$": value::value(dice, dollars)}},
    };
    Change {
        also: doc! {"arr": {"$gte": value::number(dice)}},
        ..plain("positional", change)
    }
}

/// All elements, or those that a filter finds.
fn filtered(dice: &mut Dice, dollars: bool) -> Change {
    let (place, filter) = match dice.below(5) {
        0 => ("arr.$[]", None),
        1 => ("arr.$[].a", None),
        2 => (
            "arr.$[e].b",
            Some(doc! {"e.a": {"$gte": value::number(dice)}}),
        ),
        3 => (
            "sub.arr.$[e]",
            Some(doc! {"e": {"$lt": value::number(dice)}}),
        ),
        _ => ("arr.$[e]", Some(doc! {"e": {"$gte": value::number(dice)}})),
    };
    let change = match dice.below(4) {
        0 => doc! {"$inc": {place: value::number(dice)}},
        1 => doc! {"$mul": {place: value::number(dice)}},
        2 => doc! {"$unset": {place: 1}},
        _ => doc! {"$set": {place: value::value(dice, dollars)}},
    };
    Change {
        array_filters: filter.into_iter().map(Bson::Document).collect(),
        ..plain("arrayFilters", change)
    }
}

fn replacement(dice: &mut Dice, dollars: bool) -> Change {
    Change {
        may_be_multi: false,
        ..plain("replace", value::content(dice, dollars))
    }
}

fn pipeline(dice: &mut Dice, dollars: bool) -> Change {
    let stages = (0..1 + dice.below(3)).map(|_| Bson::Document(stage(dice, dollars)));
    Change {
        update: Bson::Array(stages.collect()),
        ..plain("pipeline", Document::new())
    }
}

fn stage(dice: &mut Dice, dollars: bool) -> Document {
    let literal = |dice: &mut Dice| doc! {"$literal": value::value(dice, dollars)};
    match dice.below(10) {
        0 => doc! {"$unset": [dice.pick(&["a", "sub.a", "sub.arr", "x", "é"])]},
        1 => doc! {"$project": {"n": 1, "arr": 1, "sub.b": 1}},
        2 => doc! {"$replaceWith": {"$mergeObjects": ["$$ROOT", literal(dice)]}},
        3 => doc! {"$replaceWith": {"$literal": value::content(dice, dollars)}},
        4 => {
            let list = doc! {"$cond": [{"$isArray": "$arr"}, "$arr", []]};
            doc! {"$set": {"arr": {"$concatArrays": [list, value::list(dice).into_iter().map(|value| doc! {"$literal": value}).collect::<Vec<_>>()]}}}
        }
        5 => doc! {"$set": {"arr": {"$slice": ["$arr", dice.pick(&[1, 2, -2])]}}},
        // Since 5.0.
        6 => {
            let name = doc! {"$literal": value::name(dice, dollars)};
            doc! {"$replaceWith": {"$setField": {"field": name, "input": "$$ROOT", "value": literal(dice)}}}
        }
        7 => doc! {"$set": {path(dice): "$sub", "n": {"$ifNull": ["$sub.a", "$$NOW"]}}},
        _ => doc! {"$set": {path(dice): literal(dice)}},
    }
}

fn push(dice: &mut Dice, dollars: bool) -> Document {
    if dice.one_in(3) {
        return doc! {list_path(dice): value::value(dice, dollars)};
    }
    let mut how = doc! {"$each": value::list(dice)};
    if dice.one_in(2) {
        how.insert("$position", dice.pick(&[0, 1, -1, 20]));
    }
    if dice.one_in(2) {
        how.insert("$slice", dice.pick(&[0, 3, -3, 5]));
    }
    match dice.below(4) {
        0 => _ = how.insert("$sort", dice.pick(&[1, -1])),
        1 => _ = how.insert("$sort", doc! {"a": dice.pick(&[1, -1]), "b": 1}),
        _ => {}
    }
    doc! {list_path(dice): how}
}

fn path(dice: &mut Dice) -> &'static str {
    dice.pick(&[
        "n",
        "a",
        "b",
        "x",
        "é",
        "0",
        "sub",
        "sub.a",
        "sub.b.c",
        "sub.b.0",
        "arr",
        "arr.0",
        "arr.1",
        "arr.7",
        "arr.0.a",
        "sub.arr.0",
        "new.x.y",
        "big",
    ])
}

fn number_path(dice: &mut Dice) -> &'static str {
    dice.pick(&["n", "n", "n", "sub.a", "arr.0", "arr.0.a", "fresh", "a"])
}

fn list_path(dice: &mut Dice) -> &'static str {
    dice.pick(&["arr", "arr", "sub.arr", "list"])
}
