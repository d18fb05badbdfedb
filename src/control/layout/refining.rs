//! What was made of a new collection before its shard key was refined on the source, and was
//! recorded by no pair: its key is refined on the target, too.
//!
//! Only of what is made on the fly. What is there at the start is somebody's, and keeps its key.

use crate::cluster::admin;
use crate::cluster::catalog::{self, Collection, Sharded};
use crate::cluster::deployment::Deployment;
use crate::control::layout::refined;
use crate::error::{Error, Kind, Result};
use crate::failpoint;

/// Refines the shard key of what is there to the one that is wanted. Leaves alone what differs
/// in more, or is no begin of it: that is refused.
pub(super) async fn bring_key(target: &Deployment, wanted: &Collection) -> Result<()> {
    let Some(sharded) = &wanted.sharded else {
        return Ok(());
    };
    let Some(mut there) = catalog::read_one(target, &wanted.ns).await? else {
        return Ok(());
    };
    let Some(before) = &mut there.sharded else {
        return Ok(());
    };
    if wanted.ns.time_series().is_some() || !is_to_refine(before, sharded) {
        return Ok(());
    }
    before.key.clone_from(&sharded.key);
    super::same_or_refuse(target, wanted, &there)?;
    // The router finds it, and asks for it.
    if let Some(index) = &wanted.key_index {
        let index = catalog::index::to_create(wanted.has_collation(), None, index);
        let forms = &target.dialect.writes;
        admin::create_index(&target.entry, forms, &wanted.ns, index).await?;
    }
    let sent = admin::refine_shard_key(&target.entry, &wanted.ns, &sharded.key).await;
    // Not now: the next attempt goes on with it.
    sent.map_err(|e| {
        let kind = if admin::is_busy(&e) {
            Kind::Transient
        } else {
            e.kind
        };
        Error { kind, ..e }
    })?;
    failpoint::hit("refined");
    Ok(())
}

fn is_to_refine(there: &Sharded, wanted: &Sharded) -> bool {
    let is_alike = refined::is_begin(&wanted.key, &there.key);
    refined::is_begin(&there.key, &wanted.key) && !is_alike && there.unique == wanted.unique
}

#[cfg(test)]
mod tests {
    use bson::{RawDocumentBuf, rawdoc};

    use super::*;

    #[test]
    fn what_has_the_begin_of_the_key_is_refined() {
        let sharded = |key: RawDocumentBuf, unique: bool| Sharded {
            key,
            unique,
            chunks: Vec::new(),
            zones: Vec::new(),
            version: None,
        };
        for (there, wanted, unique, expect) in [
            (rawdoc! {"k": 1}, rawdoc! {"k": 1, "u": 1}, false, true),
            (rawdoc! {"k": 1}, rawdoc! {"k": 1, "u": 1}, true, false),
            (rawdoc! {"k": 1}, rawdoc! {"k": 1.0}, false, false),
            (rawdoc! {"k": 1, "u": 1}, rawdoc! {"k": 1}, false, false),
            (rawdoc! {"u": 1}, rawdoc! {"k": 1, "u": 1}, false, false),
        ] {
            let what = format!("{there:?} {wanted:?}");
            let found = is_to_refine(&sharded(there, false), &sharded(wanted, unique));
            assert_eq!(found, expect, "{what}");
        }
    }
}
