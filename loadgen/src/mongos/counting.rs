//! `count` and `distinct`: shards have no routed form, so both are aggregated.

use bson::{Bson, Document, doc};

use crate::mongos::reply::{Answer, ok};
use crate::mongos::request::{Request, copy, text};
use crate::mongos::session::Session;
use crate::mongos::{by_map, crud, older};
use crate::wire::link::number;

/// Options both share with `aggregate`.
const SHARED: [&str; 6] = [
    "collation",
    "hint",
    "maxTimeMS",
    "readConcern",
    "comment",
    "let",
];

pub(super) async fn count(session: &mut Session, request: &Request) -> Answer {
    let options = request.options()?;
    let mut pipeline = vec![matching(&options)];
    for (option, stage) in [("skip", "$skip"), ("limit", "$limit")] {
        // A negative limit means its absolute value, as in the shell of old.
        let value = options.get(option).map_or(0.0, number).abs() as i64;
        if value != 0 {
            pipeline.push(doc! { stage: value });
        }
    }
    pipeline.push(doc! { "$group": { "_id": null, "n": { "$sum": 1 } } });
    let rows = aggregate(session, request, pipeline, &options).await?;
    let n = rows
        .first()
        .and_then(|row| row.get("n"))
        .cloned()
        .unwrap_or(Bson::Int32(0));
    ok(doc! { "n": n })
}

/// As the server's: an array counts as its elements, an empty one as nothing.
pub(super) async fn distinct(session: &mut Session, request: &Request) -> Answer {
    let options = request.options()?;
    let value = format!("${}", text(&options, "key")?);
    let pipeline = vec![
        matching(&options),
        doc! { "$project": { "_id": 0, "v": value } },
        doc! { "$match": { "v": { "$exists": true, "$ne": [] } } },
        // Else `$unwind` drops null, which is a value like any other.
        doc! { "$unwind": { "path": "$v", "preserveNullAndEmptyArrays": true } },
        doc! { "$group": { "_id": "$v" } },
    ];
    let rows = aggregate(session, request, pipeline, &options).await?;
    let values: Vec<Bson> = rows
        .into_iter()
        .filter_map(|mut row| row.remove("_id"))
        .collect();
    ok(doc! { "values": values })
}

fn matching(options: &Document) -> Document {
    doc! { "$match": options.get_document("query").cloned().unwrap_or_default() }
}

async fn aggregate(
    session: &mut Session,
    request: &Request,
    pipeline: Vec<Document>,
    options: &Document,
) -> Result<Vec<Document>, crate::mongos::reply::Failure> {
    let is_older = session.shared.is_before(older::WIRE_6_0);
    let routed = crud::routed_name("aggregate").expect("it is one of the routed commands");
    let name = if is_older { "aggregate" } else { routed };
    let mut command = doc! { name: request.collection()?, "pipeline": pipeline, "cursor": {} };
    copy(options, &SHARED, &mut command);
    if options.get_document("hint").is_ok_and(Document::is_empty) {
        command.remove("hint");
    }
    if is_older {
        return by_map::aggregate(session, &request.db, command).await;
    }
    let place = session.home().await?;
    session
        .drain(&place, &request.db, command, "clusterGetMore")
        .await
}
