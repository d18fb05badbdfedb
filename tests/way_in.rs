//! Whole migrations by every way in that a URI can name: TLS with each kind of login,
//! and compressed traffic. The servers say afterwards which way was taken. And that the
//! steps of our own logins and handshakes are what a server takes.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use bson::{Binary, Bson, Document, doc};
use loadgen::load::{Load, LoadOptions};
use loadgen::populate::{self, PopulateArgs};
use loadgen::server::certificates::{self, Authority};
use loadgen::server::data_dir::DataDir;
use mongodb::Client;
use mongodb::options::{ClientOptions, Tls as TlsChoice};
use shardlift::control::validate::Verdict;
use shardlift::error::{Error, Kind};
use shardlift::wire::scram::Scram;
use shardlift::wire::scram::keys::{Mechanism, SaltedCache};
use shardlift::wire::tls::Tls;
use tokio::net::TcpStream;

use crate::engine::Engine;
use crate::fixture::{self, run};
use crate::migrate::{expect_equal, stop, wipe};
use crate::validate_warnings;

mod own;

const DOCS: u64 = 2_000;
/// Ops per second while the data moves.
const RATE: f64 = 300.0;

/// Fills the source, every BSON type and documents of 16 MB among it; returns the bytes.
async fn fill(source: &str) -> i64 {
    let args = PopulateArgs {
        docs: DOCS,
        types: true,
        ..PopulateArgs::new(source)
    };
    populate::populate(&args).await.unwrap().bytes as i64
}

/// Moves all of it, under load.
async fn migrate(source: &str, target: &str) {
    let load = LoadOptions {
        rate: RATE,
        connections: 2,
        ..LoadOptions::new(source)
    };
    let load = Load::start(load).await.unwrap();
    let mut engine = Engine::start(source, target, &[]).await;
    engine.until_ready().await;
    stop(load).await;
    engine.cut_over().await;
}

/// A replica set of one that takes connections by TLS only and asks for a login: the
/// user `root` with its password, or the client's certificate.
struct Guarded {
    server: fixture::Server,
    /// Part of every URI: whom to trust.
    trust: String,
    certificate: String,
}

impl Guarded {
    async fn start(name: &str) -> Guarded {
        let dir = DataDir::create(name).unwrap();
        let authority = Authority::create(dir.path()).unwrap();
        let certificate = authority.client("mover").unwrap();
        let own = authority.server(&["127.0.0.1"]).unwrap();
        let key = dir.path().join("keyfile");
        std::fs::write(&key, "c2hhcmRsaWZ0LXRlc3Q=").unwrap();
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
        let ca = authority.file();
        let [ca, own, key] = [&ca, &own, &key].map(|path| path.to_str().unwrap());
        let args = [
            "--replSet",
            name,
            "--oplogSize",
            "256",
            "--keyFile",
            key,
            "--tlsMode",
            "requireTLS",
        ];
        let tls = [
            "--tlsCAFile",
            ca,
            "--tlsCertificateKeyFile",
            own,
            "--tlsAllowConnectionsWithoutCertificates",
        ];
        let trust = format!("tls=true&tlsCAFile={}", in_uri(Path::new(ca)));
        let server = fixture::Server::start_in(dir, name, &[&args[..], &tls[..]].concat()).await;
        let guarded = Guarded {
            server,
            trust,
            certificate: in_uri(&certificate),
        };
        guarded.initiate(name).await;
        guarded
    }

    /// As long as there is no user, who comes from this host is let in.
    async fn initiate(&self, name: &str) {
        let host = &self.server.host;
        let first = client(&format!(
            "mongodb://{host}/?directConnection=true&{}",
            self.trust
        ))
        .await;
        let members = doc! {"_id": name, "members": [{"_id": 0, "host": host}]};
        run(&first, "admin", doc! {"replSetInitiate": members}).await;
        while !run(&first, "admin", doc! {"hello": 1})
            .await
            .get_bool("isWritablePrimary")
            .unwrap()
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        run(
            &first,
            "admin",
            doc! {"createUser": "root", "pwd": "p@ss", "roles": ["root"]},
        )
        .await;
        let root = client(&self.by_password("SCRAM-SHA-256")).await;
        let roles = [doc! {"role": "root", "db": "admin"}];
        let mover = certificates::user_of("mover");
        run(
            &root,
            "$external",
            doc! {"createUser": mover, "roles": &roles[..]},
        )
        .await;
        let old = doc! {"createUser": "old", "pwd": "p@ss", "roles": &roles[..], "mechanisms": ["SCRAM-SHA-1"]};
        run(&root, "admin", old).await;
    }

    fn by_password(&self, mechanism: &str) -> String {
        format!("{}&authMechanism={mechanism}", self.as_user("root"))
    }

    /// The mechanism is what both sides know best.
    fn as_user(&self, name: &str) -> String {
        format!(
            "mongodb://{name}:p%40ss@{}/?{}",
            self.server.host, self.trust
        )
    }

    fn by_certificate(&self) -> String {
        let Guarded {
            server,
            trust,
            certificate,
        } = self;
        let login = "authMechanism=MONGODB-X509&authSource=%24external";
        format!(
            "mongodb://{}/?{trust}&tlsCertificateKeyFile={certificate}&{login}",
            server.host
        )
    }
}

fn in_uri(path: &Path) -> String {
    path.to_str().unwrap().replace('/', "%2F")
}

async fn client(uri: &str) -> Client {
    Client::with_uri_str(uri).await.unwrap()
}

/// What a server counts, asked by one connection that is there already.
struct Watch(Client);

impl Watch {
    async fn of(uri: &str) -> Watch {
        let watch = Watch(client(uri).await);
        watch.status("ok").await;
        watch
    }

    async fn status(&self, path: &str) -> Bson {
        let status = run(&self.0, "admin", doc! {"serverStatus": 1}).await;
        let down = |at: Bson, name| {
            at.as_document()
                .and_then(|at| at.get(name))
                .expect("the server counts it")
                .clone()
        };
        path.split('/').fold(Bson::Document(status), down)
    }

    /// Logins of clients so far, by mechanism. A server also logs in to itself.
    async fn logins(&self) -> BTreeMap<String, i64> {
        let mechanisms = self.status("security/authentication/mechanisms").await;
        let row = |(name, counts): (&String, &Bson)| {
            let successful = |of: &str| {
                counts
                    .as_document()
                    .unwrap()
                    .get_document(of)
                    .unwrap()
                    .get_i64("successful")
            };
            (
                name.clone(),
                successful("authenticate").unwrap() - successful("clusterAuthenticate").unwrap(),
            )
        };
        mechanisms.as_document().unwrap().iter().map(row).collect()
    }

    /// Bytes of messages so far, both ways, as they were before they were compressed:
    /// those that then were, and all.
    async fn traffic(&self, compressor: &str) -> (i64, i64) {
        let network = self.status("network").await;
        let network = network.as_document().unwrap();
        let all = network.get_i64("bytesIn").unwrap() + network.get_i64("bytesOut").unwrap();
        let of = network
            .get_document("compression")
            .unwrap()
            .get_document(compressor)
            .unwrap();
        let bytes = |side: &str, field| of.get_document(side).unwrap().get_i64(field).unwrap();
        (
            bytes("compressor", "bytesIn") + bytes("decompressor", "bytesOut"),
            all,
        )
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_moves_between_servers_that_ask_for_tls_and_a_login() {
    let (a, b) = tokio::join!(Guarded::start("guarded_a"), Guarded::start("guarded_b"));
    let (source_watch, target_watch) = (
        Watch::of(&a.by_certificate()).await,
        Watch::of(&b.by_certificate()).await,
    );
    fill(&a.by_certificate()).await;
    let rows = [
        (
            a.by_password("SCRAM-SHA-256"),
            b.by_certificate(),
            "SCRAM-SHA-256",
            "MONGODB-X509",
        ),
        (
            a.as_user("old"),
            b.as_user("root"),
            "SCRAM-SHA-1",
            "SCRAM-SHA-256",
        ),
        (
            a.by_certificate(),
            b.by_password("SCRAM-SHA-1"),
            "MONGODB-X509",
            "SCRAM-SHA-1",
        ),
    ];
    for (source, target, source_way, target_way) in rows {
        wipe(&target_watch.0).await;
        let before = (source_watch.logins().await, target_watch.logins().await);
        migrate(&source, &target).await;
        assert_eq!(risen(&before.0, &source_watch.logins().await), [source_way]);
        assert_eq!(risen(&before.1, &target_watch.logins().await), [target_way]);
        expect_equal(&source, &target).await;
        for (name, passes) in [
            ("source connections encrypted", true),
            ("users and roles on the target", true),
            ("target is empty", false),
        ] {
            let (source, target) = (
                fixture::source(&source).await,
                fixture::target(&target).await,
            );
            let check = validate_warnings::check(&source, &target, name).await;
            assert_eq!(check.verdict == Verdict::Ok, passes, "{check:?}");
        }
    }
}

fn risen<'a>(before: &BTreeMap<String, i64>, now: &'a BTreeMap<String, i64>) -> Vec<&'a str> {
    now.iter()
        .filter(|(name, count)| before.get(*name) != Some(count))
        .map(|(name, _)| name.as_str())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_moves_compressed_where_the_uri_asks_for_it() {
    let (a, b) = tokio::join!(
        fixture::replica_set("a", &[]),
        fixture::replica_set("b", &[])
    );
    let (source_watch, target_watch) = (Watch::of(&a.uri()).await, Watch::of(&b.uri()).await);
    let bytes = fill(&a.uri()).await;
    for (source_way, target_way) in [("zstd", "snappy"), ("snappy", "zstd")] {
        wipe(&target_watch.0).await;
        let source = format!("{}&compressors={source_way}", a.uri());
        let target = format!("{}&compressors={target_way}", b.uri());
        let before = (
            source_watch.traffic(source_way).await,
            target_watch.traffic(target_way).await,
        );
        migrate(&source, &target).await;
        for (watch, before, way) in [
            (&source_watch, before.0, source_way),
            (&target_watch, before.1, target_way),
        ] {
            let now = watch.traffic(way).await;
            let (compressed, all) = (now.0 - before.0, now.1 - before.1);
            assert!(
                bytes < compressed,
                "{way}: {compressed} of {all} for {bytes} of documents"
            );
            // Logins, and what the driver and this test ask.
            assert!(
                all - compressed < bytes / 10,
                "{way}: {compressed} of {all}"
            );
        }
        expect_equal(&source, &target).await;
    }
}
