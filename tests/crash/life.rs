//! One life of the engine, from its start to its end; killed when dropped.
//!
//! Knows nothing about what was planned for it.

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};

use loadgen::engine::program;
use loadgen::server::spawn;
use shardlift::observe::client::Client;
use shardlift::observe::phase::Phase;
use shardlift::observe::status::Snapshot;

use crate::schedule::Blow;

const SIGABRT: i32 = 6;

/// How it ended.
#[derive(Debug)]
pub(crate) enum End {
    Done,
    /// By its failpoint.
    Aborted,
    /// By us.
    Killed,
    Code(i32),
}

pub(crate) struct Life {
    process: Child,
    dir: tempfile::TempDir,
}

impl Life {
    /// Small ranges and writes, so that little data makes many of them. The same
    /// arguments every time, but for `anew`.
    pub(crate) fn start(source: &str, target: &str, order: &str, blow: &Blow, anew: bool) -> Life {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_shardlift"));
        command.args([
            "migrate",
            "--source",
            source,
            "--target",
            target,
            "--api-port",
            "0",
            "--progress",
            "none",
        ]);
        command.args([
            "--range-mb",
            "1",
            "--scans",
            "2",
            "--lanes",
            "4",
            "--bulk-ops-max",
            "200",
            "--grace-s",
            "0",
        ]);
        command.args(["--spool-dir", env!("CARGO_TARGET_TMPDIR")]);
        command.args(["--scan-order", order]);
        if anew {
            command.arg("--restart");
        }
        if let Blow::Failpoint { name, n } = blow {
            command.env("SHARDLIFT_FAILPOINT", format!("{name}:{n}"));
        }
        let log = File::create(dir.path().join("log")).unwrap();
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        Life {
            process: spawn::spawn(command).expect("the engine starts"),
            dir,
        }
    }

    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.dir.path().join("log")).unwrap()).into_owned()
    }

    /// None while it runs.
    pub(crate) fn end(&mut self) -> Option<End> {
        self.process.try_wait().unwrap().map(end)
    }

    pub(crate) fn kill(&mut self) -> End {
        let _ = self.process.kill();
        end(self.process.wait().unwrap())
    }

    /// None while it has no API.
    pub(crate) async fn phase(&self) -> Option<Phase> {
        Some(self.status().await?.phase)
    }

    pub(crate) async fn status(&self) -> Option<Snapshot> {
        self.ask(|client| client.status()).await
    }

    /// May be refused, or asked for already: the phase tells.
    pub(crate) async fn request_cutover(&self) {
        let _ = self.ask(|client| client.cutover()).await;
    }

    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(Client) -> shardlift::error::Result<T> + Send + 'static,
    ) -> Option<T> {
        let client = Client::new(&program::api_url(&self.log())?);
        tokio::task::spawn_blocking(move || question(client))
            .await
            .expect("asking does not panic")
            .ok()
    }
}

fn end(status: ExitStatus) -> End {
    match (status.code(), status.signal()) {
        (Some(0), _) => End::Done,
        (Some(code), _) => End::Code(code),
        (None, Some(SIGABRT)) => End::Aborted,
        (None, _) => End::Killed,
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
