//! Allows one migration per target: a document says who works on it and until when, by
//! the server's clock.
//!
//! The lease keeps two operators apart. The incarnations see to it that no write of a
//! former holder arrives late (R7).

mod holder;

use std::time::{Duration, Instant};

use bson::oid::ObjectId;
use bson::{Document, RawDocumentBuf, rawdoc};
use parking_lot::Mutex;

pub use holder::Holder;

use crate::cluster::deployment::Shard;
use crate::codes;
use crate::error::{Error, Kind, Result};
use crate::state::FORMAT;
use crate::state::database::{StateDatabase, statement};
use crate::state::run_store::RunStore;

const LEASE: &str = "lease";

/// How long a lease is valid without being renewed, and the interval between renewals.
pub const VALID: Duration = Duration::from_secs(30);
const RENEW_EVERY: Duration = Duration::from_secs(10);
const RETRY_EVERY: Duration = Duration::from_secs(1);

/// The right to work on one target. Not given back by being dropped: then it
/// runs out, or is taken over once this process is gone.
#[derive(Debug)]
pub struct Lease {
    database: StateDatabase,
    store: RunStore,
    run: String,
    /// Tells this taking from every other.
    token: ObjectId,
    /// When the last renewal that succeeded was sent.
    renewed: Mutex<Instant>,
}

impl Lease {
    /// Takes the lease on `shard`, the target's first one by id. A lease that this
    /// process already holds is taken again, so that a call whose answer was lost can be
    /// repeated.
    ///
    /// # Errors
    /// `Refused` while another live process holds it.
    pub async fn take(shard: &Shard, run: &str) -> Result<Lease> {
        let database = StateDatabase::new(shard);
        let renewed = Mutex::new(Instant::now());
        let store = RunStore::new(shard);
        let lease = Lease {
            database,
            store,
            run: run.to_owned(),
            token: ObjectId::new(),
            renewed,
        };
        let mut free = vec![lease.token];
        if let Some(found) = lease.read().await? {
            let holder = found
                .get_document("holder")
                .map(Holder::read)
                .unwrap_or_default();
            // Compared by token: if another takes it first, that one stays.
            free.extend(
                found
                    .get_object_id("token")
                    .ok()
                    .filter(|_| holder.is_me() || holder.is_gone()),
            );
        }
        let now = lease.claim(&free).await?;
        match now.get_object_id("token") {
            Ok(token) if token == lease.token => Ok(lease),
            _ => Err(held(&now)),
        }
    }

    /// Renews the lease until that is no longer possible, and returns why. `Refused` if
    /// another process holds it. `Transient` if the server could not be reached until the
    /// lease had been expired for `VALID`.
    pub async fn keep(&self) -> Error {
        let mut wait = RENEW_EVERY;
        loop {
            tokio::time::sleep(wait).await;
            wait = RENEW_EVERY;
            let lost_at = *self.renewed.lock() + VALID + VALID;
            // One that ran out can still be renewed, while nobody took it.
            let until = lost_at.max(Instant::now() + RENEW_EVERY);
            let sent = Instant::now();
            let renewed = tokio::time::timeout_at(until.into(), self.renew()).await;
            match renewed.unwrap_or_else(|_| Err(Error::new(Kind::Transient, "no answer"))) {
                Ok(()) => {}
                // The primary took it, and so no claim of another; the incarnations stand for
                // the rest (R7).
                Err(e) if e.code == Some(codes::WRITE_CONCERN_FAILED) => {
                    tracing::warn!(
                        "the lease is renewed, but not yet acknowledged by a majority: {e}"
                    );
                    *self.renewed.lock() = sent;
                }
                Err(e) if e.kind != Kind::Transient => return e,
                Err(e) if lost_at <= Instant::now() => {
                    let lost = format!(
                        "the lease expired {} s ago and cannot be renewed",
                        VALID.as_secs()
                    );
                    return e.context(lost);
                }
                Err(e) => {
                    tracing::warn!("the lease could not be renewed: {e}");
                    wait = RETRY_EVERY;
                }
            }
        }
    }

    /// Renews once; a lease that was removed meanwhile is put back.
    ///
    /// # Errors
    /// `Refused` if another process holds it.
    pub async fn renew(&self) -> Result<()> {
        let sent = Instant::now();
        // Ours even if it ran out, as long as nobody took it.
        let now = self.claim(&[self.token]).await?;
        if now.get_object_id("token").ok() != Some(self.token) {
            return Err(held(&now).context("this process lost its lease"));
        }
        *self.renewed.lock() = sent;
        Ok(())
    }

    /// Gives the lease back. If no run is recorded any more it also drops the collection,
    /// the last trace on the target.
    pub async fn release(&self) -> Result<()> {
        let mine = rawdoc! {"q": {"_id": LEASE, "token": self.token}, "limit": 1};
        self.database
            .write(rawdoc! {"delete": LEASE, "deletes": [mine]})
            .await?;
        if self.read().await?.is_none() && self.store.load().await?.is_none() {
            // Somebody may take it right now; a lease that vanished is put back
            // by the next renewal of its holder.
            self.database.drop(LEASE).await?;
        }
        Ok(())
    }

    /// Removes the lease of a process that died right after it had removed its run.
    ///
    /// # Errors
    /// `Refused` while another live process holds it.
    pub async fn sweep(shard: &Shard, run: &str) -> Result<()> {
        let database = StateDatabase::new(shard);
        if database
            .find(LEASE, rawdoc! {"_id": LEASE})
            .await?
            .is_empty()
        {
            return Ok(());
        }
        Lease::take(shard, run).await?.release().await
    }

    /// Who works on this target now, as the refusal that whoever takes the lease would get;
    /// None if nobody does.
    pub async fn held(shard: &Shard) -> Result<Option<Error>> {
        let alive = rawdoc! {"_id": LEASE, "$expr": {"$lt": ["$$NOW", "$until"]}};
        let found = StateDatabase::new(shard).find(LEASE, alive).await?;
        let Some(raw) = found.first() else {
            return Ok(None);
        };
        let found = Document::try_from(raw.as_ref())?;
        let holder = found.get_document("holder").map(Holder::read);
        let is_gone = holder.is_ok_and(|holder| holder.is_gone());
        Ok((!is_gone).then(|| held(&found)))
    }

    async fn read(&self) -> Result<Option<Document>> {
        let found = self.database.find(LEASE, rawdoc! {"_id": LEASE}).await?;
        found
            .first()
            .map(|raw| Ok(Document::try_from(raw.as_ref())?))
            .transpose()
    }

    /// Takes the lease if it has run out, is not there, or its token is one of
    /// `free`; returns whatever is there afterwards.
    async fn claim(&self, free: &[ObjectId]) -> Result<Document> {
        let until = rawdoc! {"$add": ["$$NOW", VALID.as_millis() as i64]};
        let mine = rawdoc! {
        "_id": LEASE, "format": FORMAT, "token": self.token, "run": {"$literal": self.run.as_str()},
        "holder": {"$literal": Holder::me().document()},
        "since": {"$cond": [{"$eq": ["$token", self.token]}, "$since", "$$NOW"]},
        "until": until};
        let is_free = rawdoc! {"$or": [
            // Missing sorts before every date.
            {"$lt": ["$until", "$$NOW"]},
            {"$in": ["$token", bson::RawArrayBuf::from_iter(free.iter().copied())]},
        ]};
        let pipeline: Vec<RawDocumentBuf> =
            vec![rawdoc! {"$replaceWith": {"$cond": [is_free, mine, "$$ROOT"]}}];
        let update = bson::RawArrayBuf::from_iter(pipeline);
        let write = [Ok(statement(rawdoc! {"_id": LEASE}, update, true))];
        match self.database.update_all(LEASE, write).await {
            // Two at once found none: the other made it.
            Err(e) if e.code == Some(codes::DUPLICATE_KEY) => {}
            done => drop(done?),
        }
        let nothing = || {
            Error::new(
                Kind::Transient,
                "the lease vanished while it was being taken",
            )
        };
        self.read().await?.ok_or_else(nothing)
    }
}

fn held(found: &Document) -> Error {
    let holder = found
        .get_document("holder")
        .map(Holder::read)
        .unwrap_or_default();
    let time = |field| {
        found
            .get_datetime(field)
            .ok()
            .and_then(|t| t.try_to_rfc3339_string().ok())
    };
    let time = |field| time(field).unwrap_or_else(|| "an unknown time".to_owned());
    let (run, since, until) = (
        found.get_str("run").unwrap_or("unknown"),
        time("since"),
        time("until"),
    );
    Error::new(Kind::Refused, format!("{holder} works on this target: run {run}, since {since}, renewed until {until}"))
        .remedy(format!(
            "stop that process, or wait: the lease of a dead process expires {} s after its last renewal",
            VALID.as_secs()
        ))
}
