//! Our own logins and handshakes, message by message.

use super::*;

/// Payload and conversation of a server's answer to a step of a login.
fn step(reply: &Document) -> (&[u8], Bson) {
    let Some(Bson::Binary(payload)) = reply.get("payload") else {
        panic!("{reply}")
    };
    (&payload.bytes, reply.get("conversationId").unwrap().clone())
}

/// Logs in by our own steps, the driver only carrying them.
async fn log_in(
    carrier: &Client,
    mut login: Scram,
    name: &str,
    cache: &SaltedCache,
) -> Result<(), Error> {
    let admin = carrier.database("admin");
    let payload = |bytes| Binary {
        subtype: bson::spec::BinarySubtype::Generic,
        bytes,
    };
    let options = doc! {"skipEmptyExchange": true};
    let start = doc! {"saslStart": 1, "mechanism": name, "payload": payload(login.first()), "options": options};
    let reply = admin.run_command(start).await?;
    let (said, conversation) = step(&reply);
    let answer = payload(login.answer(said, cache)?);
    let go_on = doc! {"saslContinue": 1, "conversationId": conversation, "payload": answer};
    let reply = admin.run_command(go_on).await?;
    assert!(reply.get_bool("done").unwrap(), "{reply}");
    login.verify(step(&reply).0)
}

#[tokio::test]
async fn our_own_logins_and_handshakes_are_what_a_server_takes() {
    let guarded = Guarded::start("guarded").await;
    let root = client(&guarded.by_password("SCRAM-SHA-256")).await;
    let users = [
        ("plain", "p@ss"),
        ("a=b,c", "pass,word="),
        ("\u{2168}", "I\u{ad}\u{2168} stra\u{df}e"),
    ];
    for (user, password) in users {
        run(
            &root,
            "admin",
            doc! {"createUser": user, "pwd": password, "roles": ["clusterMonitor"]},
        )
        .await;
    }
    // One connection, so that the steps of a login meet, and what it may do is seen after.
    let uri = format!(
        "mongodb://{}/?directConnection=true&maxPoolSize=1&{}",
        guarded.server.host, guarded.trust
    );
    for mechanism in [Mechanism::Sha1, Mechanism::Sha256] {
        for (user, password) in users {
            let (carrier, cache) = (client(&uri).await, SaltedCache::default());
            let wrong = Scram::new(mechanism, user, "wrong").unwrap();
            let refused = log_in(&carrier, wrong, mechanism.name(), &SaltedCache::default())
                .await
                .unwrap_err();
            assert_eq!(refused.code, Some(18), "{refused}");
            for _ in 0..2 {
                let carrier = client(&uri).await;
                let login = Scram::new(mechanism, user, password).unwrap();
                log_in(&carrier, login, mechanism.name(), &cache)
                    .await
                    .unwrap();
                run(&carrier, "admin", doc! {"serverStatus": 1}).await;
            }
        }
    }
    for uri in [guarded.as_user("root"), guarded.by_certificate()] {
        let Some(TlsChoice::Enabled(options)) = ClientOptions::parse(&uri).await.unwrap().tls
        else {
            panic!("{uri}")
        };
        let tls = Tls::new(&options).unwrap();
        let open = || TcpStream::connect(&guarded.server.host);
        tls.connect("127.0.0.1", open().await.unwrap())
            .await
            .unwrap();
        let error = tls
            .connect("localhost", open().await.unwrap())
            .await
            .unwrap_err();
        assert_eq!(
            error.kind,
            Kind::Connect,
            "its certificate has only the address: {error}"
        );
    }
}
