//! Compares one range while its documents may change: how much there is, and which
//! documents differ.
//!
//! One pass, no digests: under load some documents of a range are always on their way,
//! and those must be known one by one. Does not decide what a difference means.

use std::ops::ControlFlow;

use bson::RawDocument;

use crate::bson::identity::IdKey;
use crate::bson::locate::id_of;
use crate::error::{Error, Kind, Result};
use crate::verify::part::Part;
use crate::verify::range::Range;
use crate::verify::walk::{self, Met};

/// What was found.
#[derive(Debug, Default)]
pub struct Swept {
    /// The source's.
    pub documents: u64,
    pub bytes: u64,
    /// Documents that are not on both sides, or not with the same bytes.
    pub different: Vec<IdKey>,
}

/// Compares a range document by document. None if more than `different_max` differ.
///
/// # Errors
/// If a side cannot be read, or a document has no `_id` to name it by.
pub async fn sweep(part: &Part, range: &Range, different_max: usize) -> Result<Option<Swept>> {
    let mut swept = Swept::default();
    let mut unnamed = false;
    walk::side_by_side(part, range, |met| {
        let (ours, named) = match met {
            Met::Source(document) => (Some(document), Some(document)),
            Met::Target(document) => (None, Some(document)),
            Met::Both(ours, theirs) if ours.as_bytes() != theirs.as_bytes() => {
                (Some(ours), Some(ours))
            }
            Met::Both(ours, _) => (Some(ours), None),
        };
        swept.count(ours);
        match named.map(id_of) {
            None => {}
            Some(Some(id)) => swept.different.push(IdKey::new(id)),
            Some(None) => unnamed = true,
        }
        if unnamed || different_max < swept.different.len() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    })
    .await?;
    if unnamed {
        return Err(Error::new(
            Kind::Server,
            format!("a document of {} came without `_id`", part.ns),
        ));
    }
    Ok((swept.different.len() <= different_max).then_some(swept))
}

impl Swept {
    fn count(&mut self, document: Option<&RawDocument>) {
        if let Some(document) = document {
            self.documents += 1;
            self.bytes += document.as_bytes().len() as u64;
        }
    }
}
