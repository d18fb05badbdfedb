//! Which stages of a pipeline each shard can do for itself, and which need what all of
//! them found.
//!
//! Pure decisions over BSON. Knows nothing about shards.

use bson::{Bson, Document, doc};

/// They look at one document after the other, or tell about one shard.
const ON_EACH_SHARD: [&str; 11] = [
    "$match",
    "$project",
    "$addFields",
    "$set",
    "$unset",
    "$replaceRoot",
    "$replaceWith",
    "$unwind",
    "$redact",
    "$collStats",
    "$indexStats",
];
/// What comes of them for parts comes of the parts' results for the whole.
const ADDITIVE: [&str; 3] = ["$sum", "$min", "$max"];
/// They meet other collections, which are where the database's primary shard is.
const ON_PRIMARY: [&str; 5] = ["$lookup", "$graphLookup", "$unionWith", "$out", "$merge"];

/// What each shard runs, and what runs over all they find.
#[derive(Debug, PartialEq)]
pub(super) struct Split {
    pub(super) on_shards: Vec<Document>,
    pub(super) merging: Vec<Document>,
}

pub(super) fn split(pipeline: Vec<Document>) -> Split {
    let is_for_all = |stage: &Document| !ON_EACH_SHARD.contains(&name(stage));
    let cut = pipeline.iter().position(is_for_all);
    let mut on_shards = pipeline;
    let mut merging = on_shards.split_off(cut.unwrap_or(on_shards.len()));
    match merging.first().map(name) {
        Some("$limit") => on_shards.push(merging[0].clone()),
        Some("$sort") if merging.get(1).is_some_and(|next| name(next) == "$limit") => {
            on_shards.extend_from_slice(&merging[..2]);
        }
        Some("$group") => {
            if let Some(again) = grouped_again(&merging[0]) {
                on_shards.push(std::mem::replace(&mut merging[0], again));
            }
        }
        Some("$count") => {
            let field = merging[0].get_str("$count").unwrap_or("count").to_owned();
            on_shards.push(doc! { "$group": { "_id": null, &field: { "$sum": 1 } } });
            let sum = doc! { "$group": { "_id": null, &field: { "$sum": format!("${field}") } } };
            merging.splice(..1, [sum, doc! { "$project": { "_id": 0 } }]);
        }
        _ => {}
    }
    Split { on_shards, merging }
}

/// The same group over the groups of each shard, where there is such a thing.
fn grouped_again(stage: &Document) -> Option<Document> {
    let group = stage.get_document("$group").ok()?;
    let mut again = doc! { "_id": "$_id" };
    for (field, accumulator) in group.iter().filter(|(field, _)| *field != "_id") {
        let operator = accumulator.as_document()?.keys().next()?;
        if !ADDITIVE.contains(&operator.as_str()) {
            return None;
        }
        again.insert(field, doc! { operator: format!("${field}") });
    }
    Some(doc! { "$group": again })
}

pub(super) fn is_on_primary(pipeline: &[Document]) -> bool {
    pipeline
        .iter()
        .any(|stage| ON_PRIMARY.contains(&name(stage)))
}

/// The query that leads a pipeline.
pub(super) fn query(pipeline: &[Document]) -> Document {
    let first = pipeline
        .first()
        .and_then(|stage| stage.get_document("$match").ok());
    first.cloned().unwrap_or_default()
}

/// The stages that do what a `find` asks for.
pub(super) fn of_find(find: &Document) -> Vec<Document> {
    let parts = [
        ("filter", "$match"),
        ("sort", "$sort"),
        ("skip", "$skip"),
        ("limit", "$limit"),
        ("projection", "$project"),
    ];
    let is_nothing = |value: &Bson| match value {
        Bson::Document(document) => document.is_empty(),
        value => crate::wire::link::number(value) == 0.0,
    };
    let stage = |(option, stage): (&str, &str)| {
        let value = find.get(option).filter(|value| !is_nothing(value))?;
        Some(doc! { stage: value.clone() })
    };
    parts.into_iter().filter_map(stage).collect()
}

fn name(stage: &Document) -> &str {
    stage.keys().next().map_or("", String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_do_what_each_can_do_alone() {
        let matching = doc! { "$match": { "a": 1 } };
        let sort = doc! { "$sort": { "a": 1 } };
        let limit = doc! { "$limit": 3 };
        let count = doc! { "$group": { "_id": 1, "n": { "$sum": 1 } } };
        let average = doc! { "$group": { "_id": "$a", "n": { "$avg": "$b" } } };
        let rows = [
            (vec![matching.clone()], vec![matching.clone()], vec![]),
            (
                vec![matching.clone(), count.clone(), sort.clone()],
                vec![matching.clone(), count],
                vec![
                    doc! { "$group": { "_id": "$_id", "n": { "$sum": "$n" } } },
                    sort.clone(),
                ],
            ),
            (vec![average.clone()], vec![], vec![average]),
            (
                vec![sort.clone(), limit.clone(), matching.clone()],
                vec![sort.clone(), limit.clone()],
                vec![sort.clone(), limit.clone(), matching.clone()],
            ),
            (vec![sort.clone()], vec![], vec![sort]),
            (
                vec![doc! { "$count": "all" }],
                vec![doc! { "$group": { "_id": null, "all": { "$sum": 1 } } }],
                vec![
                    doc! { "$group": { "_id": null, "all": { "$sum": "$all" } } },
                    doc! { "$project": { "_id": 0 } },
                ],
            ),
        ];
        for (pipeline, on_shards, merging) in rows {
            assert_eq!(split(pipeline), Split { on_shards, merging });
        }
    }

    #[test]
    fn a_find_has_stages() {
        let find =
            doc! { "find": "v", "filter": {}, "sort": { "a": 1 }, "limit": 2_i64, "skip": 0 };
        assert_eq!(
            of_find(&find),
            [doc! { "$sort": { "a": 1 } }, doc! { "$limit": 2_i64 }]
        );
    }
}
