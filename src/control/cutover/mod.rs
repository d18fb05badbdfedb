//! The cutover (R11): first marker, comparison, second marker, and only then what cannot be
//! undone. It has two outcomes: done, or back to following with nothing lost.
//!
//! By default the comparison of documents starts from what is verified ahead (`ahead`,
//! which has the proof), so that it does not grow with the data. All else is compared
//! whole (`proof`).

pub mod called_off;
pub mod ahead;
pub mod compared;
pub mod proof;
pub mod still_open;
pub mod finish;
pub mod prepare;
pub mod routers;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bson::Uuid;
use futures_util::future::try_join_all;
use tokio::time::timeout_at;

use crate::cluster::catalog::{self, Catalog};
use crate::cluster::note;
use crate::config::VerifyMode;
use crate::control::across::ddl::Coordinator;
use crate::control::across::watch::Watch;
use crate::control::cutover::ahead::Ahead;
use crate::control::cutover::called_off::{CalledOff, NotProven};
use crate::control::cutover::compared::Compared;
use crate::control::cutover::proof::Listed;
use crate::control::layout::listing;
use crate::control::run::Run;
use crate::control::sides::Sides;
use crate::error::{Kind, Policy, Result};
use crate::pair::oplog::cursor::Newest;
use crate::pair::oplog::proven;
use crate::pair::run::{Noise, Pair, close_all_if_quiet};
use crate::position::Position;
use crate::verify;

/// Time beyond the deadline in which a server may still answer: until then whatever is
/// late can give a better reason.
const ANSWERS: Duration = Duration::from_secs(10);
/// How often a waiting cutover looks again.
const POLL: Duration = Duration::from_millis(2);
/// How often what was not answered is asked again.
const QUESTION_POLL: Duration = Duration::from_millis(50);

/// Waits longer than this are shown in the status.
const MOMENT: Duration = Duration::from_secs(1);
/// The obstacle that says so.
const WAITS: &str = "cutover";

/// Everything that a cutover works with.
pub struct Cutover<'a> {
    /// Receives what the cutover waits for.
    pub run: &'a Run,
    pub sides: &'a Sides,
    pub pairs: &'a [Arc<Pair>],
    pub coordinator: &'a Coordinator,
    pub watch: &'a Watch,
    pub verify: VerifyMode,
    /// What need not be read whole any more.
    pub ahead: &'a Ahead,
    pub verify_concurrency: usize,
    /// When the cutover is called off.
    pub deadline: Instant,
}

/// The result of a proof, and the markers after which writes are late.
#[derive(Debug)]
pub struct Equal {
    /// None if nothing was to be compared.
    pub report: Option<verify::Report>,
    pub markers: Vec<Position>,
}

/// The result of one round from marker to marker.
enum Round {
    Equal(Equal),
    /// With the second marker as the first.
    Again(Why, Vec<Position>),
}

/// Why a round proved nothing, though no user wrote.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Why {
    /// The source's own expiries: they are applied, and another marker is written.
    Expired,
    Elected,
    Mended,
}

impl Why {
    fn text(self) -> &'static str {
        match self {
            Why::Expired => "the source keeps expiring documents",
            Why::Elected => "source shards keep holding elections",
            Why::Mended => "differences are being repaired",
        }
    }
}

/// No later attempt to cut over can do better: the run ends.
fn must_stop(kind: Kind) -> bool {
    matches!(kind, Kind::Unsupported | Kind::Spool | Kind::Internal)
}

impl Cutover<'_> {
    /// Proves that the target is equal and that nobody writes, and closes the
    /// gates: from then on nothing is applied any more.
    ///
    /// # Errors
    /// `Error` only for what must stop the run.
    pub async fn prove(&self) -> Result<Equal, NotProven> {
        // Closing the gates is the last thing it does, and does not wait.
        let late = || Err(CalledOff::Late("a server does not answer".to_owned()).into());
        let proven = timeout_at((self.deadline + ANSWERS).into(), self.rounds()).await;
        // The real obstacles say more than the fact that this wait was given up.
        self.waits_no_more();
        let proven = proven.unwrap_or_else(|_| late());
        proven.map_err(|why| self.with_obstacles(why))
    }

    /// What took too long, or went wrong on the way, is told with what stands in the way.
    fn with_obstacles(&self, why: NotProven) -> NotProven {
        let what = match why {
            NotProven::Off(CalledOff::Late(what)) => what,
            NotProven::Error(e) if !must_stop(e.kind) => e.to_string(),
            other => return other,
        };
        let obstacles = self.run.all_obstacles();
        if obstacles.is_empty() {
            return CalledOff::Late(what).into();
        }
        CalledOff::Late(format!("{what}; in the way: {}", obstacles.join("; "))).into()
    }

    async fn rounds(&self) -> Result<Equal, NotProven> {
        let mut first = self.write_markers().await?;
        let mut mended = false;
        loop {
            let (why, second) = match self.round(&first, mended).await? {
                Round::Equal(equal) => return Ok(equal),
                Round::Again(why, second) => (why, second),
            };
            if self.deadline <= Instant::now() {
                return Err(CalledOff::Late(why.text().to_owned()).into());
            }
            // What is ours is mended once.
            mended |= why == Why::Mended;
            first = second;
        }
    }

    /// From one marker to the next: all up to the first is applied, both sides are compared,
    /// all up to the second is applied, and no user wrote between the two.
    async fn round(&self, first: &[Position], mended: bool) -> Result<Round, NotProven> {
        self.until_applied(first).await?;
        tracing::info!("cutover: everything up to the marker is applied");
        self.coordinator.drop_emptied().await?;
        let terms = self.terms().await?;
        let mut compared = self.compare().await?;
        tracing::info!("cutover: both sides are compared");

        let second = self.write_markers().await?;
        self.until_applied(&second).await?;
        if let Some(ns) = self.changed_since(first) {
            return Err(CalledOff::Writes(ns).into());
        }
        if self.expired_since(first) {
            return Ok(Round::Again(Why::Expired, second));
        }
        // What was listed may have been rolled back.
        if !proven::same_terms(&terms, &self.terms().await?) {
            return Ok(Round::Again(Why::Elected, second));
        }
        self.compare_owners(&mut compared).await?;
        self.until_recorded().await?;
        if !compared.is_equal() && compared.is_ours() && !mended {
            proof::repair(&compared.differences, self.pairs, self.coordinator).await?;
            return Ok(Round::Again(Why::Mended, second));
        }
        if !compared.is_equal() {
            return Err(CalledOff::Differs(compared.told()).into());
        }
        self.close(first, second, compared.report)
    }

    /// Chunks of both sides lie where they did, and nothing can move them.
    ///
    /// IMPORTANT: after our last write (`proof`).
    async fn compare_owners(&self, compared: &mut Compared) -> Result<(), NotProven> {
        let seen = self.asked(|| self.watch.check());
        let seen = self.told("an answer whether chunks move", seen).await?;
        if let Some(off) = CalledOff::by(seen) {
            return Err(off.into());
        }
        let owners = self.asked(|| proof::owners(self.sides)).await?;
        compared.differences.extend(owners);
        Ok(())
    }

    /// What was acknowledged is durable, in one term: else the attempt goes back, and a
    /// difference means nothing (R7).
    async fn until_recorded(&self) -> Result<()> {
        let recorded = try_join_all(self.pairs.iter().map(|pair| pair.record_all()));
        self.told(
            "a majority of the target to acknowledge all of it",
            recorded,
        )
        .await?;
        Ok(())
    }

    /// The last look at who wrote since the markers, and the end of all that is applied.
    fn close(
        &self,
        first: &[Position],
        second: Vec<Position>,
        report: Option<verify::Report>,
    ) -> Result<Round, NotProven> {
        match close_all_if_quiet(self.pairs, first, &second) {
            Ok(()) => {
                tracing::info!("cutover: nobody wrote meanwhile; applying has ended");
                Ok(Round::Equal(Equal {
                    report,
                    markers: second,
                }))
            }
            Err(Noise::Change(ns)) => Err(CalledOff::Writes(ns).into()),
            Err(Noise::Expiry) => Ok(Round::Again(Why::Expired, second)),
        }
    }

    /// Writes a note to every source shard's oplog and returns where they are. Retried until
    /// the deadline.
    async fn write_markers(&self) -> Result<Vec<Position>> {
        let run_id = self.run.id();
        let shards = self
            .pairs
            .iter()
            .map(|pair| &self.sides.source.shards[pair.index]);
        let notes =
            try_join_all(shards.map(|shard| note::write(shard, "marker", &run_id, self.deadline)));
        let notes = self
            .told(
                "a note in the oplog of every source shard to reach a majority",
                notes,
            )
            .await?;
        Ok(notes.into_iter().map(Position::from).collect())
    }

    /// Waits until everything up to the markers is applied and nothing is open
    /// that could still take effect.
    async fn until_applied(&self, markers: &[Position]) -> Result<(), NotProven> {
        let (since, mut asked) = (Instant::now(), None);
        while let Some(waiting) = self.still_open(markers).await? {
            if MOMENT < since.elapsed() && asked.is_none_or(|at: Instant| MOMENT < at.elapsed()) {
                let who = still_open::who(&self.sides.source).await;
                self.waits_for(&format!("this to end: {waiting}{who}"));
                asked = Some(Instant::now());
            }
            if self.deadline <= Instant::now() {
                return Err(CalledOff::Late(waiting).into());
            }
            tokio::time::sleep(POLL).await;
        }
        self.waits_no_more();
        Ok(())
    }

    async fn still_open(&self, markers: &[Position]) -> Result<Option<String>> {
        for (pair, marker) in self.pairs.iter().zip(markers) {
            let waiting = still_open::on_pair(pair, *marker);
            if waiting.is_some() {
                return Ok(waiting);
            }
        }
        let on_source = still_open::on_source(&self.sides.source);
        self.told("an answer from the source's shards", on_source)
            .await
    }

    /// Everything up to the first marker is applied.
    async fn compare(&self) -> Result<Compared, NotProven> {
        let listed = self.asked(|| Listed::read(self.sides, self.pairs, self.coordinator));
        let both = async { tokio::try_join!(self.compare_documents(), listed) };
        let both = self.told("both sides to be compared", both);
        let late = |_| CalledOff::Late("comparing both sides is not finished".to_owned());
        let both = timeout_at(self.deadline.into(), both).await;
        let (report, listed) = both.map_err(late)??;
        Ok(Compared {
            report,
            differences: listed.definitions(),
        })
    }

    async fn compare_documents(&self) -> Result<Option<verify::Report>> {
        let depth = match self.verify {
            VerifyMode::Digests | VerifyMode::Full => verify::Depth::Digests,
            VerifyMode::Counts => verify::Depth::Counts,
            VerifyMode::None => return Ok(None),
        };
        let catalog = self.asked(|| catalog::read(&self.sides.source)).await?;
        let verified = match self.verify {
            VerifyMode::Digests => self.verified_ahead(&catalog).await?,
            _ => verify::Verified::new(),
        };
        let job = verify::Job {
            source: &self.sides.source,
            target: &self.sides.target,
            catalog: &catalog,
            pairs: &self.sides.pairs,
            concurrency: self.verify_concurrency,
            depth,
        };
        verify::run_beyond(&job, verified).await.map(Some)
    }

    /// What is verified ahead, for collections that the target still has. One that
    /// somebody dropped or replaced there is compared whole.
    async fn verified_ahead(&self, catalog: &Catalog) -> Result<verify::Verified> {
        let mut verified = self.ahead.so_far(self.pairs);
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
            verified.retain(|(shard, uuid), _| *shard != pair.index || is_there(uuid));
        }
        Ok(verified)
    }

    async fn terms(&self) -> Result<Vec<Newest>> {
        self.asked(|| listing::newest(&self.sides.source)).await
    }

    fn changed_since(&self, markers: &[Position]) -> Option<String> {
        self.pairs
            .iter()
            .zip(markers)
            .find_map(|(pair, marker)| pair.changed_since(*marker))
    }

    fn expired_since(&self, markers: &[Position]) -> bool {
        self.pairs
            .iter()
            .zip(markers)
            .any(|(pair, marker)| pair.expired_since(*marker))
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

    /// Asks until there is an answer or the deadline is over, the cutover's own: a router
    /// may be frozen, and the next question goes to another one.
    async fn asked<T, F: Future<Output = Result<T>>>(&self, question: impl Fn() -> F) -> Result<T> {
        loop {
            match question().await {
                Err(e) if e.kind.policy() == Policy::Retry && Instant::now() < self.deadline => {
                    // Asked often; the status says what is waited for.
                    tracing::debug!("cutover: asking again: {}", e.message);
                }
                answer => return answer,
            }
            tokio::time::sleep(QUESTION_POLL).await;
        }
    }

    fn waits_for(&self, what: &str) {
        self.run
            .obstacles
            .set(WAITS, format!("the cutover waits for {what}"));
    }

    /// Must be called when the cutover is over, however it ended.
    pub fn waits_no_more(&self) {
        self.run.obstacles.clear(WAITS);
    }
}
