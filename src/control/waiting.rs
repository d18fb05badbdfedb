//! Says what a start waits for, once it takes longer than a moment: a member that is down,
//! a locked server, a transaction that is open on the source.
//!
//! Looks only; the work it stands beside decides how long it waits.

use std::convert::Infallible;
use std::time::Duration;

use bson::{Bson, Document, doc};
use futures_util::future::join_all;

use crate::cluster::admin;
use crate::cluster::deployment::{Deployment, Shard, Side};
use crate::cluster::retry::within;
use crate::control::open_ops;
use crate::control::run::Run;
use crate::control::sides::Sides;
use crate::error::Result;

/// What takes longer is told.
const MOMENT: Duration = Duration::from_secs(3);
/// How often the causes are looked for.
const POLL: Duration = Duration::from_secs(3);
/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Transactions that have been open for longer may be what is waited for.
const OPEN_S: i64 = 2;
/// A secondary that is further behind may be, too.
const BEHIND_S: i64 = 3;

/// Does `work`; the status says what it is, and what it may wait for, once it takes long.
/// `sides`: None before they are reached.
pub async fn told<T>(
    run: &Run,
    what: &str,
    sides: Option<&Sides>,
    work: impl Future<Output = T>,
) -> T {
    let done = tokio::select! {
        done = work => done,
        never = look(run, what, sides) => match never {},
    };
    run.set_waiting(None);
    done
}

async fn look(run: &Run, what: &str, sides: Option<&Sides>) -> Infallible {
    tokio::time::sleep(MOMENT).await;
    loop {
        let causes = match sides {
            Some(sides) => causes(sides).await,
            None => Vec::new(),
        };
        run.set_waiting(Some(text(what, &causes)));
        tokio::time::sleep(POLL).await;
    }
}

fn text(what: &str, causes: &[String]) -> String {
    if causes.is_empty() {
        return what.to_owned();
    }
    format!("{what}; it may be held up by {}", causes.join("; "))
}

async fn causes(sides: &Sides) -> Vec<String> {
    let of_shard = |side: &Deployment, shard: &Shard| {
        let (side, shard) = (side.side, shard.clone());
        async move {
            let name = format!("{side} shard {}", shard.id);
            match within(PATIENCE, &name, of_shard(side, &shard)).await {
                Ok(causes) => causes
                    .into_iter()
                    .map(|cause| format!("{cause} on {name}"))
                    .collect(),
                Err(e) => vec![e.message],
            }
        }
    };
    let all = [&sides.source, &sides.target].into_iter();
    let all = all.flat_map(|side| side.shards.iter().map(|shard| of_shard(side, shard)));
    let found: Vec<Vec<String>> = join_all(all).await;
    found.concat()
}

async fn of_shard(side: Side, shard: &Shard) -> Result<Vec<String>> {
    let ask = |question| admin::ask(&shard.client, "admin", question);
    let (status, ops) = tokio::join!(
        ask(doc! {"replSetGetStatus": 1}),
        ask(doc! {"currentOp": 1, "$ownOps": true})
    );
    let mut causes = laggards(&status?);
    if ops?.get_bool("fsyncLock").unwrap_or(false) {
        causes.push("a lock against writes (run `db.fsyncUnlock()`)".to_owned());
    }
    if side == Side::Source {
        let open = open_ops::on(shard, OPEN_S).await?;
        causes.extend(open.iter().map(open_ops::Open::text));
    }
    Ok(causes)
}

/// Members that do not follow, or are behind, from `replSetGetStatus`.
fn laggards(status: &Document) -> Vec<String> {
    const SOUND: [&str; 3] = ["PRIMARY", "SECONDARY", "ARBITER"];
    let members = status.get_array("members").into_iter().flatten();
    let members: Vec<&Document> = members.filter_map(Bson::as_document).collect();
    let state = |member: &Document| member.get_str("stateStr").unwrap_or_default().to_owned();
    let at_ms = |member: &Document| {
        let at = member.get_datetime("optimeDate").ok();
        at.map_or(0, |at| at.timestamp_millis())
    };
    let primary = members.iter().find(|member| state(member) == "PRIMARY");
    let newest_ms = primary.map_or(0, |primary| at_ms(primary));
    let text = |member: &&Document| {
        let (name, state) = (member.get_str("name").unwrap_or("a member"), state(member));
        let behind_s = (newest_ms - at_ms(member)) / 1_000;
        if !SOUND.contains(&state.as_str()) {
            Some(format!("member {name}, which is {state},"))
        } else if state == "SECONDARY" && BEHIND_S <= behind_s {
            Some(format!("member {name}, which is {behind_s} s behind,"))
        } else {
            None
        }
    };
    members.iter().filter_map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_that_do_not_follow_are_named() {
        let at = |s: i64| bson::DateTime::from_millis(s * 1_000);
        let status = doc! {"members": [
            {"name": "h:1", "stateStr": "PRIMARY", "optimeDate": at(100)},
            {"name": "h:2", "stateStr": "SECONDARY", "optimeDate": at(98)},
            {"name": "h:3", "stateStr": "(not reachable/healthy)", "optimeDate": at(0)},
            {"name": "h:4", "stateStr": "ARBITER"},
            {"name": "h:5", "stateStr": "SECONDARY", "optimeDate": at(90)},
        ]};
        let expect = [
            "member h:3, which is (not reachable/healthy),",
            "member h:5, which is 10 s behind,",
        ];
        assert_eq!(laggards(&status), expect);
        assert!(laggards(&doc! {}).is_empty());
    }

    #[tokio::test]
    async fn what_does_not_take_long_is_not_told() {
        let run = Run::new();
        assert_eq!(told(&run, "validating", None, async { 5 }).await, 5);
        assert_eq!(run.snapshot().waiting, None);
        let causes = ["a".to_owned(), "b".to_owned()];
        assert_eq!(text("it", &causes), "it; it may be held up by a; b");
        assert_eq!(text("it", &[]), "it");
    }
}
