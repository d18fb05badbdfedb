//! API and client over a real socket.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::FutureExt;
use tokio::sync::mpsc;

use super::*;
use crate::config::listen::Listen;
use crate::observe::api::request::{Control, Limits, Request};
use crate::observe::api::{self, Server};
use crate::observe::phase::tests::ALL;
use crate::observe::status::tests::copying;

/// A run whose phase is the number-th of `phases` that was asked for; its
/// control accepts cutovers and refuses to cancel.
async fn run_of(phases: &'static [Phase]) -> (Server, Client) {
    let (requests, mut inbox) = mpsc::channel(1);
    tokio::spawn(async move {
        while let Some(request) = inbox.recv().await {
            match request {
                Request::Cutover {
                    block_writes,
                    reply,
                } => {
                    let how = if block_writes {
                        " and writes are blocked"
                    } else {
                        ""
                    };
                    reply.send(Ok(format!("the cutover begins{how}"))).unwrap();
                }
                Request::Pause(by, answer) => answer.send(Ok(format!("paused {by}"))).unwrap(),
                Request::Extend(answer) => answer.send(Ok("144 h are left".into())).unwrap(),
                other => other.refuse("it is too late"),
            }
        }
    });
    let asked = AtomicUsize::new(0);
    let snapshot = move || {
        let phase = phases[asked.fetch_add(1, Ordering::Relaxed).min(phases.len() - 1)];
        copying().in_phase(phase)
    };
    let server = serve(snapshot, requests).await.unwrap();
    let client = Client::new(&format!("{}/", server.url));
    (server, client)
}

/// Limits are told back, and nothing is written.
fn control(
    snapshot: impl Fn() -> Snapshot + Send + Sync + 'static,
    requests: mpsc::Sender<Request>,
) -> Control {
    let limit = |limits: Limits| Ok(format!("{:?} {:?}", limits.copy_mb_s, limits.ops_s));
    let prepare = || async { Ok(Prepared::default()) }.boxed();
    Control {
        snapshot: Arc::new(snapshot),
        limit: Arc::new(limit),
        prepare: Arc::new(prepare),
        requests,
    }
}

async fn serve(
    snapshot: impl Fn() -> Snapshot + Send + Sync + 'static,
    requests: mpsc::Sender<Request>,
) -> Result<Server> {
    api::serve(&Listen::here(0), control(snapshot, requests), None).await
}

impl Snapshot {
    fn in_phase(mut self, phase: Phase) -> Self {
        self.phase = phase;
        self
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

/// Status and body of one raw HTTP request.
async fn raw(port: u16, head: &'static str) -> (u16, String) {
    blocking(move || {
        use std::io::{Read, Write};
        let mut socket = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        write!(
            socket,
            "{head}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        )
        .unwrap();
        let mut text = String::new();
        socket.read_to_string(&mut text).unwrap();
        (
            text[9..12].parse().unwrap(),
            text.split_once("\r\n\r\n").unwrap().1.to_string(),
        )
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn status_and_answers_arrive() {
    let (_server, client) = run_of(&[Phase::Copying]).await;
    blocking(move || {
        let status = client.status().unwrap();
        assert_eq!((status.phase, status.pairs.len()), (Phase::Copying, 2));
        assert_eq!(client.cutover().unwrap(), "the cutover begins");
        let refused = client.cancel().unwrap_err();
        assert_eq!(refused.kind, Kind::Control);
        assert!(refused.message.contains("it is too late"));
        assert_eq!(client.extend().unwrap(), "144 h are left");
        assert_eq!(
            client.pause("by ann: backup").unwrap(),
            "paused by ann: backup"
        );
        let long = client.pause(&"x".repeat(1_000)).unwrap();
        assert_eq!(long.len(), "paused ".len() + 200);
        assert!(
            client.pause(&"x".repeat(5_000)).is_err(),
            "bodies are bounded"
        );
        assert!(client.resume().unwrap_err().message.contains("too late"));
        let blocking = client.cutover_blocking_writes().unwrap();
        assert!(blocking.ends_with("writes are blocked"), "{blocking}");
        assert_eq!(client.throttle(Some(5), None).unwrap(), "Some(5) None");
        let beyond = client.throttle(None, Some(u64::MAX)).unwrap_err();
        assert!(
            beyond.message.contains("ops_s is out of bounds"),
            "{beyond}"
        );
        assert_eq!(client.prepare().unwrap().shards.len(), 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_is_there() {
    let (server, _) = run_of(&[Phase::Copying]).await;
    for (request, status, found) in [
        ("GET / HTTP/1.1\r\nHost: localhost", 200, "<!doctype html>"),
        (
            "GET /api/v1/history HTTP/1.1\r\nHost: localhost",
            200,
            "\"points\":[",
        ),
        (
            "POST /api/v1/pause HTTP/1.1\r\nHost: localhost",
            200,
            "{\"success\":true}",
        ),
        (
            "POST /api/v1/resume HTTP/1.1\r\nHost: localhost",
            409,
            "\"error\":\"ResumeRefused\"",
        ),
        (
            "GET /metrics HTTP/1.1\r\nHost: 127.0.0.1:1",
            200,
            "shardlift_pair_lag_seconds{pair=\"a → x\"} 0.42",
        ),
        (
            "GET /api/v1/progress HTTP/1.1\r\nHost: localhost:1",
            200,
            "\"state\":\"RUNNING\"",
        ),
        (
            "POST /api/v1/commit HTTP/1.1\r\nHost: localhost",
            200,
            "{\"success\":true}",
        ),
        (
            "POST /api/v1/start HTTP/1.1\r\nHost: localhost",
            200,
            "{\"success\":true}",
        ),
        (
            "POST /api/v1/reverse HTTP/1.1\r\nHost: localhost",
            409,
            "\"error\":\"ReverseRefused\"",
        ),
        ("GET /cutover HTTP/1.1\r\nHost: localhost", 405, ""),
        (
            "GET /nowhere HTTP/1.1\r\nHost: localhost",
            404,
            "GET  /status",
        ),
    ] {
        let (got, body) = raw(server.address.port(), request).await;
        assert_eq!(got, status, "{request}: {body}");
        assert!(body.contains(found), "{request}: {body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_requests_are_turned_away() {
    let (server, _) = run_of(&[Phase::Copying]).await;
    for (request, status) in [
        ("POST /cutover HTTP/1.1\r\nHost: evil.example", 403),
        (
            "POST /cutover HTTP/1.1\r\nHost: 127.0.0.1.evil.example:80",
            403,
        ),
        (
            "POST /cutover HTTP/1.1\r\nHost: localhost:1\r\nOrigin: http://localhost:2",
            403,
        ),
        (
            "POST /cutover HTTP/1.1\r\nHost: localhost:1\r\nOrigin: http://localhost:1",
            200,
        ),
        (
            "POST /api/v1/commit HTTP/1.1\r\nHost: localhost\r\nOrigin: null",
            403,
        ),
        ("GET /status HTTP/1.1\r\nHost: evil.example", 403),
        ("POST /cutover HTTP/1.0", 403),
        ("POST /cutover HTTP/1.1\r\nHost: LOCALHOST:27182", 200),
    ] {
        assert_eq!(
            raw(server.address.port(), request).await.0,
            status,
            "{request}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_and_a_silent_one_are_told() {
    let (server, client) = run_of(&[Phase::Copying]).await;
    let (requests, _inbox) = mpsc::channel(1);
    let taken = Listen::here(server.address.port());
    let Err(taken) = api::serve(&taken, control(copying, requests), None).await else {
        panic!("the port is taken")
    };
    assert_eq!(taken.kind, Kind::Config);
    assert!(
        taken
            .remedy
            .is_some_and(|remedy| remedy.contains("api_port"))
    );
    drop(server);
    for _ in 0..100 {
        let status = blocking({
            let client = Client::new(&client.base);
            move || client.status()
        })
        .await;
        match status {
            Ok(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            Err(silent) => {
                assert_eq!(silent.kind, Kind::Control);
                assert!(silent.message.contains("no running migration answers"));
                return;
            }
        }
    }
    panic!("the server outlived its handle");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_over_refuses() {
    let (requests, inbox) = mpsc::channel(1);
    drop(inbox);
    let server = serve(copying, requests).await.unwrap();
    let client = Client::new(&server.url);
    assert!(
        blocking(move || client.cutover())
            .await
            .unwrap_err()
            .message
            .contains("is over")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cutover_is_followed_to_its_end() {
    use Phase::{CuttingOver, Done, Following, Ready};
    const DONE: &[Phase] = &[Ready, Ready, CuttingOver, CuttingOver, Done];
    const GIVEN_UP: &[Phase] = &[Ready, CuttingOver, CuttingOver, CuttingOver, Following];
    for (phases, end) in [(DONE, None), (GIVEN_UP, Some(Kind::Refused))] {
        let (_server, client) = run_of(phases).await;
        let (outcome, shown) = blocking(move || {
            let mut shown = 0;
            (
                client.follow_cutover(&copying(), &mut |_| shown += 1),
                shown,
            )
        })
        .await;
        assert_eq!(outcome.err().map(|e| e.kind), end);
        assert!(0 < shown);
    }
}

#[test]
fn the_end_of_a_cutover_is_told_by_phase() {
    let given_up = Some(Err(Kind::Refused));
    // The end if it was seen to begin, and if it was not.
    let rows = [
        (Phase::Validating, given_up, None),
        (Phase::Layout, given_up, None),
        (Phase::Copying, given_up, None),
        (Phase::Following, given_up, None),
        (Phase::Ready, given_up, None),
        (Phase::Recovering, None, None),
        (Phase::Paused, given_up, None),
        (Phase::CuttingOver, None, None),
        (Phase::Done, Some(Ok(())), Some(Ok(()))),
        (
            Phase::Failed,
            Some(Err(Kind::Server)),
            Some(Err(Kind::Server)),
        ),
        (
            Phase::Parked,
            Some(Err(Kind::Parked)),
            Some(Err(Kind::Parked)),
        ),
        (
            Phase::Stopped,
            Some(Err(Kind::Stopped)),
            Some(Err(Kind::Stopped)),
        ),
        (
            Phase::Cancelled,
            Some(Err(Kind::Cancelled)),
            Some(Err(Kind::Cancelled)),
        ),
    ];
    assert_eq!(rows.map(|row| row.0), ALL.map(|(phase, _)| phase));
    let end = |phase, began| {
        let end = end_of_cutover(&copying(), &copying().in_phase(phase), began);
        end.map(|end| end.map_err(|e| e.kind))
    };
    for (phase, begun, unseen) in rows {
        assert_eq!(
            (end(phase, true), end(phase, false)),
            (begun, unseen),
            "{phase}"
        );
    }
    let unseen = Snapshot {
        cutovers_given_up: 1,
        ..copying().in_phase(Phase::Following)
    };
    assert!(end_of_cutover(&copying(), &unseen, false).is_some_and(|end| end.is_err()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_lingers_only_for_a_client_that_waits() {
    let (server, client) = run_of(&[Phase::Copying, Phase::Copying, Phase::Done]).await;
    let begun = std::time::Instant::now();
    server.linger().await;
    assert!(begun.elapsed() < Duration::from_secs(1));
    let (waiting, ()) = tokio::join!(
        blocking(move || client.follow_cutover(&copying(), &mut |_| {})),
        async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            server.linger().await;
        }
    );
    assert_eq!(waiting.unwrap().phase, Phase::Done);
}

#[test]
fn what_is_not_given_is_not_sent() {
    let body = given([("a", Some(Value::from(5))), ("b", None)]);
    assert_eq!(body, json!({"a": 5}));
}
