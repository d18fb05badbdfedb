//! The questions servers are asked, each answered as one or two checks.
//!
//! Reads only. What an answer means is decided in the neighbour files or in a
//! small pure function beside the question.

use std::collections::BTreeSet;

use bson::{Bson, Document, doc};
use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use mongodb::Client;
use mongodb::options::ReadConcern;

use crate::cluster::catalog::index::IndexName;
use crate::cluster::catalog::{self, Catalog, Collection, CollectionKind, Namespace};
use crate::cluster::deployment::{Deployment, Topology};
use crate::cluster::dialect::Dialect;
use crate::cluster::retry::answered;
use crate::cluster::{admin, probe};
use crate::codes;
use crate::control::balancer;
use crate::control::run::now_ms;
use crate::control::validate::grants::{Grants, Login};
use crate::control::validate::privileges::{Need, Needs};
use crate::control::validate::{
    Check, content, expiries, indexes as index_rules, lack, listed, named,
};
use crate::error::{Error, Kind, Result};

const HISTORY_SECONDS_MIN: i64 = 60;
/// Questions asked side by side.
const CONCURRENCY: usize = 16;

pub(super) async fn identity(source: &Deployment, target: &Deployment) -> Check {
    const NAME: &str = "target is not the source";
    let ids = async {
        Ok((
            probe::identity(source).await?,
            probe::identity(target).await?,
        ))
    }
    .await;
    let (a, b) = match ids {
        Ok(ids) => ids,
        Err(e) => return Check::unanswered(NAME, &e),
    };
    let (same_cluster, same_sets) = probe::shared(&a, &b);
    if same_cluster {
        return Check::fail(
            NAME,
            "both are one cluster",
            "give another cluster as target",
        );
    }
    let sets: Vec<String> = same_sets
        .iter()
        .map(|(i, _)| source.shards[*i].hosts.clone())
        .collect();
    Check::none_of(
        NAME,
        &sets,
        "no replica set in common",
        "these replica sets are on both sides: give another target",
    )
}

pub(super) async fn balancer(deployment: &Deployment) -> Vec<Check> {
    if deployment.topology == Topology::ReplicaSet {
        return Vec::new();
    }
    let name = named(deployment.side, "source balancer", "target balancer");
    let state = admin::balancer_status(&deployment.entry)
        .await
        .map(|status| {
            if status.is_off() {
                Check::pass(name, "off")
            } else {
                Check::pass(name, "on; it is stopped for the run, then restored")
            }
        });
    let moving = named(
        deployment.side,
        "source chunks at rest",
        "target chunks at rest",
    );
    let running = balancer::running(deployment).await.map(|running| {
        if running.is_empty() {
            return Check::pass(moving, "no migration runs");
        }
        Check::warn(
            moving,
            listed(&running),
            "shardlift waits up to ten minutes for these to end",
        )
    });
    vec![
        Check::answered(name, state),
        Check::answered(moving, running),
    ]
}

/// The source's oplog must be readable with majority concern.
pub(super) async fn oplog(name: &'static str, source: &Deployment) -> Check {
    let ends = join_all(source.shards.iter().map(|s| oplog_end(&s.client, -1))).await;
    let mut wrong = Vec::new();
    for (shard, end) in source.shards.iter().zip(ends) {
        match end {
            Err(e) if e.code == Some(codes::MAJORITY_READS_NOT_ENABLED) => {
                wrong.push(format!(
                    "{}: majority reads are switched off (enableMajorityReadConcern: false)",
                    shard.id
                ));
            }
            Err(e) => wrong.push(format!("{}: {}", shard.id, e.message)),
            Ok(_) => {}
        }
    }
    Check::none_of(
        name,
        &wrong,
        "local.oplog.rs with majority read concern on every shard",
        "grant the user the role backup, and allow majority reads",
    )
}

/// Seconds (unix) of the oplog's first (`natural` 1) or last (-1) entry.
pub(super) async fn oplog_end(client: &Client, natural: i32) -> Result<u32> {
    let oplog = client.database("local").collection::<Document>("oplog.rs");
    let find = oplog
        .find_one(doc! {})
        .sort(doc! {"$natural": natural})
        .projection(doc! {"ts": 1});
    let entry = answered("the oplog", async {
        Ok(find.read_concern(ReadConcern::majority()).await?)
    })
    .await?;
    let entry = entry.ok_or_else(|| Error::new(Kind::Server, "the oplog is empty"))?;
    Ok(entry.get_timestamp("ts")?.time)
}

/// Documents of a refused write are read again as they were a moment ago: the source must
/// keep its history for that long.
pub(super) async fn history(name: &'static str, source: &Deployment) -> Check {
    let parameter = source.dialect.reads.history_parameter;
    let mut short = Vec::new();
    for shard in &source.shards {
        let ask = doc! {"getParameter": 1, parameter: 1};
        let reply = match admin::ask(&shard.client, "admin", ask).await {
            Err(e) => return Check::unanswered(name, &e.context(&shard.id)),
            Ok(reply) => reply,
        };
        let seconds = reply
            .get(parameter)
            .and_then(|value| value.as_i64().or(value.as_i32().map(i64::from)));
        if let Some(seconds) = seconds.filter(|seconds| *seconds < HISTORY_SECONDS_MIN) {
            short.push(format!("{} for {seconds} s", shard.id));
        }
    }
    if short.is_empty() {
        return Check::pass(name, "for long enough");
    }
    Check::warn(
        name,
        listed(&short),
        format!(
            "where unique values pass from document to document the run may not become ready while writes go on: set it \
             to 300 on every member: `db.adminCommand({{setParameter: 1, {parameter}: 300}})`"
        ),
    )
}

/// Who is asked for which rights, by name.
fn places<'a>(
    deployment: &'a Deployment,
    needs: &'a Needs,
) -> Vec<(&'a str, &'a Client, &'a [Need])> {
    let mut places: Vec<(&str, &Client, &[Need])> = deployment
        .shards
        .iter()
        .map(|s| (s.id.as_str(), &s.client, needs.shard.as_slice()))
        .collect();
    if deployment.topology == Topology::Sharded {
        places.push(("mongos", &deployment.entry, needs.router.as_slice()));
    }
    places
}

/// Whether our users have these rights everywhere. False where nobody is logged in.
pub(super) async fn may(deployment: &Deployment, needs: &Needs) -> Result<bool> {
    for (_, client, needs) in places(deployment, needs) {
        match login_of(client).await? {
            Some(login) if lack::missing(&login.privileges, needs).is_empty() => {}
            _ => return Ok(false),
        }
    }
    Ok(true)
}

/// What the user lacks, by role, on router and shards. Nothing if there is no
/// authentication.
pub(super) async fn privileges(
    name: &'static str,
    deployment: &Deployment,
    needs: &Needs,
) -> Check {
    let (mut wrong, mut grants) = (Vec::new(), Grants::default());
    let mut has_users = false;
    let own = format!("shardlift_{}", deployment.side);
    for (place, client, needs) in places(deployment, needs) {
        match login_of(client).await {
            Err(e) => return Check::unanswered(name, &e.context(place)),
            Ok(None) => {}
            Ok(Some(login)) => {
                has_users = true;
                let lacks = lack::missing(&login.privileges, needs);
                wrong.extend(lacks.iter().map(|lack| format!("{place} lacks {lack}")));
                grants.add(place, &login, needs, &own);
            }
        }
    }
    let good = if has_users {
        "sufficient on router and shards"
    } else {
        "no authentication"
    };
    Check::none_of(name, &wrong, good, grants.remedy())
}

/// None if nobody is logged in.
async fn login_of(client: &Client) -> Result<Option<Login>> {
    let command = doc! {"connectionStatus": 1, "showPrivileges": true};
    let reply = match admin::ask(client, "admin", command).await {
        Err(e) if e.code == Some(codes::COMMAND_NOT_FOUND) => return Ok(None),
        reply => reply?,
    };
    let info = reply.get_document("authInfo")?;
    let Some(user) = info
        .get_array("authenticatedUsers")?
        .first()
        .and_then(Bson::as_document)
    else {
        return Ok(None);
    };
    let held = info.get_array("authenticatedUserPrivileges")?;
    let privileges = held.iter().filter_map(Bson::as_document).cloned().collect();
    Ok(Some(Login {
        user: user.get_str("user")?.to_owned(),
        db: user.get_str("db")?.to_owned(),
        privileges,
    }))
}

/// Indexes that the target would refuse, expiries that it does not keep, and what is not on every
/// shard alike.
pub(super) async fn indexes(
    source: &Deployment,
    catalog: &Catalog,
    target: &Dialect,
) -> Vec<Check> {
    const NAME: &str = "indexes can be rebuilt";
    let plain = catalog
        .collections
        .iter()
        .filter(|c| c.kind == CollectionKind::Plain);
    let asked: Vec<Result<Indexes>> = stream::iter(plain)
        .map(|c| indexes_of(source, c, target))
        .buffered(CONCURRENCY)
        .collect()
        .await;
    let mut all = Indexes::default();
    for answer in asked {
        match answer {
            Err(e) => return vec![Check::unanswered(NAME, &e)],
            Ok(one) => all.join(one),
        }
    }
    vec![
        Check::none_of(
            NAME,
            &all.refused,
            format!("{} indexes", all.count),
            "drop these indexes, or rebuild them with options that the target takes",
        ),
        expiries::check(&all.noted),
        Check::warn_of(
            "indexes alike on every shard",
            &all.unlike,
            "yes",
            "each shard's are moved as they are: build the missing ones through a mongos, or drop them, on the source",
        ),
    ]
}

/// What is known of indexes, by the source's names: of one collection, then of all.
#[derive(Default)]
struct Indexes {
    count: usize,
    /// Those that the target would not build, and why.
    refused: Vec<String>,
    /// Those whose expiry it does not keep.
    noted: Vec<String>,
    /// Those that not every shard of the collection has alike.
    unlike: Vec<String>,
}

impl Indexes {
    fn join(&mut self, one: Indexes) {
        self.count += one.count;
        self.refused.extend(one.refused);
        self.noted.extend(one.noted);
        self.unlike.extend(one.unlike);
    }
}

/// Shards may have others of one collection.
async fn indexes_of(
    source: &Deployment,
    collection: &Collection,
    target: &Dialect,
) -> Result<Indexes> {
    let (mut refused, mut noted) = (BTreeSet::new(), BTreeSet::new());
    let mut by_shard = Vec::new();
    let now_s = (now_ms() / 1_000) as i64;
    let own = collection.ns.own(&source.scope);
    for (_, shard) in source
        .shards
        .iter()
        .enumerate()
        .filter(|(index, _)| collection.lives_on(*index))
    {
        let specs = catalog::indexes(shard, &collection.ns).await?;
        for spec in &specs {
            let told = |why: &str| format!("{} of {own} ({why})", IndexName::of(spec));
            let why = index_rules::refused(spec, &target.catalog);
            refused.extend(why.map(|why| told(&why)));
            noted.extend(expiries::noted(spec, &target.writes, now_s).map(told));
        }
        by_shard.push(specs);
    }
    let unlike = index_rules::unlike(&by_shard);
    Ok(Indexes {
        count: by_shard.iter().map(Vec::len).max().unwrap_or(0),
        refused: refused.into_iter().collect(),
        noted: noted.into_iter().collect(),
        unlike: unlike
            .iter()
            .map(|name| format!("{name} of {own}"))
            .collect(),
    })
}

pub(super) async fn target_empty(
    source: &Catalog,
    target: &Deployment,
    to_wipe: &BTreeSet<Namespace>,
) -> Check {
    const NAME: &str = content::TARGET_EMPTY;
    let answer = async {
        let held = catalog::read(target).await?;
        // Whatever the run is about.
        let whole = catalog::read(&target.unfiltered()).await?;
        Ok(match content::other_spellings(source, &whole, to_wipe) {
            Some(check) => check,
            None => content::target_empty(source, &held, to_wipe),
        })
    };
    Check::answered(NAME, answer.await)
}
