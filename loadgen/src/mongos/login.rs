//! A client's login: its conversation goes to the config server, on a connection of
//! its own, word by word; who it is then, and what it may do, is asked there.

use bson::{Document, RawDocumentBuf, doc};

use crate::mongos::reply::{Answer, Failure, ok};
use crate::mongos::request::Request;
use crate::mongos::session::Session;
use crate::wire::link::{self, Link};

/// A login under way or done.
#[derive(Default)]
pub(super) struct Login {
    /// While the conversation lasts.
    with: Option<Link>,
    /// `authInfo` of `connectionStatus`, once somebody is logged in.
    info: Option<Document>,
}

impl Login {
    pub(super) fn is_done(&self) -> bool {
        self.info.is_some()
    }

    /// What the user may do.
    pub(super) fn privileges(&self) -> Vec<&Document> {
        let all = self
            .info
            .as_ref()
            .and_then(|info| info.get_array("authenticatedUserPrivileges").ok());
        all.into_iter()
            .flatten()
            .filter_map(bson::Bson::as_document)
            .collect()
    }
}

/// `saslStart` and `saslContinue`.
pub(super) async fn converse(session: &mut Session, request: &Request) -> Answer {
    if request.name == "saslStart" {
        let link = session.shared.config_link().await?;
        session.login = Login {
            with: Some(link),
            info: None,
        };
    }
    let Some(link) = session.login.with.as_mut() else {
        return Err(Failure::new(17, "ProtocolError", "no login is under way"));
    };
    let reply = link
        .call(&request.renamed(&request.name)?, &[])
        .await
        .map_err(Failure::internal)?;
    if is_done(&reply) {
        let asked = doc! { "connectionStatus": 1, "showPrivileges": true };
        let mut status = link
            .command_as_is("admin", asked)
            .await
            .map_err(Failure::internal)?;
        let info = status
            .get_document_mut("authInfo")
            .map_err(Failure::internal)?;
        session.login = Login {
            with: None,
            info: Some(std::mem::take(info)),
        };
    }
    Ok(reply)
}

fn is_done(reply: &RawDocumentBuf) -> bool {
    Document::try_from(reply.as_ref())
        .is_ok_and(|reply| link::fault(&reply).is_none() && reply.get_bool("done").unwrap_or(false))
}

pub(super) fn log_out(session: &mut Session) -> Answer {
    session.login = Login::default();
    ok(doc! {})
}

/// How a user may log in, as `hello` is asked.
pub(super) async fn mechanisms(
    session: &mut Session,
    request: &Request,
) -> Result<Option<bson::Bson>, Failure> {
    let Ok(user) = request.body.get_str("saslSupportedMechs") else {
        return Ok(None);
    };
    let mut link = session.shared.config_link().await?;
    let hello = link
        .command_as_is("admin", doc! { "isMaster": 1, "saslSupportedMechs": user })
        .await;
    Ok(hello
        .map_err(Failure::internal)?
        .remove("saslSupportedMechs"))
}

/// `connectionStatus`, with `showPrivileges` if asked for.
pub(super) fn status(session: &Session, request: &Request) -> Answer {
    let none = bson::Array::new;
    let mut info = session.login.info.clone().unwrap_or_else(|| {
        doc! { "authenticatedUsers": none(), "authenticatedUserRoles": none(), "authenticatedUserPrivileges": none() }
    });
    if !request.body.get_bool("showPrivileges").unwrap_or(false) {
        info.remove("authenticatedUserPrivileges");
    }
    ok(doc! { "authInfo": info })
}
