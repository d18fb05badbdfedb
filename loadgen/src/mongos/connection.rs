//! One client's connection: read a request, have it answered, write the reply.

use std::sync::Arc;

use bson::RawDocumentBuf;
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::mongos::dispatch;
use crate::mongos::failpoints::Fault;
use crate::mongos::reply::Failure;
use crate::mongos::request::Request;
use crate::mongos::session::Session;
use crate::mongos::shared::Shared;
use crate::wire::message;

/// Until the client leaves; a connection that breaks is the client's to renew.
pub(super) async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let _ = stream.set_nodelay(true);
    let mut session = Session::new(shared);
    let mut stream = BufReader::new(stream);
    while let Ok(Some(message)) = message::read(&mut stream).await {
        let (id, legacy, silent) = (message.id, message.legacy, message.more_to_come);
        let Some(reply) = answer(&mut session, message).await else {
            return;
        };
        if silent {
            continue;
        }
        let bytes = if legacy {
            message::encode_legacy(id, &reply)
        } else {
            message::encode(id, id, &reply, &[])
        };
        if stream.get_mut().write_all(&bytes).await.is_err() {
            return;
        }
    }
}

/// None if the connection is to close without one.
async fn answer(session: &mut Session, message: message::Message) -> Option<RawDocumentBuf> {
    let outcome = match Request::parse(message) {
        Ok(request) => match session.shared.failpoints.hit(&request.name) {
            None => dispatch::dispatch(session, &request).await,
            Some(Fault::Refuse(code)) => Err(ordered(code)),
            Some(Fault::GiveUp(code)) => {
                let _ = dispatch::dispatch(session, &request).await;
                Err(ordered(code))
            }
            Some(Fault::LoseAnswer) => {
                let _ = dispatch::dispatch(session, &request).await;
                return None;
            }
            Some(Fault::Hang) => std::future::pending().await,
        },
        Err(failure) => Err(failure),
    };
    Some(outcome.unwrap_or_else(Failure::into_reply))
}

fn ordered(code: i32) -> Failure {
    Failure::new(code, "FailPoint", "a failpoint of the stand-in")
}
