//! Encrypts the API where a certificate is given.
//!
//! A handshake is made beside the others, within a bound: a client that says nothing keeps
//! nobody waiting.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::serve::Listener;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::error::{Error, Kind, Result};

/// Handshakes under way at a time; more clients wait in the system's queue.
const HANDSHAKES_MAX: usize = 32;
const HANDSHAKE: Duration = Duration::from_secs(10);

/// What the server shows a client.
///
/// # Errors
/// `Config` if a file cannot be read, or they do not fit.
pub fn acceptor(cert: &Path, key: &Path) -> Result<TlsAcceptor> {
    let refused = |path: &Path, e: &dyn std::fmt::Display| {
        Error::new(Kind::Config, format!("{}: {e}", path.display()))
            .remedy("give api_cert and api_key PEM files: a certificate chain and its private key")
    };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(cert)
        .and_then(Iterator::collect)
        .map_err(|e| refused(cert, &e))?;
    let key_der = PrivateKeyDer::from_pem_file(key).map_err(|e| refused(key, &e))?;
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| Error::internal(format!("TLS without a protocol version: {e}")))?
        .with_no_client_auth()
        .with_single_cert(chain, key_der)
        .map_err(|e| refused(cert, &e))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

type Accepted = (TlsStream<TcpStream>, SocketAddr);

/// Gives connections whose handshake is done.
pub(super) struct TlsListener {
    address: SocketAddr,
    accepted: mpsc::Receiver<Accepted>,
    accepting: JoinHandle<()>,
}

impl TlsListener {
    /// # Errors
    /// Those of the socket.
    pub(super) fn new(listener: TcpListener, acceptor: TlsAcceptor) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let (done, accepted) = mpsc::channel(HANDSHAKES_MAX);
        let accepting = tokio::spawn(accept_all(listener, acceptor, done));
        Ok(TlsListener {
            address,
            accepted,
            accepting,
        })
    }
}

impl Drop for TlsListener {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept_all(
    mut listener: TcpListener,
    acceptor: TlsAcceptor,
    done: mpsc::Sender<Accepted>,
) {
    let free = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    while let Ok(permit) = free.clone().acquire_owned().await {
        let (stream, address) = Listener::accept(&mut listener).await;
        let (acceptor, done) = (acceptor.clone(), done.clone());
        tokio::spawn(async move {
            let shaken = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await;
            match shaken {
                // An error says that the API has ended.
                Ok(Ok(stream)) => drop(done.send((stream, address)).await),
                Ok(Err(e)) => tracing::debug!("no TLS handshake with {address}: {e}"),
                Err(_) => tracing::debug!("no TLS handshake with {address} in time"),
            }
            drop(permit);
        });
    }
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> Accepted {
        match self.accepted.recv().await {
            Some(accepted) => accepted,
            // The accepting task has ended, with the runtime.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}
