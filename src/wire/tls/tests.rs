//! Handshakes with a TLS server in this process, whose certificates are made anew.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use loadgen::server::certificates::Authority;
use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;

/// A server that says one byte to whom it accepts, for as long as the test runs.
struct Server {
    dir: TempDir,
    authority: Authority,
    address: SocketAddr,
}

impl Server {
    /// One that is called `localhost` and 127.0.0.1.
    async fn start(asks_for_certificate: bool) -> Server {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::create(dir.path()).unwrap();
        let (chain, key) =
            certificate_and_key(&authority.server(&["localhost", "127.0.0.1"]).unwrap()).unwrap();
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions();
        let builder = if asks_for_certificate {
            let trusted = Arc::new(roots(Some(&authority.file())).unwrap());
            let verifier = WebPkiClientVerifier::builder_with_provider(trusted, provider)
                .build()
                .unwrap();
            builder.unwrap().with_client_cert_verifier(verifier)
        } else {
            builder.unwrap().with_no_client_auth()
        };
        let acceptor = TlsAcceptor::from(Arc::new(builder.with_single_cert(chain, key).unwrap()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                if let Ok(mut stream) = acceptor.accept(stream).await {
                    let _ = stream.write_all(b"!").await;
                }
            }
        });
        Server {
            dir,
            authority,
            address,
        }
    }

    fn options(&self) -> TlsOptions {
        TlsOptions::builder()
            .ca_file_path(self.authority.file())
            .build()
    }

    /// The same, with a client's certificate and key.
    fn options_as(&self, client: PathBuf) -> TlsOptions {
        let mut options = self.options();
        options.cert_key_file_path = Some(client);
        options
    }

    fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// Shakes hands and reads what the server says.
    async fn greet(&self, tls: &Tls, host: &str) -> Result<u8> {
        let mut stream = tls
            .connect(host, TcpStream::connect(self.address).await.unwrap())
            .await?;
        stream.read_u8().await.map_err(|e| fault(host, &e))
    }

    /// The same with other options.
    async fn greet_with(&self, options: TlsOptions, host: &str) -> Result<u8> {
        self.greet(&Tls::new(&options)?, host).await
    }
}

fn expect(kind: Kind, part: &str, found: Result<u8>) {
    let error = found.expect_err("there is something wrong");
    assert!(
        error.kind == kind && error.to_string().contains(part),
        "{:?} {error}",
        error.kind
    );
}

#[tokio::test]
async fn a_server_is_known_by_its_authority_and_by_what_was_dialled() {
    let server = Server::start(false).await;
    let tls = Tls::new(&server.options()).unwrap();
    for host in ["localhost", "127.0.0.1"] {
        assert_eq!(server.greet(&tls, host).await.unwrap(), b'!', "{host}");
        assert_eq!(
            server.greet(&tls, host).await.unwrap(),
            b'!',
            "{host}, as a session taken up again"
        );
    }
    for host in ["elsewhere", "127.0.0.2", "::1", "[::1]"] {
        expect(Kind::Connect, "tlsCAFile", server.greet(&tls, host).await);
    }
    for host in ["", "a b", "[::1"] {
        expect(Kind::Config, "neither", server.greet(&tls, host).await);
    }
}

#[tokio::test]
async fn a_server_of_another_authority_is_refused_unless_the_uri_allows_it() {
    let server = Server::start(false).await;
    let other = tempfile::tempdir().unwrap();
    let stranger = Authority::create(other.path()).unwrap().file();
    for options in [
        TlsOptions::default(),
        TlsOptions::builder().ca_file_path(stranger).build(),
    ] {
        expect(
            Kind::Connect,
            "tlsCAFile",
            server.greet_with(options.clone(), "localhost").await,
        );
        let mut lenient = options;
        lenient.allow_invalid_certificates = Some(true);
        assert_eq!(
            server
                .greet_with(lenient.clone(), "localhost")
                .await
                .unwrap(),
            b'!'
        );
        assert_eq!(server.greet_with(lenient, "elsewhere").await.unwrap(), b'!');
    }
}

#[tokio::test]
async fn a_client_shows_its_certificate_where_it_is_asked_for() {
    let server = Server::start(true).await;
    let client = server.authority.client("client").unwrap();
    assert_eq!(
        server
            .greet_with(server.options_as(client), "localhost")
            .await
            .unwrap(),
        b'!'
    );
    expect(
        Kind::Connect,
        "tlsCertificateKeyFile",
        server.greet_with(server.options(), "localhost").await,
    );
}

#[tokio::test]
async fn files_that_cannot_be_used_are_named() {
    let server = Server::start(false).await;
    let client = std::fs::read_to_string(server.authority.client("client").unwrap()).unwrap();
    let key = client.find("-----BEGIN PRIVATE KEY-----").unwrap();
    let other = std::fs::read_to_string(server.authority.client("other").unwrap()).unwrap();
    let torn = client.replace("-----END PRIVATE KEY-----", "");
    let foreign =
        client[..key].to_owned() + &other[other.find("-----BEGIN PRIVATE KEY-----").unwrap()..];
    let rows = [
        (server.dir.path().join("absent"), "absent"),
        (server.file("empty", ""), "no certificate"),
        (server.file("key", &client[key..]), "no certificate"),
    ];
    for (path, part) in rows.clone() {
        let options = TlsOptions::builder().ca_file_path(path).build();
        expect(
            Kind::Config,
            part,
            server.greet_with(options, "localhost").await,
        );
    }
    let junk = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let options = TlsOptions::builder()
        .ca_file_path(server.file("junk", junk))
        .build();
    expect(
        Kind::Config,
        "understood",
        server.greet_with(options, "localhost").await,
    );
    let further = [
        (server.file("certificate", &client[..key]), "no private key"),
        (server.file("torn", &torn), "cannot be used"),
        (server.file("foreign", &foreign), "belong together"),
    ];
    for (path, part) in rows.into_iter().chain(further) {
        expect(
            Kind::Config,
            part,
            server
                .greet_with(server.options_as(path), "localhost")
                .await,
        );
    }
}

#[tokio::test]
async fn a_peer_that_goes_is_waited_for_and_one_without_tls_is_not() {
    let tls = Tls::new(&TlsOptions::default()).unwrap();
    for (says, kind, part) in [
        ("", Kind::Transient, "TLS with localhost"),
        ("HTTP/1.1 400\r\n", Kind::Connect, "port"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let peer = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            // The whole greeting, so that the connection ends in order.
            let _ = stream.read(&mut [0; 4096]).await;
            stream.write_all(says.as_bytes()).await.unwrap();
        });
        let error = tls
            .connect("localhost", TcpStream::connect(address).await.unwrap())
            .await
            .err()
            .unwrap();
        assert!(
            error.kind == kind && error.to_string().contains(part),
            "{:?} {error}",
            error.kind
        );
        peer.await.unwrap();
    }
}
