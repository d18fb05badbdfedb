//! The entry of a deployment: its routers, or the replica set itself.
//!
//! The driver reads through it. Commands that change something go without the driver
//! (`send`): it loses the text of a refusal that has no code, as some of a router's own
//! have none. Knows nothing about which commands there are.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use bson::{Document, RawDocument, doc};
use mongodb::options::{ClientOptions, SelectionCriteria, ServerAddress};
use mongodb::{Client, ServerType};
use parking_lot::Mutex;

use crate::cluster::retry::within;
use crate::error::{Error, Kind, Result};
use crate::wire::message::Request;
use crate::wire::pool::Pool;
use crate::wire::way::Way;

/// Commands under way at a time; more wait.
const LINKS_MAX: usize = 64;
/// How long to wait for the server that the driver chose, if only the list of servers is
/// needed. A frozen server counts as present until the driver's own heartbeat fails (20
/// s).
const PING_PATIENCE: Duration = Duration::from_secs(2);

/// Clones share their connections.
#[derive(Debug, Clone)]
pub struct Entry {
    client: Client,
    pool: Pool,
    /// Which of several routers is asked; the next one after one did not answer.
    turn: Arc<AtomicUsize>,
    named: Arc<[ServerAddress]>,
}

impl Deref for Entry {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Entry {
    /// # Errors
    /// `Config` for options that cannot be used.
    pub fn new(client: Client, options: &ClientOptions) -> Result<Entry> {
        let pool = Pool::new(Way::new(options)?, LINKS_MAX);
        Ok(Entry {
            client,
            pool,
            turn: Arc::default(),
            named: options.hosts.as_slice().into(),
        })
    }

    /// The servers that the URI names.
    pub fn named(&self) -> &[ServerAddress] {
        &self.named
    }

    /// Sends a command once and waits `patience` for its answer.
    ///
    /// # Errors
    /// `Transient` if the answer is lost or late: it may have taken effect. Else by the
    /// code that the server gives, if it gives one.
    pub async fn send(
        &self,
        db: &str,
        command: &RawDocument,
        patience: Duration,
    ) -> Result<Document> {
        let sent = async {
            let address = self.address().await?;
            let reply = self
                .pool
                .at(&address)
                .await?
                .call(Request::new(db, command.to_owned()))
                .await?;
            Ok(Document::try_from(reply.body())?)
        };
        let answer = within(patience, "the entry of the deployment", sent).await;
        answer.inspect_err(|e| {
            if e.kind == Kind::Transient {
                self.turn.fetch_add(1, Relaxed);
                self.pool.forget();
            }
        })
    }

    /// Runs a command at this address.
    pub async fn send_to(
        &self,
        address: &ServerAddress,
        db: &str,
        command: &RawDocument,
    ) -> Result<Document> {
        let reply = self
            .pool
            .at(address)
            .await?
            .call(Request::new(db, command.to_owned()))
            .await?;
        Ok(Document::try_from(reply.body())?)
    }

    /// Address of a router that the driver reaches, or of the primary.
    async fn address(&self) -> Result<ServerAddress> {
        let found: Arc<Mutex<Vec<ServerAddress>>> = Arc::default();
        let see = found.clone();
        let fit = SelectionCriteria::Predicate(Arc::new(move |server| {
            let is_fit = matches!(
                server.server_type(),
                ServerType::Mongos | ServerType::RsPrimary
            );
            if is_fit && !see.lock().contains(server.address()) {
                see.lock().push(server.address().clone());
            }
            is_fit
        }));
        let admin = self.client.database("admin");
        let ping = admin
            .run_command(doc! { "ping": 1 })
            .selection_criteria(fit)
            .into_future();
        let mut ping = std::pin::pin!(ping);
        match tokio::time::timeout(PING_PATIENCE, ping.as_mut()).await {
            Ok(answer) => drop(answer?),
            Err(_) if found.lock().is_empty() => drop(ping.await?),
            Err(_) => {}
        }
        let mut found = std::mem::take(&mut *found.lock());
        found.sort_by_key(ToString::to_string);
        let turn = self.turn.load(Relaxed) % found.len().max(1);
        found
            .into_iter()
            .nth(turn)
            .ok_or_else(|| Error::internal("a server answered that was not chosen"))
    }
}
