//! Options of a collection that its source changed (`collMod`): the target's are made the
//! source's as they are listed now, which is what the entry says or newer. So it may be
//! done again at any time (R4).
//!
//! It goes straight to the pair's own shard, as the source logs it there: a shard without
//! chunks may have logged nothing, and then it has not changed either. What acts by itself
//! waits for the cutover (R10): an expiry, and the size of a capped collection.

use std::sync::Arc;

use bson::raw::cstr;
use bson::{Binary, RawDocument, RawDocumentBuf, rawdoc};

use crate::bson::element::{Element, document, elements, field};
use crate::cluster::admin;
use crate::cluster::catalog::{self, PRE_IMAGES};
use crate::cluster::deployment::Shard;
use crate::error::Result;
use crate::pair::collection::Tracked;
use crate::pair::collection::under_way::{is_answered, until_answered};
use crate::pair::ddl::refused::unless_taken;
use crate::pair::ddl::vanished;
use crate::pair::oplog::proven::{self, Lister};

/// How often both sides are listed: one option may switch another off.
const ROUNDS_MAX: usize = 3;

const VALIDATOR: &str = "validator";
const LEVEL: &str = "validationLevel";
const ACTION: &str = "validationAction";
pub const IMAGES: &str = "changeStreamPreAndPostImages";

/// What a change of another option may switch off.
pub const SWITCHED_OFF: [&str; 2] = [PRE_IMAGES, IMAGES];

/// Gives the target's collection the options of the source's, and returns those. None if
/// there is none on either side. What stays different holds a cutover back (`proof`).
pub async fn align(
    lister: &Arc<Lister>,
    target: &Shard,
    tracked: &Tracked,
) -> Result<Option<RawDocumentBuf>> {
    let Some(made) = tracked.bound_to() else {
        return Ok(None);
    };
    let (db, one) = (&tracked.source_db, std::slice::from_ref(lister));
    let what = format!("the options of {}", tracked.ns());
    for round in 0.. {
        let list = || catalog::options_of(&lister.shard.client, db, tracked.uuid);
        let Some(wanted) = proven::read(one, &what, list).await?.value else {
            vanished::until_dropped(&lister.shard, tracked).await?;
            return Ok(None);
        };
        let Some(there) = catalog::options_of(&target.client, &tracked.ns().db, made).await? else {
            return Ok(None);
        };
        let changes = changes(&wanted, &there);
        if changes.is_empty() || round == ROUNDS_MAX {
            return Ok(Some(wanted));
        }
        for change in changes {
            let modified = modify(target, tracked, &change).await;
            modified.map_err(|e| {
                let own = tracked.ns().own(&lister.shard.scope);
                unless_taken(e, format_args!("change {own} there by `collMod`"))
            })?;
        }
    }
    unreachable!("the last round returns")
}

/// Changes options of the target's collection. Nothing if it is dead.
pub(super) async fn modify(target: &Shard, tracked: &Tracked, change: &RawDocument) -> Result<()> {
    let Some(under_way) = tracked.begin_write().await else {
        return Ok(());
    };
    let head = rawdoc! { "collMod": tracked.ns().coll.as_str() };
    let mut command = document(elements(&head).chain(elements(change)));
    if target.writes.binds_uuid {
        command.append(cstr!("collectionUUID"), Binary::from(tracked.target_uuid()));
    }
    let db = tracked.ns().db;
    let sent = admin::run_once_majority(&target.client, &db, &command);
    let modified = until_answered(under_way, sent).await;
    let is_over = tracked.is_dead() && is_answered(&modified);
    match modified {
        Err(_) if is_over => Ok(()),
        modified => modified.map(drop).map_err(|e| {
            e.or_renamed().context(format_args!(
                "changing options of {} on the target",
                tracked.ns()
            ))
        }),
    }
}

/// What `collMod` is to be told, one command each. Pre-images of the one kind switch those
/// of the other off: so first what goes, then what comes.
pub fn changes(wanted: &RawDocument, there: &RawDocument) -> Vec<RawDocumentBuf> {
    let is_other = |name: &str| option(wanted, name) != option(there, name);
    let mut changes = Vec::new();
    if [VALIDATOR, LEVEL, ACTION].into_iter().any(is_other) {
        changes.push(validation(wanted));
    }
    let off =
        rawdoc! { "recordPreImages": false, "changeStreamPreAndPostImages": { "enabled": false } };
    for off in elements(&off).filter(|off| is_other(name_of(off))) {
        changes.push(document([off]));
    }
    for name in [PRE_IMAGES, IMAGES]
        .into_iter()
        .filter(|name| is_other(name))
    {
        changes.extend(option(wanted, name).map(|on| document([on])));
    }
    changes
}

/// All of it: what is left out keeps its value, or gets the default.
fn validation(wanted: &RawDocument) -> RawDocumentBuf {
    let defaults =
        rawdoc! { "validator": {}, "validationLevel": "strict", "validationAction": "error" };
    document(
        elements(&defaults).map(|default| option(wanted, name_of(&default)).unwrap_or(default)),
    )
}

fn option<'a>(options: &'a RawDocument, name: &str) -> Option<Element<'a>> {
    field(options.as_bytes(), name.as_bytes())
}

fn name_of<'a>(option: &Element<'a>) -> &'a str {
    std::str::from_utf8(option.name).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_other_is_changed_and_what_goes_goes_first() {
        let images = || rawdoc! {"changeStreamPreAndPostImages": {"enabled": true}};
        let old = || rawdoc! {"recordPreImages": true};
        let all = |level: &str| rawdoc! {"validator": {"a": 1}, "validationLevel": level, "validationAction": "error"};
        let none = rawdoc! {};
        let off = rawdoc! {"changeStreamPreAndPostImages": {"enabled": false}};
        let old_off = rawdoc! {"recordPreImages": false};
        let rows = [
            (none.clone(), none.clone(), vec![]),
            (all("off"), none.clone(), vec![all("off")]),
            (all("off"), all("strict"), vec![all("off")]),
            (
                none.clone(),
                all("off"),
                vec![
                    rawdoc! {"validator": {}, "validationLevel": "strict", "validationAction": "error"},
                ],
            ),
            (images(), none.clone(), vec![off.clone(), images()]),
            (none, images(), vec![off.clone()]),
            (old(), images(), vec![old_off, off, old()]),
            (
                rawdoc! {"capped": true, "size": 512, "expireAfterSeconds": 3},
                rawdoc! {"capped": true, "size": 256},
                vec![],
            ),
        ];
        for (wanted, there, expect) in rows {
            assert_eq!(changes(&wanted, &there), expect, "{wanted:?} {there:?}");
        }
    }
}
