//! The hashes of both mechanisms, and the keys made of a password by them.
//!
//! Knows nothing about messages.

use std::borrow::Cow;
use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use md5::Md5;
use parking_lot::Mutex;
use sha1::Sha1;
use sha2::{Digest, Sha256};

use crate::error::{Error, Kind, Result};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    Sha1,
    Sha256,
}

impl Mechanism {
    /// As `saslStart` and `saslSupportedMechs` have it.
    pub fn name(self) -> &'static str {
        match self {
            Mechanism::Sha1 => "SCRAM-SHA-1",
            Mechanism::Sha256 => "SCRAM-SHA-256",
        }
    }

    fn hash_bytes(self) -> usize {
        match self {
            Mechanism::Sha1 => 20,
            Mechanism::Sha256 => 32,
        }
    }

    pub(super) fn hash(self, input: &[u8]) -> Vec<u8> {
        match self {
            Mechanism::Sha1 => Sha1::digest(input).to_vec(),
            Mechanism::Sha256 => Sha256::digest(input).to_vec(),
        }
    }

    pub(super) fn mac(self, key: &[u8], input: &[u8]) -> Vec<u8> {
        fn of<M: Mac + KeyInit>(key: &[u8], input: &[u8]) -> Vec<u8> {
            let mut mac =
                <M as KeyInit>::new_from_slice(key).expect("an HMAC takes keys of any length");
            mac.update(input);
            mac.finalize().into_bytes().to_vec()
        }
        match self {
            Mechanism::Sha1 => of::<Hmac<Sha1>>(key, input),
            Mechanism::Sha256 => of::<Hmac<Sha256>>(key, input),
        }
    }

    fn stretch(self, password: &[u8], salt: &[u8], iterations: u32) -> Vec<u8> {
        let mut out = vec![0; self.hash_bytes()];
        let done = match self {
            Mechanism::Sha1 => pbkdf2::pbkdf2::<Hmac<Sha1>>(password, salt, iterations, &mut out),
            Mechanism::Sha256 => {
                pbkdf2::pbkdf2::<Hmac<Sha256>>(password, salt, iterations, &mut out)
            }
        };
        done.expect("an HMAC takes keys of any length");
        out
    }

    /// The password as the server hashed it when the user was created.
    pub(super) fn prepare(self, user: &str, password: &str) -> Result<String> {
        match self {
            Mechanism::Sha1 => Ok(hex(&Md5::digest(format!("{user}:mongo:{password}")))),
            Mechanism::Sha256 => {
                stringprep::saslprep(password)
                    .map(Cow::into_owned)
                    .map_err(|_| {
                        refused(self, "the password has characters that SASLprep forbids").remedy(
                            "give the user another password, or use authMechanism=SCRAM-SHA-1",
                        )
                    })
            }
        }
    }
}

/// The keys computed from a password, salt and iterations. Computing them takes
/// milliseconds of CPU, on purpose.
#[derive(Clone)]
pub(super) struct Keys {
    pub(super) client: Vec<u8>,
    pub(super) server: Vec<u8>,
}

#[derive(PartialEq, Eq)]
pub(super) struct Salt {
    pub(super) mechanism: Mechanism,
    pub(super) salt: Vec<u8>,
    pub(super) iterations: u32,
}

/// The keys of the last login, shared by all connections of one user to one server,
/// so that only the first of them computes them.
#[derive(Clone, Default)]
pub struct SaltedCache {
    /// Held while keys are computed: whoever else logs in meanwhile needs just these.
    /// Never across an await.
    last: Arc<Mutex<Option<(Salt, Keys)>>>,
}

impl SaltedCache {
    pub(super) fn keys(&self, salt: Salt, password: &str) -> Keys {
        let mut last = self.last.lock();
        if let Some((known, keys)) = &*last
            && *known == salt
        {
            return keys.clone();
        }
        let salted = salt
            .mechanism
            .stretch(password.as_bytes(), &salt.salt, salt.iterations);
        let client = salt.mechanism.mac(&salted, b"Client Key");
        let server = salt.mechanism.mac(&salted, b"Server Key");
        let keys = Keys { client, server };
        *last = Some((salt, keys.clone()));
        keys
    }
}

pub(super) fn refused(mechanism: Mechanism, found: &str) -> Error {
    Error::new(
        Kind::Connect,
        format!("login with {}: {found}", mechanism.name()),
    )
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
