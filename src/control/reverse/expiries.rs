//! What deletes documents of the old source by itself, or refuses them, while the target is
//! followed back (R10): expiries, `prepareUnique`, limits of capped collections. Held back there.
//! Indexes stay.

use std::collections::HashSet;
use std::time::Duration;

use bson::raw::cstr;
use bson::{RawDocumentBuf, doc, rawdoc};
use tokio::time::timeout;

use crate::bson::element::{document, elements, field};
use crate::cluster::catalog::capped::Limits;
use crate::cluster::catalog::contents::{self, Stored};
use crate::cluster::catalog::{EXPIRY, Namespace, PRE_IMAGES, index};
use crate::cluster::deployment::{Deployment, Shard};
use crate::cluster::retry::within;
use crate::control::held_back::{commands, only, send};
use crate::error::{Error, Result};
use crate::state::run_store::RunStore;
use crate::state::{HeldBack, OptionsOf};

/// How long a server may take to delete what it found expired, and how often it is asked.
const PASS_MAX: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(100);
/// How long listing what a side holds may take while somebody waits for the answer.
const LIST_MAX: Duration = Duration::from_secs(10);

/// Records what is to be held back as it is, and returns the collections that have an expiry.
pub async fn record(old_source: &Deployment, store: &RunStore) -> Result<HashSet<Namespace>> {
    let found = options(&holds(old_source).await?, old_source);
    store.save_held_back(&found).await?;
    let expiring = found.iter().filter(|held_back| expires(held_back));
    Ok(expiring.map(|held_back| held_back.ns.clone()).collect())
}

/// Holds back what is recorded. May be repeated.
pub async fn hold(old_source: &Deployment, store: &RunStore) -> Result<()> {
    let never = old_source.dialect.writes.expiry_never;
    let never = never.unwrap_or(i64::from(i32::MAX));
    for held_back in store.load_held_back().await? {
        for command in commands(&without(&held_back, never)) {
            let failed =
                |e: Error| e.context(format_args!("holding expiries back on {}", held_back.ns));
            send(old_source, &held_back.ns, &command)
                .await
                .map_err(failed)?;
        }
    }
    Ok(())
}

/// Waits until no deletion is under way that began before `hold`: it would go on with the
/// expiry it began with. False if one still is after a minute.
pub async fn none_runs(old_source: &Deployment) -> Result<bool> {
    let over = async {
        for shard in &old_source.shards {
            while runs_on(shard).await? {
                tokio::time::sleep(POLL).await;
            }
        }
        Ok(true)
    };
    timeout(PASS_MAX, over).await.unwrap_or(Ok(false))
}

async fn runs_on(shard: &Shard) -> Result<bool> {
    let pipeline = [
        doc! {"$currentOp": {"allUsers": true}},
        doc! {"$match": {"desc": "TTLMonitor", "active": true}},
        doc! {"$limit": 1},
        doc! {"$project": {"active": true}},
    ];
    let admin = shard.client.database("admin");
    let mut found = admin.aggregate(pipeline).await.map_err(Error::from)?;
    found.advance().await.map_err(Error::from)
}

/// What is held back there by now, as the side in use has it, which was followed. As it was
/// recorded where that side has no such collection any more, or does not answer.
pub async fn held_back_now(in_use: &Deployment, store: &RunStore) -> Result<Vec<HeldBack>> {
    let mut found = store.load_held_back().await?;
    if let Ok(held) = within(LIST_MAX, "the side in use", holds(in_use)).await {
        let names: HashSet<&Namespace> = held.iter().map(|stored| &stored.ns).collect();
        found.retain(|held_back| !names.contains(&held_back.ns));
        found.extend(options(&held, in_use));
    }
    Ok(found)
}

fn expires(held_back: &HeldBack) -> bool {
    field(held_back.options.as_bytes(), EXPIRY.as_bytes()).is_some()
}

/// What that side holds, shard by shard.
async fn holds(side: &Deployment) -> Result<Vec<Stored>> {
    let mut found = Vec::new();
    for shard in &side.shards {
        found.extend(contents::read(shard).await?);
    }
    Ok(found)
}

/// All such options of it, pre-images last: what sets another option may switch them off.
fn options(held: &[Stored], side: &Deployment) -> Vec<HeldBack> {
    let (mut found, mut images) = (Vec::new(), Vec::new());
    for stored in held {
        let before = found.len();
        found.extend(of(stored));
        let limits = Limits::of(&stored.options).filter(|_| side.dialect.writes.trims_come);
        found.extend(limits.map(|limits| HeldBack {
            ns: stored.ns.clone(),
            of: OptionsOf::Collection,
            options: limits.change(),
        }));
        if before < found.len() {
            images.extend(of_collection(stored, PRE_IMAGES));
        }
    }
    found.extend(images);
    let mut seen = HashSet::new();
    found.retain(|held_back: &HeldBack| {
        seen.insert((held_back.ns.clone(), held_back.options.as_bytes().to_vec()))
    });
    found
}

fn of(stored: &Stored) -> Vec<HeldBack> {
    let indexes = stored
        .indexes
        .iter()
        .filter_map(|spec| index::held_back(spec));
    let indexes = indexes.map(|options| HeldBack {
        ns: stored.ns.clone(),
        of: OptionsOf::Index,
        options,
    });
    indexes.chain(of_collection(stored, EXPIRY)).collect()
}

fn of_collection(stored: &Stored, name: &str) -> Option<HeldBack> {
    let options = only(&stored.options, name);
    (!options.is_empty()).then(|| HeldBack {
        ns: stored.ns.clone(),
        of: OptionsOf::Collection,
        options,
    })
}

/// The same options while they are held back.
fn without(held_back: &HeldBack, never: i64) -> HeldBack {
    let instead = match held_back.of {
        OptionsOf::Index => rawdoc! {"expireAfterSeconds": never, "prepareUnique": false},
        OptionsOf::Collection => {
            let bytes = held_back.options.get_i64("cappedSize").unwrap_or_default();
            let limits = Limits {
                bytes,
                ..Limits::ROOM
            };
            let mut instead = limits.room().change();
            instead.append(cstr!("expireAfterSeconds"), "off");
            instead
        }
    };
    let options = elements(&held_back.options).map(|option| {
        elements(&instead)
            .find(|other| other.name == option.name)
            .unwrap_or(option)
    });
    HeldBack {
        options: document(options),
        ..held_back.clone()
    }
}

/// The commands that give back what is held back, for people.
pub fn told(found: &[HeldBack]) -> Vec<String> {
    let told = |held_back: &HeldBack| {
        let db = held_back.ns.db.clone();
        let told = |command: RawDocumentBuf| {
            format!("{db}: {}", crate::control::held_back::told(&command))
        };
        commands(held_back)
            .into_iter()
            .map(told)
            .collect::<Vec<_>>()
    };
    found.iter().flat_map(told).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_back_expires_and_refuses_nothing_and_the_rest_stays() {
        let ns = Namespace {
            db: "d".to_owned(),
            coll: "c".to_owned(),
        };
        let rows = [
            (
                OptionsOf::Index,
                rawdoc! {"name": "n", "expireAfterSeconds": 5, "prepareUnique": true},
                rawdoc! {"name": "n", "expireAfterSeconds": 7i64, "prepareUnique": false},
            ),
            (
                OptionsOf::Collection,
                rawdoc! {"expireAfterSeconds": 5},
                rawdoc! {"expireAfterSeconds": "off"},
            ),
            (
                OptionsOf::Collection,
                rawdoc! {"cappedSize": 4096i64},
                rawdoc! {"cappedSize": 1i64 << 40},
            ),
            (
                OptionsOf::Collection,
                rawdoc! {"cappedSize": 4096i64, "cappedMax": 7i64},
                rawdoc! {"cappedSize": 1i64 << 40, "cappedMax": -1i64},
            ),
            (
                OptionsOf::Collection,
                rawdoc! {"cappedSize": 1i64 << 41},
                rawdoc! {"cappedSize": 1i64 << 41},
            ),
            (
                OptionsOf::Collection,
                rawdoc! {"changeStreamPreAndPostImages": {"enabled": true}},
                rawdoc! {"changeStreamPreAndPostImages": {"enabled": true}},
            ),
        ];
        for (of, options, expect) in rows {
            let held_back = HeldBack {
                ns: ns.clone(),
                of,
                options,
            };
            assert_eq!(without(&held_back, 7).options, expect);
        }
    }
}
