//! Logging in to servers that ask for it: loadgen's own user, whom every server it
//! starts with a login knows, or the user that servers are among themselves.
//!
//! Knows nothing about which roles a user has.

use bson::spec::BinarySubtype;
use bson::{Binary, Bson, Document, doc};
use shardlift::wire::scram::Scram;
use shardlift::wire::scram::keys::{Mechanism, SaltedCache};

use crate::error::{Error, Result};
use crate::server::keyfile;
use crate::wire::link::Link;

/// May do everything, also what only servers ask of each other.
pub const OPERATOR: &str = "loadgen";
/// Of every user that loadgen makes.
pub const PASSWORD: &str = "loadgen";

/// # Errors
/// Of the socket, or if the server refuses the user's login.
pub async fn log_in(link: &mut Link, user: &str) -> Result<()> {
    converse(link, "admin", user, PASSWORD).await
}

/// As the servers' own user, whose password is their key.
///
/// # Errors
/// As `log_in`.
pub async fn log_in_as_server(link: &mut Link) -> Result<()> {
    converse(link, "local", "__system", keyfile::KEY).await
}

async fn converse(link: &mut Link, db: &str, user: &str, password: &str) -> Result<()> {
    let failed = |e: shardlift::error::Error| Error::new(e.message);
    let mut scram = Scram::new(Mechanism::Sha256, user, password).map_err(failed)?;
    let start = doc! {
        "saslStart": 1, "mechanism": Mechanism::Sha256.name(), "payload": binary(scram.first()),
        "options": { "skipEmptyExchange": true },
    };
    let reply = link.command_as_is(db, start).await?;
    let conversation = reply
        .get("conversationId")
        .cloned()
        .unwrap_or(Bson::Int32(1));
    let proof = scram
        .answer(payload(&reply)?, &SaltedCache::default())
        .map_err(failed)?;
    let go_on = |payload| doc! { "saslContinue": 1, "conversationId": conversation.clone(), "payload": binary(payload) };
    let reply = link.command_as_is(db, go_on(proof)).await?;
    scram.verify(payload(&reply)?).map_err(failed)?;
    // Servers before 4.4 do not skip the exchange that has nothing left to say.
    if !reply.get_bool("done").unwrap_or(false) {
        link.command_as_is(db, go_on(Vec::new())).await?;
    }
    Ok(())
}

fn binary(bytes: Vec<u8>) -> Binary {
    Binary {
        subtype: BinarySubtype::Generic,
        bytes,
    }
}

fn payload(reply: &Document) -> Result<&[u8]> {
    reply
        .get_binary_generic("payload")
        .map(Vec::as_slice)
        .map_err(|e| Error::new(e.to_string()))
}
