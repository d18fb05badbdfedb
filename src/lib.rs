//! shardlift moves a live MongoDB deployment to another one, shard by shard,
//! while the source keeps taking heavy writes.
//!
//! # Bird's eye
//!
//! The ground state is the source at some position plus its oplog since then;
//! the target is derived from it. Replaying an op twice is harmless: an insert
//! writes its document over whatever is there, an update never brings a
//! document back, a delete of nothing is fine (R3). So documents may be scanned
//! while their ops are being followed, if one thing decides about every op: the
//! **gate**.
//!
//! ```text
//!              source shard k                                            target shard k
//!                  │  plan ─▶ scan ══▶ ┐                                      ▲
//!    many ranges,  │                   ├─ gate ═▶ lanes (K) ═▶ bulk writes ───┘
//!    one oplog     │ oplog ─▶ spool ─▶ tail   └ held ops
//!                  │
//!    control: validate → layout → copy + follow → ready → cutover → finish
//! ```
//!
//! One **pair** is one source replica set and its target replica set. A sharded
//! migration is several pairs side by side plus the sharding metadata, a replica
//! set's is one pair and none. Data goes straight from shard to shard; mongos is
//! asked for metadata only.
//!
//! # The way of a document that is copied
//!
//! One step a line, in the order of the folders below [`pair`]:
//!
//! 1. [`pair::copy::units`]: its collection is cut into ranges of `_id`, by a sample.
//! 2. [`pair::copy::scan`]: a scanner takes the next range. The [`pair::gate`] sets its fence and
//!    holds ops on it from now on, and the [`state`] records its start.
//! 3. [`pair::copy::reached`]: a server of the source that has reached the fence gives the
//!    documents, by [`wire`].
//! 4. [`pair::write::insert`]: they become inserts; what is there already stays.
//! 5. [`pair::write::target`]: one command goes to the target, once.
//! 6. [`pair::gate::opening`]: the range is done, and its held ops go to the lanes.
//!
//! # The way of an op
//!
//! 1. [`pair::oplog`]: [`cursor`](pair::oplog::cursor) and [`fetch`](pair::oplog::fetch) read
//!    the source's oplog into the [`spool`]; [`feed`](pair::oplog::feed) gives it to the tail.
//!    [`entry`](pair::oplog::entry) reads one entry, [`meaning`](pair::oplog::meaning) a command,
//!    [`walk`](pair::oplog::walk) what takes effect at it.
//! 2. [`pair::tail`]: each entry in order: DDL to [`pair::ddl`], ops to the gate.
//! 3. [`pair::gate`]: by the state of the op's range it is dropped, held or passed.
//! 4. [`pair::lanes`]: [`inbox`](pair::lanes::inbox) of the lane for its `_id`; the
//!    [`lane`](pair::lanes::lane) takes all that waits, and [`compile`](pair::lanes::compile)
//!    makes it one [`statement`](pair::write::statement) a document.
//! 5. [`pair::write`]: [`flush`](pair::write::flush) plans the commands,
//!    [`render`](pair::write::render) writes them, [`bulk`](pair::write::bulk) sends them,
//!    many in one [`transaction`](pair::write::transaction), by the
//!    [`target`](pair::write::target).
//! 6. [`pair::mend`]: what the target refused is read again from the source, later.
//! 7. [`pair::checkpoint`]: what a majority of the target has is recorded, and the oplog
//!    before it is not needed any more.
//!
//! # Elsewhere to start reading
//!
//! - the whole run: [`control::migrate`], then [`control::attempt::drive`]
//! - the end: [`control::cutover::ahead`], [`control::cutover::proof`] → [`control::cutover`],
//!   [`verify`], [`control::cutover::finish`]
//! - a collection that comes or goes: [`pair::ddl::sink`] → [`control::across::ddl`], by what
//!   [`control::across::rendezvous`] decides
//! - after a fault: [`control::attempt`] → [`control::attempt::start`] → [`pair::incarnation`] →
//!   [`pair::restore`]; what is recorded: [`pair::gate::ledger`] → [`pair::checkpoint`] →
//!   [`state`]
//! - what an operator may ask of a run under way: [`observe::api::request`];
//!   [`control::attempt::pause`], [`control::attempt::again`], [`control::window`]
//! - back to the old source: [`control::reverse`]
//! - after the source rolled over: [`control::attempt::resume`], [`control::recorded::anew`]
//! - after a chunk moved: [`control::across::watch`], [`control::recorded::whole`]
//!
//! # What the gate decides
//!
//! | the op's range is | the op is | why |
//! |---|---|---|
//! | waiting | dropped | its scan will read what the op made (R2) |
//! | being copied | held; dropped up to the fence | the scan may have read its document before it or after |
//! | copied | passed to a lane | the document is on the target, or replay makes it right (R3) |
//!
//! A collection whose `_id`s are not in the order of the disk may be copied in that order
//! instead, as one range: its ops pass, and wait only for what was read without them and is
//! still to be written ([`pair::gate::rolling`], [`pair::copy`]). Should that break too often it
//! is copied by ranges after all ([`control::recorded::replan`]).
//!
//! # The rooms
//!
//! | room | owns | never |
//! |---|---|---|
//! | [`limits`], [`rules`], [`error`], [`codes`], [`config`], [`failpoint`] | numbers, rules, causes, servers' error codes, knobs, places to crash at | talks to a server |
//! | [`scope`] | which collections a migration is about, and their names on the target | knows a server |
//! | [`position`] | positions in one shard's oplog, and what they are worth in time | knows a server |
//! | [`bson`] | comparison, identity, hash of raw values | decodes a document |
//! | [`wire`] | connections straight to a known server: login, requests, replies, cursors | knows a primary, tries again |
//! | [`cluster`] | either side: connections, catalog, ownership, admin commands | decides about a migration |
//! | [`spool`] | one pair's oplog, read ahead, on local disk | knows a server, a gate or a task |
//! | [`state`] | what a run keeps on the target: documents, stores, lease | knows a gate or a task |
//! | [`pair`] | the data plane | knows another pair |
//! | [`verify`] | digests per range, first differences, single documents | shares state with the copy |
//! | [`control`] | phases, layout, DDL across pairs, cutover | moves a document |
//! | [`observe`] | counters, snapshot, API, display | decides |
//!
//! Imports run `main → control → pair → state, spool, observe → cluster → wire, bson → limits,
//! error`. No room is in a circle with another, nor is a folder inside [`pair`] or [`control`]
//! (`tests/tidy.rs` has the order).
//!
//! **Invariants**
//! - No op above a unit's fence is dropped once the fence was read: `start` and
//!   `classify` share one lock ([`pair::gate`]). Of a unit that is taken up again no op
//!   above the resume position is: ops below the fence may have been applied to it, by
//!   an attempt whose scan was done before its tail was there.
//! - No op passes a read in the order of the disk that may lack it before all that this read
//!   gave is written, and each shows what passed before it was begun ([`pair::gate::rolling`]).
//! - No new op of a unit overtakes an older held one: `finish` hands over held ops
//!   and opens the unit under that lock, after those that were left to the spool.
//! - Ops on one document are applied in oplog order: one lane by collection UUID
//!   and `_id` (equal as the index compares), one flush of a lane at a time, a
//!   document once in a flush.
//! - The watermark is below every op that is held, queued or in flight.
//! - What is recorded as the resume position was captured before a majority write of
//!   the same term: it is durable. A unit's start is recorded before its first write.
//! - A pair may go on at its *applied* position if it gives up, and empties, every
//!   unit begun before it; that position is taken back to where an attempt begins,
//!   before anything of it is replayed ([`control::attempt::resume`]).
//! - At most one incarnation writes to a target shard: it waits for the connections of
//!   older ones, and one that they open later is not used.
//! - No data write can create a collection or hit a namesake: each carries the
//!   target collection's UUID, or is answered before that is dropped; and none is under way
//!   while it is renamed ([`pair::collection::under_way`]).
//! - An op beyond all that the source has shown finds its document on the target: one
//!   that does not, and is not written in order, is counted and told ([`pair::collection::Tracked::horizon`]).
//! - A document of a range that is verified ahead, and that is not kept as touched, had no
//!   op since both sides were read ([`pair::gate::touched`]).
//! - Nothing queues without a bound: bytes in flight are granted by [`pair::budget`],
//!   one share per stage and pair, before they are read.
//!
//! # Across the rooms
//!
//! - **Backpressure**: the tail and each scan reserve one server reply before they
//!   ask for it. What they keep of it carries its part of the permit until it is
//!   acknowledged. Inboxes and holds are bounded by these permits, so the gate
//!   never waits under its lock. Where held ops are what the tail would wait for,
//!   they are left to the spool: so it only ever waits for its lanes.
//! - **Errors**: one type with a cause; the cause alone gives policy and exit code.
//!   The first failure of any task ends the attempt ([`pair::tasks::PairTasks`]).
//! - **Faults**: one mechanism. Whatever happens on the target's side (a lost
//!   connection, no answer, another term in a reply) ends all tasks of all pairs; a
//!   new incarnation waits until the target lists no older one, loads the last
//!   checkpoint and goes on. A process that starts does exactly the same. Reads of
//!   the source are tried again in place: what they return is majority-committed.
//! - **Shutdown**: a signal ends the loop in [`control::attempt::drive`] after two rounds of
//!   checkpoints; the balancers stay off, for the run will go on. They are put back
//!   when it is done or cancelled.
//! - **Testing**: pure parts by rows and proptest, all else on real servers that
//!   `loadgen` starts; `loadgen check` compares byte by byte and shares no code
//!   with [`verify`]. `loadgen sim` drives gate, lanes, checkpoints, resume and DDL across
//!   pairs through seeded faults; `tests/mutations/run.py` shows that it would find a
//!   broken rule.
//!
//! # Decisions
//!
//! - *Follow from the first second*, instead of copying everything and replaying
//!   the rest: what must be kept is only what hits the few ranges in flight.
//! - *Shard to shard* instead of through mongos: no router hop, and each shard's
//!   order is kept.
//! - *`_id` ranges by `min`/`max` with `hint`*, not by `$gte`: comparison operators
//!   match one type bracket only and silently skip the others.
//! - *Deltas by `$_internalApplyOplogUpdate`*: the server's own semantics, field
//!   order kept. An ordinary `$set` is the same for some of them only, which then go
//!   so, for it is cheaper ([`pair::write::overlay::set_alike`]). Where there is no such stage
//!   (before 6.0), and for deltas of the form before 5.0, it is `applyOps`
//!   ([`pair::write::form`]): many in a command, but each a commit of its own.
//! - *Flushes of all that waits, by `_id`*: a target that is behind meets each of its
//!   pages once for many documents, and catches up the faster the more it is behind.
//! - *Open transactions are not kept*: at commit their parts are read back along
//!   `prevOpTime`, so one that is open for days pins nothing and a big one needs
//!   no buffer (R5). Those of one that is committed stay in the spool, while it has room,
//!   until nothing of it can be read again ([`pair::oplog::parts`]).
//! - *Index DDL and `collMod` run on each pair's own shard*, as the source logs it there; only
//!   creating and dropping collections, and renaming sharded ones, goes through the router, once.
//! - *Options and views are made the source's as they are listed now*, whatever the entry
//!   says: what is newer comes again, and a replay changes nothing. Names follow the log,
//!   entry by entry, since two collections may trade theirs; a collection is its UUID
//!   ([`pair::collection::Tracked`]). A rename that was made and recorded is not made again
//!   ([`pair::ddl`]): replayed over later names it would meet them.
//! - *Chunks are made in their place*, by temporary zones, as a collection is sharded on
//!   the target: a split and a move for each takes 25 times as long, and leaves the
//!   donor a range to delete a quarter of an hour later ([`control::layout`]).
//! - *Documents in which a field name occurs twice* are written one by one
//!   ([`pair::write::delicate`]): 6.0.5 aborts on a pipeline update of one. A scan in the order
//!   of the disk, beside which ops are applied, leaves such to their lanes.
//! - *Nothing waits for a refused write, and none is skipped*: a unique value may go
//!   round, a replayed op may meet a shape that never was. The statement is sent once
//!   more after its flush; refused again, its document is dropped from the stream and
//!   read again at an exact position ([`pair::mend::doubtful`]); in one transaction there is no
//!   order to find (R3).
//! - *What an entry does not say is read from the source, not guessed at*: a user's own
//!   `applyOps` takes every operator, upserts, and is logged as it was asked for; even its
//!   inserts may be stored otherwise. Its documents are doubtful, as refused ones are. What
//!   each command of the oplog means is one table ([`pair::oplog::meaning`]).
//! - *A delta of the old form that takes a field out is not replayed over what may be newer*
//!   ([`pair::oplog::delta`] has why, and why only such): its document is read again. Whether
//!   it may be newer is known when the op leaves the gate, by what the scan of its own range
//!   had seen, and what an earlier attempt may have applied. Rejected: holding no deltas of a
//!   range at all but reading their documents again, since most only set fields.
//! - *Patience counts from what was read last*, not from what was opened: a new cursor
//!   shows the newest entry it is opened at, though the next cannot be read
//!   ([`pair::oplog::fetch`]). A scan goes on after its last document ([`pair::copy::scan`]).
//! - *Updates and deletes of a flush in one transaction* ([`pair::write::at_once`]): the
//!   target commits and logs once for thousands of statements (benches/log.md). What it does
//!   not take at once goes statement by statement. Inserts are cheaper by themselves.
//! - *Deltas merge only where any base document gives the same bytes*
//!   ([`pair::write::overlay`]): replay meets arbitrary bases. All else stays a chain.
//! - *What moves data does without the driver* ([`wire`]): it copied each byte several
//!   times either way, a third of the engine's CPU (benches/log.md). The
//!   driver knows where the primary is ([`cluster::direct`]), and does all that is rare.
//! - *A command is sent once.* After a lost connection nobody knows whether it took
//!   effect, and a late duplicate would overwrite newer data (R7): the attempt ends.
//!   Sessions with transaction numbers would be exact too, and cost 50 % on updates.
//!   Only where a shard answers that it does not know yet what it owns is it sent again.
//! - *A drop is believed when the tail meets it*: one that merely shows may be rolled
//!   back, so until then all of the collection may be needed again
//!   ([`pair::gate::Gate::suspend`]). Whatever is listed on the source
//!   (collections, options, indexes) is proven by a note of the same term
//!   ([`pair::oplog::proven`]). And what is dead is recorded as dead once its drop is made on the
//!   target: an earlier incarnation may have made the collection and not recorded it.
//! - *Indexes are reconciled, not mended by guess*: where the target's are not what the
//!   oplog expects, they are brought to the source's list, option for option
//!   ([`cluster::catalog::index::plan`]), builds that an earlier attempt left behind too.
//! - *A dropped collection is forgotten* ([`control::across::forget`]) once no pair holds it and
//!   every pair would resume beyond all that was met by then: until then a replay may meet it.
//!   Kept for ever they slowed down every look at a gate.
//! - *An emptied database is dropped on the target* ([`control::layout::databases`]): its name would
//!   keep away every other spelling. Only one that lists nothing, sent once, in the turn.
//! - *A capped collection of the target has room until the cutover* ([`pair::ddl::capped`]): it may
//!   hold more than its size, and nothing has to order changes of its size with inserts. One of a source
//!   that does not log what it lets go is copied anew where a replay shows that it may differ
//!   ([`pair::write::in_order`]). Rejected: copying every full one anew after each crash; its own
//!   size once it is copied, set in an exact state.
//! - *A time series is its buckets*, a collection like others, made with the options that the
//!   source lists; the view of them that people use is made and dropped beside
//!   ([`control::layout::series`]). Rejected: the command that makes both, for it gives the
//!   buckets the validator of the target's release.
//! - *What is out of the filters is decided by name where its UUID is unknown*
//!   ([`pair::tail`]): what a pair tracks stays tracked under any name, so a rename across the
//!   filters stops it, but for what servers make to rename it.
//! - *Other names on the target are those of the source already*: the source is read under
//!   them, from its catalog, its oplog's DDL and its answers ([`cluster::catalog`],
//!   [`pair::ddl::entry`], [`scope`]). It is read only, by a dozen questions; rejected: other
//!   names where the target is written, by three times as many commands. Ops carry no names.
//! - *Ready means that a cutover would succeed now*: whoever sees what would keep it from that
//!   says so as an obstacle; what only servers know is asked for ([`control::attempt::lookout`]).
//! - *A scan asks for no fence*: a read that does waits for prepared documents, one
//!   whose coordinator hangs for ever. It goes to a server that has reached the fence
//!   ([`pair::copy::reached`]).
//! - *What the cutover compares is compared before it* ([`control::cutover::ahead`]): the gate keeps
//!   which documents were touched since, and the cutover reads only these again. So its
//!   length does not depend on the data. Rejected: digests kept up to date op by op (what
//!   is on the target would be computed, not read), and marking whole ranges as touched
//!   (under even load all of them are, always).
//! - *All but documents is compared whole*, ahead of the cutover and in it
//!   ([`control::cutover::proof`]): one command lists a shard, so it costs little, and finds what
//!   no oplog entry tells of. Rejected: looking again only at what DDL touched since.
//! - *All pairs go back together*, though one had the fault: units in flight are
//!   seconds of work, and DDL across pairs then has one state to begin from.
//! - *The spool holds all that is read, always*, instead of only what overflows: one
//!   path, and an absent target costs nothing that the source rolls over meanwhile.
//!   Held ops that memory has no room for are read again from it.
//! - *Held ops that memory has no room for are forgotten and read again from the spool*
//!   ([`pair::gate::replay`]), which has them: nothing is written a second time. What is
//!   forgotten are whole entries after a position, which holds the watermark down.
//!   The price is one more pass over that stretch; it is taken only when the tail
//!   would have to wait.
//!
//! # Not yet
//!
//! Servers before 4.2 and after 6.0; renames of time series, and of sharded collections into
//! clusters before 6.0; different shard counts.

// Reading order: from the rules MongoDB fixes, through both clusters and the
// data plane, to what decides and what shows.
pub mod limits;
pub mod rules;
pub mod codes;
pub mod error;
pub mod failpoint;
pub mod scope;
pub mod config;
pub mod position;
pub mod bson;
pub mod cluster;
pub mod wire;
pub mod spool;
pub mod pair;
pub mod state;
pub mod verify;
pub mod control;
pub mod observe;
