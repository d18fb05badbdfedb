//! The login: SCRAM, a client certificate (X.509), or a name and password for a directory
//! (PLAIN).
//! <https://github.com/mongodb/specifications/blob/master/source/auth/auth.md>

use bson::raw::cstr;
use bson::spec::BinarySubtype;
use bson::{Binary, RawArray, RawDocument, RawDocumentBuf, rawdoc};
use mongodb::options::{AuthMechanism, Credential};

use crate::error::{Error, Kind, Result};
use crate::wire::link::Link;
use crate::wire::message::{Reply, Request, number};
use crate::wire::scram::Scram;
use crate::wire::scram::keys::{Mechanism, SaltedCache};

pub(super) struct Login {
    credential: Credential,
    source: String,
    salted: SaltedCache,
}

const EXTERNAL: &str = "$external";

impl Login {
    /// # Errors
    /// `Config` for a kind of login that is not supported.
    pub(super) fn new(credential: &Credential) -> Result<Login> {
        let default = match &credential.mechanism {
            None | Some(AuthMechanism::ScramSha1 | AuthMechanism::ScramSha256) => "admin",
            Some(AuthMechanism::MongoDbX509 | AuthMechanism::Plain) => EXTERNAL,
            Some(other) => {
                return Err(Error::new(
                    Kind::Config,
                    format!("authMechanism={} is not supported", other.as_str()),
                )
                .remedy("log in with SCRAM-SHA-256, SCRAM-SHA-1, MONGODB-X509 or PLAIN"));
            }
        };
        let source = credential
            .source
            .clone()
            .unwrap_or_else(|| default.to_owned());
        Ok(Login {
            credential: credential.clone(),
            source,
            salted: SaltedCache::default(),
        })
    }

    /// If the URI names no mechanism, asks the server which ones the user has.
    pub(super) fn ask_for_mechanisms(&self, hello: &mut RawDocumentBuf) {
        if let (None, Some(user)) = (&self.credential.mechanism, &self.credential.username) {
            hello.append(
                cstr!("saslSupportedMechs"),
                format!("{}.{user}", self.source),
            );
        }
    }

    /// # Errors
    /// `Connect` if the server does not let us in, or does not prove that it knows us.
    pub(super) async fn run(&self, link: &mut Link, hello: &RawDocument) -> Result<()> {
        match &self.credential.mechanism {
            Some(AuthMechanism::MongoDbX509) => self.by_certificate(link).await,
            Some(AuthMechanism::Plain) => self.plain(link).await,
            Some(AuthMechanism::ScramSha1) => self.scram(link, Mechanism::Sha1).await,
            Some(AuthMechanism::ScramSha256) => self.scram(link, Mechanism::Sha256).await,
            _ => {
                self.scram(link, best_of(hello.get_array("saslSupportedMechs").ok()))
                    .await
            }
        }
    }

    async fn by_certificate(&self, link: &mut Link) -> Result<()> {
        let mut command = rawdoc! { "authenticate": 1, "mechanism": "MONGODB-X509" };
        if let Some(user) = &self.credential.username {
            command.append(cstr!("user"), user.as_str());
        }
        self.ask(link, command).await.map(drop)
    }

    async fn plain(&self, link: &mut Link) -> Result<()> {
        let (user, password) = self.user_and_password();
        let payload = format!("\0{user}\0{password}").into_bytes();
        self.ask(link, start("PLAIN", payload)).await.map(drop)
    }

    async fn scram(&self, link: &mut Link, mechanism: Mechanism) -> Result<()> {
        let (user, password) = self.user_and_password();
        let mut scram = Scram::new(mechanism, user, password)?;
        let mut begin = start(mechanism.name(), scram.first());
        begin.append(cstr!("options"), rawdoc! { "skipEmptyExchange": true });
        let reply = self.ask(link, begin).await?;
        let conversation = number(reply.body(), "conversationId")
            .and_then(|id| i32::try_from(id).ok())
            .unwrap_or(1);
        let proof = scram.answer(payload(&reply)?, &self.salted)?;
        let reply = self.ask(link, go_on(conversation, proof)).await?;
        scram.verify(payload(&reply)?)?;
        if number(reply.body(), "done") != Some(1) {
            self.ask(link, go_on(conversation, Vec::new())).await?;
        }
        Ok(())
    }

    fn user_and_password(&self) -> (&str, &str) {
        (
            self.credential.username.as_deref().unwrap_or_default(),
            self.credential.password.as_deref().unwrap_or_default(),
        )
    }

    async fn ask(&self, link: &mut Link, command: RawDocumentBuf) -> Result<Reply> {
        link.call(Request::new(&self.source, command))
            .await
            .map_err(|e| match e.kind {
                Kind::Server => Error {
                    kind: Kind::Connect,
                    ..e.context("the login is refused")
                },
                _ => e,
            })
    }
}

fn start(mechanism: &str, payload: Vec<u8>) -> RawDocumentBuf {
    rawdoc! { "saslStart": 1, "mechanism": mechanism, "payload": binary(payload) }
}

fn go_on(conversation: i32, payload: Vec<u8>) -> RawDocumentBuf {
    rawdoc! { "saslContinue": 1, "conversationId": conversation, "payload": binary(payload) }
}

fn binary(bytes: Vec<u8>) -> Binary {
    Binary {
        subtype: BinarySubtype::Generic,
        bytes,
    }
}

fn payload(reply: &Reply) -> Result<&[u8]> {
    let payload = reply
        .body()
        .get_binary("payload")
        .map(|binary| binary.bytes);
    payload.map_err(|_| {
        Error::new(
            Kind::Connect,
            "the server's part of the login holds no payload",
        )
    })
}

/// The strongest that the server has for the user; an unknown user gets the default.
fn best_of(known: Option<&RawArray>) -> Mechanism {
    let names = || {
        known
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|name| name.as_str())
    };
    if names().any(|name| name == Mechanism::Sha256.name()) {
        Mechanism::Sha256
    } else {
        Mechanism::Sha1
    }
}
