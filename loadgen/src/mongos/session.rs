//! One client connection's own connections to the primaries behind it.
//!
//! A command that a server refused because it is no (longer) primary was not
//! run, and is sent again to the new one. After any other failure the command
//! may have run: the client gets the error.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bson::{Document, RawDocument, RawDocumentBuf, doc};

use crate::error;
use crate::mongos::login::Login;
use crate::mongos::older;
use crate::mongos::reply::{Answer, Failure};
use crate::mongos::request;
use crate::mongos::shared::{Place, Shared};
use crate::wire::link::{self, Link};

/// An election takes seconds.
const PRIMARY_TIMEOUT: Duration = Duration::from_secs(30);
const RETRY_PAUSE: Duration = Duration::from_millis(50);

pub(super) struct Session {
    pub(super) shared: Arc<Shared>,
    /// Number of the client's connection.
    pub(super) number: u32,
    pub(super) login: Login,
    links: HashMap<Place, Link>,
}

impl Session {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let number = shared.next_connection();
        Session {
            shared,
            number,
            login: Login::default(),
            links: HashMap::new(),
        }
    }

    /// The shard that routes for this connection; connections are spread.
    pub(super) async fn home(&mut self) -> Result<Place, Failure> {
        let ids = self.shard_ids().await?;
        let index = self.number as usize % ids.len().max(1);
        match ids.into_iter().nth(index) {
            Some(id) => Ok(Place::Shard(id)),
            None => Err(Failure::new(
                70,
                "ShardNotFound",
                "the cluster has no shards; run addShard",
            )),
        }
    }

    pub(super) async fn shard_ids(&mut self) -> Result<Vec<String>, Failure> {
        let ids = self.shared.shard_ids();
        if ids.is_empty() {
            self.reload_shards().await?;
            return Ok(self.shared.shard_ids());
        }
        Ok(ids)
    }

    /// Reads `config.shards` again.
    pub(super) async fn reload_shards(&mut self) -> Result<(), Failure> {
        self.shared
            .load_shards()
            .await
            .map_err(|e| Failure::new(6, "HostUnreachable", e.message))
    }

    /// Sends a command as it is and returns the reply, whatever it says.
    pub(super) async fn send(
        &mut self,
        place: &Place,
        body: &RawDocument,
        sequences: &[u8],
    ) -> Answer {
        let deadline = Instant::now() + PRIMARY_TIMEOUT;
        loop {
            let link = self.link(place).await?;
            let reply = match link.call(body, sequences).await {
                Ok(reply) => reply,
                Err(e) => {
                    let message = format!("connection to {} lost: {e}", link.host);
                    self.links.remove(place);
                    return Err(Failure::new(6, "HostUnreachable", message));
                }
            };
            if !refused_as_no_primary(&reply) {
                return Ok(reply);
            }
            self.links.remove(place);
            if deadline <= Instant::now() {
                return Ok(reply);
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    /// Runs a command of ours.
    ///
    /// # Errors
    /// The reply as it came, if it is not `ok: 1` or complains of its writes.
    pub(super) async fn run(
        &mut self,
        place: &Place,
        db: &str,
        fields: Document,
    ) -> Result<Document, Failure> {
        let reply = self
            .send(place, &request::command(db, fields)?, &[])
            .await?;
        let document = Document::try_from(reply.as_ref())?;
        match link::fault(&document) {
            Some(_) => Err(Failure::Passed(reply)),
            None => Ok(document),
        }
    }

    /// As `run`, on the config server, where writes are made by majority.
    pub(super) async fn run_on_config(
        &mut self,
        mut fields: Document,
    ) -> Result<Document, Failure> {
        fields.insert("writeConcern", majority());
        self.run(&Place::Config, "admin", fields).await
    }

    /// All rows of a `config` collection that match.
    pub(super) async fn config_find(
        &mut self,
        coll: &str,
        filter: Document,
        sort: Document,
    ) -> Result<Vec<Document>, Failure> {
        let find = doc! { "find": coll, "filter": filter, "sort": sort, "readConcern": { "level": "majority" } };
        self.read_all(&Place::Config, "config", find).await
    }

    /// Runs a plain `find`, `aggregate` or `list…` and reads its cursor to the end.
    pub(super) async fn read_all(
        &mut self,
        place: &Place,
        db: &str,
        fields: Document,
    ) -> Result<Vec<Document>, Failure> {
        self.drain(place, db, fields, "getMore").await
    }

    /// Reads a cursor to its end, going on by `get_more`.
    pub(super) async fn drain(
        &mut self,
        place: &Place,
        db: &str,
        fields: Document,
        get_more: &str,
    ) -> Result<Vec<Document>, Failure> {
        let reply = self.run(place, db, fields).await?;
        self.rest(place, db, reply, get_more).await
    }

    /// Reads to its end the cursor that a reply opened.
    pub(super) async fn rest(
        &mut self,
        place: &Place,
        db: &str,
        mut reply: Document,
        get_more: &str,
    ) -> Result<Vec<Document>, Failure> {
        let mut rows = Vec::new();
        loop {
            let cursor = reply
                .get_document_mut("cursor")
                .map_err(Failure::internal)?;
            let batch = cursor
                .remove("firstBatch")
                .or_else(|| cursor.remove("nextBatch"));
            if let Some(bson::Bson::Array(batch)) = batch {
                rows.extend(batch.into_iter().filter_map(|row| match row {
                    bson::Bson::Document(row) => Some(row),
                    _ => None,
                }));
            }
            let id = cursor.get_i64("id").map_err(Failure::internal)?;
            if id == 0 {
                return Ok(rows);
            }
            let ns = cursor.get_str("ns").map_err(Failure::internal)?;
            let coll = ns.split_once('.').map_or(ns, |(_, coll)| coll).to_owned();
            reply = self
                .run(place, db, doc! { get_more: id, "collection": coll })
                .await?;
        }
    }

    /// `host:port` of a primary, as it was dialled.
    pub(super) async fn host(&mut self, place: &Place) -> Result<String, Failure> {
        Ok(self.link(place).await?.host.clone())
    }

    async fn link(&mut self, place: &Place) -> Result<&mut Link, Failure> {
        if !self.links.contains_key(place) {
            if self.shared.hosts_of(place).is_none() {
                self.reload_shards().await?;
            }
            let hosts = self.shared.hosts_of(place);
            let hosts = hosts.ok_or_else(|| {
                Failure::new(70, "ShardNotFound", format!("{place:?} is not known"))
            })?;
            let link = link::connect_primary(&hosts, PRIMARY_TIMEOUT).await;
            let mut link =
                link.map_err(|e| Failure::new(133, "FailedToSatisfyReadPreference", e.message))?;
            self.introduce(place, &mut link)
                .await
                .map_err(|e| Failure::new(6, "HostUnreachable", e.message))?;
            self.links.insert(place.clone(), link);
        }
        Ok(self.links.get_mut(place).expect("it was put there above"))
    }
}

impl Session {
    /// Before 6.0 shards read each other's cursors for us: as the same user then, the
    /// servers' own.
    async fn introduce(&self, place: &Place, link: &mut Link) -> error::Result<()> {
        if matches!(place, Place::Merger(_)) {
            link.speak_as_server(self.shared.wire_version_max).await?;
        }
        if !self.shared.login {
            Ok(())
        } else if self.shared.is_before(older::WIRE_6_0) {
            link.log_in_as_server().await
        } else {
            link.log_in().await
        }
    }
}

pub(super) fn majority() -> Document {
    doc! { "w": "majority", "wtimeout": 60_000 }
}

/// NotWritablePrimary or NotPrimaryNoSecondaryOk: refused before it ran.
fn refused_as_no_primary(reply: &RawDocumentBuf) -> bool {
    matches!(reply.get_i32("code"), Ok(10107 | 13435))
        && reply.get_f64("ok").is_ok_and(|ok| ok == 0.0)
}
