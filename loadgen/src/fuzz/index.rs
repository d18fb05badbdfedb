//! The index specifications that are built and dropped again and again.
//!
//! Knows nothing about collections.

use bson::{Document, doc};

/// How many there are.
pub(super) const COUNT: u64 = 19;

/// The one with that number, always the same.
pub(super) fn specification(number: u64) -> Document {
    let name = format!("i{number}");
    match number {
        0 => doc! {"name": name, "key": {"n": 1}},
        1 => doc! {"name": name, "key": {"n": -1, "sub.a": 1}},
        2 => doc! {"name": name, "key": {"n": 1, "_id": 1}, "unique": true},
        3 => doc! {"name": name, "key": {"arr": 1}, "sparse": true},
        4 => doc! {"name": name, "key": {"a": 1}, "partialFilterExpression": {"n": {"$gt": 1}}},
        5 => doc! {"name": name, "key": {"at": 1}, "expireAfterSeconds": 3600},
        6 => doc! {"name": name, "key": {"$**": "text"}},
        7 => doc! {"name": name, "key": {"geo": "2dsphere"}},
        8 => doc! {"name": name, "key": {"flat": "2d"}, "bits": 20},
        9 => doc! {"name": name, "key": {"n": "hashed"}},
        10 => doc! {"name": name, "key": {"$**": 1}},
        11 => doc! {"name": name, "key": {"sub.$**": 1}},
        12 => doc! {"name": name, "key": {"b": 1}, "hidden": true},
        13 => {
            doc! {"name": name, "key": {"b": 1}, "collation": {"locale": "de", "strength": 1}}
        }
        14 => doc! {"name": name, "key": {"sub.arr.a": 1, "b": -1}},
        15 => doc! {"name": name, "key": {"$**": 1}, "wildcardProjection": {"a": 1, "sub.b": 1}},
        16 => doc! {"name": name, "key": {"alone": 1}, "unique": true, "sparse": true},
        17 => {
            doc! {"name": name, "key": {"x": 1_i64}, "expireAfterSeconds": 1_000_000.5, "partialFilterExpression": {"x": {"$type": "date"}}}
        }
        _ => {
            doc! {"name": name, "key": {"n": 1.0}, "unique": true, "partialFilterExpression": {"a": "never"}}
        }
    }
}
