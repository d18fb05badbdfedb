//! Changes of collections, indexes and databases: by the internal command that
//! coordinates them over the shards, on the database's primary shard.

use bson::{Bson, Document, doc};

use crate::mongos::metadata::split_ns;
use crate::mongos::older;
use crate::mongos::reply::{Answer, Failure, ok, stripped};
use crate::mongos::request::{Request, is_set, text};
use crate::mongos::session::Session;
use crate::wire::link::number;

const NAMESPACE_EXISTS: i32 = 48;

/// An unsharded collection or a view, on the database's primary shard. One that is there
/// with these options is as good as made.
pub(super) async fn create(session: &mut Session, request: &Request) -> Answer {
    session.database_or_create(&request.db).await?;
    let options = request.options()?;
    match session
        .run_on_primary(&request.db, &request.db, options.clone())
        .await
    {
        Ok(reply) => ok(stripped(reply)),
        Err(e) if e.code() == NAMESPACE_EXISTS && is_there(session, request, options).await? => {
            ok(doc! {})
        }
        Err(e) => Err(e),
    }
}

/// Options as a server lists them; a collation must be given in full.
async fn is_there(
    session: &mut Session,
    request: &Request,
    mut wanted: Document,
) -> Result<bool, Failure> {
    let Some(database) = session.database(&request.db).await? else {
        return Ok(false);
    };
    let list = doc! { "listCollections": 1, "filter": { "name": request.collection()? } };
    let rows = session
        .read_all(&database.primary, &request.db, list)
        .await?;
    let there = rows
        .first()
        .and_then(|row| row.get_document("options").ok())
        .cloned()
        .unwrap_or_default();
    wanted.remove(&request.name);
    wanted.remove("writeConcern");
    let holds = |a: &Document, b: &Document| {
        a.iter()
            .all(|(name, value)| b.get(name).is_some_and(|b| alike(value, b)))
    };
    Ok(holds(&wanted, &there) && holds(&there, &wanted))
}

/// Numbers by what they say: a server lists them as it stores them.
fn alike(a: &Bson, b: &Bson) -> bool {
    let is_number =
        |value: &Bson| matches!(value, Bson::Int32(_) | Bson::Int64(_) | Bson::Double(_));
    a == b || (is_number(a) && is_number(b) && number(a) == number(b))
}

pub(super) async fn drop(session: &mut Session, request: &Request) -> Answer {
    let coll = request.collection()?;
    let uuid = older::uuid_of_drop(session, request)?;
    if session.database(&request.db).await?.is_none() {
        return match uuid {
            Some(uuid) => Err(Failure::other_uuid(&request.db, coll, uuid)),
            None => ok(doc! { "info": "database does not exist" }),
        };
    }
    if session.shared.is_before(older::WIRE_5_0) {
        return older::drop(session, &request.db, coll).await;
    }
    let mut fields = doc! { "_shardsvrDropCollection": coll };
    fields.extend(uuid.map(|uuid| ("collectionUUID".to_owned(), uuid)));
    session
        .run_on_primary(&request.db, &request.db, fields)
        .await?;
    ok(doc! { "ns": format!("{}.{coll}", request.db) })
}

pub(super) async fn drop_database(session: &mut Session, request: &Request) -> Answer {
    if session.shared.is_before(older::WIRE_5_0) {
        return older::drop_database(session, &request.db).await;
    }
    if session.database(&request.db).await?.is_some() {
        session
            .run_on_primary(
                &request.db,
                &request.db,
                doc! { "_shardsvrDropDatabase": 1 },
            )
            .await?;
    }
    ok(doc! { "dropped": &request.db })
}

pub(super) async fn create_indexes(session: &mut Session, request: &Request) -> Answer {
    session.database_or_create(&request.db).await?;
    on_owners(session, request).await
}

/// As it is on every shard that owns chunks, one after the other.
async fn on_owners(session: &mut Session, request: &Request) -> Answer {
    let mut raw = Document::new();
    let mut places = session.owners(&request.db, request.collection()?).await?;
    let database = session.database(&request.db).await?;
    // Until 4.4 a router lists the indexes of the database's primary shard.
    let primary = database.map(|database| database.primary);
    let primary = primary.filter(|_| session.shared.is_before(older::WIRE_4_4));
    places.extend(primary.filter(|primary| !places.contains(primary)));
    for place in places {
        let body = request.renamed(&request.name)?;
        let reply = session.send(&place, &body, &request.sequences).await?;
        if !reply.get("ok")?.is_some_and(|ok| ok.as_f64() == Some(1.0)) {
            return Err(Failure::Passed(reply));
        }
        let hosts = session.shared.hosts_of(&place).unwrap_or_default();
        let reply = stripped(Document::try_from(reply.as_ref())?);
        raw.insert(hosts.join(","), Bson::Document(reply));
    }
    ok(doc! { "raw": raw })
}

pub(super) async fn drop_indexes(session: &mut Session, request: &Request) -> Answer {
    coordinated(
        session,
        request,
        "_shardsvrDropIndexes",
        &["index", "collectionUUID"],
    )
    .await
}

pub(super) async fn coll_mod(session: &mut Session, request: &Request) -> Answer {
    let options = request.options()?;
    let kept: Vec<&str> = options
        .keys()
        .map(String::as_str)
        .filter(|key| *key != "writeConcern")
        .collect();
    coordinated(session, request, "_shardsvrCollMod", &kept[1..]).await
}

async fn coordinated(
    session: &mut Session,
    request: &Request,
    name: &str,
    keys: &[&str],
) -> Answer {
    if session.shared.is_before(older::WIRE_6_0) {
        return on_owners(session, request).await;
    }
    let mut fields = doc! { name: request.collection()? };
    crate::mongos::request::copy(&request.options()?, keys, &mut fields);
    let reply = session
        .run_on_primary(&request.db, &request.db, fields)
        .await?;
    ok(stripped(reply))
}

/// `renameCollection: "db.a", to: "db.b", dropTarget, collectionUUID`, on `admin`.
pub(super) async fn rename(session: &mut Session, request: &Request) -> Answer {
    let options = request.options()?;
    let (db, coll) = split_ns(request.collection()?)?;
    if session.shared.is_before(older::WIRE_5_0) {
        return older::rename(session, db, options.clone()).await;
    }
    let mut fields = doc! {
        "_shardsvrRenameCollection": coll, "to": text(&options, "to")?, "dropTarget": is_set(&options, "dropTarget"),
    };
    // Shards ignore the name that a client gives it.
    let uuid = options.get("collectionUUID").cloned();
    fields.extend(uuid.map(|uuid| ("expectedSourceUUID".to_owned(), uuid)));
    session.run_on_primary(db, db, fields).await?;
    ok(doc! {})
}

/// Runs as it is where an unsharded collection lives.
pub(super) async fn on_primary(session: &mut Session, request: &Request) -> Answer {
    let database = session.database(&request.db).await?;
    let database = database.ok_or_else(|| Failure::namespace_not_found(&request.db))?;
    session
        .send(
            &database.primary,
            &request.renamed(&request.name)?,
            &request.sequences,
        )
        .await
}
