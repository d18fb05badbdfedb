//! Transactions in a cluster, sent straight to the shards that own what they write.
//!
//! Knows nothing about commands outside of them. Right only while no chunk moves, and
//! nobody else changes the case's collections.

use std::collections::BTreeMap;

use bson::{Bson, Document};

use super::client::{NAMESPACE_NOT_FOUND, is_of_an_election};
use super::op::Command;
use super::tally::Answer;
use crate::cluster::transactions::{Part, TransactionSession, Write};
use crate::entry::Entry;
use crate::error::Result;
use crate::owner::OwnerMap;

pub(super) struct Across {
    entry: Entry,
    session: TransactionSession,
}

impl Across {
    pub(super) async fn connect(entry: Entry) -> Result<Across> {
        let shards = entry.shards.iter();
        let shards: Vec<_> = shards
            .map(|shard| (shard.id.clone(), shard.hosts.clone()))
            .collect();
        let session = TransactionSession::connect(&shards).await?;
        Ok(Across { entry, session })
    }

    /// One answer for all of it. What is aborted was prepared before.
    ///
    /// # Errors
    /// If a shard has no primary any more.
    pub(super) async fn run(&mut self, commands: &[Command], commit: bool) -> Result<Answer> {
        let Ok(parts) = self.parts(commands).await else {
            return Ok(Answer::Refused(NAMESPACE_NOT_FOUND));
        };
        let done = match &parts[..] {
            [] => Ok(()),
            [first, ..] if !commit => self.session.prepare_and_abort(first).await,
            [part] => self.session.commit(part).await,
            _ => self.session.commit_across(&parts).await,
        };
        match done {
            Ok(()) => Ok(Answer::Done),
            Err(e) => match e.code {
                Some(code) if !is_of_an_election(code) => Ok(Answer::Refused(code)),
                _ => {
                    self.session.recover().await?;
                    Ok(Answer::Lost)
                }
            },
        }
    }

    /// By shard, in order.
    async fn parts(&self, commands: &[Command]) -> Result<Vec<Part>> {
        let mut writes: BTreeMap<usize, Vec<Write>> = BTreeMap::new();
        for command in commands {
            // One whose texts are none is left out.
            let Ok(body) = Document::try_from(command.body.as_ref()) else {
                continue;
            };
            let name = body.values().next().and_then(Bson::as_str);
            let name = name.unwrap_or_default().to_owned();
            let owners = OwnerMap::read(&self.entry, &command.database, &name).await?;
            for (shard, body) in by_owner(body, &owners) {
                let write = Write::new(&command.database, body);
                writes.entry(shard).or_default().push(write);
            }
        }
        Ok(writes.into_iter().collect())
    }
}

/// Documents go to their owners, all else to every shard that owns some.
fn by_owner(body: Document, owners: &OwnerMap) -> BTreeMap<usize, Document> {
    let Ok(documents) = body.get_array("documents") else {
        let all = owners.shards().into_iter();
        return all.map(|shard| (shard, body.clone())).collect();
    };
    let mut parts: BTreeMap<usize, Document> = BTreeMap::new();
    for document in documents.iter().filter_map(Bson::as_document) {
        let Some(shard) = owner(document, owners) else {
            continue;
        };
        let part = parts.entry(shard).or_insert_with(|| {
            let mut part = body.clone();
            part.insert("documents", Bson::Array(Vec::new()));
            part
        });
        if let Ok(documents) = part.get_array_mut("documents") {
            documents.push(Bson::Document(document.clone()));
        }
    }
    parts
}

/// None where a router would refuse the document, or make its `_id` first.
fn owner(document: &Document, owners: &OwnerMap) -> Option<usize> {
    let key = owners.key_of(document);
    let is_no_key = |value: &Bson| {
        matches!(
            value,
            Bson::Array(_) | Bson::Undefined | Bson::RegularExpression(_)
        )
    };
    if key.iter().any(is_no_key) || (!key.is_empty() && !document.contains_key("_id")) {
        return None;
    }
    owners.owner(&key).ok()
}
