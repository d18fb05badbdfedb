//! Admin commands: public ones through the router (or a replica set's entry).
//! Each is one call with one answer; passing errors are retried within a bound.
//!
//! Decides nothing: which command when is for `control`.

use std::time::Duration;

use bson::{Document, RawDocument, RawDocumentBuf, rawdoc};
use mongodb::Client;

use crate::bson::element::{document, elements};
use crate::cluster::catalog::collection::Namespace;
use crate::cluster::dialect::WriteForms;
use crate::cluster::entry::Entry;
use crate::cluster::retry::{answered, while_it_passes};
use crate::codes;
use crate::error::{Error, Kind, Result};

/// How long a command is repeated after transient errors. An election takes 10 s by
/// default; a shard busy with one migration refuses the next.
pub const RETRY_TIME_MAX: Duration = Duration::from_secs(120);
/// How long to wait for one answer: a router waits for a shard that has no primary, and a
/// frozen router never answers. A command that is sent again joins the one already
/// running.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(60);
/// The same of a question to the config servers, which waits for no shard. Short enough for
/// another router to be asked before who watches gives up (20 s, `control::across::watch`).
const QUESTION_TIME_MAX: Duration = Duration::from_secs(5);
/// How long to wait for a move: the recipient may have to delete a range first.
const MOVE_TIME_MAX: Duration = Duration::from_secs(300);
const RETRY_DELAY_MIN: Duration = Duration::from_millis(50);
const RETRY_DELAY_MAX: Duration = Duration::from_secs(2);

/// Codes by which a server says "not now" to an admin command: stale routing,
/// a lock or migration in the way, an election behind the router (server source,
/// `error_codes.yml`: LockTimeout, LockBusy, StaleShardVersion, WriteConflict,
/// ConflictingOperationInProgress, NoConfigPrimary, StaleEpoch, NetworkInterfaceExceeded…,
/// StaleDbVersion, DatabaseDropPending, Interrupted, BackgroundOperation… twice, StaleConfig,
/// RetriableRemoteCommandFailure).
const BUSY: [i32; 15] = [
    24, 46, 63, 112, 117, 149, 150, 202, 249, 357, 11601, 12586, 12587, 13388, 91331,
];

/// Runs a command until it is done or fails for good.
///
/// # Errors
/// The server's answer; the last passing error after `RETRY_TIME_MAX`.
pub async fn run(entry: &Entry, db: &str, command: &RawDocument) -> Result<Document> {
    run_within(ANSWER_TIME_MAX, entry, db, command).await
}

async fn run_within(
    patience: Duration,
    entry: &Entry,
    db: &str,
    command: &RawDocument,
) -> Result<Document> {
    let send = || async {
        let answer = entry.send(db, command, patience).await;
        let done = answer.and_then(|reply| acknowledged(&reply).map(|()| reply));
        done.map_err(|e| e.context(name_of(command)))
    };
    let pauses = (RETRY_DELAY_MIN, RETRY_DELAY_MAX);
    while_it_passes(RETRY_TIME_MAX, pauses, is_passing, send).await
}

/// Like `run`, acknowledged by a majority.
pub async fn run_majority(entry: &Entry, db: &str, command: &RawDocument) -> Result<Document> {
    let mut command = command.to_owned();
    command.append(bson::cstr!("writeConcern"), rawdoc! {"w": "majority"});
    run(entry, db, &command).await
}

/// Sends a command to a shard once, to be acknowledged by a majority.
///
/// # Errors
/// As `run_once`.
pub async fn run_once_majority(
    shard: &Client,
    db: &str,
    command: &RawDocument,
) -> Result<Document> {
    let mut command = command.to_owned();
    command.append(bson::cstr!("writeConcern"), rawdoc! {"w": "majority"});
    run_once(shard, db, &command).await
}

/// Sends a command once.
///
/// # Errors
/// The server's answer; `Transient` if no majority acknowledged it, or if no answer came
/// in time: it may still take effect.
pub async fn run_once(client: &Client, db: &str, command: &RawDocument) -> Result<Document> {
    let sent = async {
        Ok(client
            .database(db)
            .run_raw_command(command.to_owned())
            .await?)
    };
    let reply = answered(&name_of(command), sent).await?;
    acknowledged(&reply).map(|()| reply)
}

/// Asks a server a question, by a command that changes nothing.
///
/// # Errors
/// The server's answer; `Transient` if there is none in time (R12).
pub async fn ask(client: &Client, db: &str, question: Document) -> Result<Document> {
    let name = question.keys().next().cloned().unwrap_or_default();
    answered(&name, async {
        Ok(client.database(db).run_command(question).await?)
    })
    .await
}

/// Checks a reply with `ok: 1` for a missing majority: the write may then be rolled back.
/// The driver ignores this.
///
/// # Errors
/// `Transient` if no majority acknowledged.
pub fn acknowledged(reply: &Document) -> Result<()> {
    let Ok(concern) = reply.get_document("writeConcernError") else {
        return Ok(());
    };
    let text = concern.get_str("errmsg").unwrap_or("no reason given");
    let error = Error::new(
        Kind::Transient,
        format!("not acknowledged by a majority: {text}"),
    );
    Err(Error {
        code: concern.get_i32("code").ok(),
        ..error
    })
}

fn is_passing(e: &Error) -> bool {
    e.kind == Kind::Transient || e.code.is_some_and(|code| BUSY.contains(&code))
}

/// Whether a server says "not now" and did nothing.
pub fn is_busy(e: &Error) -> bool {
    e.kind != Kind::Transient && e.code.is_some_and(|code| BUSY.contains(&code))
}

/// Whether a split or a move refused with `e` may already be what the chunk map needs, or
/// become so: the map must be read again. Routers also refuse without a code.
pub fn may_come_right(e: &Error) -> bool {
    is_passing(e)
        || e.code == Some(codes::OPERATION_FAILED)
        || (e.kind == Kind::Server && e.code.is_none())
}

fn name_of(command: &RawDocument) -> String {
    command
        .iter()
        .flatten()
        .next()
        .map_or(String::new(), |(name, _)| name.as_str().to_owned())
}

/// Creates a database on the shard `primary`.
pub async fn enable_sharding(router: &Entry, db: &str, primary: &str) -> Result<()> {
    run(
        router,
        "admin",
        &rawdoc! {"enableSharding": db, "primaryShard": primary},
    )
    .await
    .map(drop)
}

/// Moves a database's primary; meant for empty databases only.
pub async fn move_primary(router: &Entry, db: &str, to: &str) -> Result<()> {
    run(router, "admin", &rawdoc! {"movePrimary": db, "to": to})
        .await
        .map(drop)
}

/// Creates a collection or view; `options` as `listCollections` gives them.
pub async fn create(entry: &Entry, ns: &Namespace, options: &RawDocument) -> Result<()> {
    let head = rawdoc! {"create": ns.coll.as_str()};
    let command = document(elements(&head).chain(elements(options)));
    run_majority(entry, &ns.db, &command).await.map(drop)
}

/// Builds one index and waits for a majority of the members to have it.
pub async fn create_index(
    entry: &Entry,
    forms: &WriteForms,
    ns: &Namespace,
    spec: RawDocumentBuf,
) -> Result<()> {
    let mut command = rawdoc! {"createIndexes": ns.coll.as_str(), "indexes": [spec]};
    if forms.commit_quorum {
        command.append(bson::cstr!("commitQuorum"), "majority");
    }
    run_majority(entry, &ns.db, &command).await.map(drop)
}

/// Shards a collection. `simple_collation` must be true where the collection
/// has a default collation of its own: shard keys are always compared simply.
pub async fn shard_collection(
    router: &Entry,
    ns: &Namespace,
    key: &RawDocument,
    unique: bool,
    simple_collation: bool,
) -> Result<()> {
    let mut command =
        rawdoc! {"shardCollection": ns.to_string(), "key": key.to_owned(), "unique": unique};
    if simple_collation {
        command.append(bson::cstr!("collation"), rawdoc! {"locale": "simple"});
    }
    run(router, "admin", &command).await.map(drop)
}

/// Refines the key of a sharded collection. Sent once; the same again is no error.
pub async fn refine_shard_key(router: &Entry, ns: &Namespace, key: &RawDocument) -> Result<()> {
    let command = rawdoc! {"refineCollectionShardKey": ns.to_string(), "key": key.to_owned()};
    let answer = router.send("admin", &command, ANSWER_TIME_MAX).await;
    let done = answer.and_then(|reply| acknowledged(&reply));
    done.map_err(|e| e.context("refineCollectionShardKey"))
}

/// Splits the chunk that contains `middle`, so that a chunk begins there. Sent once.
/// Refused where a chunk already begins.
pub async fn split(router: &Entry, ns: &Namespace, middle: &RawDocument) -> Result<()> {
    let command = rawdoc! {"split": ns.to_string(), "middle": middle.to_owned()};
    router
        .send("admin", &command, ANSWER_TIME_MAX)
        .await
        .map(drop)
        .map_err(|e| e.context("split"))
}

/// Moves the chunk `[min, max)` to the shard `to`. Sent once.
pub async fn move_chunk(
    router: &Entry,
    ns: &Namespace,
    min: &RawDocument,
    max: &RawDocument,
    to: &str,
) -> Result<()> {
    let bounds = bson::RawArrayBuf::from_iter([min.to_owned(), max.to_owned()]);
    let command = rawdoc! {"moveChunk": ns.to_string(), "bounds": bounds, "to": to};
    router
        .send("admin", &command, MOVE_TIME_MAX)
        .await
        .map(drop)
        .map_err(|e| e.context("moveChunk"))
}

/// Puts a shard into a zone; no error if it is there already.
pub async fn add_shard_to_zone(router: &Entry, shard: &str, zone: &str) -> Result<()> {
    run(
        router,
        "admin",
        &rawdoc! {"addShardToZone": shard, "zone": zone},
    )
    .await
    .map(drop)
}

/// Takes a shard out of a zone; no error if it is not in it.
pub async fn remove_shard_from_zone(router: &Entry, shard: &str, zone: &str) -> Result<()> {
    run(
        router,
        "admin",
        &rawdoc! {"removeShardFromZone": shard, "zone": zone},
    )
    .await
    .map(drop)
}

/// Gives a range of shard keys to a zone; with none, takes it from the one it is in.
pub async fn update_zone_key_range(
    router: &Entry,
    ns: &Namespace,
    min: &RawDocument,
    max: &RawDocument,
    zone: Option<&str>,
) -> Result<()> {
    let zone = zone.map_or(bson::RawBson::Null, bson::RawBson::from);
    let command = rawdoc! {
    "updateZoneKeyRange": ns.to_string(), "min": min.to_owned(), "max": max.to_owned(), "zone": zone};
    run(router, "admin", &command).await.map(drop)
}

/// The state of the balancer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BalancerStatus {
    /// `full` and `off`; releases up to 5.0 have a third.
    pub mode: String,
    /// It looks for chunks to move, or moves some.
    pub in_round: bool,
}

impl BalancerStatus {
    pub fn is_off(&self) -> bool {
        self.mode == "off"
    }
}

pub async fn balancer_status(router: &Entry) -> Result<BalancerStatus> {
    let reply = run_within(
        QUESTION_TIME_MAX,
        router,
        "admin",
        &rawdoc! {"balancerStatus": 1},
    )
    .await?;
    let mode = reply
        .get_str("mode")
        .map_err(|_| Error::new(Kind::Server, "balancerStatus returned no mode"))?;
    Ok(BalancerStatus {
        mode: mode.to_owned(),
        in_round: reply.get_bool("inBalancerRound").unwrap_or(true),
    })
}

/// Stops the balancer and waits up to `wait` for its round to end.
pub async fn balancer_stop(router: &Entry, wait: Duration) -> Result<()> {
    let wait_ms = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
    let command = rawdoc! {"balancerStop": 1, "maxTimeMS": wait_ms};
    run_within(wait + ANSWER_TIME_MAX, router, "admin", &command)
        .await
        .map(drop)
}

pub async fn balancer_start(router: &Entry) -> Result<()> {
    run(router, "admin", &rawdoc! {"balancerStart": 1})
        .await
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passing_errors_are_told_by_kind_and_code() {
        let coded = |kind, code| Error {
            code: Some(code),
            ..Error::new(kind, "x")
        };
        let rows = [
            (Error::new(Kind::Transient, "x"), true),
            (coded(Kind::Server, 117), true),
            (coded(Kind::Server, 91331), true),
            (coded(Kind::Server, codes::OPERATION_FAILED), false),
            (Error::new(Kind::Server, "x"), false),
            (coded(Kind::Server, 48), false),
            (Error::new(Kind::Config, "x"), false),
        ];
        for (error, expect) in rows {
            assert_eq!(is_passing(&error), expect, "{error:?}");
        }
        assert!(may_come_right(&coded(
            Kind::Server,
            codes::OPERATION_FAILED
        )));
        assert!(may_come_right(&Error::new(Kind::Server, "x")));
        assert!(
            !may_come_right(&coded(Kind::Server, 13))
                && !may_come_right(&Error::new(Kind::Config, "x"))
        );
    }

    #[test]
    fn what_no_majority_has_is_not_acknowledged_though_the_reply_is_ok() {
        assert!(acknowledged(&bson::doc! { "ok": 1 }).is_ok());
        let stepped_down =
            bson::doc! { "ok": 1, "writeConcernError": { "code": 189, "errmsg": "stepped down" } };
        let error = acknowledged(&stepped_down).expect_err("an election came between");
        assert_eq!((error.kind, error.code), (Kind::Transient, Some(189)));
    }
}
