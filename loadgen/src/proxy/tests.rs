//! The faults, on an echo server.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::{Direction, Fault, Proxy};

/// Long enough for anything that is not held back.
const SOON: Duration = Duration::from_secs(5);
/// How long silence is listened to.
const SILENCE: Duration = Duration::from_millis(150);

async fn echo() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut input, mut output) = stream.split();
                tokio::io::copy(&mut input, &mut output).await
            });
        }
    });
    port
}

async fn connect(proxy: &Proxy) -> TcpStream {
    TcpStream::connect(proxy.host()).await.unwrap()
}

/// What comes back of `text`; None if nothing does for a while.
async fn ask(stream: &mut TcpStream, text: &[u8]) -> Option<Vec<u8>> {
    stream.write_all(text).await.unwrap();
    answer(stream, text.len(), SILENCE).await
}

async fn answer(stream: &mut TcpStream, count: usize, patience: Duration) -> Option<Vec<u8>> {
    let mut back = vec![0; count];
    timeout(patience, stream.read_exact(&mut back))
        .await
        .ok()
        .map(|read| read.map(|_| back).unwrap())
}

#[tokio::test]
async fn bytes_pass_as_they_are_and_ends_are_passed_on() {
    let proxy = Proxy::start(echo().await).unwrap();
    let mut stream = connect(&proxy).await;
    let text: Vec<u8> = (0..3_000_000u32).map(|i| (i % 251) as u8).collect();
    let (mut input, mut output) = stream.split();
    let mut back = vec![0; text.len()];
    let (wrote, read) = tokio::join!(output.write_all(&text), input.read_exact(&mut back));
    wrote.unwrap();
    read.unwrap();
    assert!(back == text);
    output.shutdown().await.unwrap();
    assert_eq!(
        timeout(SOON, input.read(&mut back)).await.unwrap().unwrap(),
        0
    );
}

#[tokio::test]
async fn a_delay_counts_both_ways() {
    let proxy = Proxy::start(echo().await).unwrap();
    let mut stream = connect(&proxy).await;
    ask(&mut stream, b"warm").await.unwrap();
    proxy.set(Fault::Delay { ms: 50 });
    let began = Instant::now();
    stream.write_all(b"late").await.unwrap();
    assert_eq!(answer(&mut stream, 4, SOON).await.unwrap(), b"late");
    assert!(Duration::from_millis(100) <= began.elapsed());
}

#[tokio::test]
async fn a_throttle_holds_the_rate() {
    let proxy = Proxy::start(echo().await).unwrap();
    proxy.set(Fault::Throttle {
        bytes_per_s: 100_000,
    });
    let mut stream = connect(&proxy).await;
    let began = Instant::now();
    stream.write_all(&[7; 30_000]).await.unwrap();
    answer(&mut stream, 30_000, SOON).await.unwrap();
    assert!(
        Duration::from_millis(250) <= began.elapsed(),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn what_a_silent_direction_or_a_black_hole_holds_arrives_later() {
    let proxy = Proxy::start(echo().await).unwrap();
    let mut stream = connect(&proxy).await;
    let faults = [
        Fault::HalfOpen(Direction::ToServer),
        Fault::HalfOpen(Direction::ToClient),
        Fault::BlackHole,
    ];
    for fault in faults {
        proxy.set(fault);
        assert_eq!(ask(&mut stream, b"held").await, None);
        proxy.clear();
        assert_eq!(answer(&mut stream, 4, SOON).await.unwrap(), b"held");
    }
    proxy.set(Fault::BlackHole);
    let mut late = connect(&proxy).await;
    assert_eq!(ask(&mut late, b"new").await, None);
    proxy.clear();
    assert_eq!(answer(&mut late, 3, SOON).await.unwrap(), b"new");
}

#[tokio::test]
async fn a_cut_is_an_end_and_a_reset_an_error() {
    let proxy = Proxy::start(echo().await).unwrap();
    for (fault, kind) in [
        (Fault::Cut, None),
        (Fault::Reset, Some(ErrorKind::ConnectionReset)),
    ] {
        let mut stream = connect(&proxy).await;
        ask(&mut stream, b"warm").await.unwrap();
        proxy.set(fault);
        let read = timeout(SOON, stream.read(&mut [0; 8])).await.unwrap();
        assert_eq!(read.err().map(|e| e.kind()), kind, "{fault:?}");
        assert!(ask(&mut connect(&proxy).await, b"again").await.is_some());
    }
}

#[tokio::test]
async fn refusing_leaves_open_connections_alone() {
    let proxy = Proxy::start(echo().await).unwrap();
    let mut open = connect(&proxy).await;
    ask(&mut open, b"warm").await.unwrap();
    proxy.set(Fault::Refuse);
    assert_eq!(ask(&mut open, b"on").await.unwrap(), b"on");
    let refused = async {
        TcpStream::connect(proxy.host())
            .await?
            .read(&mut [0; 8])
            .await
    };
    assert!(timeout(SOON, refused).await.unwrap().is_err());
}

#[tokio::test]
async fn a_share_of_the_connections_is_hit() {
    let proxy = Proxy::start(echo().await).unwrap();
    let mut streams = Vec::new();
    for _ in 0..40 {
        let mut stream = connect(&proxy).await;
        ask(&mut stream, b"warm").await.unwrap();
        streams.push(stream);
    }
    proxy.set_on(Fault::BlackHole, 0.5);
    let asked = streams.iter_mut().map(|stream| ask(stream, b"?"));
    let answers = futures_util::future::join_all(asked)
        .await
        .into_iter()
        .flatten()
        .count();
    assert!((8..=32).contains(&answers), "{answers} of 40");
}

#[tokio::test]
async fn without_a_server_clients_are_reset_and_without_a_proxy_ended() {
    let nobody = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let proxy = Proxy::start(nobody).unwrap();
    let gone = async {
        TcpStream::connect(proxy.host())
            .await?
            .read(&mut [0; 8])
            .await
    };
    assert!(timeout(SOON, gone).await.unwrap().is_err());
    let proxy = Proxy::start(echo().await).unwrap();
    let mut stream = connect(&proxy).await;
    ask(&mut stream, b"warm").await.unwrap();
    drop(proxy);
    assert_eq!(
        timeout(SOON, stream.read(&mut [0; 8]))
            .await
            .unwrap()
            .unwrap_or(0),
        0
    );
}
