//! Seeded time series: made, written to, changed, indexed, dropped; each release refuses
//! what it does not have.
//!
//! Knows nothing about other collections.

use bson::{Bson, DateTime, Document, doc};

use super::op::{Command, Maker};
use super::value;
use crate::layout::dice::Dice;

const NAME: &str = "ts";
/// Values of its meta field.
const METAS: u64 = 3;
/// By the meta field, by time, by both, by what only measurements have.
const INDEXES: u64 = 5;

/// Made, written to, deleted from, or dropped.
pub(super) fn any(maker: &mut Maker<'_>) -> Vec<Command> {
    match maker.dice.below(8) {
        0 => return vec![maker.command(doc! {"drop": NAME})],
        1 | 2 => {
            let of_one = doc! {"q": {"m": maker.dice.below(METAS) as i32}, "limit": 0};
            return vec![maker.command(doc! {"delete": NAME, "deletes": [of_one]})];
        }
        _ => {}
    }
    let made = doc! {"create": NAME, "timeseries": {"timeField": "t", "metaField": "m"}};
    let rows: Vec<Document> = (0..1 + maker.dice.below(8))
        .map(|_| {
            let at = DateTime::from_millis(1_700_000_000_000 + maker.dice.below(8_000_000) as i64);
            doc! {"t": at, "m": maker.dice.below(METAS) as i32, "v": value::number(&mut maker.dice)}
        })
        .collect();
    vec![
        maker.command(made),
        maker.command(doc! {"insert": NAME, "documents": rows}),
    ]
}

/// Grows; a server refuses to make it finer.
pub(super) fn granularity(maker: &mut Maker<'_>) -> Vec<Command> {
    let granularity = maker.dice.pick(&["minutes", "minutes", "hours"]);
    vec![maker.command(doc! {"collMod": NAME, "timeseries": {"granularity": granularity}})]
}

/// Nothing expires: the servers' monitors are off.
pub(super) fn expiry(maker: &mut Maker<'_>) -> Vec<Command> {
    let mut command = doc! {"collMod": NAME};
    command.extend(expires_after(&mut maker.dice));
    vec![maker.command(command)]
}

/// Of a whole collection: after some time, or never.
pub(super) fn expires_after(dice: &mut Dice) -> Document {
    let after = match dice.below(3) {
        0 => Bson::String("off".to_owned()),
        _ => Bson::Int64(3_600 + dice.below(1_000_000) as i64),
    };
    doc! {"expireAfterSeconds": after}
}

/// Built, hidden or shown, or dropped.
pub(super) fn index(maker: &mut Maker<'_>) -> Vec<Command> {
    let number = maker.dice.below(INDEXES);
    let name = format!("s{number}");
    let command = match maker.dice.below(4) {
        0 => doc! {"dropIndexes": NAME, "index": name},
        1 => {
            let change = doc! {"name": name, "hidden": maker.dice.one_in(2)};
            doc! {"collMod": NAME, "index": change}
        }
        _ => {
            let key = match number {
                0 => doc! {"m": 1},
                1 => doc! {"t": -1},
                2 => doc! {"m": 1, "t": 1},
                3 => doc! {"v": 1},
                _ => doc! {"v": -1, "t": 1},
            };
            doc! {"createIndexes": NAME, "indexes": [{"key": key, "name": name}]}
        }
    };
    vec![maker.command(command)]
}

/// Measurements go from one value of the meta field to another: what 6.0 allows.
pub(super) fn update(maker: &mut Maker<'_>) -> Vec<Command> {
    let [of, to] = [(); 2].map(|()| maker.dice.below(METAS) as i32);
    let moved = doc! {"q": {"m": of}, "u": {"$set": {"m": to}}, "multi": true};
    vec![maker.command(doc! {"update": NAME, "updates": [moved]})]
}
