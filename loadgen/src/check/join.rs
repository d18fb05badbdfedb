//! Where two streams run apart: documents wait for their counterpart, by the
//! bytes of their `_id`. What is left at the end is missing, extra or different.
//!
//! Knows nothing about the streams themselves.

use std::collections::BTreeMap;

use bson::{RawDocument, RawDocumentBuf, raw::cstr};

use super::{describe, report::Findings};

/// Bytes that may wait before a collection counts as hopelessly different.
const WAITING_BYTES_MAX: usize = 256 << 20;

/// Documents by `_id`; on a sharded collection one `_id` may be on several shards.
type Waiting = BTreeMap<Vec<u8>, Vec<Vec<u8>>>;

pub(super) struct Join<'a> {
    ns: &'a str,
    findings: &'a Findings,
    source: Waiting,
    target: Waiting,
    bytes: usize,
}

impl<'a> Join<'a> {
    pub(super) fn new(ns: &'a str, findings: &'a Findings) -> Self {
        Join {
            ns,
            findings,
            source: Waiting::new(),
            target: Waiting::new(),
            bytes: 0,
        }
    }

    pub(super) fn source(&mut self, document: Vec<u8>) {
        offer(
            &mut self.source,
            &mut self.target,
            document,
            &mut self.bytes,
        );
    }

    pub(super) fn target(&mut self, document: Vec<u8>) {
        offer(
            &mut self.target,
            &mut self.source,
            document,
            &mut self.bytes,
        );
    }

    pub(super) fn is_full(&self) -> bool {
        WAITING_BYTES_MAX < self.bytes
    }

    /// Reports what found no equal counterpart; answers how many there were.
    pub(super) fn finish(mut self) -> u64 {
        let mut found = 0;
        let mut report = |kind, detail: &dyn Fn() -> String| {
            found += 1;
            self.findings.add(self.ns, kind, detail);
        };
        for (id, sources) in self.source {
            let mut targets = self.target.remove(&id).unwrap_or_default().into_iter();
            for source in sources {
                match targets.next() {
                    Some(target) => {
                        report("different document", &|| {
                            describe::difference(&source, &target)
                        });
                    }
                    None => report("missing document", &|| describe::id(&source)),
                }
            }
            for target in targets {
                report("extra document", &|| describe::id(&target));
            }
        }
        for target in self.target.into_values().flatten() {
            report("extra document", &|| describe::id(&target));
        }
        found
    }
}

/// Meets an equal document of the other side, or waits for one.
fn offer(own: &mut Waiting, other: &mut Waiting, document: Vec<u8>, bytes: &mut usize) {
    let id = id_bytes(&document);
    if let Some(candidates) = other.get_mut(&id)
        && let Some(at) = candidates
            .iter()
            .position(|candidate| *candidate == document)
    {
        candidates.swap_remove(at);
        *bytes -= document.len();
        if candidates.is_empty() {
            other.remove(&id);
        }
        return;
    }
    *bytes += document.len();
    own.entry(id).or_default().push(document);
}

/// Type and bytes of the `_id`; empty where there is none.
fn id_bytes(document: &[u8]) -> Vec<u8> {
    let Ok(document) = RawDocument::from_bytes(document) else {
        return Vec::new();
    };
    let Ok(Some(id)) = document.get("_id") else {
        return Vec::new();
    };
    let mut alone = RawDocumentBuf::new();
    alone.append(cstr!(""), id);
    alone.into_bytes()
}
