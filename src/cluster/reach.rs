//! Whether one server can be reached from this host: its name, its port, TLS, the login,
//! each told apart.
//!
//! By the data plane's own way in; asks nothing of the server.

use std::fmt;
use std::time::Duration;

use mongodb::options::ServerAddress;
use tokio::net::{TcpStream, lookup_host};

use crate::wire::way::Way;

/// How long one step may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Name,
    Port,
    Tls,
    Login,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Step::Name => "its name is not resolved",
            Step::Port => "its port does not answer",
            Step::Tls => "no TLS",
            Step::Login => "no login",
        })
    }
}

/// Goes in and out again. `address`: `host:port`, as the deployment itself names it.
///
/// # Errors
/// The step that failed, and why.
pub async fn enter(way: &Way, address: &str) -> Result<(), (Step, String)> {
    let parsed = ServerAddress::parse(address).map_err(|e| (Step::Name, e.to_string()))?;
    let late = |step| (step, format!("no answer in {} s", PATIENCE.as_secs()));
    let found = tokio::time::timeout(PATIENCE, lookup_host(address)).await;
    let found = found.map_err(|_| late(Step::Name))?;
    let addresses: Vec<_> = found.map_err(|e| (Step::Name, e.to_string()))?.collect();
    let dialled = tokio::time::timeout(PATIENCE, TcpStream::connect(&addresses[..])).await;
    let dialled = dialled.map_err(|_| late(Step::Port))?;
    dialled.map_err(|e| (Step::Port, e.to_string()))?;
    // A server that is frozen takes connections, and says nothing.
    let entered = tokio::time::timeout(PATIENCE, way.enter(&parsed)).await;
    entered.map_err(|_| late(Step::Login))?.map_err(|e| {
        let step = if e.message.contains("TLS with ") {
            Step::Tls
        } else {
            Step::Login
        };
        (step, e.message)
    })
}
