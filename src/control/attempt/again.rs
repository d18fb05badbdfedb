//! A source shard, or a collection, is copied again because an operator asked the
//! running process for that: between two attempts, as `shardlift recopy` does without one.

use std::convert::Infallible;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use crate::cluster::retry::Retry;
use crate::control::attempt::pause;
use crate::control::layout::prepare;
use crate::control::process::Process;
use crate::control::recorded::restart;
use crate::control::stop;
use crate::error::{Error, Kind, Result};
use crate::observe::api::request::{Answer, Recopied, Request};
use crate::observe::phase::Phase;

/// When whoever asked is answered at the latest: after 30 s nobody waits any more, and the
/// attempt took a few to end.
const ANSWERED_BY: Duration = Duration::from_secs(20);

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
    if asked.is_nothing() {
        return Some("name a source shard, a collection, or both".to_owned());
    }
    let unknown = asked.shard.as_deref().filter(|shard| !ids.contains(shard));
    if let Some(shard) = unknown {
        let found = format!("the run has no source shard {shard}");
        return Some(format!(
            "{found}; its source shards are: {}",
            ids.join(", ")
        ));
    }
    let ns = asked.ns.as_deref().map(restart::namespace)?;
    ns.err().map(|e| e.to_string())
}

/// Does it, whatever takes a while to answer; no attempt is under way. Whoever asked is answered
/// once nothing speaks against it.
///
/// # Errors
/// By what ends it: a signal, a cancel, a server that stays away. Not by a refusal. One that
/// nobody was told is a warning until it is asked for again.
pub async fn copy(
    process: Process<'_>,
    requests: &mut mpsc::Receiver<Request>,
    asked: &Recopied,
    reply: oneshot::Sender<Answer>,
) -> Result<()> {
    let Process { run, .. } = process;
    run.enter(
        Phase::Recovering,
        &format!("an operator wants {asked} to be copied again"),
    );
    let asker = Asker(Mutex::new(Some(reply)));
    let done = tokio::select! {
        done = empty(process, requests, asked, &asker) => done,
        never = asker.answer_late(asked) => match never {},
    };
    let subject = format!("recopy of {asked}");
    match done {
        Ok(told) => {
            tracing::info!("{told}");
            run.warn_while(&subject, None);
            Ok(())
        }
        Err(e) if e.kind == Kind::Refused => {
            let told = format!("{asked} is not copied again, or not all of it: {e}");
            tracing::info!("{told}");
            let is_told = asker.answer(Err(told.clone()));
            run.warn_while(&subject, Some(told).filter(|_| !is_told));
            Ok(())
        }
        Err(e) => {
            asker.answer(Err(format!("{asked} is not copied again: {e}")));
            if e.kind == Kind::Cancelled {
                return Err(e);
            }
            Err(half_done(e, asked))
        }
    }
}

/// Returns what was done, as a sentence.
async fn empty(
    process: Process<'_>,
    requests: &mut mpsc::Receiver<Request>,
    asked: &Recopied,
    asker: &Asker,
) -> Result<String> {
    let Process {
        config,
        opened,
        stop,
        ..
    } = process;
    let (shard, ns) = (asked.shard.as_deref(), asked.ns.as_deref());
    let ns = ns.map(restart::namespace).transpose()?;
    let (source, target) = (&opened.sides.source, &opened.sides.target);
    let cut = prepare::cut(config);
    let accepted = || {
        asker.answer(Ok(format!("{asked} is copied again")));
    };
    let mut retry = Retry::new(config.away_max());
    let work = || restart::alone(source, target, (shard, ns.as_ref()), cut, &accepted);
    let doing = "emptying what is copied again";
    let done = stop::unless_ended(requests, stop, doing, Box::pin(retry.until_it_works(work)));
    pause::meanwhile(process, done).await
}

/// The operator who asked for it, until that one is answered.
struct Asker(Mutex<Option<oneshot::Sender<Answer>>>);

impl Asker {
    /// True if the answer is the first, and somebody waits for it.
    fn answer(&self, answer: Answer) -> bool {
        let reply = self.0.lock().take();
        reply.is_some_and(|reply| reply.send(answer).is_ok())
    }

    /// Before whoever asked waits no more.
    async fn answer_late(&self, asked: &Recopied) -> Infallible {
        tokio::time::sleep(ANSWERED_BY).await;
        let told =
            format!("{asked} is to be copied again: `shardlift status` says if it cannot be");
        self.answer(Ok(told));
        std::future::pending().await
    }
}

/// What to do about an error that came in the midst of it.
fn half_done(e: Error, asked: &Recopied) -> Error {
    let shard = asked.shard.iter().map(|shard| format!(" --shard {shard}"));
    let ns = asked.ns.iter().map(|ns| format!(" --ns {}", quoted(ns)));
    let flags: String = shard.chain(ns).collect();
    let again = format!("run `shardlift recopy{flags}` again, which is not done");
    let remedy = match &e.remedy {
        Some(remedy) if e.kind == Kind::Stopped => format!("first {again}; then {remedy}"),
        // It would fail again by what is to be mended.
        Some(remedy) => format!("{remedy}; before `shardlift migrate` goes on, {again}"),
        None => again,
    };
    e.remedy(remedy)
}

/// As a shell takes it.
fn quoted(ns: &str) -> String {
    if ns.ends_with('*') {
        format!("'{ns}'")
    } else {
        ns.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_broke_off_is_named_as_it_was_asked_for() {
        let rows = [
            (
                (Some("a"), None),
                Kind::Server,
                None,
                "run `shardlift recopy --shard a` again, which is not done",
            ),
            (
                (Some("a"), Some("d.c")),
                Kind::Stopped,
                Some("x"),
                "first run `shardlift recopy --shard a --ns d.c` again, which is not done; then x",
            ),
            (
                (Some("a"), Some("d.c")),
                Kind::Parked,
                Some("x"),
                "x; before `shardlift migrate` goes on, run `shardlift recopy --shard a --ns d.c` again, which is not done",
            ),
            (
                (None, Some("d.*")),
                Kind::Server,
                None,
                "run `shardlift recopy --ns 'd.*'` again, which is not done",
            ),
        ];
        for ((shard, ns), kind, remedy, expect) in rows {
            let asked = Recopied {
                shard: shard.map(str::to_owned),
                ns: ns.map(str::to_owned),
            };
            let e = Error::new(kind, "why");
            let e = remedy.map_or_else(|| e.clone(), |remedy| e.clone().remedy(remedy));
            assert_eq!(half_done(e, &asked).remedy.as_deref(), Some(expect));
        }
    }
}
