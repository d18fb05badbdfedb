//! Migrations whose engine crashes again and again, at every named failpoint
//! and at any moment, until it ends: what arrives is compared byte by byte. In some
//! somebody moves a chunk: that must never end well, but stop the run, or call its
//! cutovers off, until it is begun anew.
//!
//! `SHARDLIFT_CRASH_KILLS` sets how often it is killed in all, and
//! `SHARDLIFT_CRASH_SERVER_VERSION` the release of both sides (`…_SOURCE_VERSION`,
//! `…_TARGET_VERSION` that of one). A table of where it was comes on stderr.

#[path = "crash/life.rs"]
mod life;
#[path = "crash/moves.rs"]
mod moves;
#[path = "crash/schedule.rs"]
mod schedule;
#[path = "crash/tally.rs"]
mod tally;

use shardlift::observe::phase::Phase;
use std::time::{Duration, Instant};

use loadgen::check::{self, CheckOptions};
use loadgen::cli::releases::Releases;
use loadgen::cluster::{ReplicaSet, ReplicaSetOptions, ShardedCluster, ShardedOptions};
use loadgen::load::{Load, LoadHandle, LoadOptions};
use loadgen::populate::{self, PopulateArgs};
use loadgen::server::version;
use mongodb::Client;

use life::{End, Life};
use moves::Side;
use schedule::{Blow, Schedule};
use tally::Tally;

/// On both topologies together.
const KILLS: usize = 20;
const DOCS: u64 = 3_000;
const OPLOG_MB: u32 = 512;
/// How long an engine that is ready may go on without reaching its failpoint.
const READY_WITHOUT_HIT: Duration = Duration::from_secs(2);
/// Far beyond any life here, and beyond the engine's watchdog: only so that a test that
/// hangs ends and shows what waits on what.
const HANGS_AFTER: Duration = Duration::from_secs(150);
const POLL: Duration = Duration::from_millis(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sharded_migration_survives_every_crash() {
    let releases = releases();
    let options = |release| ShardedOptions {
        release,
        cache_gb: 0.25,
        oplog_mb: Some(OPLOG_MB),
        ..ShardedOptions::default()
    };
    let (source, target) = tokio::join!(
        ShardedCluster::start(options(releases.source())),
        ShardedCluster::start(options(releases.target()))
    );
    let (source, target) = (source.unwrap(), target.unwrap());
    moves::make(&source.uri()).await;
    survive(
        &source.uri(),
        &target.uri(),
        Schedule::new(0, kills(), true),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_set_migration_survives_every_crash() {
    let releases = releases();
    let options = |name: &str, release| ReplicaSetOptions {
        release,
        name: name.to_owned(),
        cache_gb: 0.25,
        oplog_mb: Some(OPLOG_MB),
        ..ReplicaSetOptions::default()
    };
    let (source, target) = tokio::join!(
        ReplicaSet::start(options("a", releases.source())),
        ReplicaSet::start(options("b", releases.target()))
    );
    let (source, target) = (source.unwrap(), target.unwrap());
    survive(
        &source.uri(),
        &target.uri(),
        Schedule::new(1, kills(), false),
    )
    .await;
}

fn releases() -> Releases {
    let given = |side: &str| {
        let release = std::env::var(format!("SHARDLIFT_CRASH_{side}_VERSION")).ok()?;
        Some(release.parse().expect("a release"))
    };
    Releases {
        server_version: given("SERVER").unwrap_or(version::DEFAULT),
        source_version: given("SOURCE"),
        target_version: given("TARGET"),
    }
}

/// Of each topology.
fn kills() -> usize {
    let kills =
        std::env::var("SHARDLIFT_CRASH_KILLS").map(|text| text.parse().expect("a number of kills"));
    kills.unwrap_or(KILLS).div_ceil(2)
}

/// One migration after the other until the kills are spent.
async fn survive(source: &str, target: &str, schedule: Schedule) {
    populate::populate(&PopulateArgs {
        docs: DOCS,
        capped: true,
        ..PopulateArgs::new(source)
    })
    .await
    .unwrap();
    let client = Client::with_uri_str(target).await.unwrap();
    let mut tally = Tally::default();
    let first = schedule.offset();
    for (round, blows) in schedule.enumerate() {
        wipe(&client).await;
        let load = start_load(source, round as u64).await;
        Migration {
            source,
            target,
            // Both topologies take turns. What nobody asks for comes more often.
            order: ["natural", "id", "id"][(round + first) % 3],
            load: Some(load),
            tally: &mut tally,
        }
        .run(blows)
        .await;
        let options = CheckOptions {
            max_differences: 100,
            ..CheckOptions::default()
        };
        let report = check::compare(source, target, &options).await.unwrap();
        assert!(report.equal, "{tally}\n{report}");
        eprintln!(
            "round {round}: {} kills, {} documents equal",
            tally.kills(),
            report.documents
        );
    }
    eprintln!("{tally}");
}

async fn start_load(source: &str, seed: u64) -> LoadHandle {
    let options = LoadOptions {
        rate: 400.0,
        seed,
        connections: 4,
        ddl: true,
        unique_churn: true,
        mix: "all,large_transactions=1".parse().unwrap(),
        ..LoadOptions::new(source)
    };
    Load::start(options).await.unwrap()
}

/// Drops all that a former migration brought.
async fn wipe(target: &Client) {
    for name in target.list_database_names().await.unwrap() {
        if !["admin", "config", "local"].contains(&name.as_str()) {
            target.database(&name).drop().await.unwrap();
        }
    }
}

struct Migration<'a> {
    source: &'a str,
    target: &'a str,
    /// In which collections are read.
    order: &'static str,
    /// None once the writes have stopped.
    load: Option<LoadHandle>,
    tally: &'a mut Tally,
}

impl Migration<'_> {
    /// A life a blow, then lives without any, until it is done.
    async fn run(mut self, blows: Vec<Blow>) {
        let began = Instant::now();
        let mut blows = blows.into_iter();
        let mut anew = false;
        loop {
            let blow = blows.next().unwrap_or(Blow::None);
            let mut life = Life::start(
                self.source,
                self.target,
                self.order,
                &blow,
                std::mem::take(&mut anew),
            );
            let born = Instant::now();
            let end = match blow {
                Blow::Random { after } => {
                    tokio::time::sleep(after).await;
                    self.kill(&mut life, "at random").await
                }
                Blow::Move { side, number } => {
                    anew = true;
                    self.live_with_a_move(&mut life, side, number).await
                }
                _ => self.live(&mut life, &blow).await,
            };
            eprintln!(
                "{:6.1} s  {:?} → {end:?} after {:.1} s",
                began.elapsed().as_secs_f64(),
                blow,
                born.elapsed().as_secs_f64()
            );
            // Whatever a life left, the next one finds what it changes; not where a chunk went.
            assert!(
                anew || !life
                    .log()
                    .contains(shardlift::pair::write::missed::FOUND_NOTHING),
                "{}",
                life.log()
            );
            match end {
                End::Done => {
                    assert!(!anew, "it is done though a chunk moved\n{}", life.log());
                    break;
                }
                End::Code(6) if anew => self.tally.refused("a moved chunk"),
                End::Aborted => {
                    self.tally.hit(blow.name());
                    // Nothing is left that a start could go on with: it is done.
                    if blow.name() == "cutover-removed" {
                        break;
                    }
                }
                End::Killed => {}
                // A park or a server that is not there yet: the same command goes on.
                End::Code(3 | 5 | 9 | 130) => self.tally.restart(),
                End::Code(code) => panic!("the engine ended with code {code}\n{}", life.log()),
            }
            let bound = HANGS_AFTER * (2 + self.tally.kills() as u32);
            assert!(
                began.elapsed() < bound,
                "no end in sight\n{}\n{}",
                self.tally,
                life.log()
            );
        }
        blows.for_each(|blow| self.tally.missed(blow.name()));
        self.stop_load().await;
    }

    /// Until the failpoint ends it, or it is clear that it will not.
    async fn live(&mut self, life: &mut Life, blow: &Blow) -> End {
        let began = Instant::now();
        let mut ready: Option<Instant> = None;
        loop {
            if let Some(end) = life.end() {
                if let (End::Done, Blow::Failpoint { name, .. }) = (&end, blow) {
                    self.tally.missed(name);
                }
                return end;
            }
            assert!(
                began.elapsed() < HANGS_AFTER,
                "the engine hangs\n{}",
                life.log()
            );
            let phase = life.phase().await;
            if phase == Some(Phase::Ready) {
                let since = *ready.get_or_insert_with(Instant::now);
                if blow.is_late() {
                    self.stop_load().await;
                    life.request_cutover().await;
                } else if READY_WITHOUT_HIT <= since.elapsed() {
                    self.tally.missed(blow.name());
                    return self.kill(life, "when its failpoint was not reached").await;
                }
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Until it stops because of a chunk that moved, or says what keeps it from cutting over.
    async fn live_with_a_move(&mut self, life: &mut Life, side: Side, number: usize) -> End {
        let began = Instant::now();
        let mut moved = false;
        loop {
            if let Some(end) = life.end() {
                return end;
            }
            assert!(
                began.elapsed() < HANGS_AFTER,
                "a chunk moved, and nothing comes of it\n{}",
                life.log()
            );
            let status = life.status().await.unwrap_or_default();
            if !moved && status.phase == Phase::Ready {
                self.stop_load().await;
                moves::move_one(self.source, self.target, side, number).await;
                moved = true;
            } else if moved {
                life.request_cutover().await;
            }
            let told = status
                .obstacles
                .iter()
                .any(|obstacle| obstacle.contains("--restart"));
            if moved && (told || 0 < status.cutovers_given_up) {
                self.tally
                    .refused("a moved chunk, and waited to be begun anew");
                return self.kill(life, "when it would not cut over").await;
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn kill(&mut self, life: &mut Life, why: &'static str) -> End {
        let phase = life.phase().await;
        let phase = phase.map_or("starting".to_owned(), |phase| phase.to_string());
        match life.kill() {
            End::Killed => {
                self.tally.killed(why, phase);
                End::Killed
            }
            // It was faster.
            end => end,
        }
    }

    async fn stop_load(&mut self) {
        if let Some(load) = self.load.take() {
            let report = load.stop().await;
            assert!(report.errors.is_empty(), "{report}");
        }
    }
}
