//! The local HTTP API of a run.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use crate::error::Result;
use crate::observe::status::Snapshot;

/// What an operator asks of a running process; control answers each with
/// a sentence or a refusal.
#[derive(Debug)]
pub enum Request {
    Cutover(oneshot::Sender<std::result::Result<String, String>>),
    Cancel(oneshot::Sender<std::result::Result<String, String>>),
}

/// Serves on 127.0.0.1:`port` (0: a free one) until the returned handle is
/// dropped. Returns the port in use.
///
/// # Errors
/// `Config` if the port is taken.
pub async fn serve(
    _port: u16,
    _snapshot: Arc<dyn Fn() -> Snapshot + Send + Sync>,
    _requests: mpsc::Sender<Request>,
) -> Result<Server> {
    Err(crate::error::Error::internal("not yet"))
}

/// A running API; stops on drop.
pub struct Server {
    pub port: u16,
}
