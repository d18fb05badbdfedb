//! One large transaction that the engine follows: a case of `bench memory`.
//!
//! Its parts are many entries of the oplog and take effect at the last one.

use std::time::Duration;

use bson::{RawDocumentBuf, doc};

use crate::bench::bulk;
use crate::bench::content::{Content, Ids};
use crate::bench::engine::Engine;
use crate::bench::figures::Figures;
use crate::bench::ground::{Ground, host};
use crate::bench::statements::{self, DATABASE};
use crate::error::Result;

const PATIENCE: Duration = Duration::from_secs(900);
const COLLECTION: &str = "c0";
/// Documents of one insert command.
const BATCH: u64 = 10_000;
/// The least a document of the suites has.
const TINY_BYTES: usize = 64;
const DOC_BYTES: usize = 1_024;

/// What it does, and with how many documents.
#[derive(Debug, Clone, Copy)]
pub(super) enum Transaction {
    /// Inserts, 1 KB each.
    Inserts(u64),
    /// Deletes of documents of 64 bytes.
    Deletes(u64),
}

impl Transaction {
    pub(super) fn name(self) -> String {
        match self {
            Transaction::Inserts(docs) => {
                format!("transaction_of_{}_mb", docs * DOC_BYTES as u64 / 1_000_000)
            }
            Transaction::Deletes(docs) => format!("transaction_of_{docs}_deletes"),
        }
    }

    fn docs(self) -> u64 {
        match self {
            Transaction::Inserts(docs) | Transaction::Deletes(docs) => docs,
        }
    }

    /// The engine's largest resident memory until it has followed it, and whether both
    /// sides are equal then.
    pub(super) async fn measure(self, ground: &Ground) -> Result<(Figures, bool)> {
        let (source, target) = (ground.start("source").await?, ground.start("target").await?);
        let client = source.client().await?;
        // One that takes longer than the default minute is aborted.
        let lifetime = doc! {"setParameter": 1, "transactionLifetimeLimitSeconds": 3_600};
        client.database("admin").run_command(lifetime).await?;
        let database = client.database(DATABASE);
        database.create_collection(COLLECTION).await?;
        if let Transaction::Deletes(docs) = self {
            let content = Content::new(TINY_BYTES, Ids::Ascending, ground.common.seed);
            let inserts = statements::inserts(&content, COLLECTION, 0..docs);
            bulk::write(&host(&source), vec![inserts]).await?;
        }
        let mut engine = Engine::start(ground, &source, &target).await?;
        engine.until("ready", PATIENCE).await?;
        let before = engine.applied().await?;
        ground.tell(self.name());
        self.commit(&client, ground.common.seed).await?;
        engine.until_applied(before + self.docs(), PATIENCE).await?;
        let rss_peak_mb = engine.rss_peak_mb()?;
        engine.stop().await?;
        ground.tell(format!("{}: at most {rss_peak_mb:.0} MB", self.name()));
        let mut figures = Figures::default();
        figures.set("ops", self.docs() as f64);
        figures.set("rss_peak_mb", rss_peak_mb);
        Ok((figures, ground.is_equal(&source, &target).await?))
    }

    async fn commit(self, client: &mongodb::Client, seed: u64) -> Result<()> {
        let database = client.database(DATABASE);
        let collection = database.collection::<RawDocumentBuf>(COLLECTION);
        let mut session = client.start_session().await?;
        session.start_transaction().await?;
        match self {
            Transaction::Inserts(docs) => {
                let content = Content::new(DOC_BYTES, Ids::Ascending, seed);
                for from in (0..docs).step_by(BATCH as usize) {
                    let batch = (from..docs.min(from + BATCH)).map(|n| content.document(n, 0));
                    collection.insert_many(batch).session(&mut session).await?;
                }
            }
            Transaction::Deletes(_) => {
                collection
                    .delete_many(doc! {})
                    .session(&mut session)
                    .await?;
            }
        }
        session.commit_transaction().await?;
        Ok(())
    }
}
