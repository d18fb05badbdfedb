//! The rules of correctness, R1 to R12, as the code obeys them. Code names a rule
//! where it obeys it: `(R3)`. Documentation only.
//!
//! # R1
//! **Start.** A pair begins at the newest majority-committed entry of its source
//! shard's oplog and reads on with majority concern. Every (re)opened cursor must
//! return the start entry first, same position and term; if it does not, the source
//! has rolled over, and the pair says what is lost.
//!
//! # R2
//! **Fence.** A unit's fence is the position of the newest entry of which any op was
//! classified, taken under the gate's lock, and recorded by a majority before the
//! unit's first write: a crash in between must find the unit begun. The scan is bound
//! to the collection's UUID and reads with majority concern from a server that has
//! reached the fence; it does not wait by `afterClusterTime`, which would wait for
//! prepared transactions. A unit is open only when its last held op is with the lanes, except
//! with a rolling hold.
//!
//! **Rolling hold.** A collection may be scanned in the order of the disk, as one unit, whose
//! ops are applied while it is scanned. An op waits only for the reads (a `find`, a `getMore`)
//! that may not show it, or were begun amid its entry, and whose documents are not all
//! written; none after the fence is dropped. A read is begun under the gate's lock, at the newest entry of which any op was
//! classified; then its server reaches that entry, then it is asked. The first is begun with
//! the unit's start: no op passes before that is recorded. A majority read shows at
//! least what its process had committed as it was asked, and what is committed by a majority
//! is never rolled back. But a server may give a document with the reply after the one that it
//! was read for: so a reply shows what the read before it on its cursor was begun at, and is
//! begun before that one ends. A read ends when all its documents are written, in whatever order,
//! except those that are there already. So an op is shown by each read that is begun later, and comes after
//! each that may not show it: whether a document that is deleted and made again, with another
//! record id, is read twice or not at all. A cursor lives in one process: what breaks begins
//! again at the first document. A few times: then the collection is emptied on the target and
//! copied by ranges of `_id`.
//!
//! # R3
//! **Replay.** An insert writes its document over whatever is there, an update never
//! brings a document back, a delete of nothing is fine: so ops may be applied twice. A
//! refused op is never skipped: its document becomes doubtful and is read again from
//! the source at an exact position. So does that of an op which does not say what
//! became of it: an update or delete by a user's own `applyOps`. And that of a delta of the old form
//! (`$v: 1`) which takes a field out, where its document may be newer: a replay may move
//! fields for good. The order of a capped collection is content: an insert that comes again
//! takes out what is there of its document first, so that it comes last, as it did; and the
//! target's lets nothing go by itself (R10). Where nobody says what
//! was removed (up to 4.4), or it cannot be (targets up to 5.0), a document that is there stays
//! in its place, and the target removes by itself. Inserts that come again then find all of
//! their documents, or none: one that finds its own after one that did not shows that an
//! `_id` was used again, and the collection is given up: once all has come again it is emptied
//! and copied anew, a few times at most. The **horizon** is the newest source
//! position any document of the target may show: the source's clock when it gave
//! the document, for a prepared transaction is shown before its commit entry is. Unique
//! builds, verification and the cutover wait until the tail has passed it; on a quiet
//! shard a note takes it there. Beyond it a write that finds no document is
//! counted and reported. While a collection is scanned in the order of the disk nothing is
//! beyond it.
//!
//! # R4
//! **Order.** Ops on one document are applied in oplog order: one lane by collection
//! UUID and `_id`, equal as the index compares. A document is in a flush once. A drop
//! is a meeting of exactly the pairs that hold the UUID, made once when the last of
//! them has come to it; what is dead is dead for all. So is a rename, by its new name: no pair is
//! more than one behind. Its position is recorded
//! with the name, and no rename up to there is made again. No pair begins amid the rename of a
//! sharded collection: each has it ahead, or none has. A sharded collection is made once the
//! pair of its database's primary shard has met its creation: the log of that shard has all that
//! had its name before.
//!
//! # R5
//! **Transactions** take effect at their commit entry, aborted ones never. Parts that
//! lie before the start, or were not kept, are read back along `prevOpTime`.
//!
//! # R6
//! **Resume position** of a pair: below every op that is queued, held, spooled, doubtful
//! or in flight, and below the fences of units that are not settled. After a restart a
//! unit that is not settled is scanned again with its old fence, and every op from the
//! resume position on is held for it: the scan of an earlier attempt may have been ahead
//! of its tail. A capped unit is emptied first. If the fence has rolled off, the
//! unit's range is emptied and it waits again. A unit is settled once all that it held is
//! on the target and nothing of it is doubtful, neither an op that it held nor a document
//! that its scan copied, which is doubtful from the fence on if it is refused. For a pair
//! may go on at an applied position that was recorded while the unit held ops below it, and
//! then gives up only units that are not settled; and ops on a doubtful document are dropped.
//!
//! With a rolling hold the fence holds nothing down, for every op up to the resume position is
//! applied, or shown by every read of the new scan. Ops that wait do, and what reads under way
//! show: a document of theirs may be refused yet.
//!
//! # R7
//! **Durability.** Data is written with `w: 1`, positions with `w: majority`. A position
//! is captured, then proven by a later majority write in the same term, then recorded:
//! a checkpoint is never its own proof. Another term in any reply ends the attempt, and
//! the next one goes back to the last checkpoint. Nothing is written until the target
//! lists no connection of an older incarnation: a batch that was sent and not answered
//! may still run.
//!
//! # R8
//! **Ownership.** On a sharded source only documents whose shard key lies in this
//! shard's chunks count: orphans never travel. This is sound only while no chunk moves,
//! on either side. A refined shard key moves none: each bound gets the lowest values in its new
//! fields, so what was known of owners holds, recorded or not. Nor does a collection that is
//! sharded where it is; it counts as sharded once no entry from before will be met again. A chunk
//! that does move stops the run, and its collection is made anew on request:
//! dropped once on the target, laid out by the map of now, and planned by each pair at a position
//! from before that map was read, while nothing moved. Entries up to there are passed, whoever
//! owned what then. Until each pair has recorded that, no attempt begins.
//! No data write can create a collection or hit a namesake: each names the
//! target collection's UUID; before 6.0, where most cannot, the collection is not dropped
//! until it is answered, and none is sent once it is dead. On every release none is under way
//! while the collection is renamed, and none is sent until the rename is answered: what names
//! it names what it is called. What is never answered, a write or the rename, keeps drops and
//! renames of it, or writes to it, waiting for the rest of the attempt; the next one begins when
//! the connections of this one are gone (R7), and looks by UUID what became of it. The same must
//! hold of drops. A router before 6.0 takes them by name only, over connections that last: so
//! into such clusters renames stop the run unless asked for, and those of sharded collections,
//! which only a router can make, always. From 6.0 on a late one is of its UUID: then what names
//! the collection is refused, the attempt ends, and the next one looks what it is called. None
//! begins while a server of the target renames one. One that is late by two renames, and that no
//! server lists, may still give the collection a name of before: nothing is lost, but no cutover
//! is possible until it is renamed back there by hand, and the same command run again.
//!
//! # R9
//! **Same bytes.** What arrives equals what left, byte for byte: field order, every
//! type, `Timestamp(0, 0)`, duplicate names, strings that are not UTF-8.
//!
//! # R10
//! **Indexes.** Secondary indexes are built after a collection is copied, unique ones
//! while its ops are held at a position past the horizon. What would delete or refuse
//! documents by itself, an expiry or `prepareUnique`, waits for the cutover. So does what a
//! capped collection may hold, where the source logs what goes and the target takes another size. Before 6.0 an
//! index has an expiry from the beginning or never: until the cutover it is one with which
//! nothing expires (on 5.0: no date since 1958). So it is on any old source that the target is
//! followed back to: its indexes stay, and what it expired by itself before that is copied again.
//! A target that would shorten an expiry has none, and deletes nothing.
//!
//! # R11
//! **Cutover.** Writes stop; a note in every source shard's oplog is the first marker.
//! When all pairs are past it, with no transaction or index build open, both sides are
//! compared. After a second marker no user's change may lie between the two on any shard.
//! Only then comes what cannot be undone. Anything else: back to following.
//!
//! # R12
//! **Bounds.** Every queue has a bound in bytes, granted before the bytes are read; no
//! one waits for memory with memory in hand. Nothing waits without an end or in
//! silence. What the engine does not understand stops the pair with its text and a
//! remedy.
