//! The stand-in's thread, its listener, and their end.

use std::sync::Arc;
use std::thread::{self, JoinHandle};

use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio::sync::oneshot;

use crate::error::{Error, Result};
use crate::mongos::connection;
use crate::mongos::shared::Shared;

const WORKER_THREADS: usize = 2;

/// Stops, with all its connections, when dropped.
#[derive(Debug)]
pub struct StandIn {
    port: u16,
    login: bool,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl StandIn {
    /// Returns when it accepts connections.
    pub(super) async fn start(
        config_hosts: &str,
        port: Option<u16>,
        login: bool,
    ) -> Result<StandIn> {
        let (stop, stopped) = oneshot::channel();
        let (ready, started) = oneshot::channel();
        let config_hosts = config_hosts.to_owned();
        let run = move || {
            let runtime = Builder::new_multi_thread()
                .worker_threads(WORKER_THREADS)
                .enable_all()
                .build();
            match runtime {
                Ok(runtime) => runtime.block_on(serve(&config_hosts, port, login, ready, stopped)),
                Err(e) => _ = ready.send(Err(e.into())),
            }
        };
        let thread = thread::Builder::new()
            .name("mongos-stand-in".into())
            .spawn(run)?;
        let port = started
            .await
            .map_err(|_| Error::new("the mongos stand-in ended before it was ready"))??;
        Ok(StandIn {
            port,
            login,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    pub(super) fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(super) fn asks_for_login(&self) -> bool {
        self.login
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Serves until `stopped` resolves; its runtime's end ends the connections.
async fn serve(
    config_hosts: &str,
    port: Option<u16>,
    login: bool,
    ready: oneshot::Sender<Result<u16>>,
    mut stopped: oneshot::Receiver<()>,
) {
    let (listener, shared) = match prepare(config_hosts, port, login).await {
        Ok((port, listener, shared)) => {
            let _ = ready.send(Ok(port));
            (listener, Arc::new(shared))
        }
        Err(e) => {
            let _ = ready.send(Err(e));
            return;
        }
    };
    loop {
        tokio::select! {
            _ = &mut stopped => return,
            accepted = listener.accept() => if let Ok((stream, _)) = accepted {
                tokio::spawn(connection::serve(stream, Arc::clone(&shared)));
            },
        }
    }
}

async fn prepare(
    config_hosts: &str,
    port: Option<u16>,
    login: bool,
) -> Result<(u16, TcpListener, Shared)> {
    let listener = match port {
        Some(port) => bind(port)
            .await
            .map_err(|e| e.remedy("choose another port"))?,
        None => bind(crate::server::port::free()?).await?,
    };
    let port = listener.local_addr()?.port();
    Ok((
        port,
        listener,
        Shared::connect(config_hosts, port, login).await?,
    ))
}

async fn bind(port: u16) -> Result<TcpListener> {
    TcpListener::bind(("127.0.0.1", port))
        .await
        .map_err(|e| Error::from(e).context(format!("port {port}")))
}
