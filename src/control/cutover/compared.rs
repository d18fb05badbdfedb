//! What a cutover found as it compared both sides, documents and all else.
//!
//! Compares and repairs nothing itself.

use crate::control::cutover::proof::{self, Difference};
use crate::verify;

#[derive(Debug)]
pub struct Compared {
    /// Of documents. None if none are to be compared.
    pub report: Option<verify::Report>,
    /// Of all else.
    pub differences: Vec<Difference>,
}

impl Compared {
    fn documents_are_equal(&self) -> bool {
        self.report.as_ref().is_none_or(|report| report.equal)
    }

    pub fn is_equal(&self) -> bool {
        self.documents_are_equal() && self.differences.is_empty()
    }

    /// Nothing differs but what is ours to make alike.
    pub fn is_ours(&self) -> bool {
        self.documents_are_equal() && self.differences.iter().all(|d| d.repair.is_some())
    }

    pub fn told(&self) -> Vec<String> {
        let mut told = proof::told(&self.differences);
        if let Some(report) = self.report.as_ref().filter(|report| !report.equal) {
            told.extend(report.told());
        }
        told
    }
}
