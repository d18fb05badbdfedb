//! What `shardlift validate` says of servers' hosts and oplogs: real servers of which one has
//! a low limit of open files and is behind a proxy that changes its time and its disk, and
//! one with an oplog of hours.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bson::{Timestamp, doc};
use loadgen::cluster::ReplicaSet;
use loadgen::server::mongod::{Mongod, MongodOptions, Role};
use loadgen::server::program::Program;
use loadgen::server::{find, version};
use loadgen::wire::link::is_primary;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::fixture;
use crate::validate_verdicts::told;

const HOUR_S: u64 = 3_600;

/// What a server's replies are made to say: the start of a field, up to its value, and that.
type Said = [(&'static [u8], [u8; 8]); 2];

/// Passes on what a server answers, message by message.
async fn answers(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    said: Said,
) -> io::Result<()> {
    loop {
        let bytes = from.read_u32_le().await?;
        let mut message = vec![0; bytes as usize];
        message[..4].copy_from_slice(&bytes.to_le_bytes());
        from.read_exact(&mut message[4..]).await?;
        for (field, value) in said {
            let mut fields = message.windows(field.len());
            if let Some(at) = fields.position(|part| part == field) {
                let at = at + field.len();
                message[at..at + value.len()].copy_from_slice(&value);
            }
        }
        to.write_all(&message).await?;
    }
}

/// Leads to a server of which the clock is an hour ahead and the disk full.
async fn pass_on(door: TcpListener, host: String) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let ahead = now + Duration::from_secs(HOUR_S);
    let said = [
        (&b"\x09localTime\0"[..], ahead.as_millis() as u64),
        (&b"\x01fsUsedSize\0"[..], 1e18_f64.to_bits()),
    ]
    .map(|(field, value)| (field, value.to_le_bytes()));
    while let Ok((client, _)) = door.accept().await {
        let host = host.clone();
        tokio::spawn(async move {
            let server = TcpStream::connect(host).await?;
            let (mut asks, told) = client.into_split();
            let (replies, mut asked) = server.into_split();
            tokio::select! {
                ended = tokio::io::copy(&mut asks, &mut asked) => ended.map(drop),
                ended = answers(replies, told, said) => ended,
            }
        });
    }
}

/// A server that may open few files, the only one of set `b`.
async fn limited(folder: &Path) -> Mongod {
    let mongod = find::mongod(version::DEFAULT).await.unwrap();
    let wrapper = folder.join("mongod");
    let real = mongod.path.display();
    fs::write(
        &wrapper,
        format!("#!/bin/sh\nulimit -n 1000\nexec '{real}' \"$@\"\n"),
    )
    .unwrap();
    fs::set_permissions(&wrapper, Permissions::from_mode(0o755)).unwrap();
    let options = MongodOptions {
        program: Program {
            path: wrapper,
            ..mongod
        },
        set: "b".to_owned(),
        role: Role::Plain,
        cache_gb: 0.25,
        oplog_mb: Some(64),
        login: false,
        data_under: None,
        set_parameters: Vec::new(),
        extra_args: Vec::new(),
    };
    Mongod::start(options).await.unwrap()
}

/// The server takes a time of the cluster from whoever asks, and goes on from there.
async fn let_hours_pass(set: &ReplicaSet, hours: u32) {
    let mut link = set.primary_link().await.unwrap();
    let hello = link.hello().await.unwrap();
    let mut clock = hello.get_document("$clusterTime").unwrap().clone();
    let now = clock.get_timestamp("clusterTime").unwrap();
    let time = now.time + hours * HOUR_S as u32;
    clock.insert("clusterTime", Timestamp { time, increment: 1 });
    let write = doc! {"insert": "orders", "documents": [{"x": 1}], "$clusterTime": clock};
    link.command("shop", write).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_asked_of_the_hosts_of_servers() {
    let folder = tempfile::tempdir().unwrap();
    let (source, target) = tokio::join!(fixture::replica_set("a", &[]), limited(folder.path()));
    fixture::insert(&source.client().await.unwrap(), "shop", "orders").await;
    let door = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = door.local_addr().unwrap().to_string();
    let passes = tokio::spawn(pass_on(door, target.host()));
    let set = doc! {"_id": "b", "members": [{"_id": 0, "host": &host}]};
    let mut link = target.link().await.unwrap();
    let initiate = doc! {"replSetInitiate": set};
    link.command("admin", initiate).await.unwrap();

    const WINDOW: &str = "source oplog window";
    let from = source.uri();
    let to = format!("mongodb://{host}/?replicaSet=b");
    while !is_primary(&link.hello().await.unwrap()) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let found = told(&from, &to, &[]);
    for (name, text) in [
        ("clocks agree", "the clock of target shard b is "),
        ("target disk", "0.0 GB free on the fullest shard"),
        ("open files of the target", "b has a low limit"),
        (WINDOW, "a 0.0 h of oplog"),
    ] {
        found.is(name, "warning", text);
    }
    let_hours_pass(&source, 2).await;
    told(&from, &to, &[]).is(WINDOW, "ok", "a 2.0 h of oplog");
    passes.abort();
}
