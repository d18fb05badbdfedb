//! Hidden indexes: an index is hidden, or shown again, without being built anew.
//!
//! Pure functions.

use bson::{RawDocument, RawDocumentBuf, rawdoc};

use super::{Value, is_true, options, same};
use crate::bson::element::{document, elements, field};

const HIDDEN: &str = "hidden";

/// Whether they have the same options but that one is hidden and the other is not.
pub(super) fn same_but_hidden(a: &RawDocument, b: &RawDocument) -> bool {
    !same(a, b) && but_hidden(a) == but_hidden(b)
}

fn but_hidden(spec: &RawDocument) -> Vec<(&[u8], Value<'_>)> {
    let mut options = options(spec);
    options.retain(|(name, _)| *name != HIDDEN.as_bytes());
    options
}

/// Name of an index and whether it is hidden.
pub(super) fn hiding(spec: &RawDocument) -> RawDocumentBuf {
    let is_hidden = field(spec.as_bytes(), HIDDEN.as_bytes()).is_some_and(|on| is_true(&on));
    let name = field(spec.as_bytes(), b"name");
    document(
        name.into_iter()
            .chain(elements(&rawdoc! { "hidden": is_hidden })),
    )
}

#[cfg(test)]
mod tests {
    use super::super::{Listed, plan};
    use super::*;

    #[test]
    fn what_is_hidden_otherwise_is_neither_dropped_nor_built() {
        let index = |hidden: bool| rawdoc! {"v": 2, "key": {"a": 1}, "name": "a", "hidden": hidden};
        for (wanted, there, hides) in [
            (true, false, Some(true)),
            (false, true, Some(false)),
            (true, true, None),
        ] {
            let there = [Listed {
                spec: index(there),
                build: None,
            }];
            let plan = plan(&[index(wanted)], &there);
            let expect = hides.map(|hidden| rawdoc! {"name": "a", "hidden": hidden});
            assert_eq!(plan.hide, expect.into_iter().collect::<Vec<_>>());
            assert!(plan.drop.is_empty() && plan.build.is_empty());
        }
    }
}
