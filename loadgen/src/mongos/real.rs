//! A real `mongos` process that the user brought.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use bson::doc;

use crate::error::{Error, Result};
use crate::server::brought::Brought;
use crate::server::data_dir::DataDir;
use crate::server::process::Process;
use crate::server::{keyfile, port};
use crate::wire::link::Link;

const START_TIMEOUT: Duration = Duration::from_secs(180);
const POLL: Duration = Duration::from_millis(50);
const LOG: &str = "mongos.log";

#[derive(Debug)]
pub struct RealMongos {
    process: Process,
    port: u16,
    login: bool,
    /// Of the log.
    dir: DataDir,
}

impl RealMongos {
    /// On that port; where none is given on a free one, and on another one if somebody else
    /// took it meanwhile.
    pub(super) async fn start(
        mongos: &Brought,
        config_hosts: &str,
        port: Option<u16>,
        login: bool,
    ) -> Result<RealMongos> {
        let tries = match port {
            Some(_) => 1,
            None => port::RACES_MAX,
        };
        for _ in 0..tries {
            let port = port.map_or_else(port::free, Ok)?;
            let mut router = Self::launch(mongos, config_hosts, port, login)?;
            match router.wait().await {
                Ok(()) => return Ok(router),
                Err(_) if 1 < tries && router.process.lost_its_port() => {}
                Err(e) => return Err(e),
            }
        }
        Err(Error::new(format!(
            "mongos lost the race for a port {tries} times"
        )))
    }

    fn launch(mongos: &Brought, config_hosts: &str, port: u16, login: bool) -> Result<RealMongos> {
        let dir = DataDir::create("mongos")?;
        let log = dir.path().join(LOG);
        let mut command = mongos.program.command();
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
        Ok(RealMongos {
            process: Process::start(command, "mongos", &log)?,
            port,
            login,
            dir,
        })
    }

    pub(super) fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(super) fn log(&self) -> PathBuf {
        self.dir.path().join(LOG)
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
                    "mongos did not answer in {START_TIMEOUT:?}; its log ends with:\n{}",
                    self.process.log_tail()
                )));
            }
            tokio::time::sleep(POLL).await;
        }
    }
}
