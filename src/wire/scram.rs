//! The client's side of a login by SCRAM-SHA-1 or SCRAM-SHA-256 (RFC 5802, RFC 7677) as
//! MongoDB uses it: what to send, and whether to believe the answers.
//!
//! It has three steps: [`Scram::first`] is sent, [`Scram::answer`] answers the server's
//! salt and nonce, [`Scram::verify`] checks that the server knows the password too.
//! Channel binding is not offered, since MongoDB has none.
//!
//! Knows nothing about commands, sockets and conversation ids. No error contains a
//! password, or anything computed from one.

use std::borrow::Cow;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use md5::Md5;
use parking_lot::Mutex;
use rand::TryRngCore;
use rand::rngs::OsRng;
use sha1::Sha1;
use sha2::{Digest, Sha256};

use crate::error::{Error, Kind, Result};

/// Fewer would make the password cheap to guess for whoever listens (RFC 7677 §4).
const ITERATIONS_MIN: u32 = 4096;
/// Servers take 10 000 or 15 000. Far more would only keep this process busy (seconds).
const ITERATIONS_MAX: u32 = 10_000_000;
/// Random bytes of a nonce.
const NONCE_BYTES: usize = 24;
/// "n,," in base64: neither channel binding nor another identity.
const NO_BINDING: &str = "biws";

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

    fn hash(self, input: &[u8]) -> Vec<u8> {
        match self {
            Mechanism::Sha1 => Sha1::digest(input).to_vec(),
            Mechanism::Sha256 => Sha256::digest(input).to_vec(),
        }
    }

    fn mac(self, key: &[u8], input: &[u8]) -> Vec<u8> {
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
    fn prepare(self, user: &str, password: &str) -> Result<String> {
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
struct Keys {
    client: Vec<u8>,
    server: Vec<u8>,
}

#[derive(PartialEq, Eq)]
struct Salt {
    mechanism: Mechanism,
    salt: Vec<u8>,
    iterations: u32,
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
    fn keys(&self, salt: Salt, password: &str) -> Keys {
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

fn refused(mechanism: Mechanism, found: &str) -> Error {
    Error::new(
        Kind::Connect,
        format!("login with {}: {found}", mechanism.name()),
    )
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One exchange of a standard: nonce, then the messages in their order.
    struct Row {
        mechanism: Mechanism,
        nonce: &'static str,
        first: &'static str,
        server_first: &'static str,
        answer: &'static str,
        server_final: &'static str,
    }

    /// RFC 5802 §5 and RFC 7677 §3; the user is "user", the password "pencil", which
    /// neither hashes first as MongoDB does.
    const ROWS: [Row; 2] = [
        Row {
            mechanism: Mechanism::Sha1,
            nonce: "fyko+d2lbbFgONRv9qkxdawL",
            first: "n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL",
            server_first: "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
            answer: "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
            server_final: "v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
        },
        Row {
            mechanism: Mechanism::Sha256,
            nonce: "rOprNGfwEbeRWgbNEkqO",
            first: "n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
            server_first: "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            answer: "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                     p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
            server_final: "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
        },
    ];

    impl Row {
        fn login(&self) -> Scram {
            Scram::with(
                self.mechanism,
                "user",
                "pencil".to_owned(),
                self.nonce.to_owned(),
            )
        }

        /// What the login says to another first message of the server.
        fn answer_to(&self, server_first: &str) -> Error {
            let answer = self
                .login()
                .answer(server_first.as_bytes(), &SaltedCache::default());
            answer.expect_err("it is no answer to take")
        }
    }

    fn expect(error: &Error, part: &str) {
        assert_eq!(error.kind, Kind::Connect, "{error}");
        assert!(
            error.message.contains(part) && !error.to_string().contains("pencil"),
            "{error}"
        );
    }

    #[test]
    fn the_exchanges_of_the_standards_come_out() {
        for row in &ROWS {
            let mut login = row.login();
            assert_eq!(login.first(), row.first.as_bytes());
            let answer = login
                .answer(row.server_first.as_bytes(), &SaltedCache::default())
                .unwrap();
            assert_eq!(String::from_utf8(answer).unwrap(), row.answer);
            login.verify(row.server_final.as_bytes()).unwrap();
        }
    }

    #[test]
    fn a_server_that_does_not_know_the_password_is_not_believed() {
        for row in &ROWS {
            let mut login = row.login();
            let early = login.verify(row.server_final.as_bytes()).unwrap_err();
            assert_eq!(early.kind, Kind::Internal, "nothing was asked yet");
            login
                .answer(row.server_first.as_bytes(), &SaltedCache::default())
                .unwrap();
            let mut signature = BASE64.decode(&row.server_final[2..]).unwrap();
            signature[0] ^= 1;
            let forged = format!("v={}", BASE64.encode(&signature));
            expect(&login.verify(forged.as_bytes()).unwrap_err(), "prove");
            let cut = format!("v={}", BASE64.encode(&signature[1..]));
            expect(&login.verify(cut.as_bytes()).unwrap_err(), "prove");
            expect(
                &login.verify(b"e=invalid-proof").unwrap_err(),
                "invalid-proof",
            );
            for junk in [&b""[..], b"v=", b"v=%", b"r=x", b"\xff"] {
                assert_eq!(login.verify(junk).unwrap_err().kind, Kind::Connect);
            }
        }
    }

    #[test]
    fn answers_to_another_login_or_with_a_weak_salt_are_refused() {
        for row in &ROWS {
            let (nonce, rest) = row.server_first.split_once(",").unwrap();
            expect(&row.answer_to(&format!("r=foreign,{rest}")), "nonce");
            expect(&row.answer_to(&format!("r={},{rest}", row.nonce)), "nonce");
            for iterations in ["0", "1", "4095", "10000001"] {
                let found = format!("{iterations} iterations");
                expect(
                    &row.answer_to(&format!("{nonce},s=QSXCR+Q6sek8bf92,i={iterations}")),
                    &found,
                );
            }
            let junk = [
                "",
                "r=",
                &format!("m=ext,{}", row.server_first),
                &format!("{nonce},s=%%,i=4096"),
            ];
            for message in junk {
                expect(&row.answer_to(message), "");
            }
            for iterations in ["", "-1", "99999999999", "many"] {
                expect(
                    &row.answer_to(&format!("{nonce},s=QSXCR+Q6sek8bf92,i={iterations}")),
                    "malformed",
                );
            }
        }
    }

    #[test]
    fn keys_are_computed_once_for_a_salt() {
        let cache = SaltedCache::default();
        for row in &ROWS {
            let mut login = row.login();
            login.answer(row.server_first.as_bytes(), &cache).unwrap();
            // Another password would give another answer: it is not looked at again.
            let mut again = Scram::with(
                row.mechanism,
                "user",
                "other".to_owned(),
                row.nonce.to_owned(),
            );
            let answer = again.answer(row.server_first.as_bytes(), &cache).unwrap();
            assert_eq!(answer, row.answer.as_bytes());
            let other_salt = row.server_first.replace(",s=", ",s=AAAA");
            let answer = again.answer(other_salt.as_bytes(), &cache).unwrap();
            assert_ne!(answer, row.answer.as_bytes());
        }
    }

    #[test]
    fn names_and_passwords_are_prepared_as_the_server_did() {
        let login = Scram::with(Mechanism::Sha1, "a=b,c", String::new(), "x".to_owned());
        assert_eq!(login.first(), b"n,,n=a=3Db=2Cc,r=x");
        // md5 of "user:mongo:pencil".
        assert_eq!(
            Mechanism::Sha1.prepare("user", "pencil").unwrap(),
            "1c33006ec1ffd90f9cadcbcc0e118200"
        );
        // RFC 4013 §3: a soft hyphen goes, a Roman nine becomes letters.
        assert_eq!(Mechanism::Sha256.prepare("user", "I\u{ad}X").unwrap(), "IX");
        assert_eq!(Mechanism::Sha256.prepare("user", "\u{2168}").unwrap(), "IX");
        let error = Scram::new(Mechanism::Sha256, "user", "bell\u{7}")
            .err()
            .unwrap();
        assert!(
            error.kind == Kind::Connect && !error.to_string().contains("bell"),
            "{error}"
        );
    }

    #[test]
    fn every_login_has_a_nonce_of_its_own() {
        let login = || Scram::new(Mechanism::Sha256, "user", "pencil").unwrap();
        let (a, b) = (login(), login());
        assert_ne!(a.nonce, b.nonce);
        assert!(!a.nonce.contains(','));
    }
}
