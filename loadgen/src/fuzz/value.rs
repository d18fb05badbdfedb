//! Seeded values, `_id`s and documents: every type, odd names, and shapes that update
//! operators find something to change in.
//!
//! Knows nothing about collections and commands.

use bson::raw::{CString, RawBson};
use bson::{Bson, Document, RawDocumentBuf, Regex, doc};

use crate::layout::dice::Dice;
use crate::populate::types;

/// `_id`s that are met again and again.
const COMMON_IDS: u64 = 12;
/// Levels of what is nested.
const DEPTH_MAX: u32 = 3;
const NAMES: [&str; 12] = [
    "a", "b", "n", "é", "ключ", "0", "1", "", "a.b", ".", "sub", "x",
];
/// Occurs twice, and is of no operator: a member that an update comes to by the oplog changes
/// each field of a name, the primary itself the first one only.
const TWICE: &str = "twice";
/// Only servers of 5.0 and later take them.
const DOLLAR_NAMES: [&str; 3] = ["$x", "$set", "a.$b"];

/// Small numbers most of the time, equal ones of other types among them.
pub(super) fn id(dice: &mut Dice) -> Bson {
    let common = dice.below(COMMON_IDS) as i32;
    match dice.below(20) {
        0 => Bson::Double(common.into()),
        1 => Bson::Int64(common.into()),
        2 => decimal(&common.to_string()),
        3 | 4 => Bson::String(format!("k{common}")),
        5..=8 => any_of(dice, types::id_values()),
        _ => Bson::Int32(common),
    }
}

pub(super) fn number(dice: &mut Dice) -> Bson {
    let small = dice.below(7) as i32 - 2;
    match dice.below(12) {
        0 => Bson::Int32(i32::MAX - 1),
        1 => Bson::Int64(i64::MAX - 1),
        2 => Bson::Int64(small.into()),
        3 | 4 => Bson::Double(f64::from(small) + 0.1),
        5 => decimal(&format!("{small}.10")),
        6 => Bson::Double(-0.0),
        _ => Bson::Int32(small),
    }
}

pub(super) fn value(dice: &mut Dice, dollars: bool) -> Bson {
    nested(dice, dollars, 0)
}

fn nested(dice: &mut Dice, dollars: bool, depth: u32) -> Bson {
    let flat = DEPTH_MAX <= depth;
    match dice.below(12) {
        0..=3 => number(dice),
        4 | 5 if !flat => Bson::Document(fields(dice, dollars, depth + 1)),
        6 | 7 if !flat => {
            let count = dice.below(4);
            Bson::Array(
                (0..count)
                    .map(|_| nested(dice, dollars, depth + 1))
                    .collect(),
            )
        }
        8 => Bson::String("é".repeat(dice.below(40) as usize)),
        9 => any_of(dice, unlike_ids()),
        _ => any_of(dice, types::id_values()),
    }
}

/// Up to four fields of any name.
fn fields(dice: &mut Dice, dollars: bool, depth: u32) -> Document {
    let count = dice.below(5);
    (0..count)
        .map(|_| (name(dice, dollars), nested(dice, dollars, depth)))
        .collect()
}

pub(super) fn name(dice: &mut Dice, dollars: bool) -> String {
    match dice.below(12) {
        0 if dollars => dice.pick(&DOLLAR_NAMES).to_owned(),
        _ => dice.pick(&NAMES).to_owned(),
    }
}

/// Without an `_id`. What operators look for is nearly always there.
pub(super) fn content(dice: &mut Dice, dollars: bool) -> Document {
    let mut document = fields(dice, dollars, 1);
    if !dice.one_in(8) {
        document.insert("n", number(dice));
    }
    if !dice.one_in(6) {
        document.insert("arr", list(dice));
    }
    if !dice.one_in(6) {
        let inner = doc! {"a": number(dice), "b": {"c": value(dice, dollars)}, "arr": list(dice)};
        document.insert("sub", inner);
    }
    if dice.one_in(60) {
        document.insert("big", "0123456789".repeat(dice.below(20_000) as usize));
    }
    document
}

/// Of numbers, of documents, or of anything.
pub(super) fn list(dice: &mut Dice) -> Vec<Bson> {
    let (count, kind) = (dice.below(6), dice.below(3));
    let element = |dice: &mut Dice| match kind {
        0 => number(dice),
        1 => Bson::Document(doc! {"a": number(dice), "b": value(dice, false)}),
        _ => value(dice, false),
    };
    (0..count).map(|_| element(dice)).collect()
}

/// The `_id` is mostly there, and mostly first.
pub(super) fn document(dice: &mut Dice, dollars: bool) -> Document {
    let content = content(dice, dollars);
    let id = ("_id".to_owned(), id(dice));
    match dice.below(12) {
        0 => content,
        1 => content.into_iter().chain([id]).collect(),
        _ => [id].into_iter().chain(content).collect(),
    }
}

/// One with a field name that occurs twice, at the top and below it.
pub(super) fn with_duplicates(dice: &mut Dice, dollars: bool) -> RawDocumentBuf {
    let mut inner = raw(&fields(dice, dollars, 1));
    let mut outer = raw(&document(dice, dollars));
    for _ in 0..dice.below(3) {
        append(&mut outer, TWICE, number(dice));
        append(&mut inner, TWICE, number(dice));
    }
    append(&mut outer, "in", RawBson::Document(inner));
    outer
}

/// Adds a field, whether or not its name is there.
pub(super) fn append(document: &mut RawDocumentBuf, name: &str, value: impl TryInto<RawBson>) {
    let name = CString::try_from(name).expect("no name of ours holds a NUL");
    let Ok(value) = value.try_into() else {
        unreachable!("no name inside a value of ours holds a NUL");
    };
    document.append(name, value);
}

pub(super) fn raw(document: &Document) -> RawDocumentBuf {
    RawDocumentBuf::try_from(document).expect("no name of ours holds a NUL")
}

fn any_of(dice: &mut Dice, mut values: Vec<Bson>) -> Bson {
    values.swap_remove(dice.below(values.len() as u64) as usize)
}

/// Legal as a value only.
fn unlike_ids() -> Vec<Bson> {
    let (pattern, options) = (CString::try_from("^a"), CString::try_from("i"));
    let regex = Regex {
        pattern: pattern.expect("it holds no NUL"),
        options: options.expect("it holds no NUL"),
    };
    vec![
        Bson::RegularExpression(regex),
        Bson::Undefined,
        Bson::Array(Vec::new()),
        Bson::Document(Document::new()),
    ]
}

fn decimal(text: &str) -> Bson {
    Bson::Decimal128(text.parse().expect("a decimal of our own"))
}
