//! One connection to one server: a command goes out, its reply comes back.
//! No sessions, no retries, no topology.

use std::io;
use std::time::{Duration, Instant};

use bson::{Document, RawDocument, RawDocumentBuf, doc};
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::error::{Error, Result};
use crate::wire::{login, message};

/// Unauthorized: also what a server says to whom it does not know yet.
const CODE_UNAUTHORIZED: i32 = 13;
const POLL: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub struct Link {
    /// `host:port`, as it was dialled.
    pub host: String,
    stream: BufReader<TcpStream>,
    last_id: i32,
    /// As loadgen's own user.
    logged_in: bool,
}

impl Link {
    pub async fn connect(host: &str) -> io::Result<Link> {
        let stream = TcpStream::connect(host).await?;
        stream.set_nodelay(true)?;
        Ok(Link {
            host: host.to_owned(),
            stream: BufReader::new(stream),
            last_id: 0,
            logged_in: false,
        })
    }

    /// Sends a command as it is (it must carry `$db`) and returns the reply,
    /// whatever it says.
    pub async fn call(
        &mut self,
        body: &RawDocument,
        sequences: &[u8],
    ) -> io::Result<RawDocumentBuf> {
        self.last_id = self.last_id.wrapping_add(1);
        let request = message::encode(self.last_id, 0, body, sequences);
        self.stream.get_mut().write_all(&request).await?;
        match message::read(&mut self.stream).await? {
            Some(reply) => Ok(reply.body),
            None => Err(io::Error::new(
                io::ErrorKind::ConnectionAborted,
                "the server closed the connection",
            )),
        }
    }

    /// Logs in as loadgen's own user.
    pub async fn log_in(&mut self) -> Result<()> {
        login::log_in(self, login::OPERATOR).await?;
        self.logged_in = true;
        Ok(())
    }

    /// Logs in as the servers of one cluster do among themselves.
    pub async fn log_in_as_server(&mut self) -> Result<()> {
        login::log_in_as_server(self).await?;
        self.logged_in = true;
        Ok(())
    }

    /// Says that what comes is from a server of the cluster, of that wire version.
    pub async fn speak_as_server(&mut self, wire_version: i32) -> Result<()> {
        let client = doc! { "minWireVersion": wire_version, "maxWireVersion": wire_version };
        let hello = doc! { "isMaster": 1, "internalClient": client };
        self.command_as_is("admin", hello).await.map(drop)
    }

    /// Runs a command on a database; logs in where the server asks for it.
    ///
    /// # Errors
    /// Of the socket, or with the server's code where it answers `ok: 0`, a
    /// write error or a write concern error.
    pub async fn command(&mut self, db: &str, command: Document) -> Result<Document> {
        match self.command_as_is(db, command.clone()).await {
            Err(e) if e.code == Some(CODE_UNAUTHORIZED) && !self.logged_in => {
                self.log_in().await?;
                self.command_as_is(db, command).await
            }
            outcome => outcome,
        }
    }

    /// What a server says of itself, by the command's older name: 4.2.6 does not know
    /// `hello` yet.
    pub async fn hello(&mut self) -> Result<Document> {
        self.command("admin", doc! { "isMaster": 1 }).await
    }

    /// The same as whoever the connection belongs to.
    pub async fn command_as_is(&mut self, db: &str, mut command: Document) -> Result<Document> {
        let name = command.keys().next().cloned().unwrap_or_default();
        command.insert("$db", db);
        let body = RawDocumentBuf::try_from(&command)?;
        let answer = self.call(&body, &[]).await;
        let reply =
            answer.map_err(|e| Error::from(e).context(format!("{name} on {}", self.host)))?;
        let reply = Document::try_from(reply.as_ref())?;
        match fault(&reply) {
            Some((code, message)) => {
                let error = Error::new(format!("{name} on {}: {message} (code {code})", self.host));
                Err(Error {
                    code: Some(code),
                    ..error
                })
            }
            None => Ok(reply),
        }
    }
}

/// True if [`Link::hello`] was answered by a primary that takes writes.
pub fn is_primary(hello: &Document) -> bool {
    hello.get_bool("ismaster").unwrap_or(false)
}

/// Code and text of what a reply complains of; None if it is all well.
pub fn fault(reply: &Document) -> Option<(i32, String)> {
    if !reply.get("ok").is_some_and(|ok| number(ok) == 1.0) {
        return Some(code_and_text(reply));
    }
    let write_error = reply
        .get_array("writeErrors")
        .ok()
        .and_then(|e| e.first()?.as_document());
    write_error
        .or_else(|| reply.get_document("writeConcernError").ok())
        .map(code_and_text)
}

fn code_and_text(doc: &Document) -> (i32, String) {
    let code = doc.get("code").map_or(0.0, number) as i32;
    (
        code,
        doc.get_str("errmsg").unwrap_or("no message").to_owned(),
    )
}

/// Any BSON number as f64; 0 for what is none.
pub fn number(value: &bson::Bson) -> f64 {
    match value {
        bson::Bson::Double(n) => *n,
        bson::Bson::Int32(n) => f64::from(*n),
        bson::Bson::Int64(n) => *n as f64,
        bson::Bson::Boolean(b) => f64::from(u8::from(*b)),
        _ => 0.0,
    }
}

/// Connects to whichever of `hosts` is the writable primary, waiting up to
/// `patience` for an election.
pub async fn connect_primary(hosts: &[String], patience: Duration) -> Result<Link> {
    let deadline = Instant::now() + patience;
    loop {
        for host in hosts {
            if let Some(link) = as_primary(host).await {
                return Ok(link);
            }
        }
        if deadline <= Instant::now() {
            return Err(Error::new(format!(
                "none of {} became primary in {patience:?}",
                hosts.join(", ")
            )));
        }
        tokio::time::sleep(POLL).await;
    }
}

/// A frozen member must not hold up the search for another.
async fn as_primary(host: &str) -> Option<Link> {
    let attempt = async {
        let mut link = Link::connect(host).await.ok()?;
        let hello = link.hello().await.ok()?;
        is_primary(&hello).then_some(link)
    };
    tokio::time::timeout(Duration::from_secs(2), attempt)
        .await
        .ok()
        .flatten()
}

/// The members in `set/host:port,host:port`, as `config.shards` has them.
pub fn members(connection_string: &str) -> Vec<String> {
    let hosts = connection_string
        .split_once('/')
        .map_or(connection_string, |(_, hosts)| hosts);
    hosts.split(',').map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_found_at_every_level() {
        assert_eq!(fault(&doc! { "ok": 1.0, "n": 1 }), None);
        assert_eq!(
            fault(&doc! { "ok": 0.0, "code": 26, "errmsg": "gone" }),
            Some((26, "gone".to_owned()))
        );
        let write =
            doc! { "ok": 1, "writeErrors": [{ "index": 0, "code": 11000, "errmsg": "dup" }] };
        assert_eq!(fault(&write), Some((11000, "dup".to_owned())));
        let concern = doc! { "ok": 1, "writeConcernError": { "code": 64, "errmsg": "late" } };
        assert_eq!(fault(&concern), Some((64, "late".to_owned())));
    }

    #[test]
    fn members_of_a_connection_string() {
        assert_eq!(members("s0/a:1,b:2"), ["a:1", "b:2"]);
        assert_eq!(members("a:1"), ["a:1"]);
    }
}
