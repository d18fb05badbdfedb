//! TLS for connections to a shard: reads what the URI says about it once, and does the
//! handshake on an open connection.
//!
//! Nothing is lenient unless the URI says so: the server's certificate must come from
//! the CA file (or, without one, from an authority that Mozilla trusts) and carry the
//! host name that was dialled. Knows nothing about messages and logins.

use std::io;
use std::path::Path;
use std::sync::Arc;

use mongodb::options::TlsOptions;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    AlertDescription, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::error::{Error, Kind, Result};

/// What every connection of one side needs for its handshake. Clones share it, and with
/// it the sessions that a reconnect resumes.
#[derive(Clone)]
pub struct Tls {
    connector: TlsConnector,
}

impl Tls {
    /// Reads the files the URI names.
    ///
    /// # Errors
    /// `Config` if one cannot be read, or does not hold what it should.
    pub fn new(options: &TlsOptions) -> Result<Tls> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|e| Error::internal(format!("TLS without a protocol version: {e}")))?;
        let builder = if options.allow_invalid_certificates == Some(true) {
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        } else {
            let roots = Arc::new(roots(options.ca_file_path.as_deref())?);
            let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider).build();
            builder.with_webpki_verifier(
                verifier.map_err(|e| Error::internal(format!("TLS without an authority: {e}")))?,
            )
        };
        let config = match options.cert_key_file_path.as_deref() {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let (chain, key) = certificate_and_key(path)?;
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(|e| unusable(path, &e.to_string()).remedy(PAIR))?
            }
        };
        Ok(Tls {
            connector: Arc::new(config).into(),
        })
    }

    /// The handshake on an open connection; `host` is what was dialled: a name or an
    /// address, of IPv6 with or without brackets.
    ///
    /// # Errors
    /// `Connect` if the two do not come to terms, `Transient` if the connection is lost
    /// meanwhile, `Config` for a host that no certificate can carry.
    pub async fn connect(&self, host: &str, stream: TcpStream) -> Result<TlsStream<TcpStream>> {
        let bare = host
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .unwrap_or(host);
        let name = ServerName::try_from(bare.to_owned()).map_err(|_| {
            Error::new(
                Kind::Config,
                format!("{host:?} is neither a host name nor an address"),
            )
        })?;
        self.connector
            .connect(name, stream)
            .await
            .map_err(|e| fault(host, &e))
    }
}

const PAIR: &str = "tlsCertificateKeyFile takes one PEM file with the client's certificate and its private key, \
                    which must belong together; the key may not be encrypted";

/// The error of a failed handshake. The reader of the first reply uses it too: with TLS
/// 1.3 a server refuses the client's certificate only after the handshake.
pub fn fault(host: &str, e: &io::Error) -> Error {
    let tls = e
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let Some(tls) = tls else {
        return Error::new(Kind::Transient, format!("TLS with {host}: {e}"));
    };
    let found = Error::new(Kind::Connect, format!("TLS with {host}: {tls}"));
    match tls {
        // It is about to go, or has trouble of its own.
        rustls::Error::AlertReceived(AlertDescription::InternalError | AlertDescription::UserCanceled) => {
            Error { kind: Kind::Transient, ..found }
        }
        rustls::Error::AlertReceived(_) => found.remedy(
            "the server refused: see its log; if it wants a client certificate, give one its CA signed in \
             tlsCertificateKeyFile",
        ),
        rustls::Error::InvalidCertificate(_) => found.remedy(
            "set tlsCAFile to the CA that signed the server's certificate, and use the host name in the certificate",
        ),
        rustls::Error::InvalidMessage(_) => {
            found.remedy("the server does not speak TLS there: check the port, or its net.tls.mode")
        }
        _ => found,
    }
}

fn roots(ca_file: Option<&Path>) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    let Some(path) = ca_file else {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        return Ok(roots);
    };
    let remedy = "tlsCAFile takes a PEM file with the certificates of the authorities to trust";
    let (added, ignored) =
        roots.add_parsable_certificates(certificates(path, &read(path)?, remedy)?);
    // A bundle may hold some that are not understood; one at least must be.
    if added == 0 {
        let found = if ignored == 0 {
            "it holds no certificate"
        } else {
            "none of its certificates is understood"
        };
        return Err(unusable(path, found).remedy(remedy));
    }
    Ok(roots)
}

fn certificate_and_key(
    path: &Path,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
    let pem = read(path)?;
    let chain = certificates(path, &pem, PAIR)?;
    if chain.is_empty() {
        return Err(unusable(path, "it holds no certificate").remedy(PAIR));
    }
    // The library's words may quote a line of the key.
    let key = PrivateKeyDer::from_pem_slice(&pem)
        .map_err(|_| unusable(path, "it holds no private key that can be read").remedy(PAIR))?;
    Ok((chain, key))
}

fn certificates(path: &Path, pem: &[u8], remedy: &str) -> Result<Vec<CertificateDer<'static>>> {
    let read: std::result::Result<_, _> = CertificateDer::pem_slice_iter(pem).collect();
    read.map_err(|_| unusable(path, "it is not well-formed PEM").remedy(remedy))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let remedy = "check the path in the URI and who may read the file";
    std::fs::read(path).map_err(|e| unusable(path, &e.to_string()).remedy(remedy))
}

fn unusable(path: &Path, found: &str) -> Error {
    Error::new(
        Kind::Config,
        format!("the TLS file {} cannot be used: {found}", path.display()),
    )
}

/// `tlsAllowInvalidCertificates`: whoever answers is believed, though it must hold the
/// key of the certificate it shows.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests;
