//! A TCP proxy on 127.0.0.1 in front of one server, whose faults are switched
//! on and off while it runs. Bytes pass as they are; none is lost, added or
//! swapped: what a fault holds back arrives when the fault ends, however late,
//! unless the connection is cut.
//!
//! Runs on threads of its own, so that a busy runtime adds no delay to it.
//! Knows nothing about MongoDB.

mod connection;
mod door;
mod pump;
mod switch;
#[cfg(test)]
mod tests;

use std::net::TcpListener;
use std::sync::OnceLock;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::error::{Error, Result};
use crate::server::port;
pub use door::TlsDoor;
use switch::Switch;

const WORKER_THREADS: usize = 2;
const PORT_TRIES_MAX: u32 = 5;

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    ToServer,
    ToClient,
}

/// What can happen to connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Every byte arrives so many ms later, both ways.
    Delay { ms: u64 },
    /// At most so many bytes per second and connection, each way.
    Throttle { bytes_per_s: u64 },
    /// One direction stops without a word.
    HalfOpen(Direction),
    /// Both directions stop; new connections are accepted and stay silent.
    BlackHole,
    /// New connections are reset at once; those that are open go on.
    Refuse,
    /// Happens once: open connections are closed in order (FIN).
    Cut,
    /// Happens once: open connections are reset (RST).
    Reset,
}

/// A running proxy. It stops, and its connections end, when dropped.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    switch: watch::Sender<Switch>,
    acceptor: JoinHandle<()>,
}

impl Proxy {
    /// Forwards to `127.0.0.1:<upstream_port>`, where nobody need listen yet.
    /// Accepts connections on return.
    pub fn start(upstream_port: u16) -> Result<Proxy> {
        let listener = listen()?;
        let port = listener.local_addr()?.port();
        let (switch, switched) = watch::channel(Switch::default());
        let runtime = runtime();
        let _entered = runtime.enter();
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let acceptor = runtime.spawn(connection::accept(listener, upstream_port, switched));
        Ok(Proxy {
            port,
            switch,
            acceptor,
        })
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// `127.0.0.1:<port>`.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Sets the fault of all connections, in place of the one before.
    pub fn set(&self, fault: Fault) {
        self.set_on(fault, 1.0);
    }

    /// Sets the fault of a share of the connections, 0 to 1. Which ones hangs on
    /// their number only: each one is hit as a whole or not at all.
    pub fn set_on(&self, fault: Fault, share: f64) {
        self.switch.send_modify(|switch| switch.set(fault, share));
    }

    /// Ends the fault; what was held back goes on.
    pub fn clear(&self) {
        self.switch.send_modify(Switch::clear);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.acceptor.abort();
    }
}

/// One for all proxies of the process; never taken down.
fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let mut builder = Builder::new_multi_thread();
        let builder = builder
            .worker_threads(WORKER_THREADS)
            .thread_name("fault-proxy")
            .enable_all();
        builder
            .build()
            .expect("the system gives a few more threads")
    })
}

fn listen() -> Result<TcpListener> {
    for _ in 0..PORT_TRIES_MAX {
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port::free()?)) {
            listener.set_nonblocking(true)?;
            return Ok(listener);
        }
    }
    Err(Error::new(format!(
        "a proxy lost the race for a port {PORT_TRIES_MAX} times"
    )))
}
