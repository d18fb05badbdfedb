//! Options that wait for the cutover (R10), and the commands that set them.
//!
//! Knows nothing about why they wait.

use std::time::Duration;

use bson::{Document, RawDocument, RawDocumentBuf, rawdoc};

use crate::bson::element::{Element, document, elements, kind};
use crate::bson::view::View;
use crate::cluster::admin;
use crate::cluster::catalog::{EXPIRY, Namespace, index};
use crate::cluster::deployment::Deployment;
use crate::codes;
use crate::control::run::Run;
use crate::error::{Policy, Result};
use crate::state::{HeldBack, OptionsOf};

/// How long one `collMod` may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Sets these options through the router, in that order. What cannot be set is a loud
/// warning, which names the command.
///
/// # Errors
/// What may pass.
pub async fn set(deployment: &Deployment, all: &[HeldBack], run: &Run) -> Result<()> {
    let longest = deployment.dialect.writes.expiry_max;
    for held_back in all {
        let ns = &held_back.ns;
        let kept = kept(held_back, longest);
        if kept.options != held_back.options {
            run.warn_once(format!(
                "the {} keeps no expiry above {longest} s, and deletes nothing by this index of {ns}: {}",
                deployment.side,
                told(&held_back.options)
            ));
        }
        for command in commands(&kept) {
            match send(deployment, ns, &command).await {
                Err(e) if e.kind.policy() == Policy::Retry => return Err(e),
                Err(e) => run.warn(format!(
                    "an option held back until the cutover could not be set on {ns} of the {}: {e}; run {} by hand",
                    deployment.side,
                    told(&command)
                )),
                Ok(()) => {}
            }
        }
    }
    Ok(())
}

/// What a server can be given of it. An expiry that is longer than its `longest`, in seconds, would
/// become that, and delete what the source keeps: so there is none.
fn kept(held_back: &HeldBack, longest: i64) -> HeldBack {
    let mut kept = held_back.clone();
    if held_back.of == OptionsOf::Index && index::expires_after(&held_back.options, longest) {
        let others = elements(&held_back.options).filter(|option| option.name != EXPIRY.as_bytes());
        kept.options = document(others);
    }
    kept
}

/// A command as people read it.
pub fn told(command: &RawDocument) -> String {
    Document::try_from(command)
        .map_or_else(|_| format!("{command:?}"), |command| command.to_string())
}

/// A collection that is gone needs nothing.
pub async fn send(deployment: &Deployment, ns: &Namespace, command: &RawDocument) -> Result<()> {
    let mut durable = command.to_owned();
    durable.append(bson::cstr!("writeConcern"), rawdoc! { "w": "majority" });
    let sent = deployment.entry.send(&ns.db, &durable, PATIENCE).await;
    match sent.and_then(|reply| admin::acknowledged(&reply)) {
        Err(e) if e.code == Some(codes::NAMESPACE_NOT_FOUND) => Ok(()),
        sent => sent,
    }
}

/// `prepareUnique` has a command of its own: a server takes nothing else with it.
pub fn commands(held_back: &HeldBack) -> Vec<RawDocumentBuf> {
    let options = elements(&held_back.options);
    let name: Vec<Element<'_>> = options
        .clone()
        .filter(|option| option.name == b"name")
        .collect();
    let head = rawdoc! { "collMod": held_back.ns.public().coll.as_str() };
    let command = |option: Element<'_>| {
        let option = if is_not_finite(&option) {
            Element {
                kind: kind::INT32,
                value: &FOR_EVER,
                ..option
            }
        } else {
            option
        };
        let index = document(name.iter().copied().chain([option]));
        let index = Element {
            kind: kind::DOCUMENT,
            name: b"index",
            value: index.as_bytes(),
        };
        let change = if held_back.of == OptionsOf::Index {
            index
        } else {
            option
        };
        document(elements(&head).chain([change]))
    };
    options
        .filter(|option| option.name != b"name")
        .map(command)
        .collect()
}

/// `collMod` takes NaN for 0 and deletes at once; the server itself stores this
/// number in its place where an index is created (R10).
const FOR_EVER: [u8; 4] = i32::MAX.to_le_bytes();

fn is_not_finite(option: &Element<'_>) -> bool {
    matches!(View::from(*option), View::Double(number) if !number.is_finite())
}

pub fn only(options: &RawDocument, name: &str) -> RawDocumentBuf {
    document(elements(options).filter(|option| option.name == name.as_bytes()))
}

#[cfg(test)]
mod tests {
    use bson::doc;

    use super::*;

    #[test]
    fn each_option_is_given_back_by_a_command_a_server_takes() {
        let ns = Namespace {
            db: "d".to_owned(),
            coll: "c".to_owned(),
        };
        let rows = [
            (
                OptionsOf::Index,
                rawdoc! {"name": "n", "expireAfterSeconds": 5i64, "prepareUnique": true},
                vec![
                    doc! {"collMod": "c", "index": {"name": "n", "expireAfterSeconds": 5i64}},
                    doc! {"collMod": "c", "index": {"name": "n", "prepareUnique": true}},
                ],
            ),
            (
                OptionsOf::Index,
                rawdoc! {"name": "n", "expireAfterSeconds": f64::NAN},
                vec![doc! {"collMod": "c", "index": {"name": "n", "expireAfterSeconds": i32::MAX}}],
            ),
            (
                OptionsOf::Index,
                rawdoc! {"name": "n", "expireAfterSeconds": 1i64 << 31, "prepareUnique": true},
                vec![doc! {"collMod": "c", "index": {"name": "n", "prepareUnique": true}}],
            ),
            (
                OptionsOf::Collection,
                rawdoc! {"expireAfterSeconds": f64::INFINITY},
                vec![doc! {"collMod": "c", "expireAfterSeconds": i32::MAX}],
            ),
            (
                OptionsOf::Collection,
                rawdoc! {"expireAfterSeconds": 2.5},
                vec![doc! {"collMod": "c", "expireAfterSeconds": 2.5}],
            ),
        ];
        for (of, options, expect) in rows {
            let held_back = HeldBack {
                ns: ns.clone(),
                of,
                options,
            };
            let commands = commands(&kept(&held_back, i64::from(i32::MAX)));
            let commands: Vec<Document> = commands
                .iter()
                .map(|c| Document::try_from(&**c).unwrap())
                .collect();
            assert_eq!(commands, expect);
        }
    }
}
