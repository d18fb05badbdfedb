//! How to get in to the servers of one deployment: TLS, login, compression, as the
//! URI has it.
//!
//! Cheap to clone. Knows no server.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bson::raw::{CStr, cstr};
use bson::{RawArrayBuf, RawDocumentBuf, rawdoc};
use mongodb::options::{ClientOptions, ServerAddress, ServerApi, Tls as TlsChoice};

use crate::error::Result;
use crate::wire::compress::{self, Method};
use crate::wire::link::Link;
use crate::wire::login::Login;
use crate::wire::message::Request;
use crate::wire::tls::Tls;

/// The driver's own default; where the URI says that there is none (0), too.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Clone)]
pub struct Way {
    shared: Arc<Shared>,
    app_name: Arc<str>,
}

impl fmt::Debug for Way {
    /// Never a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Way").field(&self.app_name).finish()
    }
}

struct Shared {
    tls: Option<Tls>,
    login: Option<Login>,
    compressions: Vec<Method>,
    api: Option<ServerApi>,
    connect_timeout: Duration,
}

impl Way {
    /// Reads the options.
    ///
    /// # Errors
    /// `Config` for certificates that cannot be used, or an unsupported kind of login.
    pub fn new(options: &ClientOptions) -> Result<Way> {
        let tls = match &options.tls {
            Some(TlsChoice::Enabled(options)) => Some(Tls::new(options)?),
            Some(TlsChoice::Disabled) | None => None,
        };
        let shared = Shared {
            tls,
            login: options.credential.as_ref().map(Login::new).transpose()?,
            compressions: compress::offered(options.compressors.as_deref().unwrap_or_default()),
            api: options.server_api.clone(),
            connect_timeout: options
                .connect_timeout
                .filter(|t| !t.is_zero())
                .unwrap_or(CONNECT_TIMEOUT),
        };
        Ok(Way {
            shared: Arc::new(shared),
            app_name: options.app_name.as_deref().unwrap_or_default().into(),
        })
    }

    /// The same way under another application name.
    pub fn named(&self, app_name: &str) -> Way {
        Way {
            shared: self.shared.clone(),
            app_name: app_name.into(),
        }
    }

    pub(super) fn tls(&self) -> Option<&Tls> {
        self.shared.tls.as_ref()
    }

    pub(super) fn connect_timeout(&self) -> Duration {
        self.shared.connect_timeout
    }

    /// Goes in to a server, and out again.
    ///
    /// # Errors
    /// Those of a connection.
    pub async fn enter(&self, address: &ServerAddress) -> Result<()> {
        Link::open(self, address).await.map(drop)
    }

    /// The first words on a connection, up to where commands are taken.
    pub(super) async fn log_in(&self, link: &mut Link) -> Result<()> {
        let mut hello = rawdoc! {};
        hello.append(self.greeting(), 1);
        hello.append(cstr!("client"), self.introduction());
        let compressions = &self.shared.compressions;
        if !compressions.is_empty() {
            hello.append(
                cstr!("compression"),
                compressions
                    .iter()
                    .map(|c| c.name())
                    .collect::<RawArrayBuf>(),
            );
        }
        if let Some(login) = &self.shared.login {
            login.ask_for_mechanisms(&mut hello);
        }
        let reply = link.call(Request::new("admin", hello)).await?;
        let named = reply
            .body()
            .get_array("compression")
            .into_iter()
            .flatten()
            .flatten();
        let agreed = compress::agreed(compressions, named.filter_map(|name| name.as_str()));
        if let Some(login) = &self.shared.login {
            login.run(link, reply.body()).await?;
        }
        // Not before: secrets do not travel compressed.
        link.compression = agreed;
        Ok(())
    }

    /// Servers before 4.4.2 and 4.2.10 know `hello` by its older name only; the stable API
    /// is newer than both, and has no older name.
    fn greeting(&self) -> &'static CStr {
        if self.shared.api.is_some() {
            cstr!("hello")
        } else {
            cstr!("isMaster")
        }
    }

    fn introduction(&self) -> RawDocumentBuf {
        rawdoc! {
            "application": { "name": &*self.app_name },
            "driver": { "name": "shardlift", "version": env!("CARGO_PKG_VERSION") },
            "os": { "type": std::env::consts::OS },
        }
    }

    /// What `server_api` of the driver adds to every command.
    pub(super) fn declare_api(&self, request: &mut Request) {
        let Some(api) = &self.shared.api else { return };
        request.append(cstr!("apiVersion"), api.version.to_string());
        for (name, flag) in [
            (cstr!("apiStrict"), api.strict),
            (cstr!("apiDeprecationErrors"), api.deprecation_errors),
        ] {
            if let Some(flag) = flag {
                request.append(name, flag);
            }
        }
    }
}
