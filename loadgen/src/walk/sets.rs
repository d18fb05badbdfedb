//! The last part of the walk, on three replica sets: a mirror by the flags of mongomirror;
//! then a migration whose source refuses writes from the cutover on, and whose way back is
//! given up.

use crate::abilities::Abilities;
use crate::check::{self, CheckOptions};
use crate::cli::releases::Releases;
use crate::cluster::{ReplicaSet, ReplicaSetOptions, User};
use crate::error::{Error, Result};
use crate::populate::{self, PopulateArgs};
use crate::server::version::Release;
use crate::walk::operator::Operator;
use crate::walk::{CACHE_GB, OPLOG_MB, no_gap, phase};
use crate::wire::login::PASSWORD;

/// Documents; they are moved twice.
const DOCS: u64 = 2_000;
/// Beside other runs of this host, and with nobody who asks for its cutover.
const ALONE: [(&str, &str); 3] = [
    ("SHARDLIFT_API_PORT", "0"),
    ("SHARDLIFT_CUTOVER", "auto"),
    ("SHARDLIFT_GRACE_S", "0"),
];

/// The engine's user on either side of a way back: the old source takes its writes while it
/// refuses those of others.
const ENGINE: &str = "engine";
const ROLES: [&str; 7] = [
    "readAnyDatabase",
    "readWriteAnyDatabase",
    "dbAdminAnyDatabase",
    "backup",
    "restore",
    "clusterMonitor",
    "clusterManager",
];

/// Each asks for a login.
pub(super) struct Sets {
    source: ReplicaSet,
    target: ReplicaSet,
    /// Of the mirror.
    copy: ReplicaSet,
}

impl Sets {
    pub(super) async fn start(releases: &Releases) -> Result<Sets> {
        let (from, to) = (releases.source(), releases.target());
        let (source, target, copy) =
            tokio::try_join!(set("source", from), set("target", to), set("copy", to))?;
        Ok(Sets {
            source,
            target,
            copy,
        })
    }

    pub(super) async fn walk(&self, operator: &mut Operator, seed: u64) -> Result<()> {
        let Sets {
            source,
            target,
            copy,
        } = self;
        operator.step("a replica set is filled");
        let populate = PopulateArgs {
            docs: DOCS,
            seed,
            ..PopulateArgs::new(source.uri())
        };
        populate::populate(&populate).await?;
        mirror(operator, source, copy).await?;
        operator.between((source.uri_as(ENGINE), target.uri_as(ENGINE)));
        operator.migrate(&["--reverse"]).await?;
        operator.until(&phase("ready")).await?;
        operator.ask_until(&["prepare"], &no_gap(1)).await?;
        cut_over_blocking(operator, source.release()).await?;
        operator.until(&phase("ready")).await?;
        operator
            .ask(&["reverse", "stop"], &["the way back is given up"])
            .await?;
        operator.ended(130).await?;
        // Not with the source: what expires there is kept back on it.
        equal(operator, copy, target).await
    }
}

async fn set(name: &str, release: Release) -> Result<ReplicaSet> {
    let options = ReplicaSetOptions {
        release,
        name: name.to_owned(),
        cache_gb: CACHE_GB,
        oplog_mb: Some(OPLOG_MB),
        login: Some(vec![User::new(ENGINE, &ROLES)]),
        ..ReplicaSetOptions::default()
    };
    ReplicaSet::start(options).await
}

async fn mirror(operator: &mut Operator, source: &ReplicaSet, copy: &ReplicaSet) -> Result<()> {
    let (from, to) = (source.hosts(), copy.hosts());
    let oplog = operator.place("mirror");
    #[rustfmt::skip]
    let args = [
        "mirror", "--json", "--oplogPath", &oplog,
        "--host", &from, "--username", ENGINE, "--password", PASSWORD, "--authenticationDatabase", "admin",
        "--destination", &to, "--destinationUsername", ENGINE, "--destinationPassword", PASSWORD,
        "--destinationAuthenticationDatabase", "admin",
    ];
    let copied = "\"documents_copied\":[1-9]";
    operator.command_with(&args, &ALONE, &[copied]).await?;
    equal(operator, source, copy).await
}

/// With a source that knows no such block it is called off; then it is done without.
async fn cut_over_blocking(operator: &mut Operator, release: Release) -> Result<()> {
    let blocking = ["cutover", "--block-writes"];
    if Abilities::from(release).blocks_writes {
        return operator.ask(&blocking, &[]).await;
    }
    operator
        .refused(&blocking, "without --block-writes")
        .await?;
    operator.until(&phase("ready")).await?;
    operator.ask(&["cutover"], &[]).await
}

async fn equal(operator: &mut Operator, a: &ReplicaSet, b: &ReplicaSet) -> Result<()> {
    operator.step(&format!("{} and {} are equal", a.name(), b.name()));
    let report = check::compare(&a.uri(), &b.uri(), &CheckOptions::default()).await?;
    if report.equal {
        return Ok(());
    }
    Err(Error::new(format!("they differ: {report}")))
}
