//! What a scan in the order of the disk has read and not written yet, in buckets by ranges of
//! `_id`. The bucket that waits longest is written first: it holds what came in a whole cycle
//! of all of them, so the target's index on `_id` meets each of its pages once for many
//! documents.
//!
//! Talks to no server.

use std::cmp::Ordering;
use std::time::Instant;

use bson::{RawDocument, RawDocumentBuf};
use bytes::Bytes;

use crate::bson::view::View;
use crate::bson::{locate, order};
use crate::error::Result;
use crate::pair::budget::Permit;
use crate::pair::copy::sorted_run::{DOCUMENT_OVERHEAD_BYTES, SortedRun, sorted};
use crate::pair::gate::rolling::Read;
use crate::position::Position;
use crate::wire::cursor::{self, Batch};

/// How many there are. One is then what a command takes, or a few.
const BUCKETS: usize = 32;
/// Documents are copied to pieces of memory of this size, for replies are given back at once.
/// A large one has a piece to itself.
const PIECE_BYTES: usize = 64 * 1024;

#[derive(Debug, Default)]
pub(in crate::pair) struct Buckets {
    /// Lower bounds of all but the first, ascending: by the `_id`s of the first reply.
    bounds: Vec<Bound>,
    buckets: Vec<Bucket>,
    /// What they take.
    bytes: usize,
    /// Reads whose documents are not all written, and how many are left.
    left: Vec<(Read, usize)>,
}

#[derive(Debug)]
struct Bound {
    place: u128,
    /// `{_id: …}`
    id: RawDocumentBuf,
}

#[derive(Debug, Default)]
struct Bucket {
    pieces: Vec<Vec<u8>>,
    bytes: usize,
    permit: Option<Permit>,
    /// How many documents of which read.
    reads: Vec<(Read, usize)>,
    /// When the first of them came.
    since: Option<Instant>,
    /// What was taken of it is not written yet. IMPORTANT: nothing more is taken meanwhile,
    /// for it may have documents of the same `_id`s.
    is_taken: bool,
}

/// A bucket that is being written.
#[derive(Debug)]
pub(in crate::pair) struct Taken {
    pieces: Vec<Vec<u8>>,
    permit: Option<Permit>,
    written: Written,
}

/// What there is to a bucket once all of it is written.
#[derive(Debug)]
pub(in crate::pair) struct Written {
    bucket: usize,
    pub(in crate::pair) bytes: usize,
    reads: Vec<(Read, usize)>,
}

impl Buckets {
    /// `permit`: of one reply; what is not needed of it is given back. Returns whether any
    /// document came: else the read is over.
    ///
    /// # Errors
    /// `Server` if the reply is malformed; nothing of it is taken then.
    pub(in crate::pair) fn add(
        &mut self,
        read: Read,
        batch: Batch,
        mut permit: Permit,
    ) -> Result<bool> {
        let items = batch.into_items(0)?;
        let documents: Vec<&RawDocument> = cursor::documents(&items).collect::<Result<_>>()?;
        if self.buckets.is_empty() && !documents.is_empty() {
            self.bounds = bounds(&documents);
            let count = self.bounds.len() + 1;
            self.buckets.resize_with(count, Bucket::default);
        }
        let now = Instant::now();
        for document in &documents {
            let bucket = self.bucket_of(document);
            self.buckets[bucket].push(read, now, document.as_bytes());
        }
        for bucket in &mut self.buckets {
            self.bytes += bucket.settle(&mut permit);
        }
        if documents.is_empty() {
            return Ok(false);
        }
        self.left.push((read, documents.len()));
        Ok(true)
    }

    /// What they take, without what was taken of them.
    pub(in crate::pair) fn bytes(&self) -> usize {
        self.bytes
    }

    /// When the oldest document came that nobody took.
    pub(in crate::pair) fn since(&self) -> Option<Instant> {
        self.buckets.iter().filter_map(|bucket| bucket.since).min()
    }

    /// The one that waits longest, of those of which nothing is being written.
    pub(in crate::pair) fn take_oldest(&mut self) -> Option<Taken> {
        let waiting = self.buckets.iter_mut().enumerate();
        let waiting = waiting.filter(|(_, bucket)| bucket.since.is_some() && !bucket.is_taken);
        let (index, bucket) = waiting.min_by_key(|(_, bucket)| bucket.since)?;
        let next = Bucket {
            is_taken: true,
            ..Bucket::default()
        };
        let Bucket {
            pieces,
            bytes,
            permit,
            reads,
            ..
        } = std::mem::replace(bucket, next);
        self.bytes -= bytes;
        let written = Written {
            bucket: index,
            bytes,
            reads,
        };
        Some(Taken {
            pieces,
            permit,
            written,
        })
    }

    /// All of it is acknowledged. Returns the reads of which everything is written now.
    pub(in crate::pair) fn written(&mut self, written: &Written) -> Vec<Read> {
        self.buckets[written.bucket].is_taken = false;
        for (read, count) in &written.reads {
            let mut left = self.left.iter_mut();
            let left = left.find(|(of, _)| of == read);
            left.expect("its documents were added").1 -= count;
        }
        let ended = self.left.iter().filter(|(_, left)| *left == 0);
        let ended = ended.map(|(read, _)| *read).collect();
        self.left.retain(|(_, left)| 0 < *left);
        ended
    }

    fn bucket_of(&self, document: &RawDocument) -> usize {
        let id = id_of(document);
        let place = order::place(&id);
        self.bounds
            .partition_point(|bound| bound.compare(place, &id) != Ordering::Greater)
    }
}

impl Bound {
    fn compare(&self, place: u128, id: &View<'_>) -> Ordering {
        let by_place = self.place.cmp(&place);
        by_place.then_with(|| order::compare_views(&id_of(&self.id), id))
    }
}

impl Bucket {
    fn push(&mut self, read: Read, now: Instant, document: &[u8]) {
        self.since.get_or_insert(now);
        match self.reads.last_mut() {
            Some((last, count)) if *last == read => *count += 1,
            _ => self.reads.push((read, 1)),
        }
        if PIECE_BYTES / 4 < document.len() {
            self.pieces.insert(0, document.to_vec());
            return;
        }
        let has_room = |piece: &&mut Vec<u8>| document.len() <= piece.capacity() - piece.len();
        match self.pieces.last_mut().filter(has_room) {
            Some(piece) => piece.extend_from_slice(document),
            None => {
                let mut piece = Vec::with_capacity(PIECE_BYTES);
                piece.extend_from_slice(document);
                self.pieces.push(piece);
            }
        }
    }

    /// Takes memory for what came. Returns how many bytes it is more.
    fn settle(&mut self, permit: &mut Permit) -> usize {
        let documents: usize = self.reads.iter().map(|(_, count)| count).sum();
        let pieces: usize = self.pieces.iter().map(Vec::capacity).sum();
        let more = pieces + documents * DOCUMENT_OVERHEAD_BYTES - self.bytes;
        if 0 < more {
            let part = permit.split(more);
            match &mut self.permit {
                Some(permit) => permit.merge(part),
                none => *none = Some(part),
            }
        }
        self.bytes += more;
        more
    }
}

impl Taken {
    /// That of its documents: no read that gave one shows less.
    pub(in crate::pair) fn position(&self) -> Position {
        let positions = self.written.reads.iter().map(|(read, _)| read.position());
        positions.min().unwrap_or_default()
    }

    /// Takes long: tens of ms.
    pub(in crate::pair) fn sorted(self) -> (SortedRun, Written) {
        let mut documents = Vec::new();
        for piece in self.pieces {
            let mut rest = Bytes::from(piece);
            while let Some(length) = rest.first_chunk::<4>().copied() {
                documents.push(rest.split_to(i32::from_le_bytes(length) as usize));
            }
        }
        (SortedRun::of(documents, self.permit), self.written)
    }
}

/// They cut the documents into as many parts of about the same size.
fn bounds(documents: &[&RawDocument]) -> Vec<Bound> {
    let ids = documents
        .iter()
        .filter_map(|document| locate::id_query(document));
    let ids: Vec<Bytes> = ids.map(|id| Bytes::from(id.into_bytes())).collect();
    let ids = sorted(&ids);
    let mut bounds: Vec<Bound> = Vec::new();
    for part in 1..BUCKETS {
        let Some(id) = ids.get(part * ids.len() / BUCKETS) else {
            continue;
        };
        let id = locate::raw(id).to_owned();
        let place = order::place(&id_of(&id));
        let bound = Bound { place, id };
        let is_beyond = |last: &Bound| last.compare(bound.place, &id_of(&bound.id)).is_lt();
        if bounds.last().is_none_or(is_beyond) {
            bounds.push(bound);
        }
    }
    bounds
}

fn id_of(document: &RawDocument) -> View<'_> {
    locate::id_of(document).map_or(View::Undefined, |id| id.view())
}

#[cfg(test)]
mod tests {
    use bson::{RawArrayBuf, rawdoc};

    use super::*;
    use crate::pair::budget::{REPLY_BYTES_MAX, Share};

    const TEXT_BYTES: usize = 1_000;

    struct Bench {
        share: Share,
        buckets: Buckets,
        reads: u64,
    }

    impl Bench {
        fn new() -> Self {
            Bench {
                share: Share::new(4 * REPLY_BYTES_MAX),
                buckets: Buckets::default(),
                reads: 0,
            }
        }

        /// One reply; returns its read.
        async fn add(&mut self, ids: impl IntoIterator<Item = i64>) -> (Read, bool) {
            let text = "x".repeat(TEXT_BYTES);
            let document = |id: i64| rawdoc! { "_id": id, "t": text.as_str() };
            let documents: RawArrayBuf = ids.into_iter().map(document).collect();
            let cursor = rawdoc! { "id": 0i64, "ns": "d.c", "nextBatch": documents };
            let batch = Batch::read(&rawdoc! { "ok": 1, "cursor": cursor }).expect("a reply");
            self.reads += 1;
            let read = Read::numbered(self.reads);
            let permit = self.share.reserve_reply().await;
            let came = self.buckets.add(read, batch, permit);
            (read, came.expect("it is whole"))
        }

        /// The oldest bucket's `_id`s in the order of the index, and the reads that it ends.
        fn write(&mut self) -> Option<(Vec<i64>, Vec<Read>)> {
            let (run, written) = self.buckets.take_oldest()?.sorted();
            let ids = run.plain.iter();
            let ids = ids.map(|document| locate::raw(document).get_i64("_id").expect("one"));
            let ids = ids.collect();
            Some((ids, self.buckets.written(&written)))
        }
    }

    /// The same scattered numbers each time.
    fn scattered(count: i64) -> Vec<i64> {
        (0..count).map(|n| n * 7_919 % 10_007).collect()
    }

    #[tokio::test]
    async fn each_has_a_range_of_ids_and_a_read_ends_with_its_last_document() {
        let mut b = Bench::new();
        let (read, came) = b.add(scattered(640)).await;
        assert!(came);
        let (mut all, mut ended, mut buckets) = (Vec::new(), Vec::new(), 0);
        while let Some((ids, reads)) = b.write() {
            assert!(ids.is_sorted());
            assert!(ended.is_empty(), "documents of it were left");
            (all, ended, buckets) = ([all, ids].concat(), reads, buckets + 1);
        }
        let mut expect = scattered(640);
        expect.sort_unstable();
        assert_eq!((all, ended, buckets), (expect, vec![read], BUCKETS));
        assert_eq!((b.buckets.bytes(), b.share.used()), (0, 0));
    }

    #[tokio::test]
    async fn the_one_that_waits_longest_is_written_with_what_came_in_the_whole_cycle() {
        let mut b = Bench::new();
        b.add(scattered(640)).await;
        let mut first = Vec::new();
        for _ in 0..BUCKETS {
            let (ids, _) = b.write().expect("it is not empty");
            first.push(ids[0]);
            b.add(scattered(640)).await;
        }
        // Each was written once, and has what came since.
        assert!(first.is_sorted_by(|a, b| a < b), "{first:?}");
        let (ids, _) = b.write().expect("it is not empty");
        assert_eq!((ids[0], ids.len()), (first[0], 20 * BUCKETS));
    }

    #[tokio::test]
    async fn ids_that_ascend_after_the_first_reply_are_one_bucket_and_come_to_their_end() {
        let mut b = Bench::new();
        b.add(0..64).await;
        let (last, _) = b.add(1_000..1_500).await;
        let mut ended = Vec::new();
        while let Some((_, reads)) = b.write() {
            ended.extend(reads);
        }
        assert!(ended.len() == 2 && ended.contains(&last));
    }

    #[tokio::test]
    async fn of_what_is_being_written_nothing_more_is_taken() {
        let mut b = Bench::new();
        b.add([1]).await;
        let taken = b.buckets.take_oldest().expect("it is not empty");
        b.add([1]).await;
        assert!(b.buckets.take_oldest().is_none() && b.buckets.since().is_some());
        let (_, written) = taken.sorted();
        assert_eq!(b.buckets.written(&written).len(), 1);
        assert!(b.buckets.take_oldest().is_some());
    }

    #[tokio::test]
    async fn what_they_take_is_granted_and_no_reply_is_kept() {
        let mut b = Bench::new();
        let (_, came) = b.add([]).await;
        assert!(!came && b.share.used() == 0);
        b.add(0..100).await;
        let least = 100 * (TEXT_BYTES + DOCUMENT_OVERHEAD_BYTES);
        let (bytes, used) = (b.buckets.bytes(), b.share.used());
        assert!(least < bytes && bytes == used, "{bytes}, {used}");
        while b.write().is_some() {}
        assert_eq!((b.buckets.bytes(), b.share.used()), (0, 0));
    }
}
