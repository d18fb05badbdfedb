//! Logins as the standards show them, and answers that are not to be believed.

use super::*;
use crate::error::Kind;

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
