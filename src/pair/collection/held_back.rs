//! Index options of a collection that wait for the cutover (R10), by index name:
//! expiries, which must not run earlier, and `prepareUnique`, which would refuse old
//! duplicates that are only just arriving.

use std::collections::BTreeMap;

use bson::RawDocumentBuf;
use parking_lot::Mutex;

use crate::cluster::catalog::index::{self, IndexName};

#[derive(Debug, Default)]
pub struct HeldBack {
    by_name: Mutex<BTreeMap<IndexName, RawDocumentBuf>>,
}

impl HeldBack {
    pub fn clear(&self) {
        self.by_name.lock().clear();
    }

    /// Adds the options that these specifications of the source have.
    pub fn add(&self, specs: &[RawDocumentBuf]) {
        let of = |spec: &RawDocumentBuf| Some((IndexName::of(spec), index::held_back(spec)?));
        self.by_name.lock().extend(specs.iter().filter_map(of));
    }

    pub fn remove(&self, names: &[IndexName]) {
        self.by_name.lock().retain(|name, _| !names.contains(name));
    }

    /// All options, in the form that `collMod` takes under `index`.
    pub fn all(&self) -> Vec<RawDocumentBuf> {
        self.by_name.lock().values().cloned().collect()
    }
}
