//! `insert`, `update` and `delete`: each statement goes to the shards that its shard key
//! or its `_id` says, with the versions the map was read at. What a shard refuses because
//! the map is outdated goes again by a new one, as a router does it: all of a statement,
//! also where other shards have done their part.

use bson::{Bson, Document, RawDocument, doc};

use super::key;
use super::map::{Chunks, Map};
use super::patience::Patience;
use super::statements::{Statements, Verb};
use crate::mongos::metadata::{STALE_CONFIG, STALE_DB_VERSION, is_stale};
use crate::mongos::reply::{Answer, Failure, ok};
use crate::mongos::request::{Request, is_set};
use crate::mongos::session::Session;
use crate::mongos::shared::Place;
use crate::wire::link::number;

/// What came of the statements so far.
#[derive(Default)]
struct Outcome {
    n: i64,
    modified: i64,
    upserted: Vec<(usize, Bson)>,
    errors: Vec<(usize, Document)>,
    concern: Option<Bson>,
}

/// Statements that go to one shard in one command.
type Parts = Vec<(Place, Vec<usize>)>;

pub(super) async fn run(session: &mut Session, request: &Request, verb: Verb) -> Answer {
    let statements = Statements::of(request, verb)?;
    let coll = request.collection()?;
    let mut patience = Patience::new(&request.db, coll);
    let mut pending: Vec<usize> = (0..statements.all.len()).collect();
    let mut outcome = Outcome::default();
    while !pending.is_empty() && (!statements.ordered || outcome.errors.is_empty()) {
        let Some(map) = session.map(&request.db, coll).await? else {
            session.database_or_create(&request.db).await?;
            continue;
        };
        let parts = plan(&map, &statements, &mut pending, &mut outcome);
        let mut stale = Vec::new();
        for (place, indexes) in &parts {
            let again = send(
                session,
                &request.db,
                &statements,
                &map,
                place,
                indexes,
                &mut outcome,
            )
            .await?;
            stale.extend(again);
        }
        if stale.is_empty() {
            patience.renew();
            continue;
        }
        pending.extend(stale);
        pending.sort_unstable();
        pending.dedup();
        let message = "the chunk map kept changing";
        patience
            .wait(session, Failure::new(STALE_CONFIG, "StaleConfig", message))
            .await?;
    }
    ok(outcome.reply(verb))
}

/// The next commands; takes their statements out of `pending`. In order, those that follow
/// each other and go to one shard go together, and one that goes to several goes alone.
fn plan(
    map: &Map,
    statements: &Statements,
    pending: &mut Vec<usize>,
    outcome: &mut Outcome,
) -> Parts {
    let mut parts: Parts = Vec::new();
    let mut taken = 0;
    for &at in pending.iter() {
        let places = match target(map, statements.verb, &statements.all[at]) {
            Ok(places) => places,
            Err(_) if statements.ordered && !parts.is_empty() => break,
            Err(failure) => {
                outcome.errors.push((at, failure.write_error()));
                taken += 1;
                if statements.ordered {
                    break;
                }
                continue;
            }
        };
        let is_alone = 1 < places.len() || parts.iter().any(|(place, _)| *place != places[0]);
        if statements.ordered && !parts.is_empty() && is_alone {
            break;
        }
        for place in places {
            match parts.iter_mut().find(|(known, _)| *known == place) {
                Some((_, indexes)) => indexes.push(at),
                None => parts.push((place, vec![at])),
            }
        }
        taken += 1;
    }
    pending.drain(..taken);
    parts
}

/// The shards that a statement goes to.
fn target(map: &Map, verb: Verb, statement: &RawDocument) -> Result<Vec<Place>, Failure> {
    let Some(chunks) = &map.chunks else {
        return Ok(vec![map.primary.clone()]);
    };
    if verb == Verb::Insert {
        return Ok(vec![map.owner(&key::of_document(chunks, statement))?]);
    }
    let query = Document::try_from(statement.get_document("q").map_err(Failure::internal)?)?;
    let collation = statement.get_document("collation").ok();
    let collation = collation.map(Document::try_from).transpose()?;
    if let Some(key) = key::of_query(chunks, &query, collation.as_ref()) {
        return Ok(vec![map.owner(&key)?]);
    }
    if statement.get_bool("upsert").unwrap_or(false) {
        return Err(no_shard_key("an upsert must hold the whole shard key"));
    }
    let is_one = match verb {
        Verb::Update => !statement.get_bool("multi").unwrap_or(false),
        _ => statement
            .get("limit")?
            .is_some_and(|limit| Bson::try_from(limit).is_ok_and(|limit| number(&limit) != 0.0)),
    };
    if !is_one || key::has_id(&query) {
        return Ok(map.owners());
    }
    match replacement(chunks, verb, statement) {
        Some(replacement) => Ok(vec![map.owner(&key::of_document(chunks, replacement))?]),
        None => Err(no_shard_key(
            "a write of one document must hold _id or the whole shard key",
        )),
    }
}

/// A whole new document tells where it is.
fn replacement<'a>(
    chunks: &Chunks,
    verb: Verb,
    statement: &'a RawDocument,
) -> Option<&'a RawDocument> {
    let new = statement
        .get_document("u")
        .ok()
        .filter(|_| verb == Verb::Update)?;
    let first = new.iter_elements().next()?.ok()?;
    (!first.key().as_str().starts_with('$') && key::is_whole(chunks, new)).then_some(new)
}

fn no_shard_key(message: &str) -> Failure {
    Failure::new(61, "ShardKeyNotFound", message)
}

/// Sends the statements at `indexes`; answers those that are to go again.
async fn send(
    session: &mut Session,
    db: &str,
    statements: &Statements,
    map: &Map,
    place: &Place,
    indexes: &[usize],
    outcome: &mut Outcome,
) -> Result<Vec<usize>, Failure> {
    let (body, sequence) = statements.command(indexes, &map.versions(place))?;
    let reply = session.send(place, &body, &sequence).await?;
    let answer = Document::try_from(reply.as_ref())?;
    if !is_set(&answer, "ok") {
        let failure = Failure::Passed(reply);
        if is_stale(failure.code()) {
            return Ok(indexes.to_vec());
        }
        return Err(failure);
    }
    let mut refused = rows(&answer, "writeErrors").map(code);
    if refused.any(|code| code == STALE_DB_VERSION) {
        read_database_again(session, place, db).await?;
    }
    Ok(outcome.add(&answer, indexes, statements.ordered))
}

/// A shard of 4.2 that a write tells of a database it does not know yet refuses the write
/// and asks nobody.
async fn read_database_again(
    session: &mut Session,
    place: &Place,
    db: &str,
) -> Result<(), Failure> {
    let flush = doc! { "_flushDatabaseCacheUpdates": db, "syncFromConfig": true };
    session.run(place, "admin", flush).await?;
    Ok(())
}

impl Outcome {
    /// Adds a shard's answer about the statements at `indexes`; answers those that are to
    /// go again: refused for an outdated map, or not reached because of such a one.
    fn add(&mut self, answer: &Document, indexes: &[usize], ordered: bool) -> Vec<usize> {
        let count = |name| answer.get(name).map_or(0.0, number) as i64;
        self.n += count("n");
        self.modified += count("nModified");
        for row in rows(answer, "upserted") {
            let id = row.get("_id").cloned().unwrap_or(Bson::Null);
            self.upserted.push((index(row, indexes), id));
        }
        if let Some(concern) = answer.get("writeConcernError") {
            self.concern = Some(concern.clone());
        }
        let mut stale = Vec::new();
        for row in rows(answer, "writeErrors") {
            let at = index(row, indexes);
            if !is_stale(code(row)) {
                self.error(at, row);
            } else if ordered {
                stale.extend(indexes.iter().filter(|index| at <= **index));
            } else {
                stale.push(at);
            }
        }
        stale
    }

    /// One a statement, however many shards refused it.
    fn error(&mut self, at: usize, row: &Document) {
        if !self.errors.iter().any(|(known, _)| *known == at) {
            self.errors.push((at, row.clone()));
        }
    }

    fn reply(mut self, verb: Verb) -> Document {
        let mut reply = doc! { "n": self.n as i32 };
        if verb == Verb::Update {
            reply.insert("nModified", self.modified as i32);
        }
        if !self.upserted.is_empty() {
            self.upserted.sort_by_key(|(at, _)| *at);
            let upserted = self.upserted.into_iter();
            let row = |(at, id)| doc! { "index": at as i32, "_id": id };
            reply.insert("upserted", upserted.map(row).collect::<Vec<_>>());
        }
        if !self.errors.is_empty() {
            self.errors.sort_by_key(|(at, _)| *at);
            let errors = self.errors.into_iter().map(|(at, mut row)| {
                row.insert("index", at as i32);
                row
            });
            reply.insert("writeErrors", errors.collect::<Vec<_>>());
        }
        if let Some(concern) = self.concern {
            reply.insert("writeConcernError", concern);
        }
        reply
    }
}

fn rows<'a>(answer: &'a Document, name: &str) -> impl Iterator<Item = &'a Document> {
    let rows = answer.get_array(name).into_iter().flatten();
    rows.filter_map(Bson::as_document)
}

fn code(row: &Document) -> i32 {
    row.get("code").map_or(0.0, number) as i32
}

/// A row's place among all statements.
fn index(row: &Document, indexes: &[usize]) -> usize {
    let within = row.get("index").map_or(0.0, number) as usize;
    indexes.get(within).copied().unwrap_or(within)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_stale_shard_did_not_reach_goes_again() {
        let refused = |index: i32, code: i32| doc! { "index": index, "code": code, "errmsg": "" };
        let answer = doc! { "n": 1, "writeErrors": [refused(1, 63)] };
        let mut outcome = Outcome::default();
        assert_eq!(outcome.add(&answer, &[2, 5, 7], true), [5, 7]);
        assert!(outcome.n == 1 && outcome.errors.is_empty());

        let answer = doc! { "n": 1, "writeErrors": [refused(0, 11000), refused(2, 13388)] };
        let mut outcome = Outcome::default();
        assert_eq!(outcome.add(&answer, &[2, 5, 7], false), [7]);
        let reply = outcome.reply(Verb::Insert);
        let errors = reply.get_array("writeErrors").unwrap();
        assert_eq!(
            errors[0].as_document().unwrap().get_i32("index").unwrap(),
            2
        );
        assert_eq!(errors.len(), 1);
    }
}
