//! The cutover (R11): first fence, comparison, second fence, and only then the
//! irreversible. Ends in one of two ways: done, or back to following with
//! nothing lost.
//!
//! By default the comparison of documents begins with what is verified ahead (`ahead`,
//! which has the proof), and so does not grow with the data; all else is compared whole
//! (`proof`).

use std::sync::Arc;
use std::time::{Duration, Instant};

use bson::{Document, Uuid, doc};
use futures_util::TryStreamExt;
use futures_util::future::try_join_all;
use tokio::time::timeout_at;

use crate::cluster::catalog::{self, Catalog};
use crate::cluster::connect::Shard;
use crate::cluster::note;
use crate::config::VerifyMode;
use crate::control::ahead::Ahead;
use crate::control::ddl::Coordinator;
use crate::control::run::Run;
use crate::control::sides::Sides;
use crate::control::watch::Watch;
use crate::control::{listing, proof};
use crate::error::{Error, Kind, Policy, Result};
use crate::pair::position::Position;
use crate::pair::proven;
use crate::pair::run::{Noise, Pair, close_all_if_quiet};
use crate::verify;

/// How much longer than the deadline a server may take to answer: what is late
/// has a better reason to give until then.
const ANSWERS: Duration = Duration::from_secs(10);
/// How often a waiting cutover looks again.
const POLL: Duration = Duration::from_millis(2);
/// How often source shards are asked for open transactions, and what was not answered again.
const QUESTION_POLL: Duration = Duration::from_millis(50);

/// What takes longer is told in the status.
const MOMENT: Duration = Duration::from_secs(1);
/// The obstacle that says so.
const WAITS: &str = "cutover";

const KEEPS_EXPIRING: &str = "the source keeps expiring documents";
const MENDED: &str = "what was not alike is being made alike";

/// What a cutover works with.
pub struct Cutover<'a> {
    /// Is told what is waited for.
    pub run: &'a Run,
    pub sides: &'a Sides,
    pub pairs: &'a [Arc<Pair>],
    pub coordinator: &'a Coordinator,
    pub watch: &'a Watch,
    pub verify: VerifyMode,
    /// What need not be read whole any more.
    pub ahead: &'a Ahead,
    pub verify_concurrency: usize,
    /// When it is called off.
    pub deadline: Instant,
}

/// Why it was called off.
#[derive(Debug)]
pub enum CalledOff {
    /// Users wrote to this namespace after the first fence.
    Writes(String),
    /// Something was not over at the deadline.
    Late(String),
    /// What may move chunks, or does.
    Moving(Vec<String>),
    /// Source and target differ, though nobody wrote.
    Differs(Vec<String>),
}

impl CalledOff {
    pub fn reason(&self) -> String {
        match self {
            CalledOff::Writes(ns) => format!(
                "cutover called off: writes to {ns} arrived after it began; stop all writes, then cut over again"
            ),
            CalledOff::Late(what) => {
                format!(
                    "cutover called off: {what}; raise cutover_timeout_s or remove the cause, then cut over again"
                )
            }
            CalledOff::Moving(what) => {
                format!(
                    "cutover called off: chunks may move: {}; then cut over again",
                    what.join("; ")
                )
            }
            CalledOff::Differs(differences) => {
                format!(
                    "cutover called off: source and target differ: {}",
                    differences.join("; ")
                )
            }
        }
    }
}

/// What a proof found, and where writes are late from.
#[derive(Debug)]
pub struct Equal {
    /// None if nothing was to be compared.
    pub report: Option<verify::Report>,
    pub fences: Vec<Position>,
}

/// What came of one round from fence to fence.
enum Round {
    Equal(Equal),
    Off(CalledOff),
    /// Why, and from where on.
    Again(&'static str, Vec<Position>),
}

type Proven = std::result::Result<Equal, CalledOff>;

impl Cutover<'_> {
    /// Proves that the target is equal and that nobody writes, and closes the
    /// gates: from then on nothing is applied any more.
    ///
    /// # Errors
    /// Only what must stop the run; everything else is `CalledOff`.
    pub async fn prove(&self) -> Result<Proven> {
        // Closing the gates is the last thing it does, and does not wait.
        let late = || Ok(Err(CalledOff::Late("a server does not answer".to_owned())));
        let proven = timeout_at((self.deadline + ANSWERS).into(), self.try_prove()).await;
        // What stands in the way says more than who gave up waiting for it.
        self.run.obstacles.clear(WAITS);
        match proven.unwrap_or_else(|_| late()) {
            Err(e) if matches!(e.kind, Kind::Unsupported | Kind::Internal) => Err(e),
            Err(e) => Ok(Err(CalledOff::Late(self.with_obstacles(e.to_string())))),
            Ok(Err(CalledOff::Late(what))) => Ok(Err(CalledOff::Late(self.with_obstacles(what)))),
            proven => proven,
        }
    }

    fn with_obstacles(&self, what: String) -> String {
        match &self.run.all_obstacles()[..] {
            [] => what,
            obstacles => format!("{what}; in the way: {}", obstacles.join("; ")),
        }
    }

    /// Does `work`; the status says what for, once it takes longer than a moment.
    async fn told<T>(&self, what: &str, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        tokio::select! {
            done = work.as_mut() => return done,
            () = tokio::time::sleep(MOMENT) => self.waits_for(what),
        }
        let done = work.await;
        self.run.obstacles.clear(WAITS);
        done
    }

    /// Asks until there is an answer or the deadline is over: a router may be frozen, and
    /// the next question goes to another one.
    async fn asked<T, F: Future<Output = Result<T>>>(&self, question: impl Fn() -> F) -> Result<T> {
        loop {
            match question().await {
                Err(e) if e.kind.policy() == Policy::Retry && Instant::now() < self.deadline => {
                    tracing::warn!("cutover: asked again: {}", e.message);
                }
                answer => return answer,
            }
            tokio::time::sleep(QUESTION_POLL).await;
        }
    }

    fn waits_for(&self, what: &str) {
        self.run
            .obstacles
            .set(WAITS, format!("the cutover under way waits for {what}"));
    }

    /// To be called when it is over, however it ended.
    pub fn waits_no_more(&self) {
        self.run.obstacles.clear(WAITS);
    }

    async fn try_prove(&self) -> Result<Proven> {
        let mut fence = self.fence().await?;
        let mut mended = false;
        loop {
            match self.round(&fence, mended).await? {
                Round::Equal(equal) => return Ok(Ok(equal)),
                Round::Off(off) => return Ok(Err(off)),
                Round::Again(why, _) if self.deadline <= Instant::now() => {
                    return Ok(Err(CalledOff::Late(why.to_owned())));
                }
                Round::Again(why, later) => {
                    mended |= why == MENDED;
                    fence = later;
                }
            }
        }
    }

    /// From one fence to the next. What differs and is ours is mended, once.
    async fn round(&self, first: &[Position], mended: bool) -> Result<Round> {
        if let Err(off) = self.settle(first).await? {
            return Ok(Round::Off(off));
        }
        tracing::info!("cutover: everything up to the fence is applied");
        self.coordinator.drop_emptied().await?;
        let newest = || listing::newest(&self.sides.source);
        let terms = self.asked(newest).await?;
        let listing = self.asked(|| proof::Listed::read(self.sides, self.pairs, self.coordinator));
        let comparing = async { tokio::try_join!(self.compare(), listing) };
        let comparing = self.told("both sides to be compared", comparing);
        let Ok(compared) = timeout_at(self.deadline.into(), comparing).await else {
            return Ok(Round::Off(CalledOff::Late(
                "comparing both sides is not over".to_owned(),
            )));
        };
        let (report, mut differences) =
            compared.map(|(report, listed)| (report, listed.definitions()))?;
        tracing::info!("cutover: both sides are compared");
        let second = self.fence().await?;
        if let Err(off) = self.settle(&second).await? {
            return Ok(Round::Off(off));
        }
        if let Some(ns) = self.changed_since(first) {
            return Ok(Round::Off(CalledOff::Writes(ns)));
        }
        if self.expired_since(first) {
            // The source's own expiries: applied, and fenced anew.
            return Ok(Round::Again(KEEPS_EXPIRING, second));
        }
        if !proven::same_terms(&terms, &self.asked(newest).await?) {
            return Ok(Round::Again("source shards keep holding elections", second));
        }
        // IMPORTANT: after our last write (`proof`).
        let moving = self.asked(|| self.watch.check()).await?;
        if !moving.is_empty() {
            return Ok(Round::Off(CalledOff::Moving(moving)));
        }
        differences.extend(self.asked(|| proof::owners(self.sides)).await?);
        // What was acknowledged is durable, in one term: else the attempt goes
        // back, and a difference means nothing (R7).
        let recorded = try_join_all(self.pairs.iter().map(|pair| pair.record_all()));
        self.told("a majority of the target to have all of it", recorded)
            .await?;
        let documents = report.as_ref().filter(|report| !report.equal);
        let ours = differences
            .iter()
            .all(|difference| difference.repair.is_some());
        if documents.is_none() && !differences.is_empty() && ours && !mended {
            proof::repair(&differences, self.pairs, self.coordinator).await?;
            return Ok(Round::Again(MENDED, second));
        }
        if documents.is_some() || !differences.is_empty() {
            let differences = proof::told(&differences).into_iter();
            let documents = documents.iter().flat_map(|report| report.told());
            return Ok(Round::Off(CalledOff::Differs(
                differences.chain(documents).collect(),
            )));
        }
        Ok(match close_all_if_quiet(self.pairs, first, &second) {
            Ok(()) => {
                tracing::info!("cutover: nobody wrote meanwhile; nothing is applied any more");
                Round::Equal(Equal {
                    report,
                    fences: second,
                })
            }
            Err(Noise::Change(ns)) => Round::Off(CalledOff::Writes(ns)),
            Err(Noise::Expiry) => Round::Again(KEEPS_EXPIRING, second),
        })
    }

    /// A note in every source shard's oplog: everything before it is before the
    /// fence. Retried until the deadline.
    async fn fence(&self) -> Result<Vec<Position>> {
        let run_id = self.run.id();
        let shards = self
            .pairs
            .iter()
            .map(|pair| &self.sides.source.shards[pair.index]);
        let notes =
            try_join_all(shards.map(|shard| note::write(shard, "fence", &run_id, self.deadline)));
        let notes = self
            .told(
                "a note in the oplog of every source shard, by a majority of its members",
                notes,
            )
            .await?;
        Ok(notes.into_iter().map(Position::from).collect())
    }

    /// Waits until everything up to the fences is applied and nothing is open
    /// that could still take effect.
    async fn settle(&self, fences: &[Position]) -> Result<std::result::Result<(), CalledOff>> {
        let since = Instant::now();
        loop {
            let waiting = self
                .pairs
                .iter()
                .zip(fences)
                .find_map(|(pair, fence)| waits_for(pair, *fence));
            let waiting = match waiting {
                None => {
                    self.told("an answer of the source's shards", self.open_on_source())
                        .await?
                }
                waiting => waiting,
            };
            let Some(waiting) = waiting else {
                self.run.obstacles.clear(WAITS);
                return Ok(Ok(()));
            };
            if MOMENT < since.elapsed() {
                self.waits_for(&format!("this to end: {waiting}"));
            }
            if self.deadline <= Instant::now() {
                return Ok(Err(CalledOff::Late(waiting)));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Open transactions of users leave no trace in the oplog until they commit
    /// or prepare, and an index build may have begun before the tail: the shards
    /// are asked.
    async fn open_on_source(&self) -> Result<Option<String>> {
        for shard in &self.sides.source.shards {
            let command = doc! { "serverStatus": 1, "repl": 0, "metrics": 0, "locks": 0, "wiredTiger": 0, "tcmalloc": 0 };
            let status: Document = shard
                .client
                .database("admin")
                .run_command(command)
                .await
                .map_err(Error::from)?;
            let transactions = status.get_document("transactions").ok();
            let open = transactions
                .and_then(|t| t.get_i64("currentOpen").ok())
                .unwrap_or(0);
            let waiting = match (open, index_builds(shard).await?) {
                (0, 0) => continue,
                (0, builds) => format!(
                    "{builds} index builds are under way on source shard {}",
                    shard.id
                ),
                (open, _) => format!("{open} transactions are open on source shard {}", shard.id),
            };
            tokio::time::sleep(QUESTION_POLL).await;
            return Ok(Some(waiting));
        }
        Ok(None)
    }

    /// Everything up to the first fence is applied.
    async fn compare(&self) -> Result<Option<verify::Report>> {
        let depth = match self.verify {
            VerifyMode::Digests | VerifyMode::Full => verify::Depth::Digests,
            VerifyMode::Counts => verify::Depth::Counts,
            VerifyMode::None => return Ok(None),
        };
        let catalog = self.asked(|| catalog::read(&self.sides.source)).await?;
        let known = match self.verify {
            VerifyMode::Digests => self.known(&catalog).await?,
            _ => verify::Known::new(),
        };
        let job = verify::Job {
            source: &self.sides.source,
            target: &self.sides.target,
            catalog: &catalog,
            pairs: &self.sides.pairs,
            concurrency: self.verify_concurrency,
            depth,
        };
        verify::run_beyond(&job, known).await.map(Some)
    }

    /// What is verified ahead, of collections that are still the target's: one that
    /// somebody dropped or replaced there is compared whole.
    async fn known(&self, catalog: &Catalog) -> Result<verify::Known> {
        let mut known = self.ahead.known(self.pairs);
        for pair in self.pairs {
            let there = catalog::local_uuids(
                &self.sides.target.shards[self.sides.pairs[pair.index]],
                catalog.names(),
            )
            .await?;
            let made = |uuid: &Uuid| {
                pair.with_gate(|gate| gate.tracked(uuid).and_then(|tracked| tracked.bound_to()))
            };
            let is_there = |uuid: &Uuid| made(uuid).is_some_and(|made| there.contains(&made));
            known.retain(|(shard, uuid), _| *shard != pair.index || is_there(uuid));
        }
        Ok(known)
    }

    fn changed_since(&self, fences: &[Position]) -> Option<String> {
        self.pairs
            .iter()
            .zip(fences)
            .find_map(|(pair, fence)| pair.changed_since(*fence))
    }

    fn expired_since(&self, fences: &[Position]) -> bool {
        self.pairs
            .iter()
            .zip(fences)
            .any(|(pair, fence)| pair.expired_since(*fence))
    }
}

/// Index builds under way on a shard.
async fn index_builds(shard: &Shard) -> Result<usize> {
    let pipeline = [
        doc! { "$currentOp": { "allUsers": true } },
        doc! { "$match": { "command.createIndexes": { "$exists": true }, "active": true } },
        // A name in the command may be no UTF-8.
        doc! { "$project": { "active": 1 } },
    ];
    let mut operations = shard
        .client
        .database("admin")
        .aggregate(pipeline)
        .await
        .map_err(Error::from)?;
    let mut count = 0;
    while operations.try_next().await.map_err(Error::from)?.is_some() {
        count += 1;
    }
    Ok(count)
}

/// What keeps one pair from having passed `fence` for good.
fn waits_for(pair: &Pair, fence: Position) -> Option<String> {
    let name = &pair.name;
    if pair.watermark() < fence {
        return Some(format!("{name} has not applied everything yet"));
    }
    if !pair.is_settled() {
        return Some(format!(
            "{name} still has collections to copy, indexes to build or DDL to carry over"
        ));
    }
    let (transactions, builds) = pair.with_view(|view| (view.open_transactions, view.open_builds));
    match (transactions, builds) {
        (0, 0) => None,
        (0, _) => Some(format!(
            "an index build is under way on the source shard of {name}"
        )),
        _ => Some(format!(
            "a transaction is open on the source shard of {name}"
        )),
    }
}
