//! How the servers are set, and how they are reached: encryption, majority reads, `notablescan`,
//! clocks.
//!
//! Reads only.

use std::time::{SystemTime, UNIX_EPOCH};

use bson::doc;
use futures_util::future::join_all;
use mongodb::options::{ClientOptions, Tls};

use crate::cluster::deployment::{Deployment, Shard, Topology};
use crate::cluster::{admin, hello};
use crate::codes;
use crate::config::Renames;
use crate::control::balancer;
use crate::control::balancers::Balancers;
use crate::control::left_behind;
use crate::control::limits;
use crate::control::validate::{Check, Group, named};
use crate::error::Result;

/// Clocks that differ by more make times in logs, lag and expiries hard to compare.
const SKEW_MS_MAX: u64 = 5_000;

/// Documents leave the source as its connections are.
pub(super) fn encrypted(source: &Deployment) -> Check {
    let open = source.shards.iter().any(|shard| is_open(&shard.options));
    encrypted_if(!open)
}

fn is_open(options: &ClientOptions) -> bool {
    !matches!(options.tls, Some(Tls::Enabled(_)))
}

fn encrypted_if(encrypted: bool) -> Check {
    const NAME: &str = "source connections encrypted";
    let noted = ["no TLS: what is copied can be read on the way".to_owned()];
    Check::warn_of(
        NAME,
        &noted[usize::from(encrypted)..],
        "by TLS",
        "decide whether that is acceptable, or set up TLS on the source and give tls=true in its URI",
    )
}

/// What a rename on the source will do.
pub(super) fn renames(renames: Renames, target: &Deployment) -> Check {
    renames_if(limits::follows_renames(renames, target)).about(Group::SourceState)
}

fn renames_if(followed: bool) -> Check {
    const NAME: &str = "source collections may be renamed";
    let noted = ["a rename stops the run, and so do `$out`, `mapReduce` and `convertToCapped`, which end in one".to_owned()];
    Check::warn_of(
        NAME,
        &noted[usize::from(followed)..],
        "yes, also by `$out`, `mapReduce` and `convertToCapped`; not sharded ones into a cluster before 6.0, which stop the run",
        "keep them off the source until the cutover, or give --renames follow; `shardlift recopy --shard ID` gets past one that has stopped the run, `shardlift recopy --ns` past one of a sharded collection",
    )
}

/// Settings of the source's balancer that do not travel. None without a balancer.
pub(super) async fn balancing(source: &Deployment, target: &Deployment) -> Option<Check> {
    const NAME: &str = "balancer settings that travel";
    if source.topology == Topology::ReplicaSet || target.topology == Topology::ReplicaSet {
        return None;
    }
    let found = async {
        let (here, there) = tokio::try_join!(balancer::found(source), balancer::found(target))?;
        let found = Balancers {
            source: here,
            target: there,
        };
        left_behind::warnings(source, target, &found).await
    };
    Some(match found.await {
        Ok(noted) => Check::warn_of(
            NAME,
            &noted,
            "nothing is set that would stay behind",
            "set on the target what you need there, before its balancer runs",
        ),
        Err(e) => Check::unanswered(NAME, &e),
    })
}

/// What is recorded on the target, and the source's oplog, are read as a majority has them.
pub(super) async fn majority_reads(deployment: &Deployment) -> Check {
    let name = named(
        deployment.side,
        "source allows majority reads",
        "target allows majority reads",
    );
    let asked = join_all(deployment.shards.iter().map(refuses_majority)).await;
    let mut refusing = Vec::new();
    for (shard, answer) in deployment.shards.iter().zip(asked) {
        match answer {
            Err(e) => return Check::unanswered(name, &e.context(&shard.id)),
            Ok(true) => refusing.push(format!("{} has them switched off", shard.id)),
            Ok(false) => {}
        }
    }
    Check::none_of(
        name,
        &refusing,
        "yes",
        "start every member of these sets again without `--enableMajorityReadConcern false` (`replication.enableMajorityReadConcern` in its file)",
    )
}

async fn refuses_majority(shard: &Shard) -> Result<bool> {
    // The server looks at the read concern first, and then for what is read.
    let read = doc! {"find": "majority", "limit": 1, "readConcern": {"level": "majority"}};
    match admin::ask(&shard.client, "__shardlift", read).await {
        Err(e) if e.code == Some(codes::MAJORITY_READS_NOT_ENABLED) => Ok(true),
        read => read.map(|_| false),
    }
}

/// shardlift itself gets along with `notablescan`; what users run may not.
pub(super) async fn scans(deployment: &Deployment) -> Check {
    let name = named(
        deployment.side,
        "source allows collection scans",
        "target allows collection scans",
    );
    let mut noted = Vec::new();
    for shard in &deployment.shards {
        match refuses_scans(shard).await {
            Err(e) => return Check::unanswered(name, &e.context(&shard.id)),
            Ok(true) => noted.push(format!("{} has notablescan", shard.id)),
            Ok(false) => {}
        }
    }
    Check::warn_of(
        name,
        &noted,
        "yes",
        "shardlift's own reads go by an index; other tools' and applications' may be refused: set it alike on both sides, or run `db.adminCommand({setParameter: 1, notablescan: false})`",
    )
}

async fn refuses_scans(shard: &Shard) -> Result<bool> {
    let reply = admin::ask(
        &shard.client,
        "admin",
        doc! {"getParameter": 1, "notablescan": 1},
    );
    Ok(reply.await?.get_bool("notablescan").unwrap_or(false))
}

/// Every shard's clock against this host's.
pub(super) async fn clocks(sides: &[&Deployment]) -> Check {
    let shards = sides.iter().flat_map(|side| {
        let name = move |shard: &Shard| format!("{} shard {}", side.side, shard.id);
        side.shards.iter().map(move |shard| (name(shard), shard))
    });
    let asked = shards.map(|(name, shard)| async move { (name, skew_ms(shard).await) });
    let found: Vec<(String, Option<i64>)> = join_all(asked).await;
    skewed(&found)
}

/// How far the clock of a shard's primary is before this host's, ms, less what the answer
/// took. None if it does not tell.
async fn skew_ms(shard: &Shard) -> Option<i64> {
    let before = now_ms();
    let hello = hello::hello(&shard.client).await.ok()?;
    let after = now_ms();
    let theirs = hello.get_datetime("localTime").ok()?.timestamp_millis();
    // Within the time the answer took they cannot be told apart.
    Some(theirs - theirs.clamp(before, after.max(before)))
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as i64)
}

fn skewed(found: &[(String, Option<i64>)]) -> Check {
    let noted: Vec<String> = found
        .iter()
        .filter_map(|(name, skew)| {
            let Some(skew) = skew else {
                return Some(format!("{name} does not tell its time"));
            };
            let word = if *skew < 0 { "behind" } else { "before" };
            let seconds = skew.unsigned_abs() / 1_000;
            (SKEW_MS_MAX < skew.unsigned_abs())
                .then(|| format!("the clock of {name} is {seconds} s {word} this host's"))
        })
        .collect();
    Check::warn_of(
        "clocks agree",
        &noted,
        format!("within {} s", SKEW_MS_MAX / 1_000),
        "let every host follow one time server (NTP): lag, expiries and logs go by these clocks",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::validate::Verdict;

    #[test]
    fn a_connection_without_tls_is_warned_of() {
        assert_eq!(encrypted_if(true).verdict, Verdict::Ok);
        assert_eq!(encrypted_if(false).verdict, Verdict::Warning);
        let mut options = ClientOptions::default();
        assert!(is_open(&options));
        options.tls = Some(Tls::Disabled);
        assert!(is_open(&options));
        options.tls = Some(Tls::Enabled(Default::default()));
        assert!(!is_open(&options));
    }

    #[test]
    fn a_source_whose_renames_stop_the_run_is_warned_of() {
        assert_eq!(renames_if(true).verdict, Verdict::Ok);
        assert_eq!(renames_if(false).verdict, Verdict::Warning);
    }

    #[test]
    fn a_clock_that_is_far_off_is_named() {
        let found = |skew| skewed(&[("source shard a".to_owned(), skew)]);
        for skew in [Some(0), Some(5_000), Some(-5_000)] {
            assert_eq!(found(skew).verdict, Verdict::Ok, "{skew:?}");
        }
        assert!(found(None).found.contains("does not tell"));
        assert!(found(Some(61_000)).found.contains("shard a is 61 s before"));
        assert!(found(Some(-61_000)).found.contains("61 s behind"));
    }
}
