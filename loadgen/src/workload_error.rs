//! What can go wrong while populating, loading or checking: one enum, each
//! variant with what was being done.
//!
//! Knows nothing about local servers and how they are started.

/// Errors of `populate`, `load` and `check`.
#[derive(Debug, thiserror::Error)]
pub enum WorkloadError {
    /// A server could not be reached or refused a command.
    #[error("{doing}: {source}")]
    Server {
        doing: String,
        source: mongodb::error::Error,
    },
    /// A bulk write came back with write errors.
    #[error("{doing}: {count} writes refused, the first: {first}")]
    Refused {
        doing: String,
        count: usize,
        first: String,
    },
    /// Malformed or unexpected BSON.
    #[error("{doing}: {source}")]
    Bson {
        doing: String,
        source: bson::error::Error,
    },
    /// A flag or a state of the deployment that cannot be used; says what to do.
    #[error("{0}")]
    Usage(String),
}

pub type Result<T> = std::result::Result<T, WorkloadError>;

impl WorkloadError {
    /// The server's error code, where it gave one.
    pub fn code(&self) -> Option<i32> {
        match self {
            WorkloadError::Server { source, .. } => match &*source.kind {
                mongodb::error::ErrorKind::Command(command) => Some(command.code),
                _ => None,
            },
            _ => None,
        }
    }
}

/// Says what was being done when a call of the driver or of bson failed.
pub trait Doing<T> {
    fn doing(self, doing: impl FnOnce() -> String) -> Result<T>;
}

impl<T> Doing<T> for std::result::Result<T, mongodb::error::Error> {
    fn doing(self, doing: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|source| WorkloadError::Server {
            doing: doing(),
            source,
        })
    }
}

impl<T> Doing<T> for std::result::Result<T, bson::error::Error> {
    fn doing(self, doing: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|source| WorkloadError::Bson {
            doing: doing(),
            source,
        })
    }
}

impl From<WorkloadError> for crate::error::Error {
    fn from(error: WorkloadError) -> Self {
        let code = error.code();
        crate::error::Error {
            code,
            ..crate::error::Error::new(error.to_string())
        }
    }
}
