//! Where the API listens, and what a client must show there.
//!
//! Beyond this host nothing is open: a token and TLS are required.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use crate::config::{Config, Token};
use crate::error::{Error, Kind, Result};

/// A shorter token could be guessed.
const TOKEN_CHARS_MIN: usize = 16;

/// The door of the API.
#[derive(Debug, Clone)]
pub struct Listen {
    pub address: SocketAddr,
    /// Empty: none is asked for.
    pub token: Token,
    /// PEM files: the certificate and its private key.
    pub tls: Option<(PathBuf, PathBuf)>,
}

impl Listen {
    /// On 127.0.0.1 without a token. Port 0: a free one.
    pub fn here(port: u16) -> Self {
        Listen {
            address: (Ipv4Addr::LOCALHOST, port).into(),
            token: Token::default(),
            tls: None,
        }
    }

    /// # Errors
    /// `Config` if the address is none, or more would be open than should be.
    pub fn of(config: &Config) -> Result<Self> {
        let address = if config.listen.is_empty() {
            (Ipv4Addr::LOCALHOST, config.api_port).into()
        } else {
            config.listen.parse().map_err(|_| {
                let found = format!("listen = {:?} is no address and port", config.listen);
                Error::new(Kind::Config, found)
                    .remedy("give an IP address and a port, such as 10.0.0.5:27182 or [::]:27182")
            })?
        };
        let tls = match (config.api_cert.as_str(), config.api_key.as_str()) {
            ("", "") => None,
            ("", _) | (_, "") => return Err(incomplete("api_cert and api_key go together")),
            (cert, key) => Some((cert.into(), key.into())),
        };
        let listen = Listen {
            address,
            token: config.api_token.clone(),
            tls,
        };
        listen.check()?;
        Ok(listen)
    }

    fn check(&self) -> Result<()> {
        let token_chars = self.token.expose().chars().count();
        if 0 < token_chars && token_chars < TOKEN_CHARS_MIN {
            return Err(incomplete("api_token is too short"));
        }
        if self.is_beyond() && (token_chars == 0 || self.tls.is_none()) {
            return Err(incomplete("the API would be open to other hosts"));
        }
        Ok(())
    }

    /// Other hosts reach it.
    pub fn is_beyond(&self) -> bool {
        !self.address.ip().is_loopback()
    }

    /// The URL under which it answers at `address`.
    pub fn url(&self, address: SocketAddr) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{address}")
    }
}

fn incomplete(found: &str) -> Error {
    Error::new(Kind::Config, found).remedy(format!(
        "set api_token ({TOKEN_CHARS_MIN} characters or more, in the config file or SHARDLIFT_API_TOKEN), api_cert and api_key; or leave `listen` out and forward the port: ssh -L 27182:127.0.0.1:27182 HOST"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyond_this_host_a_token_and_tls_are_required() {
        const LONG: &str = "0123456789abcdef";
        // listen, token, certificate, key, taken
        let rows = [
            ("", "", "", "", true),
            ("", LONG, "", "", true),
            ("", "short", "", "", false),
            ("127.0.0.1:5", "", "", "", true),
            ("[::1]:5", "", "c", "k", true),
            ("127.0.0.1:5", "", "c", "", false),
            ("127.0.0.1:5", "", "", "k", false),
            ("0.0.0.0:5", "", "", "", false),
            ("0.0.0.0:5", LONG, "", "", false),
            ("0.0.0.0:5", "", "c", "k", false),
            ("0.0.0.0:5", LONG, "c", "k", true),
            ("[::]:5", LONG, "c", "k", true),
            ("example.com:5", LONG, "c", "k", false),
            ("10.0.0.5", LONG, "c", "k", false),
        ];
        let plain = Config::new("mongodb://h1", "mongodb://h2").unwrap();
        for (listen, token, cert, key, taken) in rows {
            let config = Config {
                listen: listen.to_owned(),
                api_token: serde_json::from_value(token.into()).unwrap(),
                api_cert: cert.to_owned(),
                api_key: key.to_owned(),
                ..plain.clone()
            };
            let found = Listen::of(&config);
            assert_eq!(found.is_ok(), taken, "{listen} {token} {cert} {key}");
            assert!(!format!("{found:?} {}", config.describe()).contains(LONG));
        }
    }

    #[test]
    fn its_url_says_how_it_is_reached() {
        let here = Listen::here(5);
        assert_eq!(here.url(here.address), "http://127.0.0.1:5");
        let tls = Some(("c".into(), "k".into()));
        let tls = Listen { tls, ..here };
        assert_eq!(tls.url(tls.address), "https://127.0.0.1:5");
    }
}
