//! A source shard, or one collection of it, is copied again because an operator asked the
//! running process for that: between two attempts, as `shardlift recopy` does without one.

use tokio::sync::mpsc;

use crate::cluster::retry::Retry;
use crate::control::layout::prepare;
use crate::control::process::Process;
use crate::control::recorded::restart;
use crate::control::stop;
use crate::error::{Error, Kind, Result};
use crate::observe::api::request::{Recopied, Request};
use crate::observe::phase::Phase;

/// Why it cannot be; None if it can.
pub fn unfit(process: Process<'_>, asked: &Recopied) -> Option<String> {
    let Process { run, opened, .. } = process;
    let shards = &opened.sides.source.shards;
    let ids: Vec<&str> = shards.iter().map(|shard| shard.id.as_str()).collect();
    if run.is_way_back() {
        return Some(
            "a way back copies nothing again: `shardlift reverse stop` gives it up".to_owned(),
        );
    }
    if !ids.contains(&asked.shard.as_str()) {
        let found = format!("the run has no source shard {}", asked.shard);
        return Some(format!(
            "{found}; its source shards are: {}",
            ids.join(", ")
        ));
    }
    let ns = asked.ns.as_deref().map(restart::namespace)?;
    ns.err().map(|e| e.to_string())
}

/// Does it, whatever takes a while to answer; no attempt is under way.
///
/// # Errors
/// By what ends it: a signal, a cancel, a server that stays away. Not by a refusal, which is a
/// warning of the run.
pub async fn copy(
    process: Process<'_>,
    requests: &mut mpsc::Receiver<Request>,
    asked: &Recopied,
) -> Result<()> {
    let Process {
        config,
        run,
        opened,
        stop,
    } = process;
    let Recopied { shard, ns } = asked;
    let ns = ns.as_deref().map(restart::namespace).transpose()?;
    let what = format!("an operator wants source shard {shard} to be copied again");
    run.enter(Phase::Recovering, &what);
    let (source, target) = (&opened.sides.source, &opened.sides.target);
    let cut = prepare::cut(config);
    let mut retry = Retry::new(config.away_max());
    let doing = "copying a shard again";
    let done = retry.until_it_works(|| restart::alone(source, target, shard, ns.as_ref(), cut));
    match stop::unless_ended(requests, stop, doing, Box::pin(done)).await {
        Ok(told) => {
            tracing::info!("{told}");
            Ok(())
        }
        Err(e) if e.kind == Kind::Refused => {
            run.warn(format!("source shard {shard} is not copied again: {e}"));
            Ok(())
        }
        Err(e) if e.kind == Kind::Cancelled => Err(e),
        Err(e) => Err(half_done(e, asked)),
    }
}

/// It may have been emptied, and not yet planned anew.
fn half_done(e: Error, Recopied { shard, ns }: &Recopied) -> Error {
    let only = ns.as_ref().map(|ns| format!(" --ns {ns}"));
    let again = format!(
        "run `shardlift recopy --shard {shard}{}` again before that: it was not done",
        only.unwrap_or_default()
    );
    let remedy = e.remedy.clone().map(|remedy| format!("{remedy}; {again}"));
    e.remedy(remedy.unwrap_or(again))
}
