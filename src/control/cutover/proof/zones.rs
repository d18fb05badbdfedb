//! Compares the zones of a collection.
//!
//! Pure.

use std::collections::BTreeSet;

use crate::cluster::catalog::{Namespace, Zone};
use crate::control::cutover::proof::shown::shown;
use crate::control::cutover::proof::{Difference, Repair, repaired_or};

pub(super) fn zones(ns: &Namespace, wanted: &[Zone], there: &[Zone]) -> Option<Difference> {
    let range = |zone: &Zone| {
        (
            zone.min.as_bytes().to_vec(),
            zone.max.as_bytes().to_vec(),
            zone.name.clone(),
        )
    };
    let same = wanted.iter().map(range).collect::<BTreeSet<_>>()
        == there.iter().map(range).collect::<BTreeSet<_>>();
    let told = |zones: &[Zone]| {
        let told = zones
            .iter()
            .map(|z| format!("{} to {} in {}", shown(&z.min), shown(&z.max), z.name));
        told.collect::<Vec<_>>().join(", ")
    };
    let what = || {
        format!(
            "zones of {ns} are [{}] on the source and [{}] on the target",
            told(wanted),
            told(there)
        )
    };
    (!same).then(|| {
        let remedy = repaired_or("make them match with `sh.updateZoneKeyRange` on the target");
        Difference::new(what(), remedy).ours(Repair::Zones { ns: ns.clone() })
    })
}
