//! Error codes of servers that something here depends on, by the servers' names for them
//! (server source, `error_codes.yml`).
//!
//! Lists of codes that mean one thing to one caller stand with that caller.

/// DollarPrefixedFieldName, InvalidDBRef: a name that begins with `$` (up to 4.4).
pub const DOLLAR_NAMES: [i32; 2] = [52, 55];
/// UnknownError: some ops of an `applyOps` were not applied.
pub const UNKNOWN_ERROR: i32 = 8;
/// Unauthorized.
pub const UNAUTHORIZED: i32 = 13;
/// NamespaceNotFound.
pub const NAMESPACE_NOT_FOUND: i32 = 26;
/// IndexNotFound.
pub const INDEX_NOT_FOUND: i32 = 27;
/// CursorNotFound.
pub const CURSOR_NOT_FOUND: i32 = 43;
/// NamespaceExists.
pub const NAMESPACE_EXISTS: i32 = 48;
/// MaxTimeMSExpired.
pub const MAX_TIME_EXPIRED: i32 = 50;
/// CommandNotFound.
pub const COMMAND_NOT_FOUND: i32 = 59;
/// WriteConcernFailed: no majority acknowledged in time. It may yet.
pub const WRITE_CONCERN_FAILED: i32 = 64;
/// ShardNotFound.
pub const SHARD_NOT_FOUND: i32 = 70;
/// OperationFailed: of a move, every fault of the recipient and of the transfer, also that
/// a range is still to be deleted there.
pub const OPERATION_FAILED: i32 = 96;
/// LockFailed.
pub const LOCK_FAILED: i32 = 107;
/// ReadConcernMajorityNotEnabled.
pub const MAJORITY_READS_NOT_ENABLED: i32 = 148;
/// ZoneStillInUse.
pub const ZONE_STILL_IN_USE: i32 = 163;
/// CommandNotSupportedOnView.
pub const NOT_SUPPORTED_ON_VIEW: i32 = 166;
/// QueryFeatureNotAllowed: a stage that the feature compatibility version does not have.
pub const STAGE_NOT_ENABLED: i32 = 224;
/// NetworkInterfaceExceededTimeLimit: a router up to 4.4 gave up on a config server that
/// still works on it.
pub const GAVE_UP: i32 = 202;
/// CollectionUUIDMismatch: the collection of that name is another one, or there is none.
pub const COLLECTION_UUID_MISMATCH: i32 = 361;
/// CannotDropShardKeyIndex: it is the last that carries the shard key.
pub const CARRIES_SHARD_KEY: i32 = 370;
/// A document of a capped collection would change its length (up to 5.0).
pub const LENGTH_CHANGED: i32 = 10003;
/// DuplicateKey.
pub const DUPLICATE_KEY: i32 = 11000;
/// DatabaseDifferCase: a database of this name is there in another spelling.
pub const DATABASE_DIFFERS_IN_CASE: i32 = 13297;
/// StaleConfig: after an election or a restart a shard refuses commands on a collection
/// until it has loaded what it owns of it. Nothing was executed.
pub const STALE_CONFIG: i32 = 13388;
/// a stage that the server does not know.
pub const UNKNOWN_STAGE: i32 = 40324;
