//! Sends writes to where they belong: the router, the replica set, or straight
//! to the owning shards.
//!
//! IMPORTANT: straight writes are right only while no chunk moves; the owners
//! are read once, at the start.

use bson::{Document, RawDocumentBuf, doc, raw::RawArrayBuf, raw::cstr};
use mongodb::Client;
use mongodb::options::WriteConcern;

use super::pick::Picker;
use super::refusal::{Refusal, refusal, refusals, refusals_of_many};
use crate::{
    entry::Entry,
    error::{Error, Result},
    owner::OwnerMap,
};

/// What a write command does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Insert,
    Update,
    Delete,
}

/// Statements of one collection, each about document n, or about all shards.
#[derive(Debug, Clone)]
pub(super) struct Write {
    pub(super) space: usize,
    pub(super) verb: Verb,
    pub(super) ordered: bool,
    pub(super) statements: Vec<(Option<u64>, RawDocumentBuf)>,
}

pub(super) struct Route {
    entry: Entry,
    /// By position of the collection in the picker; empty unless writes go straight.
    owners: Vec<OwnerMap>,
    direct: bool,
}

impl Route {
    /// Owners are read where `owners_too`: for transactions or straight writes.
    pub(super) async fn new(
        entry: Entry,
        picker: &Picker,
        direct: bool,
        owners_too: bool,
    ) -> Result<Self> {
        let direct = direct && entry.router;
        let mut owners = Vec::new();
        for space in picker.spaces.iter().filter(|_| direct || owners_too) {
            owners.push(OwnerMap::read(&entry, space.spec.database, space.spec.name).await?);
        }
        Ok(Route {
            entry,
            owners,
            direct,
        })
    }

    pub(super) fn shard_count(&self) -> usize {
        self.entry.shards.len()
    }

    /// The shard that owns document `n`, by position.
    pub(super) fn owner(&self, picker: &Picker, space: usize, n: u64) -> usize {
        let spec = &picker.spaces[space].spec;
        let owner = self
            .owners
            .get(space)
            .and_then(|owners| owners.owner(&spec.shard_key(n)).ok());
        owner.unwrap_or(0)
    }

    /// Sends one write, in parts where it goes straight to several shards.
    pub(super) async fn send(&self, picker: &Picker, write: Write) -> Vec<Refusal> {
        if !self.direct && self.entry.has_real_router() && write.verb == Verb::Insert {
            return insert_retryably(&self.entry.client, picker, &write).await;
        }
        if !self.direct {
            return send_to(&self.entry.client, picker, &write).await;
        }
        let mut refusals = Vec::new();
        for (shard, part) in self.parts(picker, write).into_iter().enumerate() {
            if !part.statements.is_empty() {
                refusals.extend(send_to(&self.entry.shards[shard].client, picker, &part).await);
            }
        }
        refusals
    }

    fn parts(&self, picker: &Picker, write: Write) -> Vec<Write> {
        let empty = Write {
            statements: Vec::new(),
            ..write.clone()
        };
        let mut parts = vec![empty; self.shard_count()];
        for (n, statement) in write.statements {
            match n {
                Some(n) => parts[self.owner(picker, write.space, n)]
                    .statements
                    .push((Some(n), statement)),
                None => parts
                    .iter_mut()
                    .for_each(|part| part.statements.push((None, statement.clone()))),
            }
        }
        parts
    }

    /// Runs a command about document `n`.
    pub(super) async fn command(
        &self,
        picker: &Picker,
        space: usize,
        n: u64,
        command: Document,
    ) -> Vec<Refusal> {
        let client = if self.direct {
            &self.entry.shards[self.owner(picker, space, n)].client
        } else {
            &self.entry.client
        };
        let database = client.database(picker.spaces[space].spec.database);
        match database.run_command(command).await {
            Ok(_) => Vec::new(),
            Err(error) => vec![refusal(&error)],
        }
    }
}

/// A write as the command that a server takes.
pub(super) fn command(picker: &Picker, write: &Write, concern: Option<Document>) -> RawDocumentBuf {
    let (verb, list) = match write.verb {
        Verb::Insert => (cstr!("insert"), cstr!("documents")),
        Verb::Update => (cstr!("update"), cstr!("updates")),
        Verb::Delete => (cstr!("delete"), cstr!("deletes")),
    };
    let statements: RawArrayBuf = write
        .statements
        .iter()
        .map(|(_, statement)| statement.clone())
        .collect();
    let mut command = RawDocumentBuf::new();
    command.append(verb, picker.spaces[write.space].spec.name);
    command.append(list, statements);
    command.append(cstr!("ordered"), write.ordered);
    if let Some(concern) = concern {
        command.append(cstr!("writeConcern"), raw(&concern));
    }
    command
}

/// A document of ours as raw BSON.
pub(super) fn raw(document: &Document) -> RawDocumentBuf {
    RawDocumentBuf::try_from(document).expect("names of our own fields hold no NUL")
}

async fn send_to(client: &Client, picker: &Picker, write: &Write) -> Vec<Refusal> {
    let database = client.database(picker.spaces[write.space].spec.database);
    match database
        .run_raw_command(command(picker, write, Some(doc! {"w": 1})))
        .await
    {
        Ok(reply) => refusals(&reply),
        Err(error) => vec![refusal(&error)],
    }
}

/// As an application's driver does, which numbers them: the router may be asked again.
async fn insert_retryably(client: &Client, picker: &Picker, write: &Write) -> Vec<Refusal> {
    let spec = &picker.spaces[write.space].spec;
    let collection = client
        .database(spec.database)
        .collection::<RawDocumentBuf>(spec.name);
    let documents = write.statements.iter().map(|(_, document)| document);
    let inserting = collection.insert_many(documents).ordered(write.ordered);
    let inserted = inserting.write_concern(WriteConcern::nodes(1)).await;
    inserted.err().iter().flat_map(refusals_of_many).collect()
}

/// Fails where there is nothing to load.
pub(super) fn require_spaces(picker: &Picker) -> Result<()> {
    if picker.spaces.is_empty() {
        Err(Error::new(
            "no populated collection is left to load: check --ns and `populate --docs`",
        ))
    } else {
        Ok(())
    }
}
