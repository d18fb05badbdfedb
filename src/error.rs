//! One error type for the whole engine. An error says what was found and what
//! to do; its kind, never its text, decides retry, stop and exit code.
//!
//! Knows nothing about tasks, retries in progress or logging.

use crate::codes;
use std::fmt;

/// What went wrong, by cause. Each cause has one exit code and one policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A flag, file or value the operator gave cannot be used.
    Config,
    /// A server cannot be reached, or it refused the credentials.
    Connect,
    /// The deployments are not fit for a migration (validation).
    Refused,
    /// A server answered a command with an error we do not handle.
    Server,
    /// A passing fault (network, election): the same call may succeed later.
    Transient,
    /// A side was away for too long; the run can be taken up again.
    Parked,
    /// The source's oplog no longer holds what a pair needs.
    RolledOff,
    /// An oplog entry, option or state the engine does not support.
    Unsupported,
    /// The spool is full, damaged, or its disk refuses it.
    Spool,
    /// Source and target differ.
    Differs,
    /// The operator gave the run up.
    Cancelled,
    /// A signal arrived; the run can be taken up again.
    Stopped,
    /// No running process answers, or it refused the request.
    Control,
    /// A broken invariant: a defect of shardlift.
    Internal,
}

/// What the caller should do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    Retry,
    Stop,
}

impl Kind {
    /// Process exit code, by cause; documented in README.md.
    pub fn exit_code(self) -> u8 {
        match self {
            Kind::Config => 2,
            Kind::Connect => 3,
            Kind::Refused => 4,
            Kind::Server | Kind::Transient => 5,
            Kind::Unsupported | Kind::Spool | Kind::RolledOff => 6,
            Kind::Differs => 7,
            Kind::Control => 8,
            Kind::Parked => 9,
            Kind::Internal => 70,
            Kind::Cancelled | Kind::Stopped => 130,
        }
    }

    pub fn policy(self) -> Policy {
        match self {
            Kind::Transient => Policy::Retry,
            _ => Policy::Stop,
        }
    }
}

/// An error with its cause and, where there is one, the remedy.
#[derive(Debug, Clone)]
pub struct Error {
    pub kind: Kind,
    pub message: String,
    /// What the operator can do about it, as one sentence or command.
    pub remedy: Option<String>,
    /// Server error code, where a server gave one.
    pub code: Option<i32>,
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Error {
            kind,
            message: message.into(),
            remedy: None,
            code: None,
        }
    }

    /// Adds what to do about it.
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    /// Puts what was being done in front of the message.
    pub fn context(mut self, doing: impl fmt::Display) -> Self {
        self.message = format!("{doing}: {}", self.message);
        self
    }

    /// What a server answered. Of a command that a refusal repeats the first field is
    /// enough: the rest may be long, and holds session and signature.
    pub(crate) fn answered(code: i32, name: &str, text: &str) -> Self {
        let kind = if is_passing(code) {
            Kind::Transient
        } else {
            Kind::Server
        };
        let text = match text.split_once(" to execute command { ") {
            Some((before, command)) => {
                let first = command
                    .split([',', '}'])
                    .next()
                    .unwrap_or_default()
                    .trim_end();
                format!("{before} to execute {first}")
            }
            None => text.to_owned(),
        };
        let error = Error {
            code: Some(code),
            ..Error::new(kind, format!("{text} ({name}, code {code})"))
        };
        match code {
            codes::UNAUTHORIZED => error.remedy(
                "run `shardlift validate`: it names what the user lacks, and on which server",
            ),
            _ => error,
        }
    }

    /// Of a command that names the UUID of a collection of the target. One of another UUID, or
    /// none, has that name by now: a router renames it late, or somebody dropped it. The next
    /// attempt reads the names, and knows which.
    pub(crate) fn or_renamed(self) -> Self {
        let kind = match self.code {
            Some(codes::COLLECTION_UUID_MISMATCH) => Kind::Transient,
            _ => self.kind,
        };
        Error { kind, ..self }
    }

    pub fn internal(message: impl Into<String>) -> Self {
        Error::new(Kind::Internal, message)
            .remedy("this is a defect of shardlift: please report it with the log")
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.message)?;
        match &self.remedy {
            Some(remedy) => write!(f, "; what to do: {remedy}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}

/// Driver errors: network faults and "not primary" are passing, bad
/// credentials are the operator's, all else is the server's answer.
impl From<mongodb::error::Error> for Error {
    fn from(e: mongodb::error::Error) -> Self {
        use mongodb::error::{ErrorKind, WriteFailure};
        if let ErrorKind::Command(c) = &*e.kind {
            return Error::answered(c.code, &c.code_name, &c.message);
        }
        let (code, message) = match &*e.kind {
            ErrorKind::Write(WriteFailure::WriteError(w)) => {
                (Some(w.code), format!("{} (code {})", w.message, w.code))
            }
            ErrorKind::Write(WriteFailure::WriteConcernError(w)) => {
                (Some(w.code), format!("{} (code {})", w.message, w.code))
            }
            _ => (None, e.to_string()),
        };
        let kind = match &*e.kind {
            ErrorKind::Authentication { .. } | ErrorKind::DnsResolve { .. } => Kind::Connect,
            ErrorKind::InvalidArgument { .. } => Kind::Config,
            ErrorKind::Io(_)
            | ErrorKind::ConnectionPoolCleared { .. }
            | ErrorKind::ServerSelection { .. } => Kind::Transient,
            _ if code.is_some_and(is_passing) => Kind::Transient,
            _ => Kind::Server,
        };
        Error {
            kind,
            message,
            remedy: None,
            code,
        }
    }
}

impl From<bson::error::Error> for Error {
    fn from(e: bson::error::Error) -> Self {
        Error::new(Kind::Server, format!("malformed BSON: {e}"))
    }
}

/// Codes of elections, shutdowns and lost connections
/// (server source, `error_codes.yml`: RetriableError, NotPrimaryError, ShutdownError;
/// 13388: a shard's new primary has not yet loaded what it owns), and of what an operator
/// ended (`killOp`, `killCursors`, `killSessions`: Interrupted, CursorNotFound,
/// CursorKilled). A read is made again; a write may have been executed in part: its
/// attempt goes back (R7).
pub(crate) fn is_passing(code: i32) -> bool {
    matches!(
        code,
        6 | 7 | 43 | 89 | 91 | 133 | 134 | 237 | 249 | 189 | 262 | 9001 | 10107 | 11600
            ..=11602 | 13388 | 13435 | 13436
    )
}

/// CursorNotFound, CappedPositionLost, QueryPlanKilled, CursorKilled: what was read can be
/// read again by another cursor, if its collection is still there.
pub(crate) const CODES_CURSOR_LOST: [i32; 4] = [43, 136, 175, 237];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_uuid_ends_the_attempt_alone() {
        for (code, kind) in [
            (codes::COLLECTION_UUID_MISMATCH, Kind::Transient),
            (codes::NAMESPACE_NOT_FOUND, Kind::Server),
            (91, Kind::Transient),
        ] {
            let error = Error::answered(code, "Name", "text").or_renamed();
            assert_eq!((error.kind, error.code), (kind, Some(code)));
        }
    }

    #[test]
    fn a_refusal_for_want_of_rights_names_the_command_and_no_session() {
        let text = "not authorized on config to execute command { find: \"chunks\", lsid: { id: 1 }, $db: \"config\" }";
        let error = Error::answered(13, "Unauthorized", text);
        assert_eq!(
            error.message,
            "not authorized on config to execute find: \"chunks\" (Unauthorized, code 13)"
        );
        assert!(
            error
                .remedy
                .is_some_and(|remedy| remedy.contains("shardlift validate"))
        );
        let one = Error::answered(
            13,
            "Unauthorized",
            "not authorized on d to execute command { ping: 1 }",
        );
        assert_eq!(
            one.message,
            "not authorized on d to execute ping: 1 (Unauthorized, code 13)"
        );
    }
}
