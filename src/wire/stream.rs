//! The byte stream to a server: TCP or a Unix socket, TLS around it or not.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use mongodb::options::ServerAddress;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio_rustls::client::TlsStream;

use crate::error::{Error, Kind, Result};
use crate::wire::tls::Tls;

const PORT_DEFAULT: u16 = 27017;
/// The driver's own.
const KEEPALIVE: Duration = Duration::from_secs(120);

#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    /// # Errors
    /// `Transient` if the server does not answer, within `patience` or at all.
    pub(super) async fn open(
        address: &ServerAddress,
        tls: Option<&Tls>,
        patience: Duration,
    ) -> Result<Stream> {
        let late = || {
            Error::new(
                Kind::Transient,
                format!("{address} does not answer in {} ms", patience.as_millis()),
            )
        };
        tokio::time::timeout(patience, Self::dial(address, tls, patience))
            .await
            .map_err(|_| late())?
    }

    async fn dial(
        address: &ServerAddress,
        tls: Option<&Tls>,
        patience: Duration,
    ) -> Result<Stream> {
        let away =
            |e: io::Error| Error::new(Kind::Transient, format!("connecting to {address}: {e}"));
        let (host, port) = match address {
            ServerAddress::Tcp { host, port } => (host.as_str(), port.unwrap_or(PORT_DEFAULT)),
            ServerAddress::Unix { path } => {
                return Ok(Stream::Unix(UnixStream::connect(path).await.map_err(away)?));
            }
            _ => {
                return Err(Error::new(
                    Kind::Config,
                    format!("{address} is not an address to connect to"),
                ));
            }
        };
        let bare = host
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .unwrap_or(host);
        let stream = connect_any(bare, port, patience).await.map_err(away)?;
        stream.set_nodelay(true).map_err(away)?;
        // Devices on the way forget silent connections.
        SockRef::from(&stream)
            .set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE))
            .map_err(away)?;
        match tls {
            Some(tls) => Ok(Stream::Tls(Box::new(
                tls.connect(host, stream).await.map_err(passing)?,
            ))),
            None => Ok(Stream::Tcp(stream)),
        }
    }
}

/// The addresses of a name one after the other, none of which may take all the time.
async fn connect_any(host: &str, port: u16, patience: Duration) -> io::Result<TcpStream> {
    let addresses: Vec<SocketAddr> = lookup_host((host, port)).await?.collect();
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in &addresses {
        match tokio::time::timeout(
            patience / addresses.len() as u32,
            TcpStream::connect(address),
        )
        .await
        {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(e)) => failed = e,
            Err(_) => failed = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(failed)
}

/// Makes a TLS error transient. Once the sides are connected TLS is known to work, and a
/// refusal during a run may pass: certificates are renewed.
pub(super) fn passing(e: Error) -> Error {
    if e.kind == Kind::Connect {
        Error {
            kind: Kind::Transient,
            ..e
        }
    } else {
        e
    }
}

macro_rules! inner {
    ($stream:expr, $inner:ident => $call:expr) => {
        match $stream.get_mut() {
            Stream::Tcp($inner) => {
                let $inner = Pin::new($inner);
                $call
            }
            Stream::Unix($inner) => {
                let $inner = Pin::new($inner);
                $call
            }
            Stream::Tls($inner) => {
                let $inner = Pin::new($inner);
                $call
            }
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        inner!(self, stream => stream.poll_read(cx, buf))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        inner!(self, stream => stream.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        inner!(self, stream => stream.poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        inner!(self, stream => stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        inner!(self, stream => stream.poll_shutdown(cx))
    }
}
