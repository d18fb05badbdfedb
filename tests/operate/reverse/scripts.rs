//! What a script that was written for mongosync is told of a way back.

/// The migration stays committed until the way back is asked for; then the target is the
/// source of what is under way.
pub(super) async fn as_mongosync_tells(port: &str, target: &str) {
    let base = format!("http://127.0.0.1:{port}/api/v1");
    let asked = tokio::task::spawn_blocking(move || {
        let read = |body: &mut ureq::Body| body.read_json::<serde_json::Value>().unwrap();
        let agent = ureq::Agent::config_builder().http_status_as_error(false);
        let agent = ureq::Agent::from(agent.build());
        let post = |path: &str| {
            let mut answer = agent.post(format!("{base}/{path}")).send_empty().unwrap();
            read(answer.body_mut())
        };
        let progress = || {
            let mut answer = agent.get(format!("{base}/progress")).call().unwrap();
            read(answer.body_mut())["progress"].clone()
        };
        let before = (progress(), post("commit"));
        (before, post("reverse"), progress())
    });
    let ((before, commit), reverse, progress) = asked.await.unwrap();
    let host = target
        .split('@')
        .next_back()
        .unwrap()
        .split('/')
        .next()
        .unwrap();
    let told = |progress: &serde_json::Value, side: &str| {
        let uri = progress["directionMapping"][side].as_str().unwrap();
        uri.contains(host)
    };
    assert_eq!(before["state"], "COMMITTED", "{before}");
    assert_eq!(before["canWrite"], true, "{before}");
    assert!(told(&before, "Destination"), "{before}");
    assert_eq!(
        commit["success"], false,
        "a second commit does not go back: {commit}"
    );
    assert_eq!(reverse["success"], true, "{reverse}");
    assert_eq!(progress["state"], "RUNNING", "{progress}");
    assert_eq!(progress["canWrite"], false, "{progress}");
    assert!(told(&progress, "Source"), "{progress}");
}
