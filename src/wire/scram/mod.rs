//! The client's side of a login by SCRAM-SHA-1 or SCRAM-SHA-256 (RFC 5802, RFC 7677) as
//! MongoDB uses it: what to send, and whether to believe the answers.
//!
//! It has three steps: [`Scram::first`] is sent, [`Scram::answer`] answers the server's
//! salt and nonce, [`Scram::verify`] checks that the server knows the password too.
//! Channel binding is not offered, since MongoDB has none.
//!
//! Knows nothing about commands, sockets and conversation ids. No error contains a
//! password, or anything computed from one.

pub mod keys;
#[cfg(test)]
mod tests;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use rand::TryRngCore;
use rand::rngs::OsRng;

use crate::error::{Error, Result};
use crate::wire::scram::keys::{Mechanism, Salt, SaltedCache, refused};

/// Fewer would make the password cheap to guess for whoever listens (RFC 7677 §4).
const ITERATIONS_MIN: u32 = 4096;
/// Servers take 10 000 or 15 000. Far more would only keep this process busy (seconds).
const ITERATIONS_MAX: u32 = 10_000_000;
/// Random bytes of a nonce.
const NONCE_BYTES: usize = 24;
/// "n,," in base64: neither channel binding nor another identity.
const NO_BINDING: &str = "biws";

/// One login.
pub struct Scram {
    mechanism: Mechanism,
    /// The password in the form that the server hashed.
    password: String,
    nonce: String,
    /// The first message without its header: part of what both sides sign.
    first_bare: String,
    /// The server's signature, once the answer has been made.
    expected: Option<Vec<u8>>,
}

impl Scram {
    /// A login with a nonce of its own.
    ///
    /// # Errors
    /// `Connect` for a password that the mechanism cannot carry, or without the
    /// system's randomness.
    pub fn new(mechanism: Mechanism, user: &str, password: &str) -> Result<Scram> {
        let mut random = [0; NONCE_BYTES];
        OsRng
            .try_fill_bytes(&mut random)
            .map_err(|e| refused(mechanism, &format!("no random bytes: {e}")))?;
        Ok(Scram::with(
            mechanism,
            user,
            mechanism.prepare(user, password)?,
            BASE64.encode(random),
        ))
    }

    fn with(mechanism: Mechanism, user: &str, password: String, nonce: String) -> Scram {
        // Both have a meaning in the message.
        let name = user.replace('=', "=3D").replace(',', "=2C");
        let first_bare = format!("n={name},r={nonce}");
        Scram {
            mechanism,
            password,
            nonce,
            first_bare,
            expected: None,
        }
    }

    /// Payload of `saslStart`.
    pub fn first(&self) -> Vec<u8> {
        format!("n,,{}", self.first_bare).into_bytes()
    }

    /// Payload of the first `saslContinue`: the proof that we know the password. Takes
    /// milliseconds of CPU where the cache does not know this salt.
    ///
    /// # Errors
    /// `Connect` if the server's message is malformed, answers another login, or asks for
    /// too few or absurdly many iterations.
    pub fn answer(&mut self, server_first: &[u8], cache: &SaltedCache) -> Result<Vec<u8>> {
        let mechanism = self.mechanism;
        let (text, nonce, salt) = self.read_first(server_first)?;
        let without_proof = format!("c={NO_BINDING},r={nonce}");
        let signed = format!("{},{text},{without_proof}", self.first_bare);
        let keys = cache.keys(salt, &self.password);
        let signature = mechanism.mac(&mechanism.hash(&keys.client), signed.as_bytes());
        let proof: Vec<u8> = keys
            .client
            .iter()
            .zip(&signature)
            .map(|(key, mask)| key ^ mask)
            .collect();
        self.expected = Some(mechanism.mac(&keys.server, signed.as_bytes()));
        Ok(format!("{without_proof},p={}", BASE64.encode(proof)).into_bytes())
    }

    /// Checks the server's last word: whether it knows the password as well.
    ///
    /// # Errors
    /// `Connect` if it does not, or if it says why it refuses ours.
    pub fn verify(&self, server_final: &[u8]) -> Result<()> {
        let text = std::str::from_utf8(server_final).map_err(|_| self.malformed())?;
        let word = text.split(',').next().unwrap_or_default();
        if let Some(reason) = word.strip_prefix("e=") {
            return Err(refused(
                self.mechanism,
                &format!("the server says {reason:?}"),
            ));
        }
        let signature = word
            .strip_prefix("v=")
            .and_then(|v| BASE64.decode(v).ok())
            .ok_or_else(|| self.malformed())?;
        match &self.expected {
            Some(expected) if *expected == signature => Ok(()),
            Some(_) => Err(refused(
                self.mechanism,
                "the server could not prove that it knows the password",
            )
            .remedy(
                "make sure that the address is that of your server: another one may have answered",
            )),
            None => Err(Error::internal(
                "a login was verified before it was answered",
            )),
        }
    }

    /// The server's first message: its text, the whole nonce, and the salt.
    fn read_first<'a>(&self, message: &'a [u8]) -> Result<(&'a str, &'a str, Salt)> {
        let text = std::str::from_utf8(message).map_err(|_| self.malformed())?;
        // An extension that must be understood ("m=") would stand first.
        let mut parts = text.split(',');
        let mut part = |name: &str| {
            parts
                .next()
                .and_then(|part| part.strip_prefix(name))
                .ok_or_else(|| self.malformed())
        };
        let (nonce, salt, iterations) = (part("r=")?, part("s=")?, part("i=")?);
        let salt = BASE64.decode(salt).map_err(|_| self.malformed())?;
        let iterations = iterations.parse().map_err(|_| self.malformed())?;
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return Err(refused(
                self.mechanism,
                "the server answered with another login's nonce",
            ));
        }
        if !(ITERATIONS_MIN..=ITERATIONS_MAX).contains(&iterations) {
            let found = format!("the server asks for {iterations} iterations");
            return Err(refused(self.mechanism, &found).remedy(format!(
                "set the server's iteration count to {ITERATIONS_MIN} or more, then set the password again"
            )));
        }
        Ok((
            text,
            nonce,
            Salt {
                mechanism: self.mechanism,
                salt,
                iterations,
            },
        ))
    }

    fn malformed(&self) -> Error {
        refused(self.mechanism, "the server's answer is malformed")
    }
}
