//! One connection to one server: a request goes out, its reply comes back.
//!
//! No retries, no topology. A call that was not finished leaves the connection
//! unusable: its answer may still come.

use std::io;

use bson::raw::cstr;
use bson::{Binary, Uuid, rawdoc};
use bytes::{Buf, BufMut};
use mongodb::options::ServerAddress;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};

use crate::error::{Error, Kind, Result};
use crate::limits::MESSAGE_BYTES_MAX;
use crate::wire::compress::{self, Method};
use crate::wire::message::{
    HEADER_BYTES, Header, OP_COMPRESSED, OP_MSG, Reply, Request, header, invalid, word,
};
use crate::wire::stream::{Stream, passing};
use crate::wire::tls;
use crate::wire::way::Way;

/// A connection that is logged in.
#[derive(Debug)]
pub struct Link {
    address: ServerAddress,
    way: Way,
    stream: BufReader<Stream>,
    pub(super) compression: Option<Method>,
    request_id: i32,
    /// No request is under way, and none failed.
    clean: bool,
    /// Cursors and transactions of this connection are the session's: the server ends
    /// them some time after the last use, should nobody else.
    session: Uuid,
    transaction: i64,
}

/// Bytes of replies and headers that are read ahead: enough for a small reply.
const READ_AHEAD_BYTES: usize = 4 * 1024;

impl Link {
    pub(super) async fn open(way: &Way, address: &ServerAddress) -> Result<Link> {
        let stream = Stream::open(address, way.tls(), way.connect_timeout()).await?;
        let mut link = Link {
            address: address.clone(),
            way: way.clone(),
            stream: BufReader::with_capacity(READ_AHEAD_BYTES, stream),
            compression: None,
            request_id: 0,
            clean: true,
            session: Uuid::new(),
            transaction: 0,
        };
        way.log_in(&mut link).await?;
        Ok(link)
    }

    pub fn address(&self) -> &ServerAddress {
        &self.address
    }

    /// Whether the next call finds it as a new one would be.
    pub(super) fn is_clean(&self) -> bool {
        self.clean
    }

    /// Its session, for a cursor or a transaction.
    pub fn join_session(&self, request: &mut Request) {
        request.append(cstr!("lsid"), rawdoc! { "id": Binary::from(self.session) });
    }

    /// The number of a new transaction of its session.
    pub fn begin_transaction(&mut self) -> i64 {
        self.transaction += 1;
        self.transaction
    }

    /// Sends a command and returns its reply if it did not fail.
    ///
    /// # Errors
    /// `Transient` if the connection is lost, with it perhaps the answer; else by the
    /// code the server gives.
    pub async fn call(&mut self, request: Request) -> Result<Reply> {
        let reply = self.answer(request).await?;
        match reply.fault() {
            Some(fault) => Err(fault),
            None => Ok(reply),
        }
    }

    /// Sends a command and returns its reply, whatever it says.
    ///
    /// # Errors
    /// `Transient` if the connection is lost, with it perhaps the answer.
    pub async fn answer(&mut self, mut request: Request) -> Result<Reply> {
        if MESSAGE_BYTES_MAX < request.bytes() {
            return Err(Error::internal(format!(
                "a request of {} bytes",
                request.bytes()
            )));
        }
        if !std::mem::take(&mut self.clean) {
            return Err(Error::internal(
                "a connection was used after a call that did not end",
            ));
        }
        self.way.declare_api(&mut request);
        let exchanged = self.exchange(&request).await;
        let reply = exchanged.map_err(|e| self.lost(&e))?;
        self.clean = true;
        Ok(reply)
    }

    fn lost(&self, e: &io::Error) -> Error {
        match (self.stream.get_ref(), &self.address) {
            // A server may refuse a certificate after the handshake only.
            (Stream::Tls(_), ServerAddress::Tcp { host, .. }) => passing(tls::fault(host, e)),
            _ => Error::new(
                Kind::Transient,
                format!("the connection to {} is lost: {e}", self.address),
            ),
        }
    }

    async fn exchange(&mut self, request: &Request) -> io::Result<Reply> {
        self.request_id = self.request_id.wrapping_add(1);
        self.send(request).await?;
        let mut head = [0; HEADER_BYTES];
        self.stream.read_exact(&mut head).await?;
        let head = Header::read(&head)?;
        if head.answers != self.request_id {
            return Err(invalid(format!(
                "an answer to request {} of {}",
                head.answers, self.request_id
            )));
        }
        let payload = self.receive(head.payload_bytes).await?;
        match head.opcode {
            OP_MSG => Reply::read(payload),
            OP_COMPRESSED => Reply::read(unpack(&payload)?),
            opcode => Err(invalid(format!("opcode {opcode}"))),
        }
    }

    async fn send(&mut self, request: &Request) -> io::Result<()> {
        let stream = self.stream.get_mut();
        match self.compression {
            None => {
                let head = header(request.bytes(), self.request_id, OP_MSG);
                let [flags, body, sequence] = request.parts();
                let documents = Buf::chain(body, sequence);
                stream
                    .write_all_buf(&mut Buf::chain(
                        head.as_slice(),
                        Buf::chain(flags, documents),
                    ))
                    .await?;
            }
            Some(compression) => {
                let payload = pack(compression, &request.parts().concat())?;
                let head = header(payload.len(), self.request_id, OP_COMPRESSED);
                stream
                    .write_all_buf(&mut Buf::chain(head.as_slice(), payload.as_slice()))
                    .await?;
            }
        }
        stream.flush().await
    }

    /// Straight into what it stays in; the memory is not cleared before.
    async fn receive(&mut self, bytes: usize) -> io::Result<Vec<u8>> {
        let mut payload = Vec::with_capacity(bytes);
        while payload.len() < bytes {
            let rest = bytes - payload.len();
            if self
                .stream
                .read_buf(&mut (&mut payload).limit(rest))
                .await?
                == 0
            {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(payload)
    }
}

/// Opcode and size of what is inside, compressor, compressed bytes.
fn pack(compression: Method, payload: &[u8]) -> io::Result<Vec<u8>> {
    let mut packed = Vec::new();
    packed.extend_from_slice(&OP_MSG.to_le_bytes());
    packed.extend_from_slice(&(payload.len() as i32).to_le_bytes());
    packed.push(compression.id());
    compression
        .compress(payload, &mut packed)
        .map_err(|e| invalid(e.message))?;
    Ok(packed)
}

pub(super) fn unpack(payload: &[u8]) -> io::Result<Vec<u8>> {
    let (inside, bytes) = (word(payload, 0)?, word(payload, 4)?);
    match payload.get(8..).and_then(|rest| rest.split_first()) {
        Some((&id, packed)) if inside == OP_MSG => {
            compress::decompress(id, packed, bytes).map_err(|e| invalid(e.message))
        }
        _ => Err(invalid(format!("a compressed message of opcode {inside}"))),
    }
}
