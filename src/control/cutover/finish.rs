//! The irreversible part of a cutover, and the watch over late writes after it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bson::{Document, RawDocument, RawDocumentBuf, rawdoc};
use tokio::sync::mpsc;

use crate::bson::element::{Element, document, elements, kind};
use crate::bson::view::View;
use crate::cluster::admin;
use crate::cluster::catalog::{EXPIRY, Namespace, PRE_IMAGES};
use crate::cluster::deployment::Deployment;
use crate::cluster::retry::Retry;
use crate::codes;
use crate::config::Config;
use crate::control::across::ddl::Coordinator;
use crate::control::balancers;
use crate::control::open::Opened;
use crate::control::process::Process;
use crate::control::run::Run;
use crate::control::stop;
use crate::error::{Policy, Result};
use crate::failpoint;
use crate::observe::api::request::Request;
use crate::pair::run::Pair;
use crate::position::Position;
use crate::state::{HeldBack, OptionsOf, Stage};

/// How long one `collMod` may take.
const RESTORE_PATIENCE: Duration = Duration::from_secs(60);

/// Records that only the finish is left, and what it has to restore. The gates
/// are closed for good.
pub async fn begin(opened: &Opened, coordinator: &Coordinator, pairs: &[Arc<Pair>]) -> Result<()> {
    // A process that was frozen meanwhile may have been replaced.
    opened.renew_lease().await?;
    let mut held_back: Vec<HeldBack> = Vec::new();
    for (ns, indexes) in pairs.iter().flat_map(|pair| pair.held_back().into_values()) {
        held_back.extend(indexes.into_iter().map(|options| HeldBack {
            ns: ns.clone(),
            of: OptionsOf::Index,
            options,
        }));
    }
    for collection in coordinator.laid_out().into_values() {
        for name in [EXPIRY, PRE_IMAGES] {
            let options = only(&collection.options, name);
            if !options.is_empty() {
                held_back.push(HeldBack {
                    ns: collection.ns.clone(),
                    of: OptionsOf::Collection,
                    options,
                });
            }
        }
    }
    // Pairs have the same of a sharded collection.
    held_back.sort_by(|a, b| (&a.ns, a.options.as_bytes()).cmp(&(&b.ns, b.options.as_bytes())));
    held_back.dedup();
    opened.stores.run.save_held_back(&held_back).await?;
    opened.stores.run.set_stage(Stage::Finishing).await?;
    failpoint::hit("cutover-finishing");
    Ok(())
}

/// Finishes until it is done or a signal comes. The next start goes on with it: too late
/// for anything else.
pub async fn unless_stopped(
    process: Process<'_>,
    requests: &mut mpsc::Receiver<Request>,
) -> Result<()> {
    let Process {
        config,
        run,
        opened,
        stop,
    } = process;
    tokio::select! {
        biased;
        done = finish(config, opened, run) => done,
        () = stop.asked() => Err(stop::stopped("completing the cutover")),
        () = stop::refuse(requests, "too late: the cutover is being completed") => Ok(()),
    }
}

/// The irreversible part. Every step may be done twice; the state goes last.
async fn finish(config: &Config, opened: &Opened, run: &Run) -> Result<()> {
    let mut retry = Retry::new(config.away_max());
    retry.until_it_works(|| restore_all(opened, run)).await?;
    failpoint::hit("cutover-expiries");
    tracing::info!("cutover: expiries and other options held back are restored");
    balancers::restore(&opened.sides, &opened.balancers, run).await;
    failpoint::hit("cutover-balancers");
    tracing::info!("cutover: only the run's state is left to remove");
    retry.until_it_works(|| opened.stores.remove()).await?;
    failpoint::hit("cutover-removed");
    Ok(())
}

/// Gives indexes and collections back what was held back, through the target's
/// router. What cannot be is a loud warning: the data is there, and the command
/// is named.
async fn restore_all(opened: &Opened, run: &Run) -> Result<()> {
    let mut held_back = opened.stores.run.load_held_back().await?;
    // IMPORTANT: pre-images last: what sets another option may switch them off.
    let of_images = |held_back: &HeldBack| {
        held_back
            .options
            .get(PRE_IMAGES)
            .is_ok_and(|on| on.is_some())
    };
    held_back.sort_by_key(of_images);
    for held_back in held_back {
        for command in commands(&held_back) {
            restore(&opened.sides.target, &held_back.ns, &command, run).await?;
        }
    }
    Ok(())
}

/// `prepareUnique` has a command of its own: a server takes nothing else with it.
fn commands(held_back: &HeldBack) -> Vec<RawDocumentBuf> {
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

fn only(options: &RawDocument, name: &str) -> RawDocumentBuf {
    document(elements(options).filter(|option| option.name == name.as_bytes()))
}

async fn restore(
    target: &Deployment,
    ns: &Namespace,
    command: &RawDocument,
    run: &Run,
) -> Result<()> {
    let mut durable = command.to_owned();
    durable.append(bson::cstr!("writeConcern"), rawdoc! { "w": "majority" });
    let sent = target.entry.send(&ns.db, &durable, RESTORE_PATIENCE).await;
    match sent.and_then(|reply| admin::acknowledged(&reply)) {
        Err(e) if e.code == Some(codes::NAMESPACE_NOT_FOUND) => {}
        Err(e) if e.kind.policy() == Policy::Retry => return Err(e),
        Err(e) => run.warn(format!(
            "an option held back until the cutover could not be set on {ns} of the target: {e}; run {} by hand",
            Document::try_from(command).map_or_else(|_| format!("{command:?}"), |command| command.to_string())
        )),
        Ok(_) => {}
    }
    Ok(())
}

/// Keeps the tails going for `grace` after the cutover and reports what users
/// still wrote to the source.
pub async fn report_late_writes(
    pairs: &[Arc<Pair>],
    markers: &[Position],
    grace: Duration,
    run: &Run,
) {
    let end = Instant::now() + grace;
    let (mut late, mut expired) = (vec![false; pairs.len()], vec![false; pairs.len()]);
    while Instant::now() < end {
        for (i, (pair, marker)) in pairs.iter().zip(markers).enumerate() {
            if let Some(ns) = pair
                .changed_since(*marker)
                .filter(|_| !std::mem::replace(&mut late[i], true))
            {
                run.warn(format!(
                    "LATE WRITE: the source shard of {} took a write to {ns} after the cutover; it is NOT on the target: stop what still writes to the source",
                    pair.name
                ));
            }
            if pair.expired_since(*marker) && !std::mem::replace(&mut expired[i], true) {
                run.warn(format!(
                    "after the cutover the source shard of {} deleted documents of a collection with an expiry: by itself, as the target will too, or by a LATE client",
                    pair.name
                ));
            }
        }
        tokio::time::sleep(Duration::from_millis(50).min(grace)).await;
    }
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
            let commands = commands(&HeldBack {
                ns: ns.clone(),
                of,
                options,
            });
            let commands: Vec<Document> = commands
                .iter()
                .map(|c| Document::try_from(&**c).unwrap())
                .collect();
            assert_eq!(commands, expect);
        }
    }
}
