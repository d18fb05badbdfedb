//! Reads and writes of documents: renamed to the router's form and sent to a
//! shard (before 6.0: routed in `by_map`); those on `config` and `admin` go to the config server as they are.
//! Bulks pass through undecoded.

use bson::raw::RawDocumentBuf;
use bson::{Document, RawDocument, doc, rawdoc};

use crate::mongos::reply::{Answer, Failure, ok};
use crate::mongos::request::Request;
use crate::mongos::session::Session;
use crate::mongos::shared::{CursorHome, Place};
use crate::mongos::{by_map, older};

/// The router's form of a command, on shard servers of 6.0.
pub(super) fn routed_name(command: &str) -> Option<&'static str> {
    match command {
        "insert" => Some("clusterInsert"),
        "update" => Some("clusterUpdate"),
        "delete" => Some("clusterDelete"),
        "find" => Some("clusterFind"),
        "aggregate" => Some("clusterAggregate"),
        _ => None,
    }
}

pub(super) async fn run(session: &mut Session, request: &Request) -> Answer {
    if request.db == "local" {
        let message = "the local database is not reachable through a router";
        return Err(Failure::new(20, "IllegalOperation", message));
    }
    // `aggregate: 1` (`$currentOp`, `$changeStream`) is about the cluster.
    let on_config = matches!(request.db.as_str(), "config" | "admin") && request.target().is_some();
    if on_config {
        return run_on_config_server(session, request).await;
    }
    refuse_endless_cursors(request)?;
    if session.shared.is_before(older::WIRE_6_0) {
        return by_map::run(session, request).await;
    }
    let name = routed_name(&request.name).expect("dispatch sends only these here");
    let place = session.home().await?;
    let body = request.renamed(name)?;
    let reply = session.send(&place, &body, &request.sequences).await?;
    keep(session, &reply, place, true);
    Ok(reply)
}

/// A routed `getMore` that awaits data brings a shard server of 6.0.5 down
/// (invariant `haveClient()`), so no such cursor may be opened.
fn refuse_endless_cursors(request: &Request) -> Result<(), Failure> {
    let first_stage = request
        .body
        .get_array("pipeline")
        .ok()
        .and_then(|stages| stages.into_iter().next()?.ok());
    let is_stream = first_stage
        .and_then(|stage| stage.as_document())
        .is_some_and(|stage| {
            stage.iter_elements().next().is_some_and(|first| {
                first.is_ok_and(|first| first.key().as_str() == "$changeStream")
            })
        });
    if is_stream || request.body.get_bool("tailable").unwrap_or(false) {
        let message = "the mongos stand-in has no change streams and no tailable cursors; open them on a shard";
        return Err(Failure::new(115, "CommandNotSupported", message));
    }
    Ok(())
}

/// Reads without a read concern get majority, as a router's do.
async fn run_on_config_server(session: &mut Session, request: &Request) -> Answer {
    let mut body = request.renamed(&request.name)?;
    let reads = matches!(
        request.name.as_str(),
        "find" | "aggregate" | "count" | "distinct" | "listIndexes"
    );
    if reads && request.name != "listIndexes" && body.get("readConcern")?.is_none() {
        body.append(
            bson::raw::cstr!("readConcern"),
            rawdoc! { "level": "majority" },
        );
    }
    forward(session, Place::Config, &body, &request.sequences).await
}

/// Sends a plain command to one place and remembers the cursor it opens.
pub(super) async fn forward(
    session: &mut Session,
    place: Place,
    body: &RawDocument,
    sequences: &[u8],
) -> Answer {
    let reply = session.send(&place, body, sequences).await?;
    keep_cursor(session, &reply, place);
    Ok(reply)
}

/// Remembers where a plain cursor is, if the reply opened one.
pub(super) fn keep_cursor(session: &Session, reply: &RawDocument, place: Place) {
    keep(session, reply, place, false);
}

fn keep(session: &Session, reply: &RawDocument, place: Place, routed: bool) {
    let id = reply
        .get_document("cursor")
        .and_then(|cursor| cursor.get_i64("id"));
    if let Ok(id) = id
        && id != 0
    {
        let home = CursorHome { place, routed };
        session.shared.keep_cursor(id, home);
    }
}

pub(super) async fn get_more(session: &mut Session, request: &Request) -> Answer {
    let id = request
        .body
        .get_i64("getMore")
        .map_err(|_| Failure::bad_value("getMore needs a cursor id"))?;
    let home = session
        .shared
        .cursor(id)
        .ok_or_else(|| cursor_not_found(id))?;
    let name = if home.routed {
        "clusterGetMore"
    } else {
        "getMore"
    };
    let reply = session
        .send(&home.place, &request.renamed(name)?, &[])
        .await?;
    let next = reply
        .get_document("cursor")
        .and_then(|cursor| cursor.get_i64("id"));
    if next.is_ok_and(|next| next == 0) {
        session.shared.forget_cursor(id);
    }
    Ok(reply)
}

fn cursor_not_found(id: i64) -> Failure {
    Failure::new(43, "CursorNotFound", format!("cursor id {id} not found"))
}

/// There is no routed `killCursors`: such a cursor is only forgotten here, and
/// the shard ends it after its ten minutes.
pub(super) async fn kill_cursors(session: &mut Session, request: &Request) -> Answer {
    let command = request.document()?;
    let ids = command
        .get_array("cursors")
        .map_err(|_| Failure::bad_value("killCursors needs cursors"))?;
    let (mut killed, mut unknown) = (Vec::new(), Vec::new());
    for id in ids {
        match id.as_i64().and_then(|id| session.shared.forget_cursor(id)) {
            Some(home) => {
                if !home.routed {
                    let kill =
                        doc! { "killCursors": request.collection()?, "cursors": [id.clone()] };
                    session.run(&home.place, &request.db, kill).await?;
                }
                killed.push(id.clone());
            }
            None => unknown.push(id.clone()),
        }
    }
    let none = bson::Array::new;
    ok(doc! {
        "cursorsKilled": killed, "cursorsNotFound": unknown,
        "cursorsAlive": none(), "cursorsUnknown": none(),
    })
}

/// `explain: {find | aggregate | update | delete | …}`.
pub(super) async fn explain(session: &mut Session, request: &Request) -> Answer {
    if session.shared.is_before(older::WIRE_6_0) {
        return by_map::explain(session, request).await;
    }
    let mut command = request.options()?;
    let explained = command
        .get_document("explain")
        .map_err(|_| Failure::bad_value("explain needs a command"))?;
    let name = explained.keys().next().cloned().unwrap_or_default();
    let routed = routed_name(&name).ok_or_else(|| {
        Failure::new(
            59,
            "CommandNotFound",
            format!("the mongos stand-in cannot explain {name}"),
        )
    })?;
    let renamed: Document = explained
        .iter()
        .enumerate()
        .map(|(index, (key, value))| {
            (
                if index == 0 {
                    routed.to_owned()
                } else {
                    key.clone()
                },
                value.clone(),
            )
        })
        .collect();
    command.insert("explain", renamed);
    let place = session.home().await?;
    let body: RawDocumentBuf = crate::mongos::request::command(&request.db, command)?;
    session.send(&place, &body, &[]).await
}
