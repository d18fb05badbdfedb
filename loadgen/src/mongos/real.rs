//! A real `mongos` process that the user brought.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bson::doc;

use crate::error::{Error, Result};
use crate::server::data_dir::DataDir;
use crate::server::process::Process;
use crate::server::{keyfile, port};
use crate::wire::link::Link;

const START_TIMEOUT: Duration = Duration::from_secs(180);
const POLL: Duration = Duration::from_millis(50);

#[derive(Debug)]
pub struct RealMongos {
    process: Process,
    port: u16,
    login: bool,
    /// Of the log.
    _dir: DataDir,
}

impl RealMongos {
    pub(super) async fn start(
        program: PathBuf,
        config_hosts: &str,
        port: Option<u16>,
        login: bool,
    ) -> Result<RealMongos> {
        let dir = DataDir::create("mongos")?;
        let log = dir.path().join("mongos.log");
        let port = port.map_or_else(port::free, Ok)?;
        let mut command = Command::new(program);
        command.args([
            "--bind_ip",
            "127.0.0.1",
            "--nounixsocket",
            "--configdb",
            config_hosts,
        ]);
        if login {
            keyfile::write(dir.path())?;
            command.arg("--keyFile").arg(keyfile::path(dir.path()));
        }
        command
            .args(["--port", &port.to_string()])
            .arg("--logpath")
            .arg(&log);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let process = Process::start(command, "mongos", &log)?;
        let mut router = RealMongos {
            process,
            port,
            login,
            _dir: dir,
        };
        router.wait().await?;
        Ok(router)
    }

    pub(super) fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(super) fn asks_for_login(&self) -> bool {
        self.login
    }

    async fn wait(&mut self) -> Result<()> {
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            self.process.ensure_running()?;
            if let Ok(mut link) = Link::connect(&self.host()).await
                && link
                    .command("admin", doc! { "listShards": 1 })
                    .await
                    .is_ok()
            {
                return Ok(());
            }
            if deadline <= Instant::now() {
                return Err(Error::new(format!(
                    "mongos did not answer in {START_TIMEOUT:?}"
                )));
            }
            tokio::time::sleep(POLL).await;
        }
    }
}
