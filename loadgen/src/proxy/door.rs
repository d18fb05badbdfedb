//! A door by TLS on 127.0.0.1 to a server that speaks none: what comes in encrypted goes
//! on to it as plain bytes, and back.
//!
//! Knows nothing about MongoDB, and asks nobody for a certificate.

use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::error::{Error, Result};
use crate::proxy::{listen, runtime};

/// It closes when dropped; connections that are open go on.
#[derive(Debug)]
pub struct TlsDoor {
    port: u16,
    acceptor: JoinHandle<()>,
}

impl TlsDoor {
    /// Leads to `host`; `certificate` is a PEM file with certificate and key.
    pub fn start(host: &str, certificate: &Path) -> Result<TlsDoor> {
        let listener = listen()?;
        let port = listener.local_addr()?.port();
        let acceptor = acceptor(certificate)?;
        let _entered = runtime().enter();
        let listener = TcpListener::from_std(listener)?;
        let acceptor = runtime().spawn(accept(listener, acceptor, host.to_owned()));
        Ok(TlsDoor { port, acceptor })
    }

    /// `127.0.0.1:<port>`.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

impl Drop for TlsDoor {
    fn drop(&mut self) {
        self.acceptor.abort();
    }
}

fn acceptor(certificate: &Path) -> Result<TlsAcceptor> {
    let cannot = |e: &dyn std::fmt::Display| {
        Error::new(e.to_string()).context(format!("certificate {}", certificate.display()))
    };
    let pem = std::fs::read(certificate).map_err(|e| cannot(&e))?;
    let chain = CertificateDer::pem_slice_iter(&pem).collect::<std::result::Result<Vec<_>, _>>();
    let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|e| cannot(&e))?;
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| cannot(&e))?
        .with_no_client_auth()
        .with_single_cert(chain.map_err(|e| cannot(&e))?, key)
        .map_err(|e| cannot(&e))?;
    Ok(Arc::new(config).into())
}

/// Accepts until aborted. A connection that breaks is the client's to renew.
async fn accept(listener: TcpListener, acceptor: TlsAcceptor, host: String) {
    while let Ok((client, _)) = listener.accept().await {
        let (acceptor, host) = (acceptor.clone(), host.clone());
        tokio::spawn(async move {
            let mut client = acceptor.accept(client).await?;
            let mut server = TcpStream::connect(host).await?;
            server.set_nodelay(true)?;
            tokio::io::copy_bidirectional(&mut client, &mut server).await
        });
    }
}
