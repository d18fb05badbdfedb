//! Seeded changes of collections and their indexes by `collMod`.
//!
//! Knows nothing about views and time series.

use bson::doc;

use super::ddl::validation;
use super::op::{CAPPED, Command, Maker};
use super::{index, series};

pub(super) fn expiry(maker: &mut Maker<'_>) -> Vec<Command> {
    let (name, index) = (maker.uncapped(), maker.dice.pick(&["i5", "i17", "i0"]));
    let change = doc! {"name": index, "expireAfterSeconds": 10 + maker.dice.below(1000) as i64};
    vec![maker.command(doc! {"collMod": name, "index": change})]
}

pub(super) fn hidden(maker: &mut Maker<'_>) -> Vec<Command> {
    let (name, index) = (
        maker.uncapped(),
        format!("i{}", maker.dice.below(index::COUNT)),
    );
    let change = doc! {"name": index, "hidden": maker.dice.one_in(2)};
    vec![maker.command(doc! {"collMod": name, "index": change})]
}

pub(super) fn validator(maker: &mut Maker<'_>) -> Vec<Command> {
    let command = doc! {"collMod": maker.uncapped()};
    let change = validation(maker);
    vec![maker.command(command.into_iter().chain(change).collect())]
}

pub(super) fn capped(maker: &mut Maker<'_>) -> Vec<Command> {
    let name = maker.dice.pick(&CAPPED);
    let mut command = doc! {"collMod": name};
    if maker.dice.one_in(2) {
        command.insert("cappedSize", maker.dice.pick(&[4096, 20_000, 500_000]));
    } else {
        command.insert("cappedMax", maker.dice.pick(&[-1, 3, 30]));
    }
    vec![maker.command(command)]
}

pub(super) fn images(maker: &mut Maker<'_>) -> Vec<Command> {
    let (name, enabled) = (maker.uncapped(), maker.dice.one_in(2));
    let change = if maker.dice.one_in(2) {
        doc! {"collMod": name, "recordPreImages": enabled}
    } else {
        doc! {"collMod": name, "changeStreamPreAndPostImages": {"enabled": enabled}}
    };
    vec![maker.command(change)]
}

/// Begun, taken back, or completed.
pub(super) fn unique(maker: &mut Maker<'_>) -> Vec<Command> {
    let (name, index) = (maker.uncapped(), maker.dice.pick(&["i0", "i1", "i14"]));
    let change = match maker.dice.below(4) {
        0 => doc! {"name": index, "prepareUnique": false},
        1 => doc! {"name": index, "unique": true},
        _ => doc! {"name": index, "prepareUnique": true},
    };
    vec![maker.command(doc! {"collMod": name, "index": change})]
}

/// Refused by one that is not clustered. Nothing expires: the servers' monitors are off.
pub(super) fn clustered(maker: &mut Maker<'_>) -> Vec<Command> {
    let mut command = doc! {"collMod": maker.uncapped()};
    command.extend(series::expires_after(&mut maker.dice));
    vec![maker.command(command)]
}

/// The index is named by its key, which the log turns into its name. Refused where several
/// have that key.
pub(super) fn by_key(maker: &mut Maker<'_>) -> Vec<Command> {
    let name = maker.uncapped();
    let expires = maker.dice.one_in(2);
    let number = if expires {
        5
    } else {
        maker.dice.below(index::COUNT)
    };
    let specification = index::specification(number);
    let mut change = doc! {"keyPattern": specification.get("key").cloned()};
    if expires {
        change.insert("expireAfterSeconds", 10 + maker.dice.below(1000) as i64);
    } else {
        change.insert("hidden", maker.dice.one_in(2));
    }
    let built = doc! {"createIndexes": name, "indexes": [specification]};
    vec![
        maker.command(built),
        maker.command(doc! {"collMod": name, "index": change}),
    ]
}
