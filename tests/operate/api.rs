//! The API of a real process, open to other hosts: by TLS, to who shows the token, and every
//! answer as its own document says.

use std::collections::BTreeSet;
use std::path::Path;

use bson::doc;
use loadgen::server::certificates::Authority;
use serde_json::{Value, json};
use shardlift::observe::client::Client;
use shardlift::observe::phase::Phase;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use super::schema;
use crate::engine::Engine;
use crate::fixture;
use crate::migrate::expect_equal;

const TOKEN: &str = "a-token-of-this-test";

/// Asks like any HTTP client, and judges each answer by the document.
struct Asker {
    base: String,
    agent: ureq::Agent,
    document: Value,
    /// Method and path of what was asked.
    asked: BTreeSet<(String, String)>,
}

impl Asker {
    fn new(port: &str, ca: &Path) -> Self {
        let pem = std::fs::read(ca).unwrap();
        let roots = RootCerts::from([Certificate::from_pem(&pem).unwrap()]);
        let tls = TlsConfig::builder().root_certs(roots).build();
        let agent = ureq::Agent::config_builder().http_status_as_error(false);
        Asker {
            base: format!("https://127.0.0.1:{port}"),
            agent: agent.proxy(None).tls_config(tls).build().into(),
            document: Value::Null,
            asked: BTreeSet::new(),
        }
    }

    /// Status and text.
    fn raw(&self, method: &str, path: &str, token: Option<&str>, body: &str) -> (u16, String) {
        let mut request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base));
        if let Some(token) = token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        let mut answer = self
            .agent
            .run(request.body(body.to_owned()).unwrap())
            .unwrap();
        let text = answer.body_mut().read_to_string().unwrap();
        (answer.status().as_u16(), text)
    }

    /// With the token; the answer must be as the document says.
    fn ask(&mut self, method: &str, path: &str, body: &str, expect: u16) -> Value {
        let (status, text) = self.raw(method, path, Some(TOKEN), body);
        assert_eq!(status, expect, "{method} {path}: {text}");
        assert!(!text.contains(TOKEN), "{text}");
        let operation = &self.document["paths"][path][method.to_lowercase()];
        self.judge_body(operation, body, status);
        let answers = &operation["responses"][status.to_string()];
        assert!(
            answers.is_object(),
            "{status} of {method} {path} is not in the document"
        );
        self.asked.insert((method.to_owned(), path.to_owned()));
        let Some(json) = answers["content"].get("application/json") else {
            return Value::Null;
        };
        let value: Value = serde_json::from_str(&text).unwrap();
        let faults = schema::faults(&self.document, &json["schema"], &value);
        assert!(faults.is_empty(), "{method} {path}: {faults:#?}");
        value
    }

    /// What is taken fits its schema, what cannot be read does not.
    fn judge_body(&self, operation: &Value, body: &str, status: u16) {
        let taken = &operation["requestBody"];
        let fits = if body.is_empty() {
            taken["required"] != true
        } else {
            let schema = &taken["content"]["application/json"]["schema"];
            assert!(schema.is_object(), "a body is not in the document: {body}");
            serde_json::from_str(body)
                .is_ok_and(|body| schema::faults(&self.document, schema, &body).is_empty())
        };
        match status {
            200 | 409 => assert!(fits, "{status}: {body}"),
            400 => assert!(!fits, "{status}: {body}"),
            _ => {}
        }
    }

    fn ask_all_that_reads(&mut self) {
        let paths = self.document["paths"].as_object().unwrap().clone();
        for (path, methods) in paths {
            if methods.get("get").is_some() {
                self.ask("GET", &path, "", 200);
            }
        }
    }

    fn every_endpoint(&self) -> BTreeSet<(String, String)> {
        let paths = self.document["paths"].as_object().unwrap().iter();
        let methods = paths.flat_map(|(path, methods)| {
            let methods = methods.as_object().unwrap().keys();
            methods.map(move |method| (method.to_uppercase(), path.clone()))
        });
        methods.collect()
    }
}

async fn until(client: &Client, engine: &mut Engine, phase: Phase) {
    loop {
        let now = tokio::task::block_in_place(|| client.status()).unwrap();
        if now.phase == phase {
            return;
        }
        assert!(engine.is_running(), "{now:?}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beyond_this_host_the_api_asks_for_its_token_and_answers_as_its_document_says() {
    let (source, target) = tokio::join!(
        fixture::replica_set("a", &[]),
        fixture::replica_set("b", &[])
    );
    let a = source.client().await.unwrap();
    fixture::insert(&a, "shop", "orders").await;
    let index = doc! {"createIndexes": "orders", "indexes": [{"key": {"x": 1}, "name": "x"}]};
    fixture::run(&a, "shop", index).await;
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::create(dir.path()).unwrap();
    let pem = authority.server(&["127.0.0.1"]).unwrap();
    let file = dir.path().join("shardlift.toml");
    let settings = format!(
        "listen = \"0.0.0.0:0\"\napi_token = \"{TOKEN}\"\napi_cert = {pem:?}\napi_key = {pem:?}\n"
    );
    std::fs::write(&file, settings).unwrap();
    let flags = ["--config", file.to_str().unwrap(), "--grace-s", "600"];
    let mut engine = Engine::start(&source.uri(), &target.uri(), &flags).await;

    let mut asker = Asker::new(engine.port(), &authority.file());
    let (status, text) = asker.raw("GET", "/api/v1/openapi.json", None, "");
    assert_eq!(status, 200, "{text}");
    asker.document = serde_json::from_str(&text).unwrap();
    for (method, path, expect) in [
        ("GET", "/", 200),
        ("GET", "/status", 401),
        ("GET", "/metrics", 401),
        ("GET", "/api/v1/progress", 401),
        ("POST", "/pause", 401),
        ("POST", "/api/v1/commit", 401),
    ] {
        for token in [None, Some("another-token-of-16")] {
            assert_eq!(
                asker.raw(method, path, token, "").0,
                expect,
                "{path} {token:?}"
            );
        }
    }
    let plain = asker.base.replace("https", "http");
    assert!(
        ureq::get(format!("{plain}/status")).call().is_err(),
        "without TLS"
    );

    let ca = authority.file();
    let token = || serde_json::from_value(json!(TOKEN)).unwrap();
    let client = Client::trusted(&asker.base, token(), ca.to_str().unwrap()).unwrap();
    let stranger = Client::trusted(&asker.base, token(), "").unwrap();
    assert!(tokio::task::block_in_place(|| stranger.status()).is_err());
    until(&client, &mut engine, Phase::Ready).await;
    asker.ask_all_that_reads();
    // A gap comes and goes.
    let progress = loop {
        let progress = asker.ask("GET", "/api/v1/progress", "", 200)["progress"].clone();
        if progress["canCommit"] == true {
            break progress;
        }
        assert!(engine.is_running());
    };
    // Servers write to their oplog now and then.
    let left = |progress: &Value| progress["progress"]["estimatedSecondsToCEACatchup"].clone();
    while left(&asker.ask("GET", "/api/v1/progress", "", 200)) != 0 {
        assert!(engine.is_running());
    }
    assert_eq!(progress["indexBuilding"]["indexesBuilt"], 1, "{progress}");

    asker.ask("POST", "/throttle", r#"{"copy_mb_s": 5}"#, 200);
    asker.ask("POST", "/api/v1/throttle", r#"{"ops_s": 7}"#, 200);
    let throttle = asker.ask("GET", "/api/v1/status", "", 200)["throttle"].clone();
    assert_eq!(throttle, json!({"copy_mb_s": 5, "ops_s": 7, "held_by": []}));
    for body in [
        r#"{"ops_s": -1}"#,
        r#"{"copy_mb_s": 1e12}"#,
        r#"{"more": 1}"#,
        "[",
    ] {
        asker.ask("POST", "/throttle", body, 400);
    }
    asker.ask("POST", "/throttle", r#"{"copy_mb_s": 0, "ops_s": 0}"#, 200);
    let long = format!(r#"{{"by": "{}"}}"#, "x".repeat(10_000));
    for path in ["/pause", "/api/v1/pause", "/throttle"] {
        asker.ask("POST", path, &long, 413);
        for body in [r#"{"why": "x"}"#, r#"{"by": 5}"#, "["] {
            asker.ask("POST", path, body, 400);
        }
    }
    let none = r#"{"copy_mb_s": null, "ops_s": 0}"#;
    asker.ask("POST", "/throttle", none, 200);
    for path in ["/extend", "/api/v1/extend", "/api/v1/start"] {
        asker.ask("POST", path, "", 200);
    }
    let asked = [
        (
            r#"{"source": "cluster0", "destination": "cluster1", "reversible": false}"#,
            200,
        ),
        (r#"{"reversible": true}"#, 409),
        (r#"{"enableUserWriteBlocking": true}"#, 409),
        (
            r#"{"enableUserWriteBlocking": "sourceAndDestination"}"#,
            409,
        ),
        (r#"{"source": "cluster1"}"#, 409),
        (r#"{"includeNamespaces": []}"#, 400),
        (r#"{"source": "elsewhere"}"#, 400),
    ];
    for (body, expect) in asked {
        asker.ask("POST", "/api/v1/start", body, expect);
    }
    for path in ["/resume", "/api/v1/resume", "/api/v1/reverse"] {
        asker.ask("POST", path, "", 409);
    }
    for (pause, resume) in [("/pause", "/resume"), ("/api/v1/pause", "/api/v1/resume")] {
        asker.ask("POST", pause, r#"{"by": "ann"}"#, 200);
        until(&client, &mut engine, Phase::Paused).await;
        asker.ask_all_that_reads();
        asker.ask("POST", "/api/v1/commit", "", 409);
        asker.ask("POST", resume, "", 200);
        until(&client, &mut engine, Phase::Ready).await;
    }
    for path in ["/recopy", "/api/v1/recopy"] {
        asker.ask("POST", path, r#"{"shard": "nobody"}"#, 409);
        asker.ask("POST", path, "{}", 400);
    }
    asker.ask("POST", "/cutover", r#"{"block_writes": 5}"#, 400);
    while !tokio::task::block_in_place(|| client.status())
        .unwrap()
        .can_cutover
    {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    asker.ask("POST", "/api/v1/cutover", "", 200);
    until(&client, &mut engine, Phase::Done).await;
    asker.ask_all_that_reads();
    let progress = asker.ask("GET", "/api/v1/progress", "", 200)["progress"].clone();
    assert_eq!(progress["state"], "COMMITTED");
    for side in ["source", "destination"] {
        assert!(progress[side]["pingLatencyMs"].is_number(), "{progress}");
    }
    for path in ["/cutover", "/cancel", "/api/v1/cancel"] {
        asker.ask("POST", path, "", 409);
    }
    assert_eq!(asker.asked, asker.every_endpoint());
    engine.signal("TERM");
    let outcome = engine.end().await;
    assert_eq!(outcome.code, 0);
    assert!(!outcome.log.text().contains(TOKEN));
    expect_equal(&source.uri(), &target.uri()).await;
}
